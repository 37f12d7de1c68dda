package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/file"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

func rulesExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain RULE [DIR]",
		Short: "Say everything about one rule, and why it fires on an event or does not",
		Long: `Prints a rule with its condition, the state and the fields that it needs, its references and its tests.

With --event it judges the events of a file, one JSON object a line, and says what became of the rule on the last one:
each part of the condition with the values that it saw, and what the event lacks. The events before the last are its
past: a rule that counts needs them.`,
		Example: `  agentrisk rules explain AR-PRIV-003
  agentrisk rules explain AR-PRIV-003 my-pack --event session.ndjson
  agentrisk simulate --seed 1 --events 50 | agentrisk rules explain AR-NET-001 --event -`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeRules,
	}
	asJSON := output(cmd)
	events := cmd.Flags().String("event", "", "file of events, - for standard input: say why the rule fires on the last one or does not")
	format := cmd.Flags().String("format", "json", "format of the events")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pack, err := packArgument(args[1:])
		if err != nil {
			return err
		}
		rule := pack.Index(args[0])
		if rule < 0 {
			hint := "`agentrisk rules list` names them"
			if near := pack.Nearest(args[0]); near != "" {
				hint = "did you mean " + near + "? " + hint
			}
			return fmt.Errorf("no rule %s in pack %s: %s", args[0], pack.Name, hint)
		}
		out := cmd.OutOrStdout()
		x := pack.Explain(rule)
		if *events == "" {
			if asJSON() {
				return json.NewEncoder(out).Encode(x)
			}
			return writeExplanation(out, x)
		}
		f, verdict, err := watch(cmd.Context(), pack, rule, *format, *events, cmd.InOrStdin())
		if err != nil {
			return err
		}
		if asJSON() {
			return json.NewEncoder(out).Encode(struct {
				Rule    string          `json:"rule"`
				Firing  rules.Firing    `json:"firing"`
				Verdict json.RawMessage `json:"verdict"`
			}{x.ID, f, verdict})
		}
		return writeFiring(out, x, f, verdict)
	}
	return cmd
}

// watch judges the events of a file and returns what became of the rule on the last one, and its verdict.
func watch(ctx context.Context, pack *rules.Pack, rule int, format, path string, stdin io.Reader) (f rules.Firing, verdict json.RawMessage, err error) {
	probe, watched := pack.Probe(rule)
	judge, err := ingest.NewJudge(scoring.NewEngine(watched, scoring.Options{}), format, scoring.KeyedByAgent, "")
	if err != nil {
		return f, nil, err
	}
	out := &lastVerdict{pack: watched}
	err = file.Each(ctx, []string{path}, stdin, func(l file.Line) error {
		if out.bad = l.Reject; out.bad == nil {
			rec := ingest.Record{Offset: int64(l.Number), Value: l.Data}
			judge.Record(&rec, out)
		}
		if out.bad != nil {
			return fmt.Errorf("%s:%d: no event: %w", l.Path, l.Number, out.bad)
		}
		return nil
	})
	if err == nil && out.text == nil {
		err = fmt.Errorf("%s: no event in it", path)
	}
	return probe.Last(), out.text, err
}

// lastVerdict keeps the last verdict of a judge.
type lastVerdict struct {
	pack *scoring.Pack
	text json.RawMessage
	bad  *scoring.Reject
}

func (o *lastVerdict) Row(e *scoring.Event, v *scoring.Verdict) {
	o.text = scoring.AppendVerdict(o.text[:0], o.pack, e, v)
}

func (o *lastVerdict) Dead(d *scoring.DeadLetter) {
	o.bad = &scoring.Reject{Reason: d.Reason, Detail: d.Detail}
}

// heading is a heading in both languages.
func heading(w io.Writer, en, zh string) { fmt.Fprintf(w, "\n%s / %s\n", en, zh) }

func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }

