package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/sink/clickhouse"
)

func rulesCost() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cost [DIR]",
		Short: "Count what a pack costs: rules tried, steps, bytes of state",
		Long: fmt.Sprintf(`Judges %d events of a made-up fleet and counts; it does not measure time, so that every machine comes to the same
figures. A step is about what it takes to compare a field with a constant. A pack above a limit cannot be activated:
status 3.`, costEvents),
		Example: `  agentrisk rules cost my-pack
  agentrisk rules cost my-pack --output json | jq .cost`,
		Args: cobra.MaximumNArgs(1),
	}
	asJSON := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pack, err := packArgument(args)
		if err != nil {
			return err
		}
		cost, err := packCost(pack)
		if err != nil {
			return err
		}
		why := cost.Exceeds()
		if asJSON() {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"cost": cost, "limits": rules.Limits, "exceeds": why})
		} else {
			err = writeCost(cmd.OutOrStdout(), cost, why)
		}
		if err == nil && len(why) > 0 {
			return errFindings
		}
		return err
	}
	return cmd
}

func writeCost(out io.Writer, c rules.Cost, why []string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	l := rules.Limits
	fmt.Fprintf(w, "on %d events\tmean\tlimit\tmost\tlimit\t\n", c.Events)
	fmt.Fprintf(w, "rules tried an event\t%d\t%d\t%d\t%d\t\n", c.TriesMean, l.TriesMean, c.TriesMax, l.TriesMax)
	fmt.Fprintf(w, "steps an event\t%d\t%d\t%d\t%d\t\n", c.StepsMean, l.StepsMean, c.StepsMax, l.StepsMax)
	fmt.Fprintf(w, "bytes an agent\t%d\t%d\t%d\t%d\t\n", c.StateMean, l.StateMean, c.StateMax, l.StateMax)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, x := range why {
		fmt.Fprintln(out, "too much: "+x)
	}
	return nil
}

func rulesDiff() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A [B]",
		Short: "Say in what pack B differs from pack A, and what that means for state",
		Long: `A and B are a folder, ` + "`active`" + ` (the pack in force in the database), ` + "`builtin`" + `, or the digest of a stored pack or its
beginning. Without B the pack of the configuration is meant, or the built-in one. The database is asked only where that
is needed, and needs --config then.`,
		Example: `  agentrisk rules diff builtin my-pack
  agentrisk rules diff active my-pack --config agentrisk.yaml`,
		Args: cobra.RangeArgs(1, 2),
	}
	path := configFlag(cmd)
	asJSON := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		find := packFinder{config: *path}
		defer find.close()
		if len(args) == 1 {
			args = append(args, "")
		}
		a, err := find.pack(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		b, err := find.pack(cmd.Context(), args[1])
		if err != nil {
			return err
		}
		changes := rules.Diff(a, b)
		if asJSON() {
			return writeLines(cmd.OutOrStdout(), true, changes, nil)
		}
		out := cmd.OutOrStdout()
		fmt.Fprintf(out, "--- %s %s (%.12s)\n+++ %s %s (%.12s)\n", a.Name, a.Version, a.Own, b.Name, b.Version, b.Own)
		if len(changes) == 0 {
			fmt.Fprintln(out, "no difference")
		}
		return writeLines(out, false, changes, rules.Change.String)
	}
	return cmd
}

// packFinder finds packs by what an operator calls them, and asks the database only when it must.
type packFinder struct {
	config string
	parts  *parts
}

var digestPrefix = regexp.MustCompile(`^[0-9a-f]{6,64}$`)

func (f *packFinder) pack(ctx context.Context, name string) (*rules.Pack, error) {
	info, err := os.Stat(name)
	switch {
	case name == "builtin":
		return rules.Builtin()
	case name == "" && f.config == "":
		return rules.Builtin()
	case name == "":
		c, err := loadConfig(f.config)
		if err != nil {
			return nil, err
		}
		return loadPack(c.Pack)
	case err == nil && info.IsDir() && name != "active":
		return rules.LoadDir(name)
	case name != "active" && !digestPrefix.MatchString(name):
		return nil, fmt.Errorf("pack %s: want a folder, active, builtin, or at least six digits of the digest of a stored pack (`agentrisk rules history`)", name)
	}
	if err := f.open(ctx); err != nil {
		return nil, err
	}
	db := f.parts.db
	if name == "active" {
		if name, err = db.Active(ctx); err != nil {
			return nil, err
		}
		if name == "" {
			return nil, errors.New("no pack is in force in this database yet: the first `agentrisk run`, or `agentrisk rules activate`, puts one in force")
		}
		return storedPack(ctx, db, name)
	}
	found, err := db.PackDigests(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("no stored pack has a digest that begins with %s: see `agentrisk rules history`", name)
	case len(found) > 1:
		return nil, fmt.Errorf("the digests of several stored packs begin with %s (%s): name more of it", name, strings.Join(found, ", "))
	}
	return storedPack(ctx, db, found[0])
}

