// Package file reads events from files and standard input: a JSON object a line, plain or gzip.
package file

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/agentrisk/agentrisk/scoring"
)

// Line is one line of a file.
type Line struct {
	Path   string
	Number int    // from 1
	Data   []byte // without the line break; valid until the next line
	// Reject is set when the line is too long to be a record: Data is then its beginning.
	Reject *scoring.Reject
}

// Each calls fn for every line of the files in order that holds more than white space. "-" is stdin. Files that
// begin as gzip does are decompressed, also when several were joined. The error names file and line; what stands
// before a broken place was handed on.
func Each(ctx context.Context, paths []string, stdin io.Reader, fn func(Line) error) error {
	for _, path := range paths {
		if err := one(ctx, path, stdin, fn); err != nil {
			return err
		}
	}
	return nil
}

func one(ctx context.Context, path string, stdin io.Reader, fn func(Line) error) error {
	in, name := stdin, "-"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in, name = f, path
	}
	r := bufio.NewReaderSize(in, 1<<18)
	if magic, _ := r.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer z.Close()
		r = bufio.NewReaderSize(z, 1<<18)
	}
	for l := (Line{Path: name, Number: 1}); ; l.Number++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		end, err := read(r, &l)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, l.Number, err)
		}
		if len(bytes.TrimSpace(l.Data)) > 0 {
			if err := fn(l); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}

// read fills l with the next line and reports whether it was the last. Of a line that is too long it keeps the
// beginning and passes over the rest.
func read(r *bufio.Reader, l *Line) (end bool, err error) {
	l.Data, l.Reject = l.Data[:0], nil
	for n := 0; ; {
		part, err := r.ReadSlice('\n')
		n += len(part)
		if room := scoring.MaxRecord + 1 - len(l.Data); room > 0 {
			l.Data = append(l.Data, part[:min(len(part), room)]...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		l.Data = bytes.TrimRight(l.Data, "\r\n")
		if len(l.Data) > scoring.MaxRecord {
			l.Reject = &scoring.Reject{Reason: scoring.ReasonTooLarge, Detail: fmt.Sprintf("line of %d bytes, limit %d", n, scoring.MaxRecord)}
		}
		return err != nil, nil
	}
}
