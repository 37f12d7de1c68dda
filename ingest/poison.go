package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Trial judges records in a process of its own, which may die of them.
type Trial interface {
	// Try judges the lane's records from offset from on, with empty state, up to to; two batches' worth when to is -1.
	// An error says that nothing was learnt: the log could not be read, or no process be started.
	Try(ctx context.Context, topic string, partition int32, from, to int64) (Tried, error)
}

// Tried is what became of a trial.
type Tried struct {
	Died bool
	At   int64  // the offset that was in hand when it died, -1 for none
	How  string // one line that holds nothing of what the record says
	To   int64  // everything below was judged, if it did not die
}

// Rehearse is what the process of a [Trial] does. It calls tell before each record, and returns the offset after the last.
func Rehearse(ctx context.Context, log Log, b *Binding, engine *scoring.Engine, topic string, partition int32, from, to int64, tell func(offset int64)) (end int64, err error) {
	j, err := NewJudge(engine, b.Format, b.Keyed(), b.ProviderOf(topic))
	if err != nil {
		return from, err
	}
	if to < 0 { // what there is now: a log that grows all the while has no end
		if _, to, err = log.Bounds(ctx, topic, partition); err != nil {
			return from, err
		}
	}
	var out counting
	bytes := 0
	for pos := from; ; {
		c, err := log.Fetch(ctx, topic, partition, pos, fetchWait)
		if err != nil {
			return pos, err
		}
		var e Entry
		for c.Next(&e) {
			switch {
			case e.First >= to, out.rows >= 2*MaxBatchRows, bytes >= 2*MaxBatchBytes:
				c.Release()
				return e.First, nil
			case e.Last < pos || e.Kind != EntryRecord:
				continue
			}
			tell(e.First)
			bytes += len(e.Record.Value)
			j.Record(&e.Record, &out)
		}
		next := c.End()
		c.Release()
		if next <= pos || next >= to {
			return max(pos, next), nil
		}
		pos = next
	}
}

// counting is the output of a rehearsal.
type counting struct{ rows int }

func (c *counting) Row(*scoring.Event, *scoring.Verdict) { c.rows++ }
func (c *counting) Dead(*scoring.DeadLetter)             { c.rows++ }

// Waits of a lane at whose position processes end and nobody knows why.
const (
	patience  = 3 // unclean ends without a wait
	firstWait = 10 * time.Second
	longWait  = 5 * time.Minute
)

// suspect looks at what comes next when the owner before did not end as it should: it left no mark of a clean stop, and
// was another process. Records that end a process are found in a child process and become dead letters. When none is
// found the ends at this position are counted in the commit, and from the third on the lane waits before it goes on,
// longer each time: whatever it is, the other lanes get their turn.
func (l *lane) suspect(ctx context.Context, gen Generation, at Position, next, offset int64, before plan, ours bool) error {
	l.tries, l.triedAt = 0, l.done
	last := at.Last.Incarnation
	if ours {
		last = before.Incarnation
	}
	switch {
	case !at.HasLedger, next <= l.done: // nobody was here, or nothing is there to die of
		return nil
	case ours && before.Clean, l.examined && last == l.p.Incarnation:
		return nil
	}
	found, to, how, err := l.examine(ctx)
	if err != nil {
		return err
	}
	l.poison, l.examined = found, true
	if len(found) > 0 || last == l.p.Incarnation { // explained, or no end at all: the lane was away for a while
		return nil
	}
	l.tries = 1
	if ours && offset == l.done {
		l.tries = before.Tries + 1
	}
	l.p.metrics.Unclean.WithLabelValues(l.topic, fmt.Sprint(l.partition)).Set(float64(l.tries))
	if l.tries >= patience {
		if err := l.hesitate(ctx, max(before.To, to), how); err != nil {
			return err
		}
	}
	// The count stands in the commit before anything is risked. Where the commit tells of more than the ledger does, it is
	// left as it is.
	if offset >= 0 && offset != l.done && !(ours && offset < l.done && before.To <= l.done) {
		return nil
	}
	mark := l.metadata()
	mark.Tries = l.tries
	if ours && offset == l.done {
		mark.To, mark.Clock = before.To, before.Clock
	}
	return l.commit(ctx, gen, commitment{l.done, mark.encode()})
}

