package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/scoring"
)

func zip(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

func write(t *testing.T, s string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEach(t *testing.T) {
	full := strings.Repeat("x", scoring.MaxRecord)
	for _, tt := range []struct {
		name, in, want, err string
	}{
		{"plain", "a\nb\n", "1:a 2:b", ""},
		{"no last line break", "a\nb", "1:a 2:b", ""},
		{"carriage returns and empty lines", "a\r\n\r\n \nb\r\n", "1:a 4:b", ""},
		{"a byte order mark", "\uFEFFa\nb", "1:a 2:b", ""},
		{"gzip", zip("a\nb\n"), "1:a 2:b", ""},
		{"two gzip files in one", zip("a\n") + zip("b\n"), "1:a 2:b", ""},
		{"a line across two gzip files", zip("a\nb") + zip("c\n"), "1:a 2:bc", ""},
		{"gzip that ends early", zip(strings.Repeat("ab\n", 2))[:20], "1:ab 2:ab", ":3: unexpected EOF"},
		{"gzip with something after it", zip("a\n") + "no gzip any more\n", "1:a", ":2: gzip: invalid header"},
		{"gzip of which only the first bytes are left", "\x1f\x8b\x08", "", ": unexpected EOF"},
		{"a line that is as long as can be", full + "\r\nb\n", "1:x... 2:b", ""},
		{"a line that is too long", "a\n" + full + "x\nb\n", "1:a 2:too_large 3:b", ""},
		{"a line that is much too long", "a\n" + full + full + full + "\nb\n", "1:a 2:too_large 3:b", ""},
		{"a long line that seems to end at the limit", full + "\r" + full + "\nb\n", "1:too_large 2:b", ""},
		{"a long last line", "a\n" + full + "xyz", "1:a 2:too_large", ""},
		{"nothing", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, p := range []string{write(t, tt.in), "-"} {
				var got []string
				err := Each(t.Context(), []string{p}, strings.NewReader(tt.in), func(l Line) error {
					s := string(l.Data)
					switch {
					case l.Reject != nil && len(l.Data) != scoring.MaxRecord+1:
						s = fmt.Sprint(len(l.Data))
					case l.Reject != nil:
						s = string(l.Reject.Reason)
					case s == full:
						s = "x..."
					}
					if l.Path != p {
						t.Errorf("path %s, want %s", l.Path, p)
					}
					got = append(got, fmt.Sprintf("%d:%s", l.Number, s))
					return nil
				})
				if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != p+tt.err) {
					t.Errorf("error %v, want %q", err, p+tt.err)
				}
				if s := strings.Join(got, " "); s != tt.want {
					t.Errorf("got %s, want %s", s, tt.want)
				}
			}
		})
	}
}

// Any text in any cuts, plain or gzip, gives the lines that splitting it gives.
func TestEachIsSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		var text strings.Builder
		for range r.IntN(60) {
			text.WriteString(strings.Repeat("z", r.IntN(9)*r.IntN(9)*r.IntN(2000)) + "\n")
		}
		in := text.String()
		if r.IntN(2) == 0 {
			in = zip(in)
		}
		want := strings.Split(text.String(), "\n")
		err := Each(t.Context(), []string{"-"}, &cutter{r, strings.NewReader(in)}, func(l Line) error {
			if string(l.Data) != want[l.Number-1] {
				t.Fatalf("line %d has %d bytes, want %d", l.Number, len(l.Data), len(want[l.Number-1]))
			}
			want[l.Number-1] = ""
			return nil
		})
		if left := strings.Join(want, ""); err != nil || left != "" {
			t.Fatalf("%v; %d bytes did not come", err, len(left))
		}
	}
}

// cutter reads in random pieces.
type cutter struct {
	r  *rand.Rand
	in io.Reader
}

func (c *cutter) Read(b []byte) (int, error) { return c.in.Read(b[:min(len(b), 1+c.r.IntN(100_000))]) }

func TestProgress(t *testing.T) {
	a, b := write(t, "a\n"), write(t, zip("b\nc\n"))
	size := int64(2 + len(zip("b\nc\n")))
	var read, total int64
	f := Files{Paths: []string{a, b}, Progress: func(r, t int64) { read, total = r, t }}
	if err := f.Each(t.Context(), func(Line) error { return nil }); err != nil || read != size || total != size {
		t.Errorf("%v, %d of %d, want %d", err, read, total, size)
	}
	f.Paths, f.Stdin = append(f.Paths, "-"), strings.NewReader("d\n")
	if err := f.Each(t.Context(), func(Line) error { return nil }); err != nil || read != size+2 || total != 0 {
		t.Errorf("%v, %d of %d, want %d of 0: nobody knows how much a pipe holds", err, read, total, size+2)
	}
}

// Standard input that says nothing does not keep a program that is told to stop.
func TestEachStopsWhileItWaits(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = w.Write([]byte("a\n")) }()
	ctx, cancel := context.WithCancel(t.Context())
	err := Each(ctx, []string{"-"}, r, func(Line) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the context", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() { <-started; cancel() }()
	err = Each(ctx, []string{"-"}, readerFunc(func([]byte) (int, error) { close(started); select {} }), func(Line) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the context", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestEachErrors(t *testing.T) {
	stop := errors.New("enough")
	if err := Each(t.Context(), []string{write(t, "a\nb\n")}, nil, func(Line) error { return stop }); err != stop {
		t.Errorf("%v, want the function's own error", err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if err := Each(t.Context(), []string{missing}, nil, func(Line) error { return nil }); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("%v, want the name of the file", err)
	}
}
