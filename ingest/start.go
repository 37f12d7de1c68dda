package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// start finds where the lane stands and brings its state there. The truth is the ledger, which stands beside
// the rows and is restored with them; the commit carries the plan and the fence.
func (l *lane) start(ctx context.Context, gen Generation, offset int64, metadata string) error {
	l.status.set(stateStarting, "")
	at, err := l.p.Store.Position(ctx, l.topic, l.partition, l.binding.Epoch)
	if err != nil {
		return fmt.Errorf("read the ledger of %s: %w", l, err)
	}
	planned, foreign := parsePlan(metadata)
	ours := offset >= 0 && foreign == nil && planned.Epoch == l.binding.Epoch
	otherEpoch := offset >= 0 && foreign == nil && planned.Epoch != l.binding.Epoch
	first, next, err := l.p.Log.Bounds(ctx, l.topic, l.partition)
	if err != nil {
		return fmt.Errorf("read the bounds of %s: %w", l, err)
	}

	if !at.HasLedger {
		if offset >= 0 && !otherEpoch {
			return &Park{ParkNoLedger, fmt.Sprintf("%s: the group has committed offset %d, but the database has no ledger of it: restore the database; or say from where with `agentrisk lanes skip %s --to committed` (or start, or an offset); or raise the binding's epoch to judge the topic again from its start", l, offset, l)}
		}
		if err := l.refuseGrowth(ctx); err != nil {
			return err
		}
		l.done = first
		if l.binding.Start == "latest" {
			l.done = next
		}
		l.stateFrom, l.fence, l.seenAt = l.done, tail{}, l.p.now()
	} else {
		l.done, l.stateFrom = at.To, at.Last.StateFrom
		l.fence = tail{offset: at.Last.LastOffset, hash: at.Last.LastHash, known: at.Last.LastKnown}
		if err := l.checkFence(ctx, l.fence, l.done); err != nil {
			return err
		}
		if first > l.done {
			if err := l.lost(ctx, first); err != nil {
				return err
			}
		}
	}
	l.known = at.TableTo
	if ours {
		l.known = max(l.known, offset, planned.To)
	}
	l.written, l.leaseAt = commitment{offset, metadata}, time.Time{}
	if err := l.suspect(ctx, gen, at, next, offset, planned, ours); err != nil {
		return err
	}
	if err := l.restore(ctx, first); err != nil {
		return err
	}
	l.pos, l.tail = l.done, l.fence
	l.status.done.Store(l.done)
	// The line makes the start itself part of the ledger: from now on progress in the group always has one.
	if err := l.writeIdleLine(ctx, gen); err != nil {
		return err
	}
	if ours && planned.To > l.done && offset == l.done {
		if err := l.resume(ctx, planned); err != nil {
			return err
		}
	}
	l.warm = true // not before: half a plan taken up is no batch that may grow beyond its bounds
	return nil
}

// resume fills the range that a predecessor planned, with its bounds and its clock.
func (l *lane) resume(ctx context.Context, p plan) error {
	_, next, err := l.p.Log.Bounds(ctx, l.topic, l.partition)
	if err != nil {
		return fmt.Errorf("read the bounds of %s: %w", l, err)
	}
	if next < p.To {
		return &Park{ParkTruncated, fmt.Sprintf("%s: [%d, %d) was planned, the log ends at %d: it was truncated or made again; raise the binding's epoch to start anew", l, l.done, p.To, next)}
	}
	if err := l.openBatch(ctx, true); err != nil {
		return err
	}
	l.open.clock = p.Clock
	l.open.line.FirstTime, l.open.line.LastTime = p.Clock, p.Clock
	if _, err := l.fill(ctx, p.To); err != nil {
		return err
	}
	l.tail.settle()
	b := l.open
	b.line.LastOffset, b.line.LastHash, b.line.LastKnown = l.tail.offset, l.tail.hash, l.tail.known
	// The predecessor's rows may stand there, and the server may have lost their token: compare before sending.
	b.compare = true
	b.planned = true
	l.planned, l.open = b, nil
	l.log.Info("settles a predecessor's plan", "from", b.line.From, "to", b.line.To, "rows", b.block.Rows())
	return nil
}

