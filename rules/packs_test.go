package rules_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

func decode(fields map[string]any, e *scoring.Event) (err error) {
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

// The pack that ships has no errors and no warnings, and every rule proves itself.
func TestBuiltin(t *testing.T) {
	p, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range p.Lint(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)) {
		if problem.Level != "info" {
			t.Error(problem)
		}
	}
	withFeatures := 0
	for _, r := range p.Rules {
		if len(r.Features) > 0 {
			withFeatures++
		}
	}
	if len(p.Rules) < 24 || withFeatures < 10 {
		t.Errorf("%d rules, %d with features: want 24 and 10", len(p.Rules), withFeatures)
	}
	results := p.Test(decode)
	for _, r := range results {
		if !r.OK {
			t.Errorf("%s: %s: %s", r.Rule, r.Name, r.Detail)
		}
	}
	if len(results) < 2*len(p.Rules) {
		t.Errorf("%d tests for %d rules", len(results), len(p.Rules))
	}
}
