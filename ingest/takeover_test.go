package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// takeOver serves partition 0 for a while as the next process of the group, and returns the lane as it then stands.
func takeOver(t *testing.T, log *memoryLog, store *memoryStore, group *memoryGroup, life time.Duration, change func(*Pipeline)) LaneStatus {
	t.Helper()
	p := testPipeline(t, log, store)
	p.Incarnation, p.Trial = fmt.Sprint("process ", group.generation), &scripted{}
	if change != nil {
		change(p)
	}
	group.generation++
	ctx, end := context.WithTimeout(t.Context(), life)
	defer end()
	fine := func(string) error { return nil }
	served := make(chan error, 1)
	go func() {
		served <- p.Serve(ctx, &memoryGeneration{group: group, id: group.generation, partitions: []int32{0}, end: end, fault: fine})
	}()
	time.Sleep(life - time.Second)
	s := p.Status()[0]
	if err := <-served; err != nil {
		t.Error(err)
	}
	return s
}

func newGroup() *memoryGroup { return &memoryGroup{commits: map[int32]commitment{}} }

// History 37: retention took what lies between the position and the log's start, in the middle of a plan. The lane parks
// and says what can be done; by policy it goes on, and the ledger says what is lost.
func TestHistory37LogStartsBeyondThePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store, group := testLog(rand.New(rand.NewPCG(37, 1)), 1, 600), newMemoryStore(), newGroup()
		all := log.parts[0]
		log.parts[0] = all[:200]
		takeOver(t, log, store, group, time.Minute, nil)
		log.parts[0] = all
		store.fault = func(what string) error {
			if what == "insert before" {
				return errInjected
			}
			return nil
		}
		takeOver(t, log, store, group, time.Minute, nil) // leaves its plan behind
		store.fault = func(string) error { return nil }
		planned, err := parsePlan(group.commits[0].metadata)
		if err != nil || group.commits[0].offset != 200 || planned.To <= 210 {
			t.Fatalf("commit %+v, %v: want a plan that begins at 200", group.commits[0], err)
		}
		log.first[0] = 210
		if s := takeOver(t, log, store, group, time.Minute, nil); s.State != stateParked || !strings.Contains(s.Detail, "on_lost: continue") || !strings.Contains(s.Detail, "10 offsets") {
			t.Fatalf("lane is %s: %s", s.State, s.Detail)
		}
		takeOver(t, log, store, group, time.Minute, func(p *Pipeline) { p.Bindings[0].OnLost = "continue" })
		lines := store.sorted(0, 0)
		checkLines(t, lines, 600)
		var lost []scoring.Line
		for _, l := range lines {
			if l.Status == scoring.LineLost {
				lost = append(lost, l)
			}
		}
		if len(lost) != 1 || lost[0].From != 200 || lost[0].To != 210 || lost[0].Rows != 0 {
			t.Errorf("lost lines %+v", lost)
		}
		if r, err := (&Reconciler{Log: log, Audit: memoryAudit{store}}).Lane(t.Context(), "agent.events.a", 0, 0, false); err != nil || !r.OK() || r.NotInLog != 210 {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

// History 62: a plan of twice the rows that this program would cut is replayed with its bounds, as one batch.
func TestHistory62BoundsMadeOnABiggerMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store, group := &memoryLog{first: map[int32]int64{}, parts: map[int32][]Entry{}}, newMemoryStore(), newGroup()
		day := time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC).UnixMilli()
		const n = MaxBatchRows + 20_000
		for o := range int64(n) {
			log.parts[0] = append(log.parts[0], Entry{First: o, Last: o, AppendTime: true, Record: Record{Topic: "agent.events.a", Offset: o, Time: day, Value: []byte(`{"kind":"x"}`)}})
		}
		all := log.parts[0]
		log.parts[0] = all[:0]
		takeOver(t, log, store, group, time.Minute, nil) // the ledger begins
		log.parts[0] = all
		big := plan{Version: planVersion, To: n, Cluster: "", Incarnation: "of a bigger machine", LastOffset: -1}
		group.commits[0] = commitment{0, big.encode()}
		takeOver(t, log, store, group, time.Minute, nil)
		var ranges []scoring.Range
		for _, l := range store.sorted(0, 0) {
			if l.From < l.To {
				ranges = append(ranges, l.Range)
			}
		}
		if len(ranges) != 1 || ranges[0].From != 0 || ranges[0].To != n || len(store.rows) != n {
			t.Errorf("ranges %v, %d rows; want the one that was planned", ranges, len(store.rows))
		}
	})
}

