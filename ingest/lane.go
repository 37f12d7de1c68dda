package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// Constants of design section 12.
const (
	// leaseTime: without an accepted commit as young as this a lane sends nothing. The design says 30 s; it is shorter
	// than a member's session (12 s), so that a process which slept until others took its lanes always asks before it
	// sends. With 30 s one that slept for 15 s sent its range once more, and where a tool had moved the group's offsets
	// meanwhile its bounds were others' bounds no longer: 349 rows were doubled.
	leaseTime     = 5 * time.Second
	idleLine      = time.Minute // an idle lane says so in the ledger
	snapshotTail  = 200_000     // records after which the next start would take too long
	fetchWait     = 500 * time.Millisecond
	insertsPerSec = 20 // of one process: with more lanes batches grow older
)

// lane is one topic partition and everything that serves it. One goroutine runs it. It outlives generations:
// what it holds stays valid as long as the group's stored commit is, to the byte, the last one it wrote.
type lane struct {
	p         *Pipeline
	topic     string
	partition int32
	binding   *Binding
	log       *slog.Logger
	redactor  *redact.Redactor
	settings  string // digest

	judge     *Judge
	pack      *scoring.Pack // of the judge
	next      *scoring.Pack // of the judge from the next batch on
	pos       int64         // everything below has been judged
	done      int64         // everything below is in the ledger
	known     int64         // the table may hold rows below this that the ledger does not know
	stateFrom int64         // last cold start
	snapAt    int64         // offset of the newest snapshot
	open      *batch
	planned   *batch
	tail      tail // last record judged
	fence     tail // last record below done
	lineAt    time.Time
	seenAt    time.Time // the log was the one that was judged; zero while nobody has looked

	poison   map[int64]string // offsets that end a process, and how
	examined bool             // poison is known
	tries    int              // starts at triedAt that followed an unclean end
	triedAt  int64

	warm    bool
	written commitment // the last commit that was accepted
	leaseAt time.Time
	adoptAt time.Time // not before: the state could not be saved

	chunk Chunk
	entry Entry
	have  bool // entry is not taken in yet

	status    laneStatus
	orders    chan Order
	interrupt atomic.Pointer[context.CancelFunc] // breaks off what the lane does, for an order that is forced
}

type commitment struct {
	offset   int64
	metadata string
}

// tail is the last record of a stretch of the log: what tells this log from another.
type tail struct {
	offset int64
	hash   uint64
	known  bool

	key, value []byte // of the record while its chunk lives and the hash is still to be taken
	pending    bool
}

func (t *tail) set(rec *Record) {
	t.offset, t.known, t.key, t.value, t.pending = rec.Offset, true, rec.Key, rec.Value, true
}

// settle takes the hash: once a batch and once a chunk, not for every record.
func (t *tail) settle() {
	if t.pending {
		*t = tail{offset: t.offset, known: true, hash: recordHash(t.key, t.value)}
	}
}

func (l *lane) String() string { return fmt.Sprintf("%s/%d", l.topic, l.partition) }

// run serves the lane until its generation ends. It never returns before: a lane that cannot go on parks.
func (l *lane) run(ctx context.Context, gen Generation) {
	for wait := time.Second; ; wait = min(2*wait, 5*time.Second) {
		began := l.p.now()
		l.status.set(stateRunning, "")
		err := l.serveOrObey(ctx, gen)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil: // drained
			<-ctx.Done()
			return
		case errors.Is(err, ErrNotOurs):
			l.status.set(stateWaiting, "another generation owns the lane")
			l.p.settled(nil)
			<-ctx.Done()
			return
		case errors.Is(err, errOutcomeUnknown):
			l.log.Warn("generation ends: the outcome of a commit is unknown", "err", err)
			gen.End(err.Error())
			<-ctx.Done()
			return
		case errors.Is(err, errAgain):
			wait = time.Second / 2
			continue
		}
		if l.p.now().Sub(began) > time.Minute { // it worked meanwhile: this is another fault, or the first
			wait = time.Second
		}
		l.log.Warn("lane starts again", "err", err, "in", wait)
		l.status.set(stateRetrying, err.Error())
		l.forget()
		if !sleep(ctx, wait) {
			return
		}
	}
}