func writeExplanation(w io.Writer, x rules.Explanation) error {
	fmt.Fprintf(w, "%s  %s\n%s\n", x.ID, x.Title.EN, x.Title.ZH)
	pages := "pages by the level of the session only / 仅按会话级别告警"
	if x.Alert {
		pages = "pages whatever the score / 命中即告警"
	}
	fmt.Fprintf(w, "\nseverity / 严重度 %s, weight / 权重 %d, family / 规则族 %s, status / 状态 %s\n%s\n", x.Severity, x.Weight, x.Family, x.Status, pages)
	heading(w, "when", "条件")
	fmt.Fprintln(w, indent(x.When))
	for name, v := range x.Parameters {
		fmt.Fprintf(w, "  params.%s = %v\n", name, v)
	}
	if len(x.State) > 0 {
		heading(w, "features", "特征")
	}
	for _, f := range x.State {
		fmt.Fprintf(w, "  %s (%s): %s\n", f.Name, f.Kind, f.Text)
		if f.Doc != "" {
			fmt.Fprintln(w, indent(indent(f.Doc)))
		}
	}
	heading(w, "fields that it needs", "所需字段")
	for _, f := range x.Fields {
		note := ""
		if !f.Stored {
			note = " (judged, not stored / 只参与判定,不入库)"
		}
		fmt.Fprintf(w, "  %-24s %s%s\n", f.Name, f.Doc, note)
	}
	heading(w, "tried on", "何时尝试")
	if len(x.Index) == 0 {
		fmt.Fprintln(w, "  every event / 每个事件")
	}
	for _, t := range x.Index {
		fmt.Fprintln(w, "  "+t)
	}
	if len(x.Exceptions) > 0 {
		heading(w, "exceptions", "例外")
	}
	for _, e := range x.Exceptions {
		fmt.Fprintf(w, "  %s until %s (%s: %s)\n", e.Where, e.Expires, e.Owner, e.Why)
	}
	if x.FalsePositives != "" {
		heading(w, "false positives", "误报")
		fmt.Fprintln(w, indent(strings.TrimSpace(x.FalsePositives)))
	}
	heading(w, "refs", "依据")
	for _, ref := range x.Refs {
		fmt.Fprintf(w, "  %s (%s)\n", ref.To, ref.Provenance)
	}
	heading(w, "tests in "+x.File, "测试")
	for _, t := range x.Tests {
		fmt.Fprintln(w, "  "+t)
	}
	return nil
}

func writeFiring(w io.Writer, x rules.Explanation, f rules.Firing, verdict json.RawMessage) error {
	what := "does not fire / 未命中"
	switch {
	case f.Fires:
		what = "fires / 命中"
	case !f.Judged:
		what = "is not judged / 未判定: the event has no agent.id or no conversation.id, and the rule counts by it"
	case f.Exempt != "":
		what = "is kept quiet by an exception / 被例外豁免: " + f.Exempt
	}
	fmt.Fprintf(w, "%s %s\n%s\n%s\n", x.ID, what, x.Title.EN, x.Title.ZH)
	if f.Judged {
		fmt.Fprintln(w)
		writePart(w, f.Condition, "")
	}
	if !f.Tried {
		fmt.Fprintf(w, "\nthe index leaves the rule out on such an event; it is tried on\n%s\n", indent(strings.Join(x.Index, "\n")))
	}
	fmt.Fprintf(w, "\nverdict / 判定\n  %s\n", verdict)
	return nil
}

// writePart prints a part of a condition as a tree: what holds, what does not, and on what values.
func writePart(w io.Writer, p rules.Part, margin string) {
	mark := "no  "
	if p.Holds {
		mark = "yes "
	}
	if p.Join != "" {
		fmt.Fprintf(w, "%s%s%s of\n", margin, mark, p.Join)
		for _, x := range p.Parts {
			writePart(w, x, margin+"    ")
		}
		return
	}
	fmt.Fprintf(w, "%s%s%s\n", margin, mark, p.Text)
	margin += "      "
	if p.Error != "" {
		fmt.Fprintf(w, "%serror: %s\n", margin, p.Error)
	}
	if p.Values != "" {
		fmt.Fprintf(w, "%s%s\n", margin, p.Values)
	}
	if len(p.Absent) > 0 {
		fmt.Fprintf(w, "%snot in the event: %s\n", margin, strings.Join(p.Absent, ", "))
	}
}
