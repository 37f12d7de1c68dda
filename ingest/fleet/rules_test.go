package fleet_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

// The feed and the pack that ships mean the same: no event is refused, honest work trips no rule, and every script is
// hit by the rules that its truth names.
func TestTheTruthIsTrue(t *testing.T) {
	pack, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	judge, err := ingest.NewJudge(scoring.NewEngine(pack.Pack, scoring.Options{}), "json", scoring.KeyedByAgent, "")
	if err != nil {
		t.Fatal(err)
	}
	got := &judged{t: t, pack: pack.Pack, hits: map[string][]string{}, ended: map[string]bool{}}
	truth := map[string]fleet.Truth{}
	f := fleet.New(fleet.Config{Seed: 11, Events: 100_000, Agents: 200, Misbehave: 10})
	for e := (fleet.Event{}); f.Next(&e); {
		if e.Truth != nil {
			truth[e.Truth.Session] = *e.Truth
		}
		judge.Record(&ingest.Record{Value: e.Line}, got)
	}
	scripts, honest := map[string]int{}, 0
	for session, tr := range truth {
		hits := got.hits[session]
		switch {
		case !got.ended[session]: // the stream ends before it
		case tr.Label == 0 && len(hits) > 0:
			t.Errorf("%s, honest work (%s), is hit by %v", session, tr.Script, hits)
		case tr.Label == 0:
			honest++
		default:
			scripts[tr.Script]++
			for _, rule := range tr.Rules {
				if !slices.Contains(hits, rule) {
					t.Errorf("%s (%s) is not hit by %s but by %v", session, tr.Script, rule, hits)
				}
			}
		}
	}
	if honest < 1000 || len(scripts) < 19 {
		t.Errorf("%d honest sessions, %d scripts: too few to show anything", honest, len(scripts))
	}
}

// judged collects which rules hit which session.
type judged struct {
	t     *testing.T
	pack  *scoring.Pack
	hits  map[string][]string
	ended map[string]bool
}

func (j *judged) Row(e *scoring.Event, v *scoring.Verdict) {
	session := strings.Clone(e.Str(scoring.FieldSession))
	for _, h := range v.Hits {
		j.hits[session] = append(j.hits[session], j.pack.Rules[h.Rule].ID)
	}
	if e.Str(scoring.FieldKind) == "task_end" {
		j.ended[session] = true
	}
}

func (j *judged) Dead(d *scoring.DeadLetter) { j.t.Errorf("%s: %s: %s", d.Reason, d.Detail, d.Head) }
