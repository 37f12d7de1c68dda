package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/clickhouse"
	"github.com/agentrisk/agentrisk/sink/deadletter"
)

func dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Dead letters: what could not become an event, and what to do about it",
		Long: `A record or item that is no event becomes a dead letter with its reason; the rest of the feed goes on. Once the cause is
mended (a binding, a version of agentrisk) ` + "`dlq replay`" + ` judges the original record again, from the log, under its first
origin; what never will be one is given up with ` + "`dlq discard`" + `. What was done, by whom and why stands in dead_letter_states.`,
		Example: `  agentrisk dlq list --config agentrisk.yaml
  agentrisk dlq replay --config agentrisk.yaml --reason-is foreign_provider --reason "binding mended"`,
	}
	cmd.AddCommand(dlqListCommand(), dlqShowCommand(), dlqReplayCommand(), dlqDiscardCommand())
	return cmd
}

// letterFlags pick dead letters.
type letterFlags struct {
	topic, provider, reason, state *string
	since, until                   *string
}

func addLetterFlags(cmd *cobra.Command, state string) letterFlags {
	f := cmd.Flags()
	return letterFlags{
		topic: f.String("topic", "", "only of this topic"), provider: f.String("provider", "", "only of this provider"),
		reason: f.String("reason-is", "", "only with this reason: invalid_json, foreign_provider, ... (see `agentrisk dlq list`)"),
		state:  f.String("state", state, "open, replayed, discarded, or all"),
		since:  f.String("since", "", "only records appended since: a duration back from now (24h) or a time (2026-05-01T00:00:00Z)"),
		until:  f.String("until", "", "only records appended before, likewise"),
	}
}

func (f *letterFlags) filter() (out clickhouse.LetterFilter, err error) {
	out = clickhouse.LetterFilter{Topic: *f.topic, Provider: *f.provider, Reason: *f.reason, State: *f.state}
	switch out.State {
	case "all":
		out.State = ""
	case clickhouse.LetterOpen, clickhouse.LetterReplayed, clickhouse.LetterDiscarded:
	default:
		return out, usageError{fmt.Errorf("--state %q: want open, replayed, discarded or all", out.State)}
	}
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"--since", *f.since, &out.Since}, {"--until", *f.until, &out.Until}} {
		if t.text == "" {
			continue
		}
		if d, err := time.ParseDuration(t.text); err == nil {
			*t.to = time.Now().Add(-d)
		} else if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			return out, usageError{fmt.Errorf("%s %q: want a duration such as 24h or a time such as 2026-05-01T00:00:00Z", t.flag, t.text)}
		}
	}
	return out, nil
}

// narrow reports whether the flags pick anything but everything.
func (f *letterFlags) narrow() bool {
	return *f.topic+*f.provider+*f.reason+*f.since+*f.until != ""
}

func dlqListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Count dead letters by reason and topic, or list them one by one",
		Args:    cobra.NoArgs,
		Example: "  agentrisk dlq list --config agentrisk.yaml --by reason,hour --since 24h\n  agentrisk dlq list --config agentrisk.yaml --letters --reason-is invalid_json",
	}
	path := configFlag(cmd)
	asJSON := output(cmd)
	flags := addLetterFlags(cmd, "all")
	by := cmd.Flags().StringSlice("by", []string{"reason", "topic"}, "count by: reason, topic, provider, partition, hour, day")
	each := cmd.Flags().Bool("letters", false, "list letters and not counts")
	limit := cmd.Flags().Int("limit", 100, "how many letters to list at most")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := flags.filter()
		if err != nil {
			return err
		}
		for _, b := range *by {
			if clickhouse.LetterGroups[b] == "" {
				return usageError{fmt.Errorf("--by %q: want reason, topic, provider, partition, hour or day", b)}
			}
		}
		p, err := wire(*path)
		if err != nil {
			return err
		}
		defer p.close()
		if err := p.open(cmd.Context()); err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		if *each {
			list, err := p.db.Letters(cmd.Context(), f, nil, *limit)
			if err != nil {
				return err
			}
			if asJSON() {
				return writeEach(cmd.OutOrStdout(), list, viewOfLetter)
			}
			fmt.Fprintln(w, "ORIGIN\tTIME\tPROVIDER\tSTATE\tREASON\tDETAIL")
			for i := range list {
				l := viewOfLetter(&list[i])
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Origin, l.Time.Format(time.RFC3339), l.Provider, l.State, l.Reason, l.Detail)
			}
			return w.Flush()
		}
		list, err := p.db.CountLetters(cmd.Context(), f, *by)
		if err != nil {
			return err
		}
		if asJSON() {
			return writeEach(cmd.OutOrStdout(), list, func(c *clickhouse.LetterCount) map[string]any {
				m := map[string]any{"letters": c.Letters, "open": c.Open, "replayed": c.Replayed, "discarded": c.Discarded, "first": c.First, "last": c.Last}
				for i, b := range *by {
					m[b] = c.By[i]
				}
				return m
			})
		}
		fmt.Fprintln(w, strings.ToUpper(strings.Join(*by, "\t"))+"\tLETTERS\tOPEN\tREPLAYED\tDISCARDED\tFIRST\tLAST")
		for _, c := range list {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t%s\n", strings.Join(c.By, "\t"), c.Letters, c.Open, c.Replayed, c.Discarded, c.First.Format(time.RFC3339), c.Last.Format(time.RFC3339))
		}
		return w.Flush()
	}
	return cmd
}

