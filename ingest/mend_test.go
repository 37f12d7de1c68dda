package ingest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/agentrisk/agentrisk/scoring"
)

// memoryMending mends what a memoryStore holds.
type memoryMending struct {
	s    *memoryStore
	held []string
}

func (m *memoryMending) Items(_ context.Context, r scoring.Range, yield func(int64, int32)) error {
	for o := range m.s.rows {
		if o.Partition == r.Partition && r.From <= o.Offset && o.Offset < r.To {
			yield(o.Offset, o.Item)
		}
	}
	for o := range m.s.letters {
		if o.Partition == r.Partition && r.From <= o.Offset && o.Offset < r.To {
			yield(o.Offset, o.Item)
		}
	}
	return nil
}

func (m *memoryMending) Merge(_ context.Context, r scoring.Range) ([]string, error) {
	for o, rows := range m.s.rows {
		if o.Partition == r.Partition && r.From <= o.Offset && o.Offset < r.To {
			m.s.rows[o] = rows[:1]
		}
	}
	return []string{"merged"}, nil
}

func (m *memoryMending) DropLetters(_ context.Context, r scoring.Range) (n int, err error) {
	for o := range m.s.letters {
		if len(m.s.rows[o]) > 0 && o.Partition == r.Partition && r.From <= o.Offset && o.Offset < r.To {
			delete(m.s.letters, o)
			n++
		}
	}
	return n, nil
}

func (m *memoryMending) Hold(context.Context, string, int32, int32, string, string) ([]string, error) {
	return m.held, nil
}

func (m *memoryMending) Release(context.Context, string, int32, int32, string) error { return nil }

// mendBench is a quiet run's store, a pipeline at rest, and the group's commit.
func mendBench(t *testing.T, log *memoryLog, store *memoryStore, committed int64) (*Reconciler, *memoryMending) {
	t.Helper()
	budget, err := NewBudget(MinBudget)
	if err != nil {
		t.Fatal(err)
	}
	b := Binding{Topics: "agent.events.*"}
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	fine := func(string) error { return nil }
	p, err := New(Config{Log: log, Store: store, Outbox: &memoryOutbox{ids: map[string]int{}, fault: fine}, DeadLetterTopic: memoryDead{fine}, Pack: countingPack(), Bindings: []Binding{b},
		Budget: budget, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Deployment: "d", Incarnation: "mender"})
	if err != nil {
		t.Fatal(err)
	}
	at := func(context.Context, string, int32, int32) (int64, error) { return committed, nil }
	mending := &memoryMending{s: store}
	audit := memoryAudit{store}
	return &Reconciler{Log: log, Audit: audit, Committed: at, Mender: &Mender{Pipeline: p, Audit: audit, Mending: mending, Committed: at, Who: "test"}}, mending
}

// Whatever is lost or doubled, of a log with control records, aborted ones, holes and records that compaction took later,
// is mended once and for all, with the verdicts of the quiet run where the log still holds all.
func TestMend(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			log := testLog(rand.New(rand.NewPCG(seed, 1)), 1, 600)
			var store *memoryStore
			synctest.Test(t, func(t *testing.T) { store, _ = runAll(t, log, seed, 0) })
			rows, letters := map[scoring.Origin]string{}, len(store.letters)
			for o, list := range store.rows {
				rows[o] = list[0]
			}
			for o := range store.rows {
				switch r.IntN(12) {
				case 0:
					delete(store.rows, o)
				case 1:
					store.rows[o] = append(store.rows[o], "again")
				case 2:
					if seed%2 == 0 {
						continue
					}
					log.parts[0][o.Offset] = Entry{} // compaction, after it was judged: its row stands
				case 3:
					store.letters[o] = scoring.ReasonJSON
				}
			}
			for o := range store.letters {
				if r.IntN(3) == 0 && len(store.rows[o]) == 0 && log.parts[0][o.Offset].Record.Topic != "" {
					delete(store.letters, o)
				}
			}
			var lines []scoring.Line
			for _, l := range store.lines {
				switch r.IntN(6) {
				case 0: // lost
				case 1:
					if seed%2 == 0 { // after compaction nobody can say whether the line is wrong, or a row gone for good
						l.Rows++
					}
					fallthrough
				default:
					lines = append(lines, l)
				}
			}
			store.lines = lines
			if len(lines) == 0 {
				return
			}
			rec, mending := mendBench(t, log, store, 600)
			quiet := *rec
			quiet.Mender = nil
			before, err := quiet.Lane(t.Context(), "agent.events.a", 0, 0, false)
			if err != nil {
				t.Fatal(err)
			}
			if before.OK() {
				t.Error("reconcile sees nothing of the damage")
			}
			mending.held = []string{"somebody"}
			if _, err := rec.Lane(t.Context(), "agent.events.a", 0, 0, false); err == nil || !strings.Contains(err.Error(), "somebody") {
				t.Errorf("%v: want a refusal that names who mends the lane", err)
			}
			mending.held = nil
			did, err := rec.Lane(t.Context(), "agent.events.a", 0, 0, false)
			if err != nil || !did.OK() || len(did.Mended) == 0 {
				t.Fatalf("%v: %+v", err, did)
			}
			again, err := rec.Lane(t.Context(), "agent.events.a", 0, 0, false)
			if err != nil || !again.OK() || len(again.Mended) > 0 {
				t.Errorf("%v: the second repair did %v and found %+v", err, again.Mended, again.Findings)
			}
			least := slices.MinFunc(lines, func(a, b scoring.Line) int { return int(a.From - b.From) }).From
			for o, want := range rows {
				if got := store.rows[o]; o.Offset >= least && log.parts[0][o.Offset].Record.Topic != "" && (len(got) != 1 || got[0] != want && seed%2 == 0) { // what compaction took is missing from the state, too
					t.Errorf("%s: %d rows %s, want %s", o, len(got), got, want)
				}
			}
			if len(store.letters) != letters {
				t.Errorf("%d dead letters, want %d", len(store.letters), letters)
			}
		})
	}
}

// What lies beyond the group's commit is the running lane's to do.
func TestMendLeavesTheLaneItsOwn(t *testing.T) {
	log := testLog(rand.New(rand.NewPCG(3, 1)), 1, 600)
	var store *memoryStore
	synctest.Test(t, func(t *testing.T) { store, _ = runAll(t, log, 3, 0) })
	for o := range store.rows {
		if o.Offset > 500 {
			delete(store.rows, o)
		}
	}
	rec, _ := mendBench(t, log, store, 10)
	r, err := rec.Lane(t.Context(), "agent.events.a", 0, 0, false)
	if err != nil || r.OK() || len(r.Mended) > 0 {
		t.Errorf("%v: %+v; want findings and nothing done", err, r)
	}
}
