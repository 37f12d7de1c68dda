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
	Path   string // "-" for standard input
	Number int    // from 1; lines that hold nothing count
	Data   []byte // without the line break; valid until the next line
	// Reject is set when the line is too long to be a record: Data is then its beginning, one byte more than a
	// record may have.
	Reject *scoring.Reject
}

// Files are what Each reads, in order.
type Files struct {
	Paths []string  // "-" is Stdin
	Stdin io.Reader // may block: the end of the context ends the wait
	// Progress, if set, is told how many bytes were read so far, as they stand on the disk, and how many there are;
	// total is 0 when nobody can know.
	Progress func(read, total int64)
}

// Each calls fn for every line of the files in order that holds more than white space; see [Files.Each].
func Each(ctx context.Context, paths []string, stdin io.Reader, fn func(Line) error) error {
	return Files{Paths: paths, Stdin: stdin}.Each(ctx, fn)
}

// Each calls fn for every line that holds more than white space. Files that begin as gzip does are decompressed, also
// when several were joined into one. A byte order mark before the first line is passed over.
//
// An error of reading names file and line; what stands before a broken place was handed on, a line that was cut off by
// it was not. An error of fn ends the reading and is returned as it is.
func (f Files) Each(ctx context.Context, fn func(Line) error) error {
	p := progress{tell: f.Progress, total: f.size()}
	for _, path := range f.Paths {
		if err := f.one(ctx, path, &p, fn); err != nil {
			return err
		}
	}
	return nil
}

func (f Files) one(ctx context.Context, path string, p *progress, fn func(Line) error) error {
	if path == "-" {
		p.r = &waiter{ctx: ctx, r: f.Stdin}
		return each(ctx, path, p, fn)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	p.r = file
	return each(ctx, path, p, fn)
}

// size is how many bytes the files have, 0 when one of them is no file.
func (f Files) size() (total int64) {
	for _, path := range f.Paths {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return 0
		}
		total += info.Size()
	}
	return total
}

func each(ctx context.Context, path string, in io.Reader, fn func(Line) error) error {
	r := bufio.NewReaderSize(in, 1<<18)
	if magic, _ := r.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		defer z.Close()
		r = bufio.NewReaderSize(z, 1<<18)
	}
	for l := (Line{Path: path, Number: 1}); ; l.Number++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		end, err := read(r, &l)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, l.Number, err)
		}
		if l.Number == 1 { // no earlier: to look ahead would wait for a second line
			l.Data = bytes.TrimPrefix(l.Data, []byte("\uFEFF"))
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
// beginning and passes over the rest, so that memory stays bounded whatever the file holds.
func read(r *bufio.Reader, l *Line) (end bool, err error) {
	l.Data, l.Reject = l.Data[:0], nil
	for size := 0; ; {
		part, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return false, err
		}
		size += len(part)
		room := scoring.MaxRecord + 2 - len(l.Data) // a record and \r\n
		l.Data = append(l.Data, part[:min(len(part), room)]...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if size == len(l.Data) {
			l.Data = bytes.TrimSuffix(bytes.TrimSuffix(l.Data, []byte("\n")), []byte("\r"))
		}
		if len(l.Data) > scoring.MaxRecord {
			l.Data = l.Data[:scoring.MaxRecord+1]
			l.Reject = &scoring.Reject{Reason: scoring.ReasonTooLarge, Detail: fmt.Sprintf("line of %d bytes, limit %d", size, scoring.MaxRecord)}
		}
		return err != nil, nil
	}
}

// progress counts what is read.
type progress struct {
	r           io.Reader
	tell        func(read, total int64)
	read, total int64
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if p.read += int64(n); p.tell != nil && n > 0 {
		p.tell(p.read, p.total)
	}
	return n, err
}

// waiter ends a read that blocks when the context ends: nobody can interrupt a terminal or a pipe otherwise. The read
// that was given up keeps its own buffer and ends with the program.
type waiter struct {
	ctx  context.Context
	r    io.Reader
	buf  []byte
	rest []byte
	err  error
}

func (w *waiter) Read(b []byte) (int, error) {
	if len(w.rest) == 0 && w.err == nil {
		if w.buf == nil {
			w.buf = make([]byte, 1<<18)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			n, err := w.r.Read(w.buf)
			w.rest, w.err = w.buf[:n], err
		}()
		select {
		case <-done:
		case <-w.ctx.Done():
			return 0, w.ctx.Err()
		}
	}
	if len(w.rest) == 0 {
		return 0, w.err
	}
	n := copy(b, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}