func writeEach[T, V any](w io.Writer, list []T, view func(*T) V) error {
	e := json.NewEncoder(w)
	for i := range list {
		if err := e.Encode(view(&list[i])); err != nil {
			return err
		}
	}
	return nil
}

// letterView is a dead letter for people and scripts.
type letterView struct {
	Origin    string     `json:"origin"`
	Epoch     int32      `json:"epoch"`
	Time      time.Time  `json:"kafka_time"`
	Provider  string     `json:"provider"`
	Reason    string     `json:"reason"` // the first
	Detail    string     `json:"detail"`
	Size      int        `json:"size"`
	Hash      string     `json:"sha256"`
	State     string     `json:"state"`
	NewReason string     `json:"new_reason,omitempty"` // of a replay that failed
	NewDetail string     `json:"new_detail,omitempty"`
	Who       string     `json:"who,omitempty"`
	Why       string     `json:"why,omitempty"`
	Touched   *time.Time `json:"touched,omitempty"`
}

func viewOfLetter(l *clickhouse.Letter) letterView {
	v := letterView{Origin: l.Origin.String(), Epoch: l.Epoch, Time: time.UnixMilli(l.KafkaTime).UTC(), Provider: l.Provider, Reason: string(l.Reason), Detail: l.Detail, Size: l.Size, Hash: l.Hash,
		State: l.State, NewReason: l.NewReason, NewDetail: l.NewDetail, Who: l.Who, Why: l.Why}
	if !l.Written.IsZero() {
		v.Touched = &l.Written
	}
	return v
}

func dlqShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ORIGIN",
		Short: "Show one dead letter with all that is known of it",
		Long: `ORIGIN is topic/partition/offset/item, as dlq list prints it. The beginning of what the record held stands in the
dead-letter topic only, for the provider and operators; the origin is a header of its record there.`,
		Args:    cobra.ExactArgs(1),
		Example: `  agentrisk dlq show agent.events.alpha/3/1207/0 --config agentrisk.yaml`,
	}
	path := configFlag(cmd)
	asJSON := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		o, err := deadletter.ParseOrigin(args[0])
		if err != nil {
			return usageError{err}
		}
		p, err := wire(*path)
		if err != nil {
			return err
		}
		defer p.close()
		if err := p.open(ctx); err != nil {
			return err
		}
		list, err := p.db.Letters(ctx, clickhouse.LetterFilter{Origin: &o}, nil, 100)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("no dead letter %s: `agentrisk dlq list --letters` lists them; they are kept for 30 days", o)
		}
		for i := range list {
			l := &list[i]
			history, err := p.db.LetterHistory(ctx, l)
			if err != nil {
				return err
			}
			bounds, err := p.kafka.Bounds(ctx, l.Topic, l.Partition)
			inLog := err == nil && bounds.First <= l.Offset && l.Offset < bounds.Next
			v := viewOfLetter(l)
			if asJSON() {
				var past []letterView
				for j := range history {
					past = append(past, viewOfLetter(&history[j]))
				}
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
					letterView
					InLog   bool         `json:"in_log"`
					History []letterView `json:"history,omitempty"`
				}{v, inLog, past}); err != nil {
					return err
				}
				continue
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, f := range [][2]any{{"origin", v.Origin}, {"epoch", v.Epoch}, {"time", v.Time.Format(time.RFC3339Nano)}, {"provider", v.Provider}, {"reason", v.Reason}, {"detail", v.Detail},
				{"size", fmt.Sprintf("%d bytes", v.Size)}, {"sha256", v.Hash}, {"state", v.State}, {"in the log", map[bool]string{true: "yes: it can be replayed", false: "no: retention took it, or the topic was made again"}[inLog]}} {
				fmt.Fprintf(w, "%s\t%v\n", f[0], f[1])
			}
			for _, h := range history {
				fmt.Fprintf(w, "%s\t%s by %s: %s %s %s\n", h.Written.Format(time.RFC3339), h.State, h.Who, h.Why, h.NewReason, h.NewDetail)
			}
			if err := w.Flush(); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// eachPage gives work the picked letters page by page, letters of one record together.
