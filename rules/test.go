package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// TestResult is what an inline test came to.
type TestResult struct {
	Rule   string `json:"rule"`
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Decode turns the fields of a test's event into an event; package ingest's JSON decoder is handed in, so that tests
// mean what the pipeline means.
type Decode func(fields map[string]any, e *scoring.Event) error

// Test runs the inline tests of every rule through a fresh engine each.
func (p *Pack) Test(decode Decode) (out []TestResult) {
	for i := range p.source.rules {
		for _, t := range p.source.rules[i].Tests {
			out = append(out, p.run(i, t, decode))
		}
	}
	return out
}

func (p *Pack) run(rule int, t TestSource, decode Decode) TestResult {
	res := TestResult{Rule: p.Pack.Rules[rule].ID, Name: t.Name}
	g := scoring.NewEngine(p.Pack, scoring.Options{})
	clock := time.Date(2026, 6, 1, 9, 0, 0, 0, time.UTC)
	var v scoring.Verdict
	var e scoring.Event
	var scratch scoring.DeriveScratch
	n := 0
	for i, fields := range t.Events {
		times, step := repeats(fields)
		for range times {
			n++
			clock = clock.Add(step)
			if err := decode(complete(fields, n, &clock), &e); err != nil {
				res.Detail = fmt.Sprintf("event %d: %v", i+1, err)
				return res
			}
			scoring.Derive(&e, &scratch)
			g.Judge(&e, &v)
		}
	}
	hit := false
	var others []string
	for _, h := range v.Hits {
		hit = hit || h.Rule == rule
		others = append(others, p.Pack.Rules[h.Rule].ID+" ("+h.Why+")")
	}
	if res.OK = hit == t.Fires && len(v.Failed) == 0; res.OK {
		return res
	}
	res.Detail = fmt.Sprintf("want fires: %v on the last of %d events; hits: %s; failed rules: %d; condition: %s",
		t.Fires, n, strings.Join(others, ", "), len(v.Failed), strings.TrimSpace(p.Rules[rule].When))
	return res
}

// repeats reads the short form for many equal events: repeat: 25, every: 2s.
func repeats(fields map[string]any) (n int, step time.Duration) {
	n, step = 1, time.Second
	switch x := fields["repeat"].(type) {
	case uint64:
		n = int(min(x, 10_000))
	case int:
		n = min(x, 10_000)
	}
	if s, ok := fields["every"].(string); ok {
		if d, err := time.ParseDuration(s); err == nil {
			step = d
		}
	}
	return n, step
}

// complete fills what a test leaves out: an id, a time that goes on, and one tenant, agent and session.
func complete(fields map[string]any, n int, clock *time.Time) map[string]any {
	out := map[string]any{}
	for k, v := range fields {
		if k != "repeat" && k != "every" {
			out[k] = v
		}
	}
	if s, ok := out["time"].(string); ok {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			*clock = t
		}
	}
	set := func(name, v string) {
		head, rest, dotted := strings.Cut(name, ".")
		if _, ok := out[name]; ok {
			return
		}
		if inner, ok := out[head].(map[string]any); ok && dotted {
			if _, ok := inner[rest]; ok {
				return
			}
		}
		out[name] = v
	}
	set("id", fmt.Sprintf("test-%d", n))
	set("time", clock.Format(time.RFC3339Nano))
	set("tenant.id", "tenant-1")
	set("agent.id", "agent-1")
	set("conversation.id", "session-1")
	set("provider.id", "provider-1")
	return out
}
