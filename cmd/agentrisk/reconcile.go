package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

func reconcileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Prove that every offset has exactly one row or one reason",
		Long: `Walks over every lane that the ledger knows, line by line, and compares three things: what the log holds (records,
control records, aborted ones, holes), what the ledger says, and what the tables hold, without FINAL. It reads only and
may run beside the pipeline. Status 3 when anything does not add up.`,
		Example: `  agentrisk reconcile --config agentrisk.yaml
  agentrisk reconcile --config agentrisk.yaml --topic 'agent.events.alpha' --output json | jq .findings`,
		Args: cobra.NoArgs,
	}
	path := configFlag(cmd)
	asJSON := output(cmd)
	only := cmd.Flags().String("topic", "", "only topics that match, * for any characters")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := wire(*path)
		if err != nil {
			return err
		}
		defer p.close()
		if err := p.open(cmd.Context()); err != nil {
			return err
		}
		lanes, err := p.db.Lanes(cmd.Context())
		if err != nil {
			return err
		}
		log, audit := kafka.NewLog(p.kafka), store{db: p.db}
		tell := newProgress(cmd.ErrOrStderr())
		var total ingest.Reconciled
		findings := 0
		for i, lane := range lanes {
			if *only != "" && !ingest.MatchTopic(*only, lane.Topic) {
				continue
			}
			r, err := ingest.Reconcile(cmd.Context(), log, audit, lane.Topic, lane.Partition, lane.Epoch, func(done, all int64) {
				tell.bar(fmt.Sprintf("reconcile lane %d of %d", i+1, len(lanes)), "offsets", done, all)
			})
			tell.clear()
			if err != nil {
				return err
			}
			total.Records, total.Rows, total.DeadLetters = total.Records+r.Records, total.Rows+r.Rows, total.DeadLetters+r.DeadLetters
			total.Control, total.Aborted, total.Gaps, total.NotInLog = total.Control+r.Control, total.Aborted+r.Aborted, total.Gaps+r.Gaps, total.NotInLog+r.NotInLog
			findings += len(r.Findings) + int(r.More)
			if asJSON() {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(r); err != nil {
					return err
				}
				continue
			}
			for _, f := range r.Findings {
				fmt.Fprintf(cmd.OutOrStdout(), "%s [%d, %d): %s: %s\n", f.Lane, f.From, f.To, f.Kind, f.Detail)
			}
		}
		if !asJSON() {
			fmt.Fprintf(cmd.OutOrStdout(), "%d lanes, %d records: %d rows, %d dead letters, %d control, %d aborted, %d holes, %d no longer in the log: %d findings\n",
				len(lanes), total.Records, total.Rows, total.DeadLetters, total.Control, total.Aborted, total.Gaps, total.NotInLog, findings)
		}
		if findings > 0 {
			return errFindings
		}
		return nil
	}
	return cmd
}