// History 65: compaction took the record before the position. It cannot be compared, which is counted, and nothing is lost.
func TestHistory65CompactionTookTheRecordBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store, group := testLog(rand.New(rand.NewPCG(65, 1)), 1, 400), newMemoryStore(), newGroup()
		all := log.parts[0]
		log.parts[0] = all[:200]
		takeOver(t, log, store, group, time.Minute, nil)
		for o := 150; o < 200; o++ {
			all[o] = Entry{}
		}
		log.parts[0] = all
		if s := takeOver(t, log, store, group, time.Minute, nil); s.State != stateRunning || s.Done != 400 {
			t.Errorf("lane is %s at %d: %s", s.State, s.Done, s.Detail)
		}
		checkLines(t, store.sorted(0, 0), 400)
	})
}

// Somebody else's text in the group's commit: with a ledger the truth stands there and the text is passed over; without one
// the lane parks. A commit of a version that does not exist yet is as foreign as a consumer's that writes none.
func TestForeignMetadata(t *testing.T) {
	for _, text := range []string{"", "consumer-7", `{"v":99,"to":1000}`, "\x00\xff", strings.Repeat("x", 4096)} {
		synctest.Test(t, func(t *testing.T) {
			log, store, group := testLog(rand.New(rand.NewPCG(66, 1)), 1, 400), newMemoryStore(), newGroup()
			group.commits[0] = commitment{120, text}
			if s := takeOver(t, log, store, group, time.Minute, nil); s.State != stateParked || !strings.Contains(s.Detail, "no ledger") || len(store.rows) != 0 {
				t.Errorf("%.20q without a ledger: lane is %s with %d rows: %s", text, s.State, len(store.rows), s.Detail)
			}
			all := log.parts[0]
			log.parts[0] = all[:200]
			delete(group.commits, 0)
			takeOver(t, log, store, group, time.Minute, nil)
			log.parts[0] = all
			for _, offset := range []int64{0, 120, 200, 390} {
				group.commits[0] = commitment{offset, text}
				if s := takeOver(t, log, store, group, time.Minute, nil); s.State != stateRunning || s.Done != 400 {
					t.Errorf("%.20q at %d: lane is %s at %d: %s", text, offset, s.State, s.Done, s.Detail)
				}
			}
			checkLines(t, store.sorted(0, 0), 400)
			for o, rows := range store.rows {
				if len(rows) != 1 {
					t.Errorf("%.20q: %d rows of %s", text, len(rows), o)
				}
			}
		})
	}
}

// A partition in which nothing happens for a day: the ledger says once a minute that its lane is alive, and what comes then is
// judged.
func TestADayWithoutRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store, group := testLog(rand.New(rand.NewPCG(67, 1)), 1, 300), newMemoryStore(), newGroup()
		all := log.parts[0]
		log.parts[0] = all[:100]
		takeOver(t, log, store, group, 24*time.Hour, nil)
		idle := 0
		for _, l := range store.lines {
			if l.Status == scoring.LineIdle && l.From == 100 && l.To == 100 {
				idle++
			}
		}
		if idle < 1430 || idle > 1442 {
			t.Errorf("%d idle lines in a day, want one a minute", idle)
		}
		log.parts[0] = all
		if s := takeOver(t, log, store, group, time.Minute, nil); s.Done != 300 {
			t.Errorf("done up to %d of 300 after the day: %s %s", s.Done, s.State, s.Detail)
		}
		checkLines(t, store.sorted(0, 0), 300)
	})
}
