package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/agentrisk/agentrisk/ingest/file"
	"github.com/agentrisk/agentrisk/scoring"
)

// wholeFile reports whether a file is one record in this format: bytes have no lines.
func wholeFile(format string) bool { return format == "otlp_proto" }

// eachFile calls fn for every file as one record; its number is 1.
func eachFile(ctx context.Context, paths []string, stdin io.Reader, fn func(file.Line) error) error {
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := readRecord(path, stdin)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := fn(file.Line{Path: path, Number: 1, Data: b}); err != nil {
			return err
		}
	}
	return nil
}

// readRecord reads a file, and no more of it than shows that it is too long.
func readRecord(path string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, scoring.MaxRecord+1))
}
