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
may run beside the pipeline. Status 3 when anything does not add up.

With --repair it mends what it finds, prints what it did, and looks again: what is missing is judged from the log with the
state that the lane had there and stored as the pipeline stores it; what is doubled is merged, day by day; ledger lines that
are missing or count wrongly are written. It may be interrupted and run again, also beside the pipeline: a lane whose
ranges are mended waits when it would go over the same ones. Status 3 when something is left, which it says.`,
		Example: `  agentrisk reconcile --config agentrisk.yaml
  agentrisk reconcile --config agentrisk.yaml --topic 'agent.events.alpha' --output json | jq .findings
  agentrisk reconcile --config agentrisk.yaml --repair`,
		Args: cobra.NoArgs,
	}
	path := configFlag(cmd)
	asJSON := output(cmd)
	repair := cmd.Flags().Bool("repair", false, "mend what is found")
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
		rec := &ingest.Reconciler{Log: kafka.NewLog(p.kafka), Audit: store{db: p.db}, Committed: p.committed}
		if *repair {
			pipeline, done, err := p.atRest(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			rec.Mender = p.mender(pipeline)
		}
		tell := newProgress(cmd.ErrOrStderr())
		var total ingest.Reconciled
		findings := 0
		for i, lane := range lanes {
			if *only != "" && !ingest.MatchTopic(*only, lane.Topic) {
				continue
			}
			rec.Progress = func(done, all int64) {
				tell.bar(fmt.Sprintf("reconcile lane %d of %d", i+1, len(lanes)), "offsets", done, all)
			}
			old := i+1 < len(lanes) && lanes[i+1].Topic == lane.Topic && lanes[i+1].Partition == lane.Partition // of an earlier epoch
			if b, err := p.bindingOf(lane.Topic); err == nil && lane.Epoch < b.Epoch {
				old = true // the epoch was raised, and nobody has read the topic under the new one yet
			}
			r, err := rec.Lane(cmd.Context(), lane.Topic, lane.Partition, lane.Epoch, old)
			tell.clear()
			if err != nil {
				return err
			}
			total.Records, total.Rows, total.DeadLetters = total.Records+r.Records, total.Rows+r.Rows, total.DeadLetters+r.DeadLetters
			total.Control, total.Aborted, total.Gaps, total.NotInLog = total.Control+r.Control, total.Aborted+r.Aborted, total.Gaps+r.Gaps, total.NotInLog+r.NotInLog
			total.Skipped, total.NotKept, total.Compacted, total.Replayed = total.Skipped+r.Skipped, total.NotKept+r.NotKept, total.Compacted+r.Compacted, total.Replayed+r.Replayed
			total.Mended = append(total.Mended, r.Mended...)
			findings += len(r.Findings) + int(r.More)
			if asJSON() {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(r); err != nil {
					return err
				}
				continue
			}
			for _, m := range r.Mended {
				fmt.Fprintln(cmd.OutOrStdout(), "mended:", m)
			}
			for _, f := range r.Findings {
				fmt.Fprintf(cmd.OutOrStdout(), "%s [%d, %d): %s: %s\n", f.Lane, f.From, f.To, f.Kind, f.Detail)
			}
		}
		if !asJSON() {
			for _, n := range []struct {
				n    int64
				what string
			}{{total.Skipped, "offsets are skipped by order"}, {total.NotKept, "offsets are older than retention keeps rows for sure, and were not compared"},
				{total.Compacted, "records were taken by compaction after they were judged"}, {int64(total.Replayed), "rows come of replayed dead letters"},
				{int64(len(total.Mended)), "things were mended"}} {
				if n.n > 0 {
					fmt.Fprintln(cmd.OutOrStdout(), n.n, n.what)
				}
			}
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
