package ingest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// countingPack has one rule that needs state: the third write of an agent within an hour, and every one after.
func countingPack() *scoring.Pack {
	return &scoring.Pack{
		Name: "counting", Digest: "counting",
		Features: []scoring.Feature{{Name: "writes_1h", ID: "writes_1h", Kind: scoring.Count, Per: scoring.PerAgent, Window: 3600_000, Steps: 1}},
		Rules: []scoring.Rule{{ID: "AR-TEST-001", Family: "TEST", Severity: scoring.High, Weight: 700, Status: scoring.Stable,
			Alert: true, Features: []int{0}, NeedsAgent: true}},
		NewEvaluator: func() scoring.Evaluator { return &countingEvaluator{} },
	}
}

type countingEvaluator struct {
	e     *scoring.Event
	value int64
}

func (c *countingEvaluator) Bind(e *scoring.Event)     { c.e, c.value = e, 0 }
func (c *countingEvaluator) SetFeature(_ int, v int64) { c.value = v }
func (c *countingEvaluator) Features(dst []int) []int  { return append(dst, 0) }
func (c *countingEvaluator) Step(int, int) (bool, error) {
	return c.e.Str(scoring.FieldToolOp) == "write", nil
}
func (c *countingEvaluator) Reset(int) (bool, error)  { return false, nil }
func (c *countingEvaluator) Value(int) (int64, error) { return 1, nil }
func (c *countingEvaluator) Rules(dst []int) []int    { return append(dst, 0) }
func (c *countingEvaluator) When(int) (bool, error)   { return c.value >= 3, nil }
func (c *countingEvaluator) Why(int) string           { return fmt.Sprintf("writes_1h = %d", c.value) }

// testLog makes partitions full of events of a few agents, with bad records, control records, aborted ones and
// offsets that compaction took.
func testLog(r *rand.Rand, partitions int32, n int) *memoryLog {
	m := &memoryLog{first: map[int32]int64{}, parts: map[int32][]Entry{}}
	clock := time.Date(2026, 5, 1, 22, 0, 0, 0, time.UTC) // midnight falls into the stream
	for p := range partitions {
		at := clock
		for o := range int64(n) {
			at = at.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
			e := Entry{First: o, Last: o, AppendTime: true}
			e.Record = Record{Topic: "agent.events.a", Partition: p, Offset: o, Time: at.UnixMilli(), Key: []byte("k")}
			switch r.IntN(40) {
			case 0:
				e.Record.Value = []byte(`{"id":`)
			case 1:
				e.Kind, e.Record = EntryControl, Record{}
			case 2:
				e.Kind, e.Record = EntryAborted, Record{}
			case 3:
				e = Entry{} // compaction
			default:
				op := []string{"read", "write"}[r.IntN(2)]
				e.Record.Value = fmt.Appendf(nil, `{"id":"e%d-%d","kind":"tool_call","time":%q,"tenant.id":"t","agent.id":"a%d","conversation.id":"s%d","tool.name":"x","tool.op":%q}`,
					p, o, at.Add(-time.Duration(r.IntN(5000))*time.Millisecond).Format(time.RFC3339Nano), r.IntN(5), o/50, op)
			}
			m.parts[p] = append(m.parts[p], e)
		}
	}
	return m
}

// life runs one process until its context ends: it joins, serves, joins again. With several packs it begins with one and
// adopts another every few seconds.
func life(ctx context.Context, t *testing.T, log *memoryLog, store *memoryStore, group *memoryGroup, outbox *memoryOutbox, fault func(string) error, r *rand.Rand, packs ...*scoring.Pack) {
	lifeWith(ctx, t, log, store, group, outbox, fault, r, func(*Pipeline) {}, packs...)
}

// lifeWith is life with a pipeline that made changes before it serves.
func lifeWith(ctx context.Context, t *testing.T, log *memoryLog, store *memoryStore, group *memoryGroup, outbox *memoryOutbox, fault func(string) error, r *rand.Rand, made func(*Pipeline), packs ...*scoring.Pack) {
	if len(packs) == 0 {
		packs = []*scoring.Pack{countingPack()}
	}
	budget, err := NewBudget(MinBudget)
	if err != nil {
		t.Error(err)
		return
	}
	b := Binding{Topics: "agent.events.*"}
	if err := b.Check(); err != nil {
		t.Error(err)
		return
	}
	p, err := New(Config{Log: log, Store: store, Outbox: outbox, DeadLetterTopic: memoryDead{fault}, Pack: packs[r.IntN(len(packs))], Packs: memoryPacks(packs), Bindings: []Binding{b},
		Budget: budget, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Deployment: "d", Incarnation: fmt.Sprint(r.Uint64())})
	if err != nil {
		t.Error(err)
		return
	}
	if len(packs) > 1 {
		own := rand.New(rand.NewPCG(r.Uint64(), 3))
		go func() {
			for sleep(ctx, time.Duration(own.IntN(4000))*time.Millisecond) {
				p.Adopt(packs[own.IntN(len(packs))])
			}
		}()
	}
	made(p)
	for ctx.Err() == nil {
		group.mu.Lock()
		group.generation++
		id := group.generation
		group.mu.Unlock()
		gctx, end := context.WithTimeout(ctx, time.Duration(1+r.IntN(20))*time.Second)
		var parts []int32
		for n := range int32(len(log.parts)) {
			parts = append(parts, n)
		}
		if err := p.Serve(gctx, &memoryGeneration{group: group, id: id, partitions: parts, end: end, fault: fault}); err != nil {
			t.Error(err)
		}
		end()
	}
}

