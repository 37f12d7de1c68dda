package scoring

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// laterPack is testPack with its features in another order, without the first, with a changed one and a new one.
func laterPack() *Pack {
	p := testPack(nil)
	p.Digest = "later"
	order := []int{8, 3, 2, 1, 7, 6, 5, 4}
	features, rules := p.Features, p.Rules
	p.Features, p.Rules = nil, nil
	for i, n := range order {
		r := rules[n]
		r.Features = []int{i}
		p.Features, p.Rules = append(p.Features, features[n]), append(p.Rules, r)
	}
	p.Features[4].ID, p.Features[4].Window = "f7 with another window", 12*60_000
	p.Features = append(p.Features, Feature{Name: "f9", ID: "f9", Kind: Count, Window: 6 * 60_000, Steps: 1})
	p.Rules = append(p.Rules, Rule{ID: "AR-F9-001", Family: "F9", Severity: Low, Weight: 90, Status: Stable, Features: []int{8}, NeedsAgent: true})
	return p
}

// To adopt a pack is to save the state and to load it into an engine of that pack, to the byte, and once again for the
// pack after that.
func TestAdoptIsSaveAndLoad(t *testing.T) {
	for seed := range uint64(5) {
		events := stream(seed, 3000, 12)
		first, later := testPack(nil), laterPack()
		live, stored := NewEngine(first, Options{}), NewEngine(first, Options{})
		for i, e := range events {
			if i%1000 == 700 {
				p := []*Pack{later, first, later}[i/1000]
				saved := chunks(t, stored)
				stored = NewEngine(p, Options{})
				if err := load(stored, saved); err != nil {
					t.Fatal(err)
				}
				live.Adopt(p)
			}
			if got, want := line(live, e), line(stored, e); got != want {
				t.Fatalf("seed %d, event %d:\n got %s\nwant %s", seed, i, got, want)
			}
			if i%100 == 99 && !bytes.Equal(bytes.Join(chunks(t, live), nil), bytes.Join(chunks(t, stored), nil)) {
				t.Fatalf("seed %d, event %d: the states differ", seed, i)
			}
		}
	}
}

// A feature that did not change goes on counting; what is new or changed says so until it has seen a whole window. So a
// verdict that is not cold hits what an engine hits that judged by the new pack from the start.
func TestNewFeaturesAreMarked(t *testing.T) {
	cold, differ, warm := 0, 0, 0
	for seed := range uint64(5) {
		events := stream(seed, 4000, 12)
		g, fresh := NewEngine(testPack(nil), Options{}), NewEngine(laterPack(), Options{})
		var v, want Verdict
		rules := func(hits []Hit) string {
			var ids []string
			for _, h := range hits {
				ids = append(ids, g.pack.Rules[h.Rule].ID+" "+h.Why)
			}
			slices.Sort(ids)
			return strings.Join(ids, ", ")
		}
		for i, e := range events {
			if i == 1500 {
				g.Adopt(laterPack())
			}
			again := *e // the engine notes on the event what it found
			fresh.Judge(&again, &want)
			g.Judge(e, &v)
			if i < 1500 {
				if v.Flags&FlagCold != 0 {
					t.Fatalf("event %d is cold before anything changed", i)
				}
				continue
			}
			if v.Flags&FlagCold != 0 {
				cold++
				if rules(v.Hits) != rules(want.Hits) {
					differ++
				}
				continue
			}
			warm++
			if got, want := rules(v.Hits), rules(want.Hits); got != want {
				t.Fatalf("seed %d, event %d differs and is not marked:\n got %s\nwant %s", seed, i, got, want)
			}
		}
	}
	if cold == 0 || differ == 0 || warm == 0 {
		t.Errorf("%d cold, %d of them differ, %d warm: nothing was tried", cold, differ, warm)
	}
}

// A second pack with new features within a window leaves those of the first marked.
func TestTwoPacksWithinAWindow(t *testing.T) {
	with := func(ids ...string) *Pack {
		p := testPack(nil)
		p.Features, p.Rules = nil, nil
		for i, id := range ids {
			p.Features = append(p.Features, Feature{Name: id, ID: id, Kind: Count, Window: 60 * 60_000, Steps: 1})
			p.Rules = append(p.Rules, Rule{ID: "AR-T-00" + id, Family: "T", Weight: 1, Features: []int{i}, NeedsAgent: true})
		}
		return p
	}
	g := NewEngine(with("a"), Options{})
	var v Verdict
	cold := func(minute int64) bool {
		g.Judge(event("", "agent", "s", "a", minute*60), &v)
		return v.Flags&FlagCold != 0
	}
	steps := []struct {
		minute int64
		adopt  *Pack
		cold   bool
	}{
		{0, nil, false}, {1, with("a", "b"), true}, {59, nil, true}, {60, nil, false}, {61, with("a", "b", "c"), true},
		{119, with("a", "b", "c"), true}, {120, nil, false}, {122, with("a"), false}, {123, with("a", "b"), true}, {30 * 60, nil, false},
		{31 * 60, with("a", "b", "e"), false}, // nothing happened between the pack and a window ago
	}
	for _, s := range steps {
		if s.adopt != nil {
			g.Adopt(s.adopt)
		}
		if got := cold(s.minute); got != s.cold {
			t.Errorf("minute %d: cold %v, want %v", s.minute, got, s.cold)
		}
	}
	g.Adopt(with("a", "d"))
	if g.Judge(event("", "newcomer", "s", "a", 0), &v); v.Flags&FlagCold != 0 {
		t.Error("an agent that came after the pack is cold")
	}
}

// A state of the form before is read; of a form or an engine to come nothing is.
func TestVersionsOfState(t *testing.T) {
	for version, want := range map[string]bool{EngineVersion: true, StateVersion: true, EngineVersion + ".2": true, EngineVersion + ".4": false, "0": false, "": false} {
		if CanLoad(version) != want {
			t.Errorf("version %q: can load %v, want %v", version, !want, want)
		}
	}
	g := NewEngine(testPack(nil), Options{})
	for _, e := range stream(1, 200, 4) {
		line(g, e)
	}
	newer := chunks(t, g)
	newer[0][0] = snapshotVersion + 1
	if err := load(NewEngine(testPack(nil), Options{}), newer); err == nil || !strings.Contains(err.Error(), "reads 1 to 3") {
		t.Errorf("a state of version %d: %v", snapshotVersion+1, err)
	}
}

// No agent would be found in a state that was saved under another key, and every one of them would look new.
func TestStateOfAnotherKeyIsRefused(t *testing.T) {
	g := NewEngine(testPack(nil), Options{Key: [16]byte{1}})
	for _, e := range stream(1, 50, 4) {
		line(g, e)
	}
	saved := chunks(t, g)
	if err := load(NewEngine(testPack(nil), Options{Key: [16]byte{2}}), saved); err == nil || !strings.Contains(err.Error(), "another state key") {
		t.Errorf("another key: %v", err)
	}
	if err := load(NewEngine(testPack(nil), Options{Key: [16]byte{1}}), saved); err != nil {
		t.Errorf("the same key: %v", err)
	}
}
