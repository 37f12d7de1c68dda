package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

func rulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Check, test, explain and activate the rules of a pack",
		Long: `A pack is a folder of YAML with features, rules and their tests. Without DIR the built-in pack is meant.

From an idea to production: lint, test, cost and diff look at a folder; activate puts it in force, history says who did
so when and why, rollback takes it back. deploy/PACKS.md walks through it.`,
	}
	cmd.AddCommand(rulesLint(), rulesTest(), rulesList(), rulesExplain(), rulesCoverage(),
		rulesCost(), rulesDiff(), rulesActivate(), rulesRollback(), rulesHistory())
	return cmd
}

func packArgument(args []string) (*rules.Pack, error) {
	if len(args) > 0 {
		return loadPack(args[0])
	}
	return loadPack("")
}

func writeLines[T any](w io.Writer, asJSON bool, list []T, line func(T) string) error {
	for _, x := range list {
		if asJSON {
			if err := json.NewEncoder(w).Encode(x); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintln(w, line(x)); err != nil {
			return err
		}
	}
	return nil
}

func rulesLint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint [DIR]",
		Short: "Say what is wrong or doubtful about a pack, with file, line and caret",
		Long:  "Status 3 when there is an error; warnings and hints leave it 0.",
		Example: `  agentrisk rules lint my-pack
  agentrisk rules lint my-pack --output json | jq -r 'select(.level == "error")'`,
		Args: cobra.MaximumNArgs(1),
	}
	asJSON := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var problems rules.Problems
		pack, err := packArgument(args)
		if !errors.As(err, &problems) {
			if err != nil {
				return err
			}
			problems = pack.Lint(time.Now())
		}
		if err := writeLines(cmd.OutOrStdout(), asJSON(), problems, rules.Problem.String); err != nil {
			return err
		}
		bad := 0
		for _, p := range problems {
			if p.Level == "error" {
				bad++
			}
		}
		if bad > 0 {
			return errFindings
		}
		if !asJSON() {
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %d rules, %d features, no errors, %d remarks\n", pack.Name, pack.Version, len(pack.Rules), len(pack.Features), len(problems))
		}
		return nil
	}
	return cmd
}

func rulesTest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run the tests that stand beside the rules",
		Example: `  agentrisk rules test my-pack
  agentrisk rules test --verbose`,
		Args: cobra.MaximumNArgs(1),
	}
	asJSON := output(cmd)
	all := cmd.Flags().BoolP("verbose", "v", false, "show the tests that pass, too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pack, err := packArgument(args)
		if err != nil {
			return err
		}
		results := pack.Test(decodeFields())
		var shown []rules.TestResult
		failed := 0
		for _, r := range results {
			if !r.OK {
				failed++
			}
			if !r.OK || *all || asJSON() {
				shown = append(shown, r)
			}
		}
		err = writeLines(cmd.OutOrStdout(), asJSON(), shown, func(r rules.TestResult) string {
			if r.OK {
				return "ok   " + r.Rule + ": " + r.Name
			}
			return "FAIL " + r.Rule + ": " + r.Name + ": " + r.Detail
		})
		if err != nil {
			return err
		}
		if !asJSON() {
			fmt.Fprintf(cmd.OutOrStdout(), "%d tests, %d failed\n", len(results), failed)
		}
		if failed > 0 {
			return errFindings
		}
		return nil
	}
	return cmd
}

// decodeFields reads a test's event with the decoder that the pipeline uses.
func decodeFields() rules.Decode {
	return func(fields map[string]any, e *scoring.Event) (err error) {
		b, err := json.Marshal(fields)
		if err != nil {
			return err
		}
		f, err := ingest.NewFormat("json")
		if err != nil {
			return err
		}
		f.Decode(&ingest.Record{Value: b}, e, func(_ int32, reject *scoring.Reject) {
			if reject != nil {
				err = reject
			}
		})
		return err
	}
}

func rulesList() *cobra.Command {
	cmd := &cobra.Command{Use: "list [DIR]", Short: "List the rules of a pack", Example: "  agentrisk rules list\n  agentrisk rules list my-pack --output json", Args: cobra.MaximumNArgs(1)}
	asJSON := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pack, err := packArgument(args)
		if err != nil {
			return err
		}
		if asJSON() {
			return writeLines(cmd.OutOrStdout(), true, pack.Rules, nil)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "RULE\tSEVERITY\tWEIGHT\tSTATUS\tFEATURES\tTITLE\t标题")
		for _, r := range pack.Rules {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", r.ID, r.Severity, r.Weight, r.Status, strings.Join(r.Features, ","), r.Title.EN, r.Title.ZH)
		}
		return w.Flush()
	}
	return cmd
}
