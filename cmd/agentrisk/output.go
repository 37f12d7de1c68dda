package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress tells of long work on standard error: one line that is rewritten on a terminal, a line every ten
// seconds elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	began    time.Time
	last     time.Time
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, began: time.Now(), last: time.Now()}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			p.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return p
}

// tell prints the line when it is time for one.
func (p *progress) tell(format string, args ...any) {
	every := 10 * time.Second
	if p.terminal {
		every = 200 * time.Millisecond
	}
	if now := time.Now(); now.Sub(p.last) >= every {
		p.last = now
		p.print(format, args...)
	}
}

// done prints the last line.
func (p *progress) done(format string, args ...any) {
	p.print(format, args...)
	if p.terminal {
		fmt.Fprintln(p.w)
	}
}

func (p *progress) print(format string, args ...any) {
	if p.terminal {
		fmt.Fprintf(p.w, "\r\033[K"+format, args...)
		return
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

// rate is n a second since the work began.
func (p *progress) rate(n int64) float64 {
	return float64(n) / max(time.Since(p.began).Seconds(), 1e-9)
}
