package rules_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

func fieldSet(t *testing.T, names ...string) *scoring.FieldSet {
	t.Helper()
	var s scoring.FieldSet
	for _, n := range names {
		id, ok := scoring.LookupField(n)
		if !ok {
			t.Fatalf("no field %s", n)
		}
		s.Add(id)
	}
	s.Derive()
	return &s
}

func coverageOf(t *testing.T, p *rules.Pack, rule string, f rules.Feed) rules.Coverage {
	t.Helper()
	for _, c := range p.Coverage(f) {
		if c.Rule == rule {
			return c
		}
	}
	t.Fatalf("no rule %s", rule)
	return rules.Coverage{}
}

// Of the pack that ships every rule can fire when everything is sent; with nothing sent a rule that can still fire
// fires on absence, and what a rule is said to need does let it fire.
func TestCoverageOfTheBuiltinPack(t *testing.T) {
	p, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Coverage(rules.Feed{}) {
		if c.State != rules.CoveredYes {
			t.Errorf("everything is sent, and %s: %s", c.Rule, c.State)
		}
	}
	never := 0
	for _, c := range p.Coverage(rules.Feed{Fields: fieldSet(t)}) {
		if c.State == rules.CoveredYes {
			continue
		}
		never++
		if len(c.Needs) == 0 {
			t.Errorf("%s cannot fire and needs nothing", c.Rule)
		}
		if got := coverageOf(t, p, c.Rule, rules.Feed{Fields: fieldSet(t, c.Needs...)}); got.State != rules.CoveredYes {
			t.Errorf("%s with all that it needs, %v: %s, needs %v", c.Rule, c.Needs, got.State, got.Needs)
		}
	}
	if never < 30 {
		t.Errorf("only %d rules cannot fire on a feed that sends nothing", never)
	}
}

