package rules_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

// load makes a pack of a list, features and rules, written as YAML.
func load(t *testing.T, list, body string) *rules.Pack {
	t.Helper()
	p, err := rules.Load(fstest.MapFS{
		"pack.yaml": {Data: []byte("name: p\nversion: \"1\"\nlists: {ops: " + list + "}\n")},
		"r.yaml":    {Data: []byte(body)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	features = "features:\n  - {name: f, per: agent, window: 1h, count: true, where: tool.op in ops}\n  - {name: g, per: agent, window: %s, count: true}\n"
	rule     = "rules:\n  - {id: AR-AA-001, title: {en: a, zh: b}, severity: high, weight: %d, when: 'kind == \"x\" && (f > params.n || g > 10)', params: {n: 3}}\n"
)

// Two packs differ in what is listed and in nothing else; a changed list changes the features that read it.
func TestDiff(t *testing.T) {
	one := load(t, "[send]", fmt.Sprintf(features, "1h")+fmt.Sprintf(rule, 500))
	for _, tt := range []struct {
		name string
		to   *rules.Pack
		want []string
	}{
		{"comments alone", load(t, "[send]", "# a comment\n"+fmt.Sprintf(features, "1h")+fmt.Sprintf(rule, 500)), nil},
		{"a weight", load(t, "[send]", fmt.Sprintf(features, "1h")+fmt.Sprintf(rule, 600)), []string{"~ rule AR-AA-001: weight: 500 -> 600"}},
		{"a window", load(t, "[send]", fmt.Sprintf(features, "2h")+fmt.Sprintf(rule, 500)), []string{"~ feature g: definition: per: agent, window: 1h, count: true -> per: agent, window: 2h, count: true (starts cold"}},
		{"a list", load(t, "[send, pay]", fmt.Sprintf(features, "1h")+fmt.Sprintf(rule, 500)), []string{"~ feature f (a list that it reads has changed; it starts cold", "~ list ops: values: (nothing) -> pay"}},
		{"a name", load(t, "[send]", strings.NewReplacer("name: g", "name: gg", "|| g >", "|| gg >").Replace(fmt.Sprintf(features, "1h")+fmt.Sprintf(rule, 500))),
			[]string{"+ feature gg (the same state", "- feature g (the same state", "~ rule AR-AA-001: when: "}},
		{"no rules", load(t, "[send]", ""), []string{"- feature f (its state is dropped)", "- feature g", "- rule AR-AA-001: title"}},
	} {
		got := rules.Diff(one, tt.to)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %d changes, want %d: %v", tt.name, len(got), len(tt.want), got)
			continue
		}
		for i, c := range got {
			if !strings.HasPrefix(c.String(), tt.want[i]) {
				t.Errorf("%s: %q, want %q", tt.name, c, tt.want[i])
			}
		}
	}
}

// A pack comes back from its source with its digest, and what else shapes verdicts changes only the digest of rows.
func TestSourceAndDigests(t *testing.T) {
	p, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	again, err := rules.LoadSource(p.Source(), []byte("caps"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Own != p.Digest || again.Own != p.Own || again.Digest == p.Digest || !bytes.Equal(again.OwnCanonical(), p.Canonical()) {
		t.Errorf("digests %s %s, with more %s %s", p.Own, p.Digest, again.Own, again.Digest)
	}
	if len(rules.Diff(p, again)) != 0 || !bytes.Equal(again.Source(), p.Source()) {
		t.Error("the pack that came back is another one")
	}
	if _, err := rules.LoadSource([]byte("{")); err == nil {
		t.Error("half a source is no error")
	}
}

// A pack that costs too much is told in which way, by counting alone: the figures are the same on every run.
func TestCost(t *testing.T) {
	cost := func(p *rules.Pack) rules.Cost {
		n := 0
		return p.Cost(func(e *scoring.Event) bool {
			n++
			*e = scoring.Event{Time: int64(n), KafkaTime: int64(n), KeyedBy: scoring.KeyedByAgent}
			e.SetStr(scoring.FieldKind, "x")
			e.SetStr(scoring.FieldAgent, fmt.Sprint("a", n%10))
			e.SetStr(scoring.FieldToolName, fmt.Sprint("t", n%40))
			return n <= 100
		})
	}
	var many, heavy, wide strings.Builder
	many.WriteString("rules:\n")
	heavy.WriteString("rules:\n")
	wide.WriteString("features:\n")
	for i := range 400 {
		fmt.Fprintf(&many, "  - {id: AR-AA-%03d, title: {en: a, zh: b}, severity: high, weight: 5, when: '!risk.crowd'}\n", i)
		if i < 60 {
			fmt.Fprintf(&heavy, "  - {id: AR-AA-%03d, title: {en: a, zh: b}, severity: high, weight: 5, when: 'kind == \"x\" && content matches \"(a|b)+%d\"'}\n", i, i)
		}
		if i < 20 {
			fmt.Fprintf(&wide, "  - {name: f%d, per: agent, by: tool.name, window: 1h, distinct: tool.target, where: 'kind == \"f%d\"'}\n", i, i)
		}
	}
	for _, tt := range []struct {
		name, body, want string
	}{
		{"tries", strings.ReplaceAll(many.String(), "risk.crowd", "agent.registered"), "rules tried on an event, mean: 400, limit 200"},
		{"steps", heavy.String(), "steps an event, mean"},
		{"state", wide.String(), "bytes an agent, at most"},
		{"nothing", fmt.Sprintf(features, "1h"), ""},
	} {
		p := load(t, "[send]", tt.body)
		c := cost(p)
		if c != cost(p) || c.Events != 100 {
			t.Errorf("%s: %+v, and then %+v", tt.name, c, cost(p))
		}
		why := strings.Join(c.Exceeds(), "\n")
		if !strings.Contains(why, tt.want) || tt.want == "" && why != "" {
			t.Errorf("%s: %+v exceeds %q, want %q", tt.name, c, why, tt.want)
		}
	}
}

// A probe tells for every part of a condition what it came to, also where the index leaves the rule out, and changes no
// verdict.
func TestProbe(t *testing.T) {
	p := load(t, "[send]", fmt.Sprintf(features, "1h")+fmt.Sprintf(rule, 500))
	probe, watched := p.Probe(0)
	g, plain := scoring.NewEngine(watched, scoring.Options{}), scoring.NewEngine(p.Pack, scoring.Options{})
	judge := func(fields map[string]any) rules.Firing {
		var e, twin scoring.Event
		var v, want scoring.Verdict
		for _, x := range []*scoring.Event{&e, &twin} {
			if err := decode(fields, x); err != nil {
				t.Fatal(err)
			}
			x.KeyedBy = scoring.KeyedByAgent
		}
		g.Judge(&e, &v)
		plain.Judge(&twin, &want)
		if got, want := string(scoring.AppendVerdict(nil, watched, &e, &v)), string(scoring.AppendVerdict(nil, p.Pack, &twin, &want)); got != want {
			t.Errorf("the verdict changes:\n got %s\nwant %s", got, want)
		}
		return probe.Last()
	}
	event := func(kind, agent string) map[string]any {
		return map[string]any{"kind": kind, "agent.id": agent, "tenant.id": "t", "tool.op": "send"}
	}
	for range 3 {
		if f := judge(event("x", "a")); f.Fires || !f.Judged || !f.Tried {
			t.Errorf("%+v", f)
		}
	}
	f := judge(event("x", "a"))
	text, _ := json.Marshal(f)
	if !f.Fires || !strings.Contains(string(text), `"text":"f \u003e params.n","holds":true,"values":"f = 4"`) || !strings.Contains(string(text), `"text":"g \u003e 10","holds":false,"values":"g = 4"`) {
		t.Errorf("the fourth: %s", text)
	}
	if f := judge(event("y", "a")); f.Fires || f.Tried || !f.Judged || f.Condition.Parts[0].Holds || !f.Condition.Parts[1].Holds {
		t.Errorf("another kind: %+v", f)
	}
	if f := judge(map[string]any{"kind": "x", "tool.op": "send"}); f.Fires || f.Judged {
		t.Errorf("without an agent: %+v", f)
	}
}