// TestExactlyOnce breaks a lane's world at random and compares what is stored with a quiet run: every origin has
// one row or one reason, every verdict is equal, every alert of a stored row is in the outbox, and the ledger has
// neither hole nor overlap.
func TestExactlyOnce(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := testLog(rand.New(rand.NewPCG(seed, 1)), 2, 600)
				quiet, quietBox := runAll(t, log, seed, 0)
				log.began, log.pace = time.Now(), 60*time.Millisecond // it grows meanwhile: bounds that are no law differ
				rough, roughBox := runAll(t, log, seed, 6)
				compareStores(t, log, quiet, rough)
				for id := range quietBox.ids {
					if roughBox.ids[id] == 0 {
						t.Errorf("alert %s is not in the outbox", id)
					}
				}
			})
		})
	}
}

// runAll runs processes one after the other until the ledger covers the log; roughness 0 never breaks anything,
// n breaks one call in n until the last life.
func runAll(t *testing.T, log *memoryLog, seed uint64, roughness int, packs ...*scoring.Pack) (*memoryStore, *memoryOutbox) {
	r := rand.New(rand.NewPCG(seed, 2))
	store, group := newMemoryStore(), &memoryGroup{commits: map[int32]commitment{}}
	fine := func(string) error { return nil }
	outbox := &memoryOutbox{ids: map[string]int{}, fault: fine}
	if roughness > 0 {
		for range 8 {
			fault := faults(r, roughness)
			store.fault, outbox.fault = fault, fault
			ctx, kill := context.WithTimeout(t.Context(), time.Duration(r.IntN(30_000))*time.Millisecond)
			life(ctx, t, log, store, group, outbox, fault, r, packs...)
			kill()
		}
	}
	store.fault, outbox.fault = fine, fine
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	life(ctx, t, log, store, group, outbox, fine, r, packs...)
	store.arrive(0)
	return store, outbox
}

func compareStores(t *testing.T, log *memoryLog, quiet, rough *memoryStore) {
	t.Helper()
	if len(quiet.rows) == 0 || len(quiet.alerts) == 0 {
		t.Fatalf("quiet run: %d rows, %d alerts", len(quiet.rows), len(quiet.alerts))
	}
	for o, rows := range quiet.rows {
		got := rough.rows[o]
		if len(got) != 1 || got[0] != rows[0] {
			t.Errorf("%s: %d rows\n got %s\nwant %s", o, len(got), strings.Join(got, "\n"), rows[0])
			return
		}
	}
	if len(rough.rows) != len(quiet.rows) || len(rough.letters) != len(quiet.letters) {
		t.Errorf("%d rows and %d dead letters, want %d and %d", len(rough.rows), len(rough.letters), len(quiet.rows), len(quiet.letters))
	}
	for p, entries := range log.parts {
		for _, e := range entries {
			o := scoring.Origin{Topic: "agent.events.a", Partition: p, Offset: e.First}
			_, dead := rough.letters[o]
			if e.Record.Topic != "" && dead == (len(rough.rows[o]) == 1) {
				t.Errorf("%s: wants one row or one reason", o)
			}
		}
		checkLines(t, rough.sorted(p, 0), int64(len(entries)))
	}
}

func checkLines(t *testing.T, lines []scoring.Line, end int64) {
	t.Helper()
	sort.SliceStable(lines, func(i, j int) bool { return lines[i].From < lines[j].From })
	at := int64(0)
	var last scoring.Line
	for _, l := range lines {
		if l.From == l.To || l.Range == last.Range { // idle lines, and a line whose answer was lost
			continue
		}
		if l.From != at {
			t.Errorf("ledger goes from %d to %d", at, l.From)
		}
		at, last = l.To, l
	}
	if at != end {
		t.Errorf("ledger ends at %d, the log at %d", at, end)
	}
}
