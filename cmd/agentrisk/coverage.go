package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/file"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

func rulesCoverage() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "coverage [DIR]",
		Short: "Say which rules can fire, given what records are keyed by and what a feed sends",
		Long: `A rule is not judged when the key of the records does not carry its features, and cannot fire when it needs a field that
the feed never sends, or events of a kind that it has not. With --feed the fields and kinds are those of a file of
events, with --fields those that are named (and what is derived from them); without either, everything is taken to be
sent. ` + "`agentrisk check --topic`" + ` says the same of a topic.`,
		Example: `  agentrisk rules coverage --keyed-by session
  agentrisk rules coverage --feed events.ndjson.gz
  agentrisk rules coverage my-pack --fields kind,agent.id,tool.name,tool.args --output json`,
		Args: cobra.MaximumNArgs(1),
	}
	keyed := choose(cmd, "keyed-by", "", "what records are keyed by", ingest.KeyedByNames...)
	fields := cmd.Flags().StringSlice("fields", nil, "fields that are sent")
	feed := cmd.Flags().String("feed", "", "file of events, NDJSON, plain or .gz")
	format := choose(cmd, "format", "", "format of --feed", ingest.FormatNames...)
	asJSON := output(cmd)
	_ = cmd.RegisterFlagCompletionFunc("fields", completeFields)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *feed != "" && len(*fields) > 0 {
			return usageError{fmt.Errorf("want --feed or --fields, not both")}
		}
		pack, err := packArgument(args)
		if err != nil {
			return err
		}
		b := ingest.Binding{Topics: "file", Format: *format, KeyedBy: *keyed}
		f := rules.Feed{KeyedBy: b.Keyed()}
		switch {
		case *feed != "":
			in, err := ingest.NewInspector(pack.Pack, b, "")
			if err != nil {
				return err
			}
			err = file.Each(cmd.Context(), []string{*feed}, cmd.InOrStdin(), func(l file.Line) error {
				return in.Record(&ingest.Record{Topic: l.Path, Offset: int64(l.Number), Value: l.Data})
			})
			if err != nil {
				return err
			}
			seen := in.Seen()
			present := seen.Present()
			present.Derive()
			f.Fields, f.Kinds = &present, seen.KindsSeen()
		case len(*fields) > 0:
			if f.Fields, err = namedFields(*fields); err != nil {
				return err
			}
		}
		list := pack.Coverage(f)
		if asJSON() {
			for _, c := range list {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(c); err != nil {
					return err
				}
			}
			return nil
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "RULE\tSEVERITY\tSTATE\tWHY\tTITLE")
		can := 0
		for _, c := range list {
			if c.State == rules.CoveredYes {
				can++
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Rule, c.Severity, c.State, whyNot(c), c.Title.EN)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d of %d rules can fire\n", can, len(list))
		return err
	}
	return cmd
}

// namedFields is the set of the fields and of what is derived from them.
func namedFields(names []string) (*scoring.FieldSet, error) {
	var set scoring.FieldSet
	for _, n := range names {
		f, ok := scoring.LookupField(strings.TrimSpace(n))
		if !ok {
			return nil, usageError{fmt.Errorf("--fields: no field is called %q: `agentrisk schema fields` lists them", n)}
		}
		set.Add(f)
	}
	set.Derive()
	return &set, nil
}
