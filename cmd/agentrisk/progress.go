package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress tells of long work on standard error: a bar that is rewritten on a terminal, a line every ten seconds
// elsewhere.
type progress struct {
	w     io.Writer
	width func() int // of the terminal in characters; nil: there is none
	every time.Duration
	began time.Time
	last  time.Time
	drawn bool // a line stands there that is not ended
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, every: 10 * time.Second, began: time.Now(), last: time.Now()}
	if onTerminal(w) && os.Getenv("TERM") != "dumb" {
		p.every = 200 * time.Millisecond
		p.width = func() int {
			width, _, err := term.GetSize(int(w.(*os.File).Fd()))
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}
	}
	return p
}

// onTerminal reports whether people see what is written there.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// bar shows how much of the work is done when it is time to; total 0 says that nobody knows how much there is.
func (p *progress) bar(what, unit string, done, total int64) {
	now := time.Now()
	if now.Sub(p.last) < p.every {
		return
	}
	p.last = now
	p.show(what, unit, done, total, now.Sub(p.began))
}

func (p *progress) show(what, unit string, done, total int64, elapsed time.Duration) {
	rate := float64(done) / max(elapsed.Seconds(), 1e-9)
	amount := quantity(done, unit)
	if total <= 0 {
		p.print(fmt.Sprintf("%s: %s, %s/s", what, amount, quantity(int64(rate), unit)))
		return
	}
	done = min(done, total)
	text := fmt.Sprintf("%3d%% %s of %s, %s/s", 100*done/total, quantity(done, ""), quantity(total, unit), quantity(int64(rate), ""))
	if unit == "B" {
		text = fmt.Sprintf("%3d%% %s of %s, %s/s", 100*done/total, amount, quantity(total, unit), quantity(int64(rate), unit))
	}
	if rate > 0 && done < total {
		text += ", " + time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second).String() + " left"
	}
	if p.width == nil {
		p.print(what + ": " + strings.TrimSpace(text))
		return
	}
	room := min(40, p.width()-len(what)-len(text)-6)
	if room < 5 {
		p.print(what + " " + text)
		return
	}
	full := int(int64(room) * done / total)
	p.print(what + " [" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + "] " + text)
}

// tell prints a line of one's own when it is time for one.
func (p *progress) tell(format string, args ...any) {
	if now := time.Now(); now.Sub(p.last) >= p.every {
		p.last = now
		p.print(fmt.Sprintf(format, args...))
	}
}

// done prints the last line, which stays.
func (p *progress) done(format string, args ...any) {
	p.print(fmt.Sprintf(format, args...))
	if p.width != nil {
		fmt.Fprintln(p.w)
		p.drawn = false
	}
}

// clear takes a bar away, so that what follows has the line for itself.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\033[K")
		p.drawn = false
	}
}

func (p *progress) print(line string) {
	if p.width == nil {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprint(p.w, "\r\033[K"+line[:min(len(line), max(1, p.width()-1))])
	p.drawn = true
}

// rate is n a second since the work began.
func (p *progress) rate(n int64) float64 {
	return float64(n) / max(time.Since(p.began).Seconds(), 1e-9)
}

// quantity writes a number with thousands apart, bytes in KiB, MiB or GiB.
func quantity(n int64, unit string) string {
	if unit == "B" {
		for _, u := range []struct {
			n    int64
			name string
		}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
			if n >= u.n {
				return fmt.Sprintf("%.1f %s", float64(n)/float64(u.n), u.name)
			}
		}
		return fmt.Sprintf("%d B", n)
	}
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return strings.TrimSpace(s + " " + unit)
}