func (f *packFinder) open(ctx context.Context) (err error) {
	if f.parts != nil {
		return nil
	}
	if f.parts, err = wire(f.config); err != nil {
		return err
	}
	if err := f.parts.open(ctx); err != nil {
		return err
	}
	return f.parts.db.Check(ctx)
}

func (f *packFinder) close() {
	if f.parts != nil {
		f.parts.close()
	}
}

// act is what activate and rollback have in common.
type act struct {
	config *string
	who    *string
	why    *string
	wait   *time.Duration
	asJSON func() bool
}

func actFlags(cmd *cobra.Command) act {
	who, host := "unknown", ""
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = "@" + h
	}
	a := act{config: configFlag(cmd), asJSON: output(cmd)}
	a.who = cmd.Flags().String("by", "", "who does this (default: user and host)")
	a.why = cmd.Flags().String("reason", "", "why; it is recorded (needed)")
	a.wait = cmd.Flags().Duration("wait", 2*time.Minute, "how long to wait for a database that is away")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if strings.TrimSpace(*a.why) == "" {
			return usageError{errors.New(`--reason is needed: whoever reads the history wants to know why, for instance --reason "fewer false positives of AR-NET-001"`)}
		}
		if *a.who == "" {
			*a.who = who + host
		}
		return nil
	}
	return a
}

func rulesActivate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "activate [DIR]",
		Short: "Put a pack in force in all processes of the database",
		Long: `Compiles the pack, lints it, runs its tests and counts its cost; then stores it and records who put it in force and why.
Running processes adopt it within seconds, each lane between two batches, and new ones start with it: the database wins
over ` + "`pack`" + ` in their configuration. Features whose definition did not change keep their state; new ones start cold, and
verdicts say so. What fails a check changes nothing: status 3.

Of two who activate at once both are recorded, and the later holds everywhere. A database that is away is waited for.`,
		Example: `  agentrisk rules activate my-pack --config agentrisk.yaml --reason "AR-NET-001 spares the mirrors"
  agentrisk rules activate my-pack --dry-run`,
		Args: cobra.MaximumNArgs(1),
	}
	a := actFlags(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "check only, change nothing; needs neither a database nor a reason")
	need := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if *dry {
			return nil
		}
		return need(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pack, err := packArgument(args)
		if err != nil {
			return reportChecks(cmd.OutOrStdout(), err)
		}
		cost, err := activatable(pack)
		if err != nil {
			return reportChecks(cmd.OutOrStdout(), err)
		}
		if *dry {
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s (%.12s): no errors, all tests pass\n", pack.Name, pack.Version, pack.Own)
			return writeCost(cmd.OutOrStdout(), cost, nil)
		}
		return a.do(cmd, func(ctx context.Context, db *clickhouse.DB) (*rules.Pack, error) { return pack, putPack(ctx, db, pack) })
	}
	return cmd
}

// reportChecks prints what a check found and ends with status 3; other errors pass.
func reportChecks(w io.Writer, err error) error {
	var problems rules.Problems
	var failed *failedChecks
	if errors.As(err, &problems) || errors.As(err, &failed) {
		fmt.Fprintf(w, "%v\nnothing is changed\n", err)
		return errFindings
	}
	return err
}

// failedChecks is why a pack that compiles is not activated.
type failedChecks struct{ text string }

func (e *failedChecks) Error() string { return e.text }

// activatable holds a pack against everything that it must pass before it is put in force.
func activatable(pack *rules.Pack) (rules.Cost, error) {
	var bad []string
	for _, p := range pack.Lint(time.Now()) {
		if p.Level == "error" {
			bad = append(bad, p.String())
		}
	}
	for _, r := range pack.Test(decodeFields()) {
		if !r.OK {
			bad = append(bad, "FAIL "+r.Rule+": "+r.Name+": "+r.Detail)
		}
	}
	cost, err := packCost(pack)
	if err != nil {
		return cost, err
	}
	for _, why := range cost.Exceeds() {
		bad = append(bad, "costs too much: "+why)
	}
	if len(bad) > 0 {
		return cost, &failedChecks{strings.Join(bad, "\n")}
	}
	return cost, nil
}

