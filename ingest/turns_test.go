package ingest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Two living processes with different packs take the lanes from one another again and again, often before the one that
// lost them has noticed; calls fail, answers are lost, inserts arrive late. Every origin has one row or one reason, the
// ledger has neither hole nor overlap, each row's verdict follows from the log, and the alerts that were written are
// those of the rows that stand.
func TestProcessesTakeTurns(t *testing.T) {
	// One rule and what it needs, in both: only who pages differs, so rows differ by who judged them and not by when.
	pages, silent := opsPack("pages", "write"), opsPack("silent", "write")
	silent.Rules[0].Alert, silent.Rules[0].Weight = false, 0
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			log := testLog(rand.New(rand.NewPCG(seed, 1)), 2, 600)
			log.began, log.pace = time.Now(), 80*time.Millisecond
			r := rand.New(rand.NewPCG(seed, 4))
			store, group := newMemoryStore(), &memoryGroup{commits: map[int32]commitment{}}
			outbox := &memoryOutbox{ids: map[string]int{}}
			broken := faults(rand.New(rand.NewPCG(seed, 5)), 7)
			fine := func(string) error { return nil }
			store.fault, outbox.fault = broken, broken
			var procs [2]*Pipeline
			for i, pack := range []*scoring.Pack{pages, silent} {
				procs[i] = turnsPipeline(t, log, store, outbox, broken, pack, memoryPacks([]*scoring.Pack{pages, silent}))
			}
			var serving [2]sync.WaitGroup
			serve := func(i int, reign time.Duration, fault func(string) error) {
				serving[i].Wait() // a process serves one generation at a time
				group.mu.Lock()
				group.generation++
				id := group.generation
				group.mu.Unlock()
				ctx, end := context.WithTimeout(t.Context(), reign)
				serving[i].Go(func() {
					defer end()
					if err := procs[i].Serve(ctx, &memoryGeneration{group: group, id: id, partitions: []int32{0, 1}, end: end, fault: fault}); err != nil {
						t.Error(err)
					}
				})
			}
			for range 25 {
				reign := time.Duration(r.IntN(6000)) * time.Millisecond
				serve(r.IntN(2), reign+time.Duration(r.IntN(2))*3*time.Second, broken)
				time.Sleep(reign)
			}
			serving[0].Wait()
			serving[1].Wait()
			store.fault, outbox.fault = fine, fine
			serve(0, 5*time.Minute, fine)
			serving[0].Wait()
			store.arrive(0)

			name := fmt.Sprintf("seed %d", seed)
			for p, entries := range log.parts {
				checkLines(t, store.sorted(p, 0), int64(len(entries)))
				for _, e := range entries {
					o := scoring.Origin{Topic: "agent.events.a", Partition: p, Offset: e.First}
					_, dead := store.letters[o]
					if rows := len(store.rows[o]); e.Record.Topic != "" && (rows > 1 || dead == (rows == 1)) {
						t.Fatalf("%s: %s has %d rows and a dead letter: %v", name, o, rows, dead)
					}
				}
			}
			for o, a := range store.alerts {
				if outbox.ids[a.ID] == 0 {
					t.Errorf("%s: the row of %s pages, and nobody was paged", name, o)
				}
			}
			if pagesOf(store) < len(outbox.ids) {
				t.Errorf("%s: %d pages, %d rows that page", name, len(outbox.ids), pagesOf(store))
			}
		})
	}
}

func pagesOf(s *memoryStore) int { return len(s.alerts) }

func turnsPipeline(t *testing.T, log *memoryLog, store *memoryStore, outbox *memoryOutbox, fault func(string) error, pack *scoring.Pack, packs Packs) *Pipeline {
	t.Helper()
	budget, err := NewBudget(MinBudget * 2)
	if err != nil {
		t.Fatal(err)
	}
	b := Binding{Topics: "agent.events.*"}
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Log: log, Store: store, Outbox: outbox, DeadLetterTopic: memoryDead{fault}, Pack: pack, Packs: packs, Bindings: []Binding{b},
		Budget: budget, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Deployment: "d", Incarnation: pack.Digest})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
