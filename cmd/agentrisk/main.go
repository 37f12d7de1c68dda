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

// Main runs the program and returns its exit status: see `agentrisk help exit-codes`.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	status := statusOf(err)
	if err != nil && !errors.Is(err, errSilent) && !errors.Is(err, errFindings) {
		fmt.Fprintln(os.Stderr, "agentrisk:", err)
	}
	if status == statusUsage {
		fmt.Fprintln(os.Stderr, "see: agentrisk --help")
	}
	return status
}

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
  agentrisk simulate --config C --to kafka --seed 1 --events 10000

What a script needs: --output json on commands that print results, and ` + "`agentrisk help exit-codes`" + `. Completion of
commands, rules, formats and topics: ` + "`source <(agentrisk completion bash)`" + `, or zsh, fish, powershell.`,
		Example: `  agentrisk simulate --seed 1 --events 1000 | agentrisk score
  agentrisk check --config agentrisk.yaml --topic agent.events.alpha`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		runCommand(), scoreCommand(), rulesCommand(), migrateCommand(), notifyCommand(), reconcileCommand(), lanesCommand(), dlqCommand(), checkCommand(),
		simulateCommand(), receiveCommand(), healthCommand(), configCommand(), keysCommand(), accessCommand(), schemaCommand(), versionCommand(),
		trialCommand(),
	)
	calledRight(root)
	return root
}
