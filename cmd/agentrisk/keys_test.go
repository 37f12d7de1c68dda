package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// command runs the program in this process.
func command(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	if _, err := command(t, "", "keys", "list", path); err == nil || !strings.Contains(err.Error(), "agentrisk keys new") {
		t.Errorf("no file: %v", err)
	}
	if _, err := command(t, "", "keys", "new", path); err != nil {
		t.Fatal(err)
	}
	if _, err := command(t, "", "keys", "new", path); err == nil || !strings.Contains(err.Error(), "agentrisk keys rotate") {
		t.Errorf("new over a file: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	config := func() (state, print redact.Key) {
		t.Helper()
		state, print, err := (&Config{KeysFile: path}).keys()
		if err != nil {
			t.Fatal(err)
		}
		return state, print
	}
	state, first := config()
	if out, err := command(t, "", "keys", "rotate", path); err != nil || !strings.Contains(out, "2 in the file") {
		t.Fatalf("rotate: %s, %v", out, err)
	}
	again, second := config()
	if again != state || first == second {
		t.Errorf("after a rotation: state key kept %v, fingerprint key kept %v", again == state, first == second)
	}
	listed, err := command(t, "", "keys", "list", path)
	if err != nil || !strings.Contains(listed, second.ID()) || strings.Index(listed, second.ID()) > strings.Index(listed, first.ID()) {
		t.Errorf("list: %v\n%s", err, listed)
	}
	if out, err := command(t, "", "keys", "list", path, "--output", "json"); err != nil || !strings.Contains(out, `"key_id": "`+first.ID()+`"`) {
		t.Errorf("list as JSON: %v\n%s", err, out)
	}
	prints, err := command(t, "u-1\n", "keys", "fingerprint", path)
	if err != nil || !strings.Contains(prints, first.ID()+"\t"+first.Text("u-1")) || !strings.Contains(prints, second.Text("u-1")) {
		t.Errorf("fingerprint: %v\n%s", err, prints)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, key, ok := strings.Cut(strings.TrimSpace(line), "key: "); ok && (strings.Contains(listed, key) || strings.Contains(prints, key)) {
			t.Errorf("a key is printed")
		}
	}
}

func TestKeysErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	good := strings.Repeat("ab", 16)
	for _, tt := range []struct{ text, want string }{
		{"", "state: want 32 hexadecimal digits"},
		{"state: 12", "state: want 32 hexadecimal digits"},
		{"state: " + good, "fingerprints: at least one key"},
		{"state: " + good + "\nfingerprints: [{key: xyz}]", "fingerprints[0].key: want 32"},
		{"state: " + good + "\nextra: " + good, "not a file of keys"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readKeys(path); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), good) {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		}
	}
	if _, _, err := (&Config{KeysFile: path, FingerprintKey: good}).keys(); err == nil || !strings.Contains(err.Error(), "want one of them") {
		t.Errorf("both: %v", err)
	}
	if _, _, err := (&Config{FingerprintKey: "12"}).keys(); err == nil || !strings.Contains(err.Error(), "fingerprint_key: want 32") {
		t.Errorf("short: %v", err)
	}
}

// Neither the key of fingerprints nor that of the state, nor what a policy keeps, changes a verdict by a bit.
func TestVerdictsDoNotDependOnKeys(t *testing.T) {
	pack, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	f := fleet.New(fleet.Config{Seed: 7, Events: 3000, Agents: 40, Misbehave: 100})
	for e := (fleet.Event{}); f.Next(&e); {
		lines = append(lines, slices.Clone(e.Line))
	}
	judged := func(state, print redact.Key, p redact.Policy) string {
		judge, err := ingest.NewJudge(scoring.NewEngine(pack.Pack, scoring.Options{Key: state}), "json", scoring.KeyedByAgent, "")
		if err != nil {
			t.Fatal(err)
		}
		if judge.Redactor, err = redact.New(p, print); err != nil {
			t.Fatal(err)
		}
		var out verdicts
		for i, l := range lines {
			judge.Record(&ingest.Record{Offset: int64(i), Value: l}, &out)
		}
		return out.String()
	}
	want := judged(redact.Key{}, redact.Key{}, redact.Policy{})
	if !strings.Contains(want, "AR-") {
		t.Fatal("no rule matched")
	}
	for _, got := range []string{judged(redact.Key{1}, redact.Key{2}, redact.Policy{}), judged(redact.Key{1}, redact.Key{3}, redact.Policy{Content: "drop", Columns: map[string]string{"user_id": "fingerprint", "session_id": "drop", "agent_id": "fingerprint"}})} {
		if got != want {
			t.Error("verdicts differ")
		}
	}
}

// verdicts collects the scores and rules of events.
type verdicts struct{ strings.Builder }

func (o *verdicts) Row(_ *scoring.Event, v *scoring.Verdict) {
	o.Write(v.Score.Append(nil))
	o.Write(v.SessionScore.Append([]byte{' '}))
	o.Write(v.AgentScore.Append([]byte{' '}))
	for _, h := range v.Hits {
		o.Write(h.Contribution.Append([]byte(" AR-" + string(rune('0'+h.Rule)) + " ")))
	}
	o.WriteString(v.Alert.String() + "\n")
}

func (o *verdicts) Dead(d *scoring.DeadLetter) { o.WriteString(d.Detail + "\n") }
