package ingest

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Histories 20 and 60: the broker accepts a plan, the process sleeps past its session, and others own the lane when it
// wakes up. It asks before it sends, and sends nothing.
func TestHistory60AProcessThatSleptAsksBeforeItSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemoryStore()
		p := testPipeline(t, testLog(rand.New(rand.NewPCG(60, 1)), 1, 300), store)
		ctx, end := context.WithTimeout(t.Context(), time.Minute)
		defer end()
		group := &memoryGroup{generation: 1, commits: map[int32]commitment{}}
		slept := false
		gen := &memoryGeneration{group: group, id: 1, partitions: []int32{0}, end: end, fault: func(what string) error {
			if what == "commit after" && !slept {
				slept = true
				group.generation++ // the coordinator gave the lane away
				time.Sleep(13 * time.Second)
			}
			return nil
		}}
		if err := p.Serve(ctx, gen); err != nil {
			t.Error(err)
		}
		if !slept || len(store.rows) != 0 || len(store.lines) > 1 {
			t.Errorf("slept %v, then sent %d rows and wrote %d lines of the ledger; want the line of the start alone", slept, len(store.rows), len(store.lines))
		}
	})
}

// A lane that goes to another process in the middle of a batch gives its memory back, and the others live on.
func TestALaneLeavesInTheMiddleOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, group, fine := newMemoryStore(), &memoryGroup{generation: 1, commits: map[int32]commitment{}}, func(string) error { return nil }
		p := testPipeline(t, testLog(rand.New(rand.NewPCG(61, 1)), 2, 300), store)
		store.fault = func(what string) error {
			if what == "insert before" {
				return errInjected // the batch of each lane stays planned
			}
			return nil
		}
		serve := func(id int, partitions ...int32) {
			ctx, end := context.WithTimeout(t.Context(), time.Minute)
			defer end()
			if err := p.Serve(ctx, &memoryGeneration{group: group, id: id, partitions: partitions, end: end, fault: fine}); err != nil {
				t.Error(err)
			}
		}
		serve(1, 0, 1)
		store.fault = fine
		group.generation++
		serve(2, 1)
		if used := p.Budget.Used(); used != 0 {
			t.Errorf("%d bytes of the budget are held by nobody", used)
		}
		if at, err := store.Position(t.Context(), "", 1, 0); err != nil || at.To != 300 {
			t.Errorf("the lane that stayed is done up to %d, %v; want 300", at.To, err)
		}
	})
}

// testPipeline is a process with the counting pack.
func testPipeline(t *testing.T, log *memoryLog, store *memoryStore) *Pipeline {
	t.Helper()
	budget, err := NewBudget(MinBudget * 2)
	if err != nil {
		t.Fatal(err)
	}
	b := Binding{Topics: "agent.events.*"}
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	fine := func(string) error { return nil }
	p, err := New(Config{Log: log, Store: store, Outbox: &memoryOutbox{ids: map[string]int{}, fault: fine}, DeadLetterTopic: memoryDead{fine},
		Pack: countingPack(), Bindings: []Binding{b}, Budget: budget, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Deployment: "d", Incarnation: "i"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A lane whose topic holds nothing yet has nothing to compare at a start; that is no start to worry about.
func TestStartOfAnEmptyLaneIsNoUnverifiedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, group, fine := newMemoryStore(), &memoryGroup{commits: map[int32]commitment{}}, func(string) error { return nil }
		log := &memoryLog{first: map[int32]int64{}, parts: map[int32][]Entry{0: nil}}
		for id := 1; id <= 3; id++ { // a process each
			p := testPipeline(t, log, store)
			group.generation = id
			ctx, end := context.WithTimeout(t.Context(), 5*time.Second)
			if err := p.Serve(ctx, &memoryGeneration{group: group, id: id, partitions: []int32{0}, end: end, fault: fine}); err != nil {
				t.Error(err)
			}
			end()
			if n := testutil.ToFloat64(p.metrics.Unverified); n != 0 {
				t.Errorf("start %d: %v unverified starts", id, n)
			}
		}
	})
}

// madeAgainLog is a log that becomes another one while who reads it sleeps.
type madeAgainLog struct {
	*memoryLog
	next map[int32][]Entry
	at   int64 // when this is fetched
}

func (m *madeAgainLog) Fetch(ctx context.Context, topic string, p int32, offset int64, wait time.Duration) (Chunk, error) {
	c, err := m.memoryLog.Fetch(ctx, topic, p, offset, wait)
	if offset == m.at && m.next != nil {
		time.Sleep(leaseTime)
		m.mu.Lock()
		m.parts, m.next = m.next, nil
		m.mu.Unlock()
	}
	return c, err
}

// History 43: a topic is made again, and filled beyond the position, while a process sleeps. When it wakes every fetch
// succeeds; nothing of the new topic may be stored as if it went on where the old one ended.
func TestHistory43TopicMadeAgainWhileAProcessSlept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, after := testLog(rand.New(rand.NewPCG(43, 1)), 1, 100), testLog(rand.New(rand.NewPCG(43, 2)), 1, 300)
		store := newMemoryStore()
		s := takeOver(t, old, store, newGroup(), time.Minute, func(p *Pipeline) {
			p.Log = &madeAgainLog{old, after.parts, 100}
		})
		if s.State != stateParked || s.Reason != string(ParkChanged) || s.Done != 100 {
			t.Errorf("the lane is %s %s at %d, want it parked at 100", s.State, s.Reason, s.Done)
		}
		for o := range store.rows {
			if o.Offset >= 100 {
				t.Errorf("a row of %v, which is of the new topic", o)
			}
		}
		if len(store.rows) == 0 {
			t.Error("nothing of the old topic is stored")
		}
	})
}