// serve brings the lane to life and then goes round: fill, plan, finish. It returns nil once it is drained.
func (l *lane) serve(ctx context.Context, gen Generation) error {
	offset, metadata, err := gen.Committed(ctx, l.topic, l.partition)
	if err != nil {
		return fmt.Errorf("read the group's commit of %s: %w", l, err)
	}
	if l.warm && l.written == (commitment{offset, metadata}) {
		err = l.checkFence(ctx, l.fence, l.done)
	} else {
		l.forget()
		err = l.start(ctx, gen, offset, metadata)
	}
	if err != nil {
		return err
	}
	l.status.set(stateRunning, "")
	if l.planned != nil {
		if err := l.finish(ctx, gen); err != nil {
			return err
		}
	}
	for {
		// Under load there is always more to read: what is in hand is stored, and no batch is begun.
		if l.p.stopping() && (l.open == nil || l.open.empty()) {
			return l.drain(ctx, gen)
		}
		if err := l.adopt(ctx); err != nil {
			return err
		}
		cut, err := l.fill(ctx, -1)
		if err != nil {
			return err
		}
		if cut {
			if err := l.plan(ctx, gen); err != nil {
				return err
			}
			if err := l.finish(ctx, gen); err != nil {
				return err
			}
			continue
		}
		if err := l.idle(ctx, gen); err != nil {
			return err
		}
	}
}

// fill takes entries into the open batch. It reports true when the batch is to be cut, false when nothing is
// there. With limit >= 0 it fills exactly up to that offset, as a plan demands.
func (l *lane) fill(ctx context.Context, limit int64) (cut bool, err error) {
	for {
		if limit >= 0 && l.pos >= limit {
			return true, nil
		}
		if !l.have {
			if limit < 0 && l.chunk == nil && l.open != nil && !l.open.empty() && (l.p.stopping() || l.p.now().Sub(l.open.opened) >= l.p.batchAge()) {
				return true, nil
			}
			more, err := l.advance(ctx, limit)
			if err != nil {
				return false, err
			}
			if !more && limit < 0 && (l.open == nil || l.open.empty()) {
				return false, nil
			}
			continue
		}
		if l.open == nil {
			if err := l.openBatch(ctx, limit >= 0); err != nil {
				return false, err
			}
		}
		if limit >= 0 {
			if l.entry.First >= limit {
				l.open.gap(limit)
				l.pos = limit
				return true, nil
			}
			if l.entry.Last >= limit {
				return false, &Park{ParkPlan, fmt.Sprintf("%s: the plan ends at %d, inside the records %d to %d that the log holds: raise the binding's epoch to start the topic anew", l, limit, l.entry.First, l.entry.Last)}
			}
		} else if !l.open.accepts(&l.entry) {
			return true, nil
		}
		l.take()
		if limit < 0 && (l.open.full() || !l.open.share.grow(l.open.memory())) {
			return true, nil
		}
	}
}

// take moves the current entry into the open batch.
func (l *lane) take() {
	if how, bad := l.poison[l.entry.First]; bad && l.entry.Kind == EntryRecord {
		l.entry.Kind, l.entry.Err = EntryPoison, &scoring.Reject{Reason: scoring.ReasonPoison, Detail: how}
	}
	l.open.add(&l.entry)
	if l.entry.Kind == EntryRecord || l.entry.Kind == EntryPoison {
		l.tail.set(&l.entry.Record)
	}
	l.pos = l.entry.Last + 1
	l.have = false
}

