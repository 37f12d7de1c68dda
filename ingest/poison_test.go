package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// deadly is a log at one of whose offsets the process ends.
type deadly struct {
	*memoryLog
	at   int64 // in partition 0
	kill func()
}

func (d *deadly) Fetch(ctx context.Context, topic string, p int32, offset int64, wait time.Duration) (Chunk, error) {
	c, err := d.memoryLog.Fetch(ctx, topic, p, offset, wait)
	if err == nil && p == 0 && c.End() > d.at {
		sleep(ctx, 1500*time.Millisecond) // so that the other lane gets on in the lives before the waits begin
		d.kill()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return c, err
}

// scripted is a trial whose outcome is known.
type scripted struct {
	mu   sync.Mutex
	die  map[int64]bool // records that end the child
	mute bool           // the child cannot say which it had in hand
	from []int64
}

func (s *scripted) Try(_ context.Context, _ string, p int32, from, to int64) (Tried, error) {
	s.mu.Lock()
	s.from = append(s.from, from)
	s.mu.Unlock()
	if to < 0 {
		to = 300
	}
	for o := from; o < to; o++ {
		if p == 0 && s.die[o] {
			t := Tried{Died: true, At: o, How: "it ended"}
			if s.mute {
				t.At = -1
			}
			return t, nil
		}
	}
	return Tried{To: to}, nil
}

// Unclean ends at one position that no record explains: the lane waits from the third on, longer each time, and says where
// it stands; the other lane of the process lives on. Once the cause is gone everything is judged.
func TestHistory46EndsThatNothingExplains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &deadly{memoryLog: testLog(rand.New(rand.NewPCG(46, 1)), 2, 300), at: 100}
		store, group := newMemoryStore(), &memoryGroup{commits: map[int32]commitment{}}
		fine := func(string) error { return nil }
		var lived []time.Duration
		for start := range 13 {
			if start == 12 {
				log.at = 1 << 40
			}
			p := testPipeline(t, log.memoryLog, store)
			p.Log, p.Incarnation, p.Trial = log, fmt.Sprint("process ", start), &scripted{}
			ctx, end := context.WithTimeout(t.Context(), time.Hour)
			log.kill = end
			began := time.Now()
			group.generation++
			if start >= patience {
				go func() {
					time.Sleep(time.Second)
					s := p.Status()[0]
					if s.State != stateRetrying || !strings.Contains(s.Detail, "ended") || !strings.Contains(s.Detail, "[0, 300)") {
						t.Errorf("start %d: lane 0 is %s: %s", start, s.State, s.Detail)
					}
				}()
			}
			if err := p.Serve(ctx, &memoryGeneration{group: group, id: group.generation, partitions: []int32{0, 1}, end: end, fault: fine}); err != nil {
				t.Error(err)
			}
			end()
			lived = append(lived, time.Since(began))
			if at, _ := store.Position(t.Context(), "", 1, 0); start > patience && at.To != 300 {
				t.Errorf("start %d: the other lane is done up to %d of 300", start, at.To)
			}
		}
		for i, d := range lived[:12] {
			least, most := time.Duration(0), 3*time.Second
			if i >= patience {
				wait := min(firstWait<<(i-patience), longWait)
				least, most = wait/2, wait+3*time.Second
			}
			if d < least || d > most {
				t.Errorf("process %d lived %s, want %s to %s", i, d, least, most)
			}
		}
		if at, _ := store.Position(t.Context(), "", 0, 0); at.To != 300 {
			t.Errorf("done up to %d of 300 after the cause is gone", at.To)
		}
	})
}

// A child process that names its record, and one that cannot, lead to the same dead letters.
func TestPoisonIsFound(t *testing.T) {
	for name, mute := range map[string]bool{"named": false, "bisected": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := testLog(rand.New(rand.NewPCG(47, 1)), 2, 300)
				var bad []int64
				for o, e := range log.parts[0] {
					if e.Kind == EntryRecord && e.Record.Topic != "" && o%70 == 5 {
						bad = append(bad, int64(o))
					}
				}
				trial := &scripted{die: map[int64]bool{}, mute: mute}
				for _, o := range bad {
					trial.die[o] = true
				}
				store, group := newMemoryStore(), &memoryGroup{generation: 1, commits: map[int32]commitment{}}
				fine := func(string) error { return nil }
				for start, life := range []time.Duration{100 * time.Millisecond, time.Minute} {
					p := testPipeline(t, log, store)
					p.Incarnation, p.Trial = fmt.Sprint("process ", start), trial
					ctx, end := context.WithTimeout(t.Context(), life)
					if err := p.Serve(ctx, &memoryGeneration{group: group, id: 1, partitions: []int32{0, 1}, end: end, fault: fine}); err != nil {
						t.Error(err)
					}
					end()
				}
				var listed []int64
				for _, l := range store.sorted(0, 0) {
					listed = append(listed, l.Poison...)
				}
				var letters []int64
				for o, reason := range store.letters {
					if reason == scoring.ReasonPoison {
						letters = append(letters, o.Offset)
					}
				}
				slices.Sort(letters)
				if len(bad) < 3 || !slices.Equal(listed, bad) || !slices.Equal(letters, bad) {
					t.Errorf("poison at %v: the ledger lists %v, dead letters are %v", bad, listed, letters)
				}
				checkLines(t, store.sorted(0, 0), 300)
				if r, err := (&Reconciler{Log: log, Audit: memoryAudit{store}}).Lane(t.Context(), "agent.events.a", 0, 0, false); err != nil || !r.OK() {
					t.Errorf("%v, %+v", err, r)
				}
			})
		})
	}
}

