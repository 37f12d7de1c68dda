package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	statusDone     = 0
	statusFailed   = 1
	statusUsage    = 2
	statusFindings = 3
)

// exitCodes is what `agentrisk help exit-codes` says.
const exitCodes = `Every command ends with one of these:

  0  done. A stop that was asked for (SIGTERM, Ctrl-C) while a server runs is done, too.
  1  failed: standard error says why. A server is away, a file cannot be read, a configuration is refused, or a long
     work was interrupted.
  2  called wrongly: an unknown command or flag, a missing argument, a value that a flag does not take.
  3  done, and what was looked at is not in order: reconcile found what does not add up, check found a feed that its
     provider must change, rules lint found an error, a test of a rule failed. Standard output says what.
`

var (
	// errSilent ends with status 1 after the command has said why.
	errSilent = errors.New("failed")
	// errFindings ends with status 3 after the command has said what is not in order.
	errFindings = errors.New("not in order")
	// errInterrupted ends with status 1 what somebody stopped before it was done.
	errInterrupted = errors.New("interrupted before it was done")
)

// usageError is a mistake in how a command was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func statusOf(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &usage):
		return statusUsage
	case errors.Is(err, errFindings):
		return statusFindings
	}
	return statusFailed
}

// calledRight makes every mistake in calling a command of the tree a usageError, and adds the help on statuses. Cobra
// itself passes over an unknown command below the first level.
func calledRight(root *cobra.Command) {
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%s: %w", c.CommandPath(), err)}
	})
	each(root, func(c *cobra.Command) {
		if c.HasSubCommands() && !c.Runnable() {
			c.Example = cmp.Or(c.Example, firstExamples(c))
			c.Args = cobra.ArbitraryArgs
			c.RunE = func(c *cobra.Command, args []string) error {
				if len(args) == 0 {
					return c.Help()
				}
				return unknownCommand(c, args[0])
			}
			return
		}
		args := c.Args
		if args == nil {
			return
		}
		c.Args = func(c *cobra.Command, list []string) error {
			if err := args(c, list); err != nil {
				return usageError{fmt.Errorf("%s: %w; %s", c.CommandPath(), err, strings.TrimSpace(c.UseLine()))}
			}
			return nil
		}
	})
	root.AddCommand(&cobra.Command{Use: "exit-codes", Short: "What the exit statuses mean", Long: exitCodes})
}

// firstExamples takes the first example of each command below one.
func firstExamples(c *cobra.Command) string {
	var lines []string
	for _, sub := range c.Commands() {
		if line, _, _ := strings.Cut(sub.Example, "\n"); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func unknownCommand(c *cobra.Command, name string) error {
	err := fmt.Errorf("unknown command %q for %q", name, c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(name); len(near) > 0 {
		return usageError{fmt.Errorf("%w: did you mean %s?", err, strings.Join(near, " or "))}
	}
	var known []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			known = append(known, sub.Name())
		}
	}
	return usageError{fmt.Errorf("%w: want one of %s", err, strings.Join(known, ", "))}
}

// each calls fn for the command and all below it.
func each(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, sub := range c.Commands() {
		each(sub, fn)
	}
}

// choice is a flag that takes one of a few values.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.TrimPrefix(strings.Join(c.allowed, "|"), "|") }

func (c *choice) Set(v string) error {
	if !slices.Contains(c.allowed, v) {
		return fmt.Errorf("want %s", strings.TrimPrefix(strings.Join(c.allowed, ", "), ", "))
	}
	c.value = v
	return nil
}

// choose adds a flag that takes one of a few values, the first by default, and completes them. A first value "" says
// that the default depends on something else.
func choose(cmd *cobra.Command, name, short, usage string, allowed ...string) *string {
	c := &choice{allowed[0], allowed}
	cmd.Flags().VarP(c, name, short, usage)
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	return &c.value
}

// output adds --output to a command and returns whether JSON is wanted.
func output(cmd *cobra.Command) func() bool {
	form := choose(cmd, "output", "o", "form of the results", "text", "json")
	return func() bool { return *form == "json" }
}