// checkFence compares the record before the position with what was there when the ledger was written.
func (l *lane) checkFence(ctx context.Context, f tail, position int64) (err error) {
	asked := l.p.now()
	defer func() {
		if err == nil {
			l.seenAt = asked
		}
	}()
	first, next, err := l.p.Log.Bounds(ctx, l.topic, l.partition)
	if err != nil {
		return fmt.Errorf("read the bounds of %s: %w", l, err)
	}
	advice := "the topic was made again, truncated or mirrored: raise the binding's epoch to judge what it holds now from its start"
	if next < position {
		return &Park{ParkTruncated, fmt.Sprintf("%s: everything below %d is stored, but the log ends at %d; %s", l, position, next, advice)}
	}
	if !f.known && position <= first {
		return nil // nothing was judged of this log yet: there is nothing to compare
	}
	if !f.known || f.offset < first {
		l.p.metrics.Unverified.Inc()
		return nil
	}
	c, err := l.p.Log.Fetch(ctx, l.topic, l.partition, f.offset, fetchWait)
	if err != nil {
		return fmt.Errorf("read the record before the position of %s: %w", l, err)
	}
	defer c.Release()
	var e Entry
	for c.Next(&e) {
		if e.Last < f.offset {
			continue
		}
		if e.First == f.offset && e.Kind == EntryRecord {
			if recordHash(e.Record.Key, e.Record.Value) == f.hash {
				return nil
			}
			return &Park{ParkChanged, fmt.Sprintf("%s: the record at %d is not the one that was judged; %s", l, f.offset, advice)}
		}
		break
	}
	if c.End() <= f.offset {
		return fmt.Errorf("read the record before the position of %s: the broker sent nothing at %d", l, f.offset)
	}
	l.p.metrics.Unverified.Inc() // compaction took it
	return nil
}

// outOfRange is what a lane does when a fetch finds nothing at its position.
func (l *lane) outOfRange(ctx context.Context, out *OutOfRange) error {
	if out.Next < l.pos {
		return &Park{ParkTruncated, fmt.Sprintf("%s: judged up to %d, but the log ends at %d: it was truncated or made again; raise the binding's epoch to start anew", l, l.pos, out.Next)}
	}
	return fmt.Errorf("%s: %w", l, out) // trimmed while we ran: the start decides what is lost
}

// lost goes on at first where policy allows it, and says in the ledger what is gone.
func (l *lane) lost(ctx context.Context, first int64) error {
	if l.binding.OnLost != "continue" {
		return &Park{ParkLost, fmt.Sprintf("%s: stored up to %d, but the log starts at %d: %d offsets are gone; go on without them with `agentrisk lanes skip %s --to start`, or set on_lost: continue in the binding", l, l.done, first, first-l.done, l)}
	}
	now := l.p.now().UnixMilli()
	line := scoring.Line{
		Range:  scoring.Range{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, From: l.done, To: first},
		Status: scoring.LineLost, FirstTime: now, LastTime: now, StateFrom: first, LastOffset: -1,
		Pack: l.p.pack.Load().Digest, Engine: scoring.EngineVersion, Incarnation: l.p.Incarnation, Settings: l.settings,
	}
	if err := l.p.Store.Ledger(ctx, line); err != nil {
		return fmt.Errorf("write what is lost of %s: %w", l, err)
	}
	l.p.metrics.Lost.Add(float64(first - l.done))
	l.log.Error("offsets are lost", "from", l.done, "to", first)
	l.done, l.stateFrom, l.fence = first, first, tail{}
	return nil
}

// errRefused is the error of a snapshot that this program does not read or that is damaged: an older one may do, and
// without any the state is made from the log.
var errRefused = errors.New("snapshot refused")