// advance makes the next entry current, or fetches. It reports false when the log has nothing more right now.
func (l *lane) advance(ctx context.Context, limit int64) (bool, error) {
	if l.chunk == nil {
		c, err := l.fetch(ctx)
		if err != nil {
			return false, err
		}
		l.chunk = c
	}
	for l.chunk.Next(&l.entry) {
		if l.entry.Last >= l.pos { // a fetch begins with the whole batch that holds the offset
			l.have = true
			return true, nil
		}
	}
	end := l.chunk.End()
	if limit >= 0 {
		end = min(end, limit)
	}
	more := end > l.pos
	if more {
		if l.open == nil {
			if err := l.openBatch(ctx, limit >= 0); err != nil {
				return false, err
			}
		}
		l.open.gap(end)
		l.pos = end
	}
	l.dropChunk()
	return more, nil
}

// fetch reads from the position on.
func (l *lane) fetch(ctx context.Context) (Chunk, error) {
	wait := fetchWait
	if l.p.stopping() {
		wait = 0
	}
	asked := l.p.now() // the process may sleep between the broker's answer and the moment it reads it
	if !l.seenAt.IsZero() && asked.Sub(l.seenAt) >= leaseTime {
		// Meanwhile the topic may have been made again and filled beyond the position, and no fetch would tell.
		if err := l.checkFence(ctx, l.fence, l.done); err != nil {
			return nil, err
		}
	}
	c, err := l.p.Log.Fetch(ctx, l.topic, l.partition, l.pos, wait)
	var out *OutOfRange
	switch {
	case errors.As(err, &out):
		return nil, l.outOfRange(ctx, out)
	case err != nil:
		return nil, fmt.Errorf("fetch %s at %d: %w", l, l.pos, err)
	}
	if !l.seenAt.IsZero() {
		l.seenAt = asked
	}
	l.status.highWatermark.Store(c.HighWatermark())
	l.status.position.Store(l.pos)
	return c, nil
}

// openBatch opens a batch at the position. A planned range gets its whole memory before it begins, so that
// replays never wait for one another half-way.
func (l *lane) openBatch(ctx context.Context, whole bool) error {
	b := &batch{judge: l.judge, pack: l.next, deployment: l.p.Deployment, share: share{b: l.p.Budget}, compare: l.pos < l.known}
	need := int64(budgetStep)
	if whole {
		need = MinBudget
	}
	if err := b.share.acquire(ctx, need); err != nil {
		return err
	}
	l.become(b.pack)
	now := l.p.now()
	b.block, b.opened, b.clock = l.p.block(l.pack), now, now.UnixMilli()
	b.line = scoring.Line{
		Range:       scoring.Range{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, From: l.pos, To: l.pos},
		StateFrom:   l.stateFrom,
		FirstTime:   b.clock,
		LastTime:    b.clock,
		Pack:        l.pack.Digest,
		Engine:      scoring.EngineVersion,
		Incarnation: l.p.Incarnation,
		Settings:    l.settings,
	}
	b.block.Begin(&b.line, l.redactor.Row())
	l.open = b
	return nil
}

// plan makes the bounds of the open batch law.
func (l *lane) plan(ctx context.Context, gen Generation) error {
	b := l.open
	l.tail.settle()
	b.line.LastOffset, b.line.LastHash, b.line.LastKnown = l.tail.offset, l.tail.hash, l.tail.known
	meta := l.metadata()
	meta.To, meta.Clock = b.line.To, b.clock
	if b.line.From == l.triedAt {
		meta.Tries = l.tries
	}
	if err := l.commit(ctx, gen, commitment{b.line.From, meta.encode()}); err != nil {
		return err
	}
	b.planned = true
	l.planned, l.open = b, nil
	l.status.planned(b.line.Range, l.p.now())
	return nil
}

// metadata is what every commit of the lane carries.
func (l *lane) metadata() plan {
	p := plan{Version: planVersion, Epoch: l.binding.Epoch, Cluster: l.p.Cluster, Incarnation: l.p.Incarnation, LastOffset: -1}
	if l.fence.known {
		p.LastOffset, p.LastHash = l.fence.offset, l.fence.hash
	}
	return p
}