// examine finds the records, within two batches from the lane's position on up to offset to, that end a process. Without
// any, how says what the child process died of, if it did.
func (l *lane) examine(ctx context.Context) (found map[int64]string, to int64, how string, err error) {
	to = l.done + 1
	if l.p.Trial == nil {
		return nil, to, "", nil
	}
	try := func(from, to int64) (Tried, error) {
		t, err := l.p.Trial.Try(ctx, l.topic, l.partition, from, to)
		if err != nil {
			return t, fmt.Errorf("try the records of %s from %d on in a child process: %w", l, from, err)
		}
		return t, nil
	}
	for from := l.done; ; {
		t, err := try(from, -1)
		if err != nil || !t.Died {
			return found, max(to, t.To), how, err
		}
		how, to = t.How, max(to, t.At+1)
		culprit := t.At
		if culprit < from {
			if culprit, err = l.bisect(from, try); err != nil {
				return found, to, how, err
			}
		}
		if culprit < 0 {
			return found, to, how, nil
		}
		alone, err := try(culprit, culprit+1)
		if err != nil {
			return found, to, how, err
		}
		if !alone.Died {
			l.log.Warn("a child process died, and not of the record that it had in hand", "offset", culprit, "how", how)
			return found, to, how, nil
		}
		l.log.Error("a record ends the process that judges it: it becomes a dead letter", "offset", culprit, "how", alone.How)
		if found == nil {
			found = map[int64]string{}
		}
		found[culprit] = alone.How
		from = culprit + 1
	}
}

// bisect finds the first offset with which a child process dies that could not say what it had in hand; -1 when it lives.
func (l *lane) bisect(from int64, try func(from, to int64) (Tried, error)) (int64, error) {
	low, high := from, from+1 // judging [from, low) is survived
	for step := int64(1); ; step *= 2 {
		t, err := try(from, high)
		if err != nil {
			return -1, err
		}
		if t.Died {
			break
		}
		if t.To < high || step > MaxBatchRows*2 {
			return -1, nil
		}
		low, high = high, high+step
	}
	for low+1 < high {
		middle := low + (high-low)/2
		t, err := try(from, middle)
		if err != nil {
			return -1, err
		}
		if t.Died {
			high = middle
		} else {
			low = middle
		}
	}
	return high - 1, nil
}

// hesitate waits, with a share of chance: lanes of one process that died with the guilty one come before it now and then,
// and once they have moved on they no longer wait.
func (l *lane) hesitate(ctx context.Context, to int64, how string) error {
	wait := min(firstWait<<min(l.tries-patience, 8), longWait)
	wait = wait/2 + rand.N(wait/2)
	if how == "" {
		how = "the records there are harmless in a child process: think of memory, state, or whoever kills the process"
	}
	detail := fmt.Sprintf("processes ended %d times at [%d, %d): %s; waits %s", l.tries, l.done, to, how, wait.Round(time.Second))
	l.log.Error("lane waits", "detail", detail)
	l.status.set(stateRetrying, detail)
	defer l.status.set(stateStarting, "")
	select {
	case <-time.After(wait):
		return nil
	case <-l.p.stop: // it holds nothing
		l.status.set(stateDrained, "")
		l.p.settled(l)
		<-ctx.Done()
	case <-ctx.Done():
	}
	return ctx.Err()
}

// movedOn forgets the unclean ends at a position that lies behind.
func (l *lane) movedOn() {
	if l.tries > 0 {
		l.tries = 0
		l.p.metrics.Unclean.DeleteLabelValues(l.topic, fmt.Sprint(l.partition))
	}
}

// condemned are the offsets that the lines list as poison: a replay of state passes over them.
func condemned(lines []scoring.Line) map[int64]bool {
	var set map[int64]bool
	for i := range lines {
		for _, o := range lines[i].Poison {
			if set == nil {
				set = map[int64]bool{}
			}
			set[o] = true
		}
	}
	return set
}