func (p *parts) eachPage(ctx context.Context, f clickhouse.LetterFilter, origins []string, work func([]clickhouse.Letter) error) error {
	if len(origins) > 0 {
		for _, text := range origins {
			o, err := deadletter.ParseOrigin(text)
			if err != nil {
				return usageError{err}
			}
			one := f
			one.Origin = &o
			list, err := p.db.Letters(ctx, one, nil, 100)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return fmt.Errorf("no dead letter %s in the wanted state: see `agentrisk dlq show %s`", o, o)
			}
			if err := work(list); err != nil {
				return err
			}
		}
		return nil
	}
	const page = 2000 // more than the items of a record
	var after *clickhouse.Letter
	for {
		list, err := p.db.Letters(ctx, f, after, page)
		if err != nil || len(list) == 0 {
			return err
		}
		whole := len(list)
		if len(list) == page { // the last record may go on in the next page
			last := &list[page-1]
			whole = slices.IndexFunc(list, func(l clickhouse.Letter) bool { return l.SameRecord(last) })
		}
		if err := work(list[:whole]); err != nil {
			return err
		}
		after = &list[whole-1]
	}
}

func dlqReplayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay [ORIGIN...]",
		Short: "Judge dead letters again, from the log, and store those that are events now",
		Long: `Reads the original records, judges them with the pack and bindings of the configuration, and stores what is an event now
under its first origin: the row is flagged replayed and cold, because the judge knows no earlier events of the agent. Rules
that need no state say what they would have said; alerts go out. What still is no event stays, with its new reason; so does
what the log no longer holds.

Doing it twice, or two operators at once, stores nothing twice. About twenty letters a second; it may be interrupted and
run again. Without origins the flags pick, or --all. Status 3 when some of them still are no events.`,
		Example: "  agentrisk dlq replay --config agentrisk.yaml --reason-is foreign_provider --topic agent.events.alpha --reason \"binding mended\" --dry-run",
	}
	path := configFlag(cmd)
	asJSON := output(cmd)
	flags := addLetterFlags(cmd, clickhouse.LetterOpen)
	all := cmd.Flags().Bool("all", false, "every open dead letter")
	dry := cmd.Flags().Bool("dry-run", false, "judge, tell, and store nothing")
	why := cmd.Flags().String("reason", "", "why; stands in dead_letter_states")
	who := cmd.Flags().String("who", operator(), "who; stands in dead_letter_states")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		f, err := pickLetters(&flags, args, *all)
		if err != nil {
			return err
		}
		p, err := wire(*path)
		if err != nil {
			return err
		}
		defer p.close()
		if err := p.open(ctx); err != nil {
			return err
		}
		pipeline, done, err := p.atRest(ctx)
		if err != nil {
			return err
		}
		defer done()
		m := p.mender(pipeline)
		tell := newProgress(cmd.ErrOrStderr())
		var rows, failed int
		out := json.NewEncoder(cmd.OutOrStdout())
		err = p.eachPage(ctx, f, args, func(page []clickhouse.Letter) error {
			for len(page) > 0 {
				n := 1
				for n < len(page) && page[n].SameRecord(&page[0]) {
					n++
				}
				results, err := replayRecord(ctx, m, page[:n], *dry)
				if err != nil {
					return err
				}
				for i, r := range results {
					l := &page[i]
					l.Who, l.Why, l.State = *who, *why, clickhouse.LetterReplayed
					if r.Reject != nil {
						failed++
						l.State, l.NewReason, l.NewDetail = clickhouse.LetterOpen, string(r.Reject.Reason), r.Reject.Detail
					} else {
						rows++
						l.NewReason, l.NewDetail = "", ""
					}
					switch v := viewOfLetter(l); {
					case asJSON():
						if err := out.Encode(v); err != nil {
							return err
						}
					case r.Reject != nil:
						fmt.Fprintf(cmd.OutOrStdout(), "%s stays: %s: %s\n", v.Origin, v.NewReason, v.NewDetail)
					case len(args) > 0:
						fmt.Fprintf(cmd.OutOrStdout(), "%s is an event: score %d.%03d\n", v.Origin, r.Score/1000, r.Score%1000)
					}
				}
				if !*dry {
					if err := p.db.PutLetterStates(ctx, page[:n]); err != nil {
						return err
					}
				}
				page = page[n:]
				tell.tell("%d replayed, %d stay", rows, failed)
			}
			return nil
		})
		tell.clear()
		if err != nil {
			return err
		}
		if !asJSON() {
			fmt.Fprintf(cmd.OutOrStdout(), "%d are events%s, %d stay\n", rows, map[bool]string{true: " (nothing was stored)"}[*dry], failed)
		}
		if failed > 0 {
			return errFindings
		}
		return nil
	}
	return cmd
}