// What a test of the pack fires on lets its rule fire: coverage never says that a rule cannot when it can.
func TestCoverageAgreesWithTheTests(t *testing.T) {
	p, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, s := range p.Samples() {
		var set scoring.FieldSet
		var kinds []string
		for _, fields := range s.Events {
			var e scoring.Event
			var scratch scoring.DeriveScratch
			if err := decode(fields, &e); err != nil {
				t.Fatal(err)
			}
			scoring.Derive(&e, &scratch)
			present := e.Present()
			for i := range set {
				set[i] |= present[i]
			}
			kinds = append(kinds, strings.Clone(e.Str(scoring.FieldKind)))
		}
		set.Derive()
		c := coverageOf(t, p, s.Rule, rules.Feed{Fields: &set, Kinds: kinds})
		if s.Fires {
			checked++
			if c.State != rules.CoveredYes {
				t.Errorf("%s fires in %q, and coverage says %s %v %v", s.Rule, s.Name, c.State, c.Needs, c.Kinds)
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d tests that fire", checked)
	}
}

func TestCoverageNamesWhatIsMissing(t *testing.T) {
	p, err := rules.Load(fstest.MapFS{
		"pack.yaml": {Data: []byte("name: small\nlists: {tools: [a, b]}\n")},
		"rules.yaml": {Data: []byte(`
features:
  - {name: domains_1h, per: agent, window: 1h, distinct: net.dst_domain, where: kind == "net_connect"}
  - {name: denied_1h, per: session, window: 1h, count: true, where: policy.decision == "deny"}
  - {name: bytes_1h, per: agent, window: 1h, sum: net.bytes_out, where: kind == "net_connect"}
  - {name: since_stop, per: agent, since: true, where: control.action == "stop"}
  - {name: read_send, per: session, within: 30m, sequence: [{where: data.level == "core"}, {where: tool.op == "send"}]}
rules:
  - {id: AR-TT-001, title: {en: a, zh: b}, severity: low, weight: 100, when: tool.name in tools && approval.state != "approved"}
  - {id: AR-TT-002, title: {en: a, zh: b}, severity: low, weight: 100, when: domains_1h >= 5}
  - {id: AR-TT-003, title: {en: a, zh: b}, severity: low, weight: 100, when: denied_1h > 2}
  - {id: AR-TT-004, title: {en: a, zh: b}, severity: low, weight: 100, when: bytes_1h > 1000}
  - {id: AR-TT-005, title: {en: a, zh: b}, severity: low, weight: 100, when: since_stop > 10}
  - {id: AR-TT-006, title: {en: a, zh: b}, severity: low, weight: 100, when: read_send}
  - {id: AR-TT-007, title: {en: a, zh: b}, severity: low, weight: 100, when: 'any(data.classes, # == "phone") || "root" in runtime.mounts'}
  - {id: AR-TT-008, title: {en: a, zh: b}, severity: low, weight: 100, when: not agent.registered}
  - {id: AR-TT-009, title: {en: a, zh: b}, severity: low, weight: 100, when: kind == "code_exec" && len(tool.name) == 0}
  - {id: AR-TT-010, title: {en: a, zh: b}, severity: low, weight: 100, when: 'domains_1h == 0 && kind in ["net_connect", "dns"]'}
`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := fieldSet(t, "kind", "agent.id", "net.bytes_out")
	for _, tt := range []struct {
		rule  string
		feed  rules.Feed
		state rules.Covered
		names []string
	}{
		{"AR-TT-001", rules.Feed{Fields: sent}, rules.CoveredNotByFields, []string{"tool.name"}},
		{"AR-TT-002", rules.Feed{Fields: sent}, rules.CoveredNotByFields, []string{"net.dst_domain"}},
		{"AR-TT-002", rules.Feed{KeyedBy: scoring.KeyedBySession}, rules.CoveredNotByKey, []string{"domains_1h"}},
		{"AR-TT-003", rules.Feed{Fields: sent}, rules.CoveredNotByFields, []string{"conversation.id", "policy.decision"}},
		{"AR-TT-003", rules.Feed{KeyedBy: scoring.KeyedBySession}, rules.CoveredYes, nil},
		{"AR-TT-003", rules.Feed{KeyedBy: scoring.KeyedByNone}, rules.CoveredNotByKey, []string{"denied_1h"}},
		{"AR-TT-004", rules.Feed{Fields: sent}, rules.CoveredYes, nil},
		{"AR-TT-004", rules.Feed{Fields: fieldSet(t, "kind", "agent.id")}, rules.CoveredNotByFields, []string{"net.bytes_out"}},
		{"AR-TT-004", rules.Feed{Fields: sent, Kinds: []string{"tool_call"}}, rules.CoveredNotByKinds, []string{"net_connect"}},
		{"AR-TT-005", rules.Feed{Fields: sent}, rules.CoveredNotByFields, []string{"control.action"}},
		{"AR-TT-006", rules.Feed{Fields: sent}, rules.CoveredNotByFields, []string{"conversation.id", "tool.op", "data.level"}},
		{"AR-TT-007", rules.Feed{Fields: sent}, rules.CoveredNotByFields, []string{"runtime.mounts"}},
		{"AR-TT-007", rules.Feed{Fields: fieldSet(t, "data.classes")}, rules.CoveredYes, nil},
		{"AR-TT-008", rules.Feed{Fields: sent}, rules.CoveredNotByFields, []string{"agent.registered"}},
		{"AR-TT-009", rules.Feed{Fields: sent}, rules.CoveredYes, nil},
		{"AR-TT-009", rules.Feed{Fields: sent, Kinds: []string{"net_connect"}}, rules.CoveredNotByKinds, []string{"code_exec"}},
		{"AR-TT-010", rules.Feed{Fields: sent}, rules.CoveredYes, nil},
		{"AR-TT-010", rules.Feed{Fields: sent, Kinds: []string{"tool_call"}}, rules.CoveredNotByKinds, []string{"dns", "net_connect"}},
	} {
		got := coverageOf(t, p, tt.rule, tt.feed)
		names := slices.Concat(got.Needs, got.Features, got.Kinds)
		if got.State != tt.state || !slices.Equal(names, tt.names) {
			t.Errorf("%s: %s %v, want %s %v", tt.rule, got.State, names, tt.state, tt.names)
		}
	}
}
