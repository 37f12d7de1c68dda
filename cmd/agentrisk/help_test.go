package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command's --help says what it does and shows how it is called, with commands and flags that there are.
func TestEveryHelpHasAnExample(t *testing.T) {
	each(rootCommand(), func(c *cobra.Command) {
		if !c.Runnable() || c.Hidden {
			return
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: want a short line without a full stop: %q", c.CommandPath(), c.Short)
		}
		calls := 0
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: examples are indented by two spaces: %q", c.CommandPath(), line)
			}
			for _, call := range programCalls.FindAllStringSubmatch(line, -1) {
				calls++
				exampleCall(t, c, strings.TrimSpace(call[1]))
			}
		}
		if calls == 0 {
			t.Errorf("%s: its --help has no example", c.CommandPath())
		}
	})
}

// The commands of deploy/PACKS.md are commands and flags that there are; what they do is run by the tests that it names.
func TestCallsOfPacksDocument(t *testing.T) {
	calls := 0
	for line := range strings.Lines(string(read(t, "../../deploy/PACKS.md"))) {
		if text, ok := strings.CutPrefix(line, "    "); ok {
			for _, call := range programCalls.FindAllStringSubmatch(text, -1) {
				calls++
				exampleCall(t, rootCommand(), strings.TrimSpace(call[1]))
			}
		}
	}
	if calls < 12 {
		t.Errorf("%d commands in deploy/PACKS.md: want a dozen", calls)
	}
}

// programCalls finds what is called in a line of shell: up to a pipe, a redirection, an ampersand or a comment.
var programCalls = regexp.MustCompile(`(?:^|[|(;&]) *agentrisk ([^|&<>#()]*)`)

// exampleCall resolves a call as the shell would make it.
func exampleCall(t *testing.T, of *cobra.Command, call string) {
	t.Helper()
	var args []string
	for _, w := range regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(call, -1) {
		args = append(args, strings.Trim(w, `'"`))
	}
	c, rest, err := rootCommand().Find(args)
	if err != nil {
		t.Errorf("%s: example %q: %v", of.CommandPath(), call, err)
		return
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Errorf("%s: example %q: %v", of.CommandPath(), call, err)
		return
	}
	if c.HasSubCommands() && c.Flags().NArg() > 0 {
		t.Errorf("%s: example %q: there is no such command", of.CommandPath(), call)
	}
	if c.Args != nil && !c.HasSubCommands() {
		if err := c.Args(c, c.Flags().Args()); err != nil {
			t.Errorf("%s: example %q: %v", of.CommandPath(), call, err)
		}
	}
}
