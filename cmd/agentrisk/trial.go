package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/scoring"
)

// Bounds of a trial. Two batches take about a second of one core.
const (
	trialTime    = time.Minute
	trialMemory  = 512 << 20 // bytes of writable memory, a third of it less for Go's own limit
	trialsAtOnce = 2

	// maxStack bounds a runaway recursion in the child, and in the process that lives: Go's own bound is a gigabyte.
	maxStack = 128 << 20
)

// What the child says on its standard output, a line each.
const (
	trialBegins = "begin"
	trialAt     = "at "    // offset of the record in hand
	trialDone   = "done "  // offset after the last
	trialFailed = "error " // why nothing was learnt
)

// trial tries records in a child process of this program.
type trial struct {
	config string // path of the configuration
	slots  chan struct{}
}

func newTrial(config string) *trial {
	return &trial{config: config, slots: make(chan struct{}, trialsAtOnce)}
}

// Try implements [ingest.Trial].
func (t *trial) Try(ctx context.Context, topic string, partition int32, from, to int64) (ingest.Tried, error) {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return ingest.Tried{}, ctx.Err()
	}
	self, err := os.Executable()
	if err != nil {
		return ingest.Tried{}, err
	}
	bound, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	cmd := exec.CommandContext(bound, self, "trial", "--config", t.config, "--topic", topic, "--partition", fmt.Sprint(partition), "--from", fmt.Sprint(from), "--to", fmt.Sprint(to))
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%d", trialMemory/3*2), "GOMAXPROCS=1", "AGENTRISK_TRIAL=1")
	var stderr head
	cmd.Stderr = &stderr
	leash, err := cmd.StdinPipe() // the child ends when this process does
	if err != nil {
		return ingest.Tried{}, err
	}
	defer leash.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return ingest.Tried{}, err
	}
	if err := cmd.Start(); err != nil {
		return ingest.Tried{}, err
	}
	tried, begun, failed := ingest.Tried{Died: true, At: -1}, false, ""
	for in := bufio.NewScanner(stdout); in.Scan(); {
		line := in.Text()
		if n, ok := strings.CutPrefix(line, trialAt); ok {
			tried.At, _ = strconv.ParseInt(n, 10, 64)
		} else if n, ok := strings.CutPrefix(line, trialDone); ok {
			tried.To, _ = strconv.ParseInt(n, 10, 64)
			tried.Died = false
		} else if why, ok := strings.CutPrefix(line, trialFailed); ok {
			failed = why
		} else if line == trialBegins {
			begun = true
		}
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return ingest.Tried{}, ctx.Err()
	case failed != "":
		return ingest.Tried{}, errors.New(failed)
	case !tried.Died:
		return tried, nil
	case !begun:
		return ingest.Tried{}, fmt.Errorf("the child process did not begin: %w: %s", err, stderr.text())
	case bound.Err() != nil:
		tried.How = "no end within " + trialTime.String()
	default:
		tried.How = "the process ended: " + err.Error()
		// Of what Go says when it gives up only this line is fit to be kept: others may show the record.
		if _, fatal, ok := strings.Cut(stderr.text(), "fatal error: "); ok {
			fatal, _, _ = strings.Cut(fatal, "\n")
			tried.How += ": " + fatal
		}
	}
	return tried, nil
}

// head keeps the beginning of what is written to it.
type head struct{ b bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	h.b.Write(p[:min(len(p), 4096-min(h.b.Len(), 4096))])
	return len(p), nil
}

func (h *head) text() string { return strings.TrimSpace(h.b.String()) }

// trialCommand is the child's side. Nobody calls it by hand, so help does not list it.
func trialCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "trial",
		Short:  "Judge records that may end the process (used by run)",
		Hidden: true,
		Args:   cobra.NoArgs,
	}
	path := configFlag(cmd)
	topic := cmd.Flags().String("topic", "", "topic of the lane")
	partition := cmd.Flags().Int32("partition", 0, "partition of the lane")
	from := cmd.Flags().Int64("from", 0, "first offset")
	to := cmd.Flags().Int64("to", -1, "offset after the last; -1: two batches")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		limitMemory(trialMemory)
		debug.SetMaxStack(maxStack)
		go func() { // on a leash
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(statusFailed)
		}()
		out := cmd.OutOrStdout()
		end, err := runTrial(cmd.Context(), *path, *topic, *partition, *from, *to, out)
		if err != nil {
			fmt.Fprintln(out, trialFailed+strings.ReplaceAll(err.Error(), "\n", " "))
			return err
		}
		fmt.Fprintln(out, trialDone+strconv.FormatInt(end, 10))
		return nil
	}
	return cmd
}

func runTrial(ctx context.Context, path, topic string, partition int32, from, to int64, out io.Writer) (int64, error) {
	p, err := wire(path)
	if err != nil {
		return 0, err
	}
	defer p.close()
	pack, err := loadPack(p.config.Pack)
	if err != nil {
		return 0, err
	}
	state, _, err := p.config.keys()
	if err != nil {
		return 0, err
	}
	for i := range p.config.Bindings {
		if b := &p.config.Bindings[i]; b.Match(topic) {
			engine := scoring.NewEngine(pack.Pack, scoring.Options{Key: state, MaxBytes: min(int64(p.config.Memory.State), trialMemory/4)})
			fmt.Fprintln(out, trialBegins)
			var line []byte
			return ingest.Rehearse(ctx, kafka.NewLog(p.kafka), b, engine, topic, partition, from, to, func(offset int64) {
				line = append(strconv.AppendInt(append(line[:0], trialAt...), offset, 10), '\n')
				_, _ = out.Write(line)
			})
		}
	}
	return 0, fmt.Errorf("no binding for topic %q", topic)
}