// pickLetters makes the filter, and refuses to take everything by mistake.
func pickLetters(flags *letterFlags, origins []string, all bool) (clickhouse.LetterFilter, error) {
	f, err := flags.filter()
	if err == nil && len(origins) == 0 && !flags.narrow() && !all {
		err = usageError{errors.New("which ones? name origins, or pick with --reason-is, --topic, --provider, --since; --all takes every one")}
	}
	return f, err
}

// replayRecord replays letters of one record.
func replayRecord(ctx context.Context, m *ingest.Mender, list []clickhouse.Letter, dry bool) ([]ingest.Replayed, error) {
	letters := make([]scoring.DeadLetter, len(list))
	for i := range list {
		letters[i] = list[i].DeadLetter
	}
	return m.Replay(ctx, letters, dry)
}

func dlqDiscardCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "discard [ORIGIN...]",
		Short: "Give dead letters up, with a reason",
		Long: `The letters stay for as long as they are kept and account for their offsets; dlq list no longer counts them as open, and
replay leaves them out. Without origins the flags pick, or --all.`,
		Example: "  agentrisk dlq discard --config agentrisk.yaml --reason-is empty_record --reason \"heartbeats of the provider's producer\"",
	}
	path := configFlag(cmd)
	flags := addLetterFlags(cmd, clickhouse.LetterOpen)
	all := cmd.Flags().Bool("all", false, "every open dead letter")
	dry := cmd.Flags().Bool("dry-run", false, "count, change nothing")
	why := cmd.Flags().String("reason", "", "why; stands in dead_letter_states (required)")
	who := cmd.Flags().String("who", operator(), "who; stands in dead_letter_states")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := pickLetters(&flags, args, *all)
		if err != nil {
			return err
		}
		if strings.TrimSpace(*why) == "" {
			return usageError{errors.New("--reason is needed: it stands in dead_letter_states beside who discarded them")}
		}
		p, err := wire(*path)
		if err != nil {
			return err
		}
		defer p.close()
		if err := p.open(cmd.Context()); err != nil {
			return err
		}
		n := 0
		err = p.eachPage(cmd.Context(), f, args, func(page []clickhouse.Letter) error {
			n += len(page)
			for i := range page {
				page[i].State, page[i].Who, page[i].Why, page[i].NewReason, page[i].NewDetail = clickhouse.LetterDiscarded, *who, *why, "", ""
			}
			if *dry {
				return nil
			}
			return p.db.PutLetterStates(cmd.Context(), page)
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d dead letters %s discarded\n", n, map[bool]string{true: "would be", false: "are"}[*dry])
		return nil
	}
	return cmd
}
