package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

func TestProgressIsPlainLinesWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.bar("check", "records", 1, 10) // not yet time for a line
	p.show("check", "records", 1_234_567, 2_469_134, 10*time.Second)
	p.show("check", "B", 3<<20, 12<<20, 2*time.Second)
	p.show("simulate", "events", 5000, 0, 2*time.Second)
	p.show("check", "records", 10, 10, time.Second)
	p.clear()
	p.done("done")
	want := `check: 50% 1,234,567 of 2,469,134 records, 123,456/s, 10s left
check: 25% 3.0 MiB of 12.0 MiB, 1.5 MiB/s, 6s left
simulate: 5,000 events, 2,500 events/s
check: 100% 10 of 10 records, 10/s
done
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// On a terminal a bar is rewritten in place, never wider than the terminal, and taken away before what follows.
func TestProgressIsABarOnATerminal(t *testing.T) {
	terminal, screen, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	defer screen.Close()
	if err := pty.Setsize(terminal, &pty.Winsize{Rows: 24, Cols: 70}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TERM", "xterm")
	p := newProgress(screen)
	if p.width == nil {
		t.Fatal("a terminal is taken for something else")
	}
	for i := range int64(3) {
		p.show("check", "records", (i+1)*1000, 4000, time.Duration(i+1)*time.Second)
	}
	p.show(strings.Repeat("long ", 30), "records", 1, 4000, time.Second)
	p.clear()
	p.done("that was all")
	got := readUntil(t, terminal, "that was all\r\n")
	frames := strings.Split(got, "\r\033[K")
	if len(frames) != 7 || !strings.Contains(frames[2], "[=") || !strings.Contains(frames[2], " 50% 2,000 of 4,000 records, 1,000/s, 2s left") || frames[5] != "" {
		t.Errorf("want four bars, nothing, and the last line: %q", frames)
	}
	for _, f := range frames {
		if len(strings.TrimSpace(f)) >= 70 {
			t.Errorf("wider than the terminal: %q", f)
		}
	}
}

func readUntil(t *testing.T, f *os.File, end string) string {
	t.Helper()
	var got []byte
	for b := make([]byte, 1024); !strings.HasSuffix(string(got), end); {
		n, err := f.Read(b)
		if err != nil && err != io.EOF {
			t.Fatalf("%v after %q", err, got)
		}
		got = append(got, b[:n]...)
	}
	return string(got)
}
