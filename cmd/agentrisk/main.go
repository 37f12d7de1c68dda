package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(Main()) }

// Main runs the program and returns its exit status: 0 done, 1 it failed, 2 it was called wrongly.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errSilent):
		return 1
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "agentrisk:", err)
		fmt.Fprintln(os.Stderr, "see: agentrisk --help")
		return 2
	}
	fmt.Fprintln(os.Stderr, "agentrisk:", err)
	return 1
}

// errSilent ends with status 1 after the command has said why.
var errSilent = errors.New("failed")

// usageError is a mistake in how a command was called.
type usageError struct{ error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "agentrisk",
		Short: "Watches what cloud AI agents do and scores the risk of every event",
		Long: `agentrisk reads what AI agents do from Kafka, judges every event by expression rules derived from China's 2026
self-regulatory convention for cloud agent services, writes each event once with an explained 0-100 score to
ClickHouse, and pages on-call by webhook.

First steps:
  agentrisk score events.ndjson          judge a file, without any server
  agentrisk migrate --config C           make tables and topics
  agentrisk run --config C               the pipeline
  agentrisk simulate --config C --to kafka --seed 1 --events 10000`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		runCommand(), scoreCommand(), rulesCommand(), migrateCommand(), notifyCommand(), reconcileCommand(),
		simulateCommand(), configCommand(), versionCommand(),
	)
	return root
}
