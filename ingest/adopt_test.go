package ingest

import (
	"context"
	"fmt"

	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// opsPack counts the events of each tool operation over an hour, and hits from the third on.
func opsPack(digest string, ops ...string) *scoring.Pack {
	p := &scoring.Pack{Name: "ops", Version: "1", Digest: digest}
	for i, op := range ops {
		p.Features = append(p.Features, scoring.Feature{Name: op, ID: op, Kind: scoring.Count, Per: scoring.PerAgent, Window: 3600_000, Steps: 1})
		p.Rules = append(p.Rules, scoring.Rule{ID: "AR-" + op + "-001", Family: op, Severity: scoring.High, Weight: 500, Status: scoring.Stable,
			Alert: true, Features: []int{i}, NeedsAgent: true})
	}
	p.NewEvaluator = func() scoring.Evaluator { return &opsEvaluator{ops: ops, values: make([]int64, len(ops))} }
	return p
}

type opsEvaluator struct {
	ops    []string
	e      *scoring.Event
	values []int64
}

func (o *opsEvaluator) Bind(e *scoring.Event)     { o.e = e }
func (o *opsEvaluator) SetFeature(i int, v int64) { o.values[i] = v }
func (o *opsEvaluator) all(dst []int) []int {
	for i := range o.ops {
		dst = append(dst, i)
	}
	return dst
}
func (o *opsEvaluator) Features(dst []int) []int { return o.all(dst) }
func (o *opsEvaluator) Rules(dst []int) []int    { return o.all(dst) }
func (o *opsEvaluator) Step(i, _ int) (bool, error) {
	return o.e.Str(scoring.FieldToolOp) == o.ops[i], nil
}
func (o *opsEvaluator) Reset(int) (bool, error)  { return false, nil }
func (o *opsEvaluator) Value(int) (int64, error) { return 1, nil }
func (o *opsEvaluator) When(i int) (bool, error) { return o.values[i] >= 3, nil }
func (o *opsEvaluator) Why(i int) string         { return fmt.Sprintf("%s = %d", o.ops[i], o.values[i]) }

func memoryPacks(packs []*scoring.Pack) Packs {
	return func(_ context.Context, digest string) (*scoring.Pack, error) {
		for _, p := range packs {
			if p.Digest == digest {
				return p, nil
			}
		}
		return nil, nil
	}
}

// Packs come and go while the lane's world breaks at random. Every origin still has one row or one reason, and every
// verdict follows from the log and the ledger: an engine that walks the ledger line by line, and adopts the pack that a
// line names, gives every row of a range that was judged in one go, to the bit.
func TestVerdictsFollowFromLogAndLedger(t *testing.T) {
	packs := []*scoring.Pack{opsPack("a", "write"), opsPack("b", "read", "write"), opsPack("c", "read")}
	several := 0
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			log := testLog(rand.New(rand.NewPCG(seed, 1)), 2, 600)
			log.began, log.pace = time.Now(), 100*time.Millisecond
			roughness := 6
			if seed%4 == 0 {
				roughness = 0
			}
			store, _ := runAll(t, log, seed, roughness, packs...)
			for p, entries := range log.parts {
				lines := store.sorted(p, 0)
				checkLines(t, lines, int64(len(entries)))
				several += followLedger(t, fmt.Sprintf("seed %d, partition %d", seed, p), entries, lines, store, packs)
			}
		})
	}
	if several < 20 {
		t.Errorf("%d changes of the pack in all: nothing was tried", several)
	}
}

// followLedger judges the log as the ledger says that it was judged, and returns how often the pack changed.
func followLedger(t *testing.T, name string, entries []Entry, lines []scoring.Line, store *memoryStore, packs []*scoring.Pack) (changes int) {
	t.Helper()
	var judge *Judge
	var pack *scoring.Pack
	at := int64(0)
	for _, x := range lines {
		if x.From == x.To || x.From != at {
			continue
		}
		at = x.To
		if pack == nil || pack.Digest != x.Pack {
			before := pack
			pack, _ = memoryPacks(packs)(t.Context(), x.Pack)
			if before == nil {
				judge, _ = NewJudge(scoring.NewEngine(pack, scoring.Options{}), "json", scoring.KeyedByAgent, "a")
			} else {
				judge.Engine.Adopt(pack)
				changes++
			}
		}
		for i := x.From; i < x.To; i++ {
			e := entries[i]
			if e.Record.Topic == "" || e.Kind != EntryRecord {
				continue
			}
			out := &memoryBlock{pack: pack, alerts: map[scoring.Origin]scoring.Alert{}}
			judge.Record(&e.Record, blockOutput{out})
			for n, o := range out.origins {
				if x.Status == scoring.LineDone && store.rows[o][0] != out.rows[n] {
					t.Errorf("%s: %s\n got %s\nwant %s", name, o, store.rows[o][0], out.rows[n])
					return changes
				}
			}
		}
	}
	return changes
}

type blockOutput struct{ *memoryBlock }

func (b blockOutput) Row(e *scoring.Event, v *scoring.Verdict) { b.Append(e, v) }
func (b blockOutput) Dead(*scoring.DeadLetter)                 {}

// A state that another program saved in a newer form, or under a newer engine, is passed over, and what can be read is:
// here nothing, so the state comes from the log.
func TestNewerSnapshotIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pack := opsPack("a", "write")
		log := testLog(rand.New(rand.NewPCG(1, 1)), 1, 300)
		store, _ := runAll(t, log, 1, 6, pack)
		for i := range store.snapshots {
			store.snapshots[i].Engine += ".9"
		}
		at := int64(200)
		store.mu.Lock()
		for o := range store.rows {
			if o.Offset >= at {
				delete(store.rows, o)
			}
		}
		var kept []scoring.Line
		for _, l := range store.sorted(0, 0) {
			if l.To <= at {
				kept = append(kept, l)
			}
		}
		store.lines = kept
		store.snapshots = append(store.snapshots, memorySnapshot{Snapshot: Snapshot{Topic: "agent.events.a", Offset: kept[len(kept)-1].To, Pack: "a", Engine: scoring.StateVersion + "9"}, chunks: [][]byte{{99}}})
		store.mu.Unlock()
		group := &memoryGroup{commits: map[int32]commitment{}}
		fine := func(string) error { return nil }
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		life(ctx, t, log, store, group, &memoryOutbox{ids: map[string]int{}, fault: fine}, fine, rand.New(rand.NewPCG(1, 9)), pack)
		checkLines(t, store.sorted(0, 0), 300)
		followLedger(t, "newer snapshot", log.parts[0], store.sorted(0, 0), store, []*scoring.Pack{pack})
	})
}