func rulesRollback() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Put the pack in force again that was before the present one",
		Long: `Activates the pack that was in force before the present one, or the one that --to names. It is recorded like any
activation, so a second rollback returns to the pack that the first one left.`,
		Example: `  agentrisk rules rollback --config agentrisk.yaml --reason "pages for every backup"`,
		Args:    cobra.NoArgs,
	}
	a := actFlags(cmd)
	to := cmd.Flags().String("to", "", "digest of a stored pack, or its beginning")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.do(cmd, func(ctx context.Context, db *clickhouse.DB) (*rules.Pack, error) {
			digest, err := rollbackTo(ctx, db, *to)
			if err != nil {
				return nil, err
			}
			pack, err := storedPack(ctx, db, digest)
			if err == nil {
				_, err = affordable(pack)
			}
			return pack, err
		})
	}
	return cmd
}

// rollbackTo is the digest of the pack to return to.
func rollbackTo(ctx context.Context, db *clickhouse.DB, to string) (string, error) {
	if to != "" {
		found, err := db.PackDigests(ctx, to)
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("%d stored packs have a digest that begins with %s: see `agentrisk rules history`", len(found), to)
		}
		return strings.Join(found, ""), err
	}
	history, err := db.Activations(ctx, 1000)
	if err != nil {
		return "", err
	}
	for _, x := range history {
		if x.Pack != history[0].Pack {
			return x.Pack, nil
		}
	}
	return "", errors.New("no other pack was ever in force here: nothing to return to")
}

// do puts the pack that choose returns in force, and says so.
func (a act) do(cmd *cobra.Command, choose func(context.Context, *clickhouse.DB) (*rules.Pack, error)) error {
	p, err := wire(*a.config)
	if err != nil {
		return err
	}
	defer p.close()
	ctx, cancel := context.WithTimeout(cmd.Context(), *a.wait)
	defer cancel()
	x := clickhouse.Activation{ID: clickhouse.NewActID(), Who: *a.who, Why: *a.why}
	var pack *rules.Pack
	var before, now string
	err = p.patiently(ctx, func() (err error) {
		if p.db == nil {
			if err := p.open(ctx); err != nil {
				return err
			}
		}
		if err := p.db.Check(ctx); err != nil {
			return err
		}
		if pack == nil {
			if before, err = p.db.Active(ctx); err != nil {
				return err
			}
			chosen, err := choose(ctx, p.db)
			if err != nil {
				return err
			}
			pack = chosen
		}
		x.Pack = pack.Own
		if err := p.db.Activate(ctx, x); err != nil {
			return err
		}
		now, err = p.db.Active(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if a.asJSON() {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"name": pack.Name, "version": pack.Version, "digest": pack.Own, "before": before,
			"who": x.Who, "why": x.Why, "in_force": now == pack.Own})
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "activated %s %s (%.12s) by %s: %s\n", pack.Name, pack.Version, pack.Own, x.Who, x.Why)
	switch {
	case now != pack.Own:
		fmt.Fprintf(out, "another activation came later and holds: %.12s, see `agentrisk rules history`\n", now)
	case before == pack.Own:
		fmt.Fprintln(out, "it was in force already")
	default:
		fmt.Fprintf(out, "before: %.12s; running processes adopt it within seconds, and `agentrisk rules rollback` takes it back\n", before)
	}
	return nil
}

func rulesHistory() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List which pack was in force since when, by whom and why, newest first",
		Example: `  agentrisk rules history --config agentrisk.yaml
  agentrisk rules history --config agentrisk.yaml --limit 1 --output json | jq -r .digest`,
		Args: cobra.NoArgs,
	}
	path := configFlag(cmd)
	asJSON := output(cmd)
	limit := cmd.Flags().Int("limit", 20, "how many")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		find := packFinder{config: *path}
		defer find.close()
		if err := find.open(cmd.Context()); err != nil {
			return err
		}
		list, err := find.parts.db.Activations(cmd.Context(), *limit)
		if err != nil {
			return err
		}
		if asJSON() {
			enc := json.NewEncoder(cmd.OutOrStdout())
			for i, x := range list {
				if err := enc.Encode(map[string]any{"time": x.Written, "digest": x.Pack, "name": x.Name, "version": x.Version, "who": x.Who, "why": x.Why, "in_force": i == 0}); err != nil {
					return err
				}
			}
			return nil
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SINCE\tPACK\tVERSION\tDIGEST\tWHO\tWHY\t")
		for i, x := range list {
			note := ""
			if i == 0 {
				note = "in force"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%.12s\t%s\t%s\t%s\n", x.Written.UTC().Format("2006-01-02 15:04:05"), x.Name, x.Version, x.Pack, x.Who, x.Why, note)
		}
		return w.Flush()
	}
	return cmd
}
