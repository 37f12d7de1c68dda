package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The statuses that `agentrisk help exit-codes` promises.
func TestExitStatuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"pack.yaml":  "name: failing\n",
		"rules.yaml": "rules: [{id: AR-XX-001, title: {en: a, zh: b}, severity: high, weight: 500, when: kind == \"x\", tests: [{name: never, events: [{kind: y}], fires: true}]}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args   string
		status int
		says   string // on standard output and error together
	}{
		{"version", statusDone, "engine"},
		{"", statusDone, "First steps"},
		{"rules", statusDone, "Available Commands"},
		{"help exit-codes", statusDone, "called wrongly"},
		{"completion bash", statusDone, "agentrisk"},
		{"score no-such-file", statusFailed, "no-such-file"},
		{"config check --config no-such-file", statusFailed, "no-such-file"},
		{"rules explain AR-NONE-001", statusFailed, "rules list"},
		{"score --fast", statusUsage, "unknown flag: --fast"},
		{"ruls", statusUsage, "did you mean rules"},
		{"rules lits", statusUsage, "did you mean"},
		{"config nothing", statusUsage, "want one of check"},
		{"version now", statusUsage, "version"},
		{"rules explain", statusUsage, "RULE"},
		{"rules list --output xml", statusUsage, "want text, json"},
		{"run", statusUsage, "--config is needed"},
		{"simulate --to nowhere", statusUsage, "want kafka or -"},
		{"rules test " + dir, statusFindings, "FAIL AR-XX-001"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(program, strings.Fields(tt.args)...)
			cmd.Env = append(os.Environ(), "AGENTRISK_CONFIG=")
			out, err := cmd.CombinedOutput()
			status := 0
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				status = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if status != tt.status || !strings.Contains(string(out), tt.says) {
				t.Errorf("status %d, want %d, and %q:\n%s", status, tt.status, tt.says, out)
			}
		})
	}
}

// Ctrl-C ends a long work with status 1 and a line that says so.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(program, "check", "-")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: once it is written, the process reads.
	if _, err := in.Write(bytes.Repeat([]byte(`{"kind":"tool_call"}`+"\n"), 50_000)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != statusFailed || errs.String() != "agentrisk: interrupted before it was done\n" {
		t.Errorf("%v: %s", err, errs.String())
	}
}