// restore brings the state to done: the newest snapshot, then the tail of the log judged without storing, by the packs
// that judged it. Where the log no longer holds the tail, the state starts cold, and rows say so by state_from.
func (l *lane) restore(ctx context.Context, first int64) error {
	active := l.p.pack.Load()
	from := l.stateFrom
	var path []stretch
	var snap Snapshot
	var passing error // to fall back for it could cost the state
	found, err := l.p.Store.LoadSnapshot(ctx, l.topic, l.partition, l.binding.Epoch, l.done, func(s Snapshot, next func() ([]byte, error)) (err error) {
		if !scoring.CanLoad(s.Engine) || s.StateFrom < l.stateFrom {
			l.log.Info("passes over a saved state", "offset", s.Offset, "version", s.Engine, "state_from", s.StateFrom)
			return errRefused
		}
		if path, err = l.path(ctx, s.Offset, s.Pack, active); err != nil {
			passing = err
			return err
		}
		if err := l.newJudge(path[0].pack); err != nil { // a damaged snapshot may have left half a state
			return err
		}
		snap = s
		var broken error
		err = l.judge.Engine.Load(func() (chunk []byte, err error) {
			if chunk, err = next(); err != nil && !errors.Is(err, io.EOF) {
				broken = err
			}
			return chunk, err
		})
		if err != nil && (broken == nil || errors.Is(broken, scoring.ErrDamaged)) {
			l.log.Warn("passes over a saved state: an older one or the log has to do", "offset", s.Offset, "err", err)
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		return err
	})
	switch {
	case passing != nil:
		return fmt.Errorf("load a snapshot of %s: %w", l, passing)
	case err == nil && found:
		from, l.stateFrom, l.snapAt = snap.Offset, snap.StateFrom, snap.Offset
	case err == nil, errors.Is(err, errRefused):
		l.snapAt = l.stateFrom
		if path, err = l.path(ctx, from, active.Digest, active); err != nil {
			return err
		}
		if err := l.newJudge(path[0].pack); err != nil {
			return err
		}
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return fmt.Errorf("load a snapshot of %s: %w", l, err)
	}
	if from < first && from < l.done {
		l.log.Warn("state starts cold: the log no longer holds what it is made of", "needs", from, "log_starts", first)
		if err := l.newJudge(active); err != nil {
			return err
		}
		l.stateFrom, l.snapAt = l.done, l.done
		l.judgeNext(active)
		return nil
	}
	for _, s := range path {
		l.become(s.pack)
		if err := l.replay(ctx, from, s.to); err != nil {
			return err
		}
		from = max(from, s.to)
	}
	l.judgeNext(active)
	return nil
}

func (l *lane) newJudge(pack *scoring.Pack) error {
	j, err := NewJudge(scoring.NewEngine(pack, l.p.Engine), l.binding.Format, l.binding.Keyed(), l.binding.ProviderOf(l.topic))
	if err != nil {
		return err
	}
	j.Epoch, j.Redactor = l.binding.Epoch, l.redactor
	l.judge, l.pack = j, pack
	return nil
}

// replay feeds [from, to) to the state without storing anything.
func (l *lane) replay(ctx context.Context, from, to int64) error {
	if from >= to {
		return nil
	}
	lines, err := l.p.Store.Lines(ctx, scoring.Range{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, From: from, To: to})
	if err != nil {
		return fmt.Errorf("read the ledger of %s: %w", l, err)
	}
	poison := condemned(lines)
	began, reported := l.p.now(), l.p.now()
	for pos := from; pos < to; {
		c, err := l.p.Log.Fetch(ctx, l.topic, l.partition, pos, fetchWait)
		if err != nil {
			return fmt.Errorf("replay %s at %d: %w", l, pos, err)
		}
		var e Entry
		for c.Next(&e) && e.First < to {
			if e.Last < pos || e.Kind != EntryRecord || poison[e.First] {
				continue
			}
			if !e.AppendTime {
				e.Record.Time = clockOf(lines, e.First)
			}
			l.judge.Record(&e.Record, discard{})
		}
		pos = max(pos, c.End())
		c.Release()
		if now := l.p.now(); now.Sub(reported) > 2*time.Second {
			reported = now
			l.log.Info("replays state", "at", pos, "to", to, "records_per_s", int64(float64(pos-from)/now.Sub(began).Seconds()))
		}
	}
	return nil
}

// clockOf is the clock that the batch of an offset was judged by, where the topic keeps the producer's.
func clockOf(lines []scoring.Line, offset int64) int64 {
	for i := range lines {
		if lines[i].From <= offset && offset < lines[i].To {
			return lines[i].FirstTime
		}
	}
	return 0
}

// discard is the output of a replay: only the state matters.
type discard struct{}

func (discard) Row(*scoring.Event, *scoring.Verdict) {}
func (discard) Dead(*scoring.DeadLetter)             {}
