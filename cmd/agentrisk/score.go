package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/file"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

func scoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "score [FILE|-]...",
		Short: "Judge events from files, without any server",
		Long: `Reads records, one a line (plain or .gz; - or nothing is standard input), and prints one verdict a line in
the same order. State is kept over all files, as the pipeline keeps it: the verdicts are equal to the bit.

--format says what the lines are, as a binding does for a topic: json, flat, cloudevents (one event or one batch a
line) and otlp_json (one message a line). In otlp_proto each file is one message. A record of several events gives
several verdicts. deploy/FORMATS.md tells what each format means.

A line that is no event is a dead letter: its number and the reason go to standard error, and the exit status stays 0.
The status is 1 only when input could not be read.`,
		Example: `  agentrisk score events.ndjson.gz | jq 'select(.score >= 60)'
  agentrisk simulate --seed 1 --events 1000 --to - | agentrisk score --rules my-pack
  agentrisk score --format otlp_json spans.ndjson`,
	}
	dir := cmd.Flags().String("rules", "", "folder of a pack (default: the built-in one)")
	format := choose(cmd, "format", "", "format of the events", ingest.FormatNames...)
	_ = cmd.MarkFlagDirname("rules") // for completion
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pack, err := loadPack(*dir)
		if err != nil {
			return err
		}
		return score(cmd.Context(), pack.Pack, *format, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// loadPack loads the pack in dir, or the built-in one.
func loadPack(dir string) (*rules.Pack, error) {
	if dir == "" {
		return rules.Builtin()
	}
	return rules.LoadDir(dir)
}

// score judges the lines of the files in order.
func score(ctx context.Context, pack *scoring.Pack, format string, paths []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(paths) == 0 {
		paths = []string{"-"}
	}
	judge, err := ingest.NewJudge(scoring.NewEngine(pack, scoring.Options{}), format, scoring.KeyedByAgent, "")
	if err != nil {
		return err
	}
	out := &scoreOutput{pack: pack, w: bufio.NewWriterSize(stdout, 1<<16), errs: stderr}
	files := file.Files{Paths: paths, Stdin: stdin}
	tell := newProgress(stderr)
	if tell.width != nil && !onTerminal(stdout) { // a log of dead letters is no place for it
		files.Progress = func(read, total int64) { tell.bar("score", "B", read, total) }
		out.before = tell.clear
		defer tell.clear()
	}
	each := files.Each
	if wholeFile(format) {
		each = func(ctx context.Context, fn func(file.Line) error) error { return eachFile(ctx, paths, stdin, fn) }
	}
	err = each(ctx, func(l file.Line) error {
		out.path, out.number = l.Path, l.Number
		if l.Reject != nil {
			out.reject(l.Reject)
			return nil
		}
		rec := ingest.Record{Offset: int64(l.Number), Value: l.Data}
		judge.Record(&rec, out)
		return out.err
	})
	return errors.Join(err, out.w.Flush())
}

// scoreOutput prints verdicts and dead letters.
type scoreOutput struct {
	pack   *scoring.Pack
	w      *bufio.Writer
	errs   io.Writer
	buf    []byte
	path   string
	number int
	before func() // called before something is said
	err    error
}

// Row prints a verdict.
func (o *scoreOutput) Row(e *scoring.Event, v *scoring.Verdict) {
	o.buf = append(scoring.AppendVerdict(o.buf[:0], o.pack, e, v), '\n')
	if _, err := o.w.Write(o.buf); err != nil {
		o.err = err
	}
}

// Dead prints a dead letter.
func (o *scoreOutput) Dead(d *scoring.DeadLetter) {
	o.reject(&scoring.Reject{Reason: d.Reason, Detail: d.Detail})
}

func (o *scoreOutput) reject(r *scoring.Reject) {
	if o.before != nil {
		o.before()
	}
	fmt.Fprintf(o.errs, "%s:%d: dead letter: %s\n", o.path, o.number, r.Error())
}