// A clean stop leaves nothing to examine, and neither does a lane whose process lives on.
func TestNothingToExamine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := testLog(rand.New(rand.NewPCG(48, 1)), 1, 600)
		store, group := newMemoryStore(), &memoryGroup{generation: 1, commits: map[int32]commitment{}}
		trial := &scripted{}
		serve := func(incarnation string, records int) {
			cut := &memoryLog{first: log.first, parts: map[int32][]Entry{0: log.parts[0][:records]}}
			p := testPipeline(t, cut, store)
			p.Incarnation, p.Trial = incarnation, trial
			ctx, end := context.WithTimeout(t.Context(), time.Minute)
			defer end()
			served := make(chan error, 1)
			go func() {
				served <- p.Serve(ctx, &memoryGeneration{group: group, id: 1, partitions: []int32{0}, end: end, fault: func(string) error { return nil }})
			}()
			time.Sleep(10 * time.Second)
			if err := p.Drain(ctx); err != nil {
				t.Error(err)
			}
			end()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
		serve("a", 300)
		serve("b", 600)
		if len(trial.from) != 0 {
			t.Errorf("examined from %v after a clean stop", trial.from)
		}
	})
}

// A clean stop ends though there is always more to read: what is in hand is stored, and no other batch is begun.
func TestStopUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := testLog(rand.New(rand.NewPCG(49, 1)), 1, 12_000)
		log.began, log.pace = time.Now(), 10*time.Millisecond // two minutes of it
		store, group := newMemoryStore(), &memoryGroup{generation: 1, commits: map[int32]commitment{}}
		p := testPipeline(t, log, store)
		ctx, end := context.WithCancel(t.Context())
		defer end()
		slow := func(string) error { time.Sleep(50 * time.Millisecond); return nil }
		served := make(chan error, 1)
		go func() {
			served <- p.Serve(ctx, &memoryGeneration{group: group, id: 1, partitions: []int32{0}, end: end, fault: slow})
		}()
		time.Sleep(10 * time.Second)
		bound, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := p.Drain(bound); err != nil {
			t.Error(err)
		}
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
		lines := store.sorted(0, 0)
		done := lines[len(lines)-1].To
		checkLines(t, lines, done)
		if mark, _ := parsePlan(group.commits[0].metadata); !mark.Clean || group.commits[0].offset != done || len(store.snapshots) == 0 || done < 900 || done > 1500 {
			t.Errorf("stopped at %d, commit %+v, %d snapshots", done, group.commits[0], len(store.snapshots))
		}
	})
}

// eager is a broker that answers a fetch as soon as there is something.
type eager struct{ *memoryLog }

func (e eager) Fetch(ctx context.Context, topic string, p int32, offset int64, wait time.Duration) (Chunk, error) {
	for until := time.Now().Add(wait); time.Now().Before(until); sleep(ctx, time.Millisecond) {
		if _, next, _ := e.Bounds(ctx, topic, p); offset < next {
			break
		}
	}
	return e.memoryLog.Fetch(ctx, topic, p, offset, wait)
}

// A rehearsal of everything there is ends though more comes in all the while: a lane waits for it.
func TestRehearsalEndsThoughTheLogGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := eager{testLog(rand.New(rand.NewPCG(50, 1)), 1, 12_000)}
		log.began, log.pace = time.Now(), 10*time.Millisecond // two minutes of it
		p := testPipeline(t, log.memoryLog, newMemoryStore())
		time.Sleep(time.Second)
		_, next, _ := log.Bounds(t.Context(), "", 0)
		engine := scoring.NewEngine(p.pack.Load(), scoring.Options{})
		end, err := Rehearse(t.Context(), log, &p.Bindings[0], engine, "t", 0, 0, -1, func(int64) { time.Sleep(time.Millisecond) })
		if err != nil || end != next {
			t.Errorf("ended at %d with %v, want %d, which is all that there was", end, err, next)
		}
	})
}