func (l *lane) commit(ctx context.Context, gen Generation, c commitment) error {
	asked := l.p.now() // the process may sleep between the broker's yes and the moment it reads it
	err := gen.Commit(ctx, l.topic, l.partition, c.offset, c.metadata)
	switch {
	case err == nil:
		l.written, l.leaseAt = c, asked
		return nil
	case errors.Is(err, ErrNotOurs):
		return err
	}
	return fmt.Errorf("%w: %s at %d: %w", errOutcomeUnknown, l, c.offset, err)
}

// lease lets a send go out only while the broker has lately accepted that the lane is ours: a process that
// slept must not send.
func (l *lane) lease(ctx context.Context, gen Generation) error {
	if l.p.now().Sub(l.leaseAt) < leaseTime || l.written.offset < 0 {
		return nil
	}
	return l.commit(ctx, gen, l.written)
}

// idle acknowledges the last batch when no other follows, and says once a minute that the lane is alive.
func (l *lane) idle(ctx context.Context, gen Generation) error {
	if c := (commitment{l.done, l.metadata().encode()}); l.open == nil && l.written != c {
		if err := l.commit(ctx, gen, c); err != nil {
			return err
		}
	}
	if l.p.now().Sub(l.lineAt) < idleLine {
		return nil
	}
	return l.writeIdleLine(ctx, gen)
}

// writeIdleLine says in the ledger that everything below done is done and nothing else is there.
func (l *lane) writeIdleLine(ctx context.Context, gen Generation) error {
	now := l.p.now()
	line := scoring.Line{
		Range:      scoring.Range{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, From: l.done, To: l.done},
		Status:     scoring.LineIdle,
		LastOffset: l.fence.offset, LastHash: l.fence.hash, LastKnown: l.fence.known,
		FirstTime: now.UnixMilli(), LastTime: now.UnixMilli(),
		StateFrom: l.stateFrom, Pack: l.next.Digest, Engine: scoring.EngineVersion, Incarnation: l.p.Incarnation, Settings: l.settings,
	}
	lease := func(ctx context.Context) error { return l.lease(ctx, gen) }
	if err := l.retry(ctx, lease, "write an idle line", func() error { return l.p.Store.Ledger(ctx, line) }); err != nil {
		return err
	}
	l.lineAt = now
	return nil
}

// snapshot saves the state as it stands at done. A failure is no reason to stop: the tail is longer, that is all.
func (l *lane) snapshot(ctx context.Context) error {
	s := Snapshot{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, Offset: l.done, StateFrom: l.stateFrom, Pack: l.pack.Digest, Engine: scoring.StateVersion}
	if err := l.p.Store.SaveSnapshot(ctx, s, l.judge.Engine.Save); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.log.Warn("snapshot not saved", "err", err)
		l.p.metrics.SnapshotErrors.Inc()
		return nil
	}
	l.snapAt = l.done
	return nil
}

// drain ends the lane cleanly: everything taken in is stored, and the next start finds the state.
func (l *lane) drain(ctx context.Context, gen Generation) error {
	if l.pos == l.done && l.done > l.snapAt {
		if err := l.snapshot(ctx); err != nil {
			return err
		}
	}
	if l.pos == l.done {
		mark := l.metadata()
		mark.Clean = true
		if err := l.commit(ctx, gen, commitment{l.done, mark.encode()}); err != nil {
			return err
		}
	}
	l.status.set(stateDrained, "")
	l.p.settled(l)
	return nil
}

// forget drops everything that only memory knows.
func (l *lane) forget() {
	l.dropChunk()
	for _, b := range []*batch{l.open, l.planned} {
		if b != nil {
			l.p.recycle(b)
		}
	}
	l.open, l.planned, l.judge, l.warm = nil, nil, nil, false
	l.tail, l.fence = tail{}, tail{}
}

func (l *lane) dropChunk() {
	if l.chunk == nil {
		return
	}
	l.tail.settle()
	l.chunk.Release()
	l.chunk, l.have = nil, false
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
