package ingest

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Mending is what a Mender needs of the database beyond what a lane does.
type Mending interface {
	// Items calls yield for each item of the range that has a row or a dead letter.
	Items(ctx context.Context, r scoring.Range, yield func(offset int64, item int32)) error
	// Merge makes one row of each that stands twice and tells what it did.
	Merge(ctx context.Context, r scoring.Range) (did []string, err error)
	// DropLetters removes the dead letters of items that have a row which is not theirs, and counts them.
	DropLetters(ctx context.Context, r scoring.Range) (n int, err error)
	// Hold takes or renews the hold on a lane for holdTime, and names who else holds it.
	Hold(ctx context.Context, topic string, partition, epoch int32, id, who string) (others []string, err error)
	Release(ctx context.Context, topic string, partition, epoch int32, id string) error
}

// A hold lasts longer than its renewal and the longest insert together, so that nothing is on its way when it is over.
const (
	HoldTime  = 2 * time.Minute
	holdRenew = 20 * time.Second
)

// Mender heals what a Reconciler finds, beside a running pipeline. Two may not store rows of one range at the same time
// under different tokens, so they keep out of each other's way: the mender leaves a row that holds the lane and then reads
// the group's commit; a lane that goes over a range again (after a gap in its ledger, a restored database) commits its
// plan and then looks for a hold. One of the two sees the other, whatever the order. The mender leaves alone what lies
// beyond the commit: that is the lane's to do. A lane that sees a hold waits.
type Mender struct {
	Pipeline *Pipeline // at rest
	Audit    Audit
	Mending  Mending
	// Committed reads what the group has committed for a lane's epoch, -1 for nothing.
	Committed func(ctx context.Context, topic string, partition, epoch int32) (int64, error)
	Who       string

	lane   *lane
	id     string
	heldAt time.Time
}

// begin takes the hold on a lane.
func (m *Mender) begin(ctx context.Context, topic string, partition, epoch int32) (release func(), err error) {
	b := m.Pipeline.binding(topic)
	if b == nil {
		return nil, fmt.Errorf("no binding for topic %s: it cannot be judged", topic)
	}
	own := *b
	own.Epoch = epoch
	p := m.Pipeline
	m.lane = p.newLane(topic, partition, &own)
	m.lane.pos, m.lane.known = -1, math.MaxInt64
	m.id, m.heldAt = fmt.Sprintf("%s|%s|%d", p.Incarnation, topic, partition), time.Time{}
	if err := m.hold(ctx); err != nil {
		return nil, err
	}
	return func() {
		m.lane.forget()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = m.Mending.Release(ctx, topic, partition, epoch, m.id) // else it ends by itself
	}, nil
}

// hold renews the hold when it is time, and says when it is not ours alone.
func (m *Mender) hold(ctx context.Context) error {
	l := m.lane
	if time.Since(m.heldAt) < holdRenew {
		return nil
	}
	began := time.Now()
	others, err := m.Mending.Hold(ctx, l.topic, l.partition, l.binding.Epoch, m.id, m.Who)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return &Park{ParkStore, fmt.Sprintf("%s is being mended by %v: let that end, or wait %s after it died", l, others, HoldTime)}
	}
	m.heldAt = began
	return nil
}

// ours reports whether a range lies below the group's commit: what lies beyond is the running lane's.
func (m *Mender) ours(ctx context.Context, to int64) (bool, string, error) {
	if err := m.hold(ctx); err != nil {
		return false, "", err
	}
	at, err := m.Committed(ctx, m.lane.topic, m.lane.partition, m.lane.binding.Epoch)
	if err != nil {
		return false, "", err
	}
	return at < 0 || at >= to, fmt.Sprintf("left to the lane itself, which stands at %d", at), nil
}

// gap judges and stores what no ledger line covers, and writes the lines. ok says that it did.
func (m *Mender) gap(ctx context.Context, from, to, stateFrom, first int64) (did []string, ok bool, err error) {
	ours, why, err := m.ours(ctx, to)
	if err != nil || !ours {
		return nil, false, err
	}
	_ = why
	lines, err := m.Pipeline.Store.Lines(ctx, scoring.Range{Topic: m.lane.topic, Partition: m.lane.partition, Epoch: m.lane.binding.Epoch, From: from - 1, To: from})
	if err != nil {
		return nil, false, err
	}
	clock := m.Pipeline.now().UnixMilli()
	for i := range lines {
		clock = lines[i].LastTime
	}
	err = m.judge(ctx, from, to, stateFrom, first, clock, func(b *batch, kept int) error {
		r := b.line.Range
		var rows, dead, offsets uint64
		if err := m.Audit.Stored(ctx, r, func(s StoredOffset) {
			rows, dead, offsets = rows+s.Distinct-s.Replayed, dead+s.DeadLetters-s.Both+s.Replayed, offsets+1 // as it will be once doubles are mended
		}); err != nil {
			return err
		}
		// What compaction took after it was judged is no hole: its rows stand.
		if judged := uint64(r.To-r.From) - b.line.Control - b.line.Aborted - b.line.Gaps; offsets > judged {
			b.line.Gaps -= min(b.line.Gaps, offsets-judged)
		}
		// Whoever stored the rows may have died before their alerts went out; they carry the same ids.
		alerts, err := m.Pipeline.Store.StoredAlerts(ctx, r)
		if err != nil {
			return err
		}
		if len(alerts) > 0 {
			if err := m.Pipeline.Outbox.Write(ctx, alerts); err != nil {
				return err
			}
		}
		if kept > 0 {
			b.line.Status = scoring.LineMixed
		}
		did = append(did, fmt.Sprintf("%s [%d, %d): ledger line written, %d rows and %d dead letters stored, %d stood there", m.lane, r.From, r.To, b.block.Rows(), len(b.dead), kept))
		b.line.Rows, b.line.DeadLetters, b.line.Alerts = rows, dead, uint64(len(alerts))
		return m.Pipeline.Store.Ledger(ctx, b.line)
	})
	return did, err == nil, err
}

// line mends what was found of one ledger line and tells what it did; nothing when there is nothing that it can do. With
// whole the log still holds all that the line was made of.
func (m *Mender) line(ctx context.Context, l *scoring.Line, found []Finding, first int64, whole bool) (did []string, err error) {
	kinds := map[string]bool{}
	for _, f := range found {
		kinds[f.Kind] = true
	}
	if err := m.hold(ctx); err != nil {
		return nil, err
	}
	if kinds[FindDoubled] {
		done, err := m.Mending.Merge(ctx, l.Range)
		if err != nil {
			return nil, err
		}
		did = append(did, done...)
	}
	if kinds[FindBoth] {
		n, err := m.Mending.DropLetters(ctx, l.Range)
		if err != nil {
			return nil, err
		}
		did = append(did, fmt.Sprintf("%s [%d, %d): %d dead letters of events that have a row are removed", m.lane, l.From, l.To, n))
	}
	if !kinds[FindMissing] && (!kinds[FindCount] || len(did) > 0) || l.To <= first {
		return did, nil
	}
	ours, why, err := m.ours(ctx, l.To)
	if err != nil {
		return nil, err
	}
	if !ours {
		m.lane.log.Warn("not mended", "from", l.From, "to", l.To, "why", why)
		return did, nil
	}
	m.lane.poison = map[int64]string{}
	for _, o := range l.Poison {
		m.lane.poison[o] = "it ended the process that judged it, as the ledger says"
	}
	stored := 0
	if err := m.judge(ctx, max(l.From, first), l.To, l.StateFrom, first, l.FirstTime, func(b *batch, _ int) error {
		stored += b.block.Rows() + len(b.dead)
		if n := b.block.Rows() + len(b.dead); n > 0 {
			did = append(did, fmt.Sprintf("%s [%d, %d): %d missing rows and %d missing dead letters stored", m.lane, b.line.From, b.line.To, b.block.Rows(), len(b.dead)))
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if stored > 0 || !kinds[FindCount] || !whole || kinds[FindMissing] {
		return did, nil
	}
	// Every record has its row or its reason, once: then it is the line that is wrong.
	fixed := *l
	fixed.Rows, fixed.DeadLetters, fixed.Status = 0, 0, scoring.LineMixed
	if err := m.Audit.Stored(ctx, l.Range, func(s StoredOffset) {
		fixed.Rows, fixed.DeadLetters = fixed.Rows+s.Distinct-s.Replayed, fixed.DeadLetters+s.DeadLetters-s.Both+s.Replayed
	}); err != nil {
		return nil, err
	}
	if err := m.Pipeline.Store.Ledger(ctx, fixed); err != nil {
		return nil, err
	}
	did = append(did, fmt.Sprintf("%s [%d, %d): ledger line corrected from %d rows and %d dead letters to %d and %d", m.lane, l.From, l.To, l.Rows, l.DeadLetters, fixed.Rows, fixed.DeadLetters))
	*l = fixed
	return did, nil
}

// judge goes over [from, to) with the state that the lane had there, stores what the tables lack, batch by batch, and
// tells each of them with the number of items that stood there already.
func (m *Mender) judge(ctx context.Context, from, to, stateFrom, first, clock int64, stored func(b *batch, kept int) error) error {
	l := m.lane
	if err := m.bring(ctx, from, stateFrom, first); err != nil {
		return err
	}
	for l.pos < to {
		stand, until := map[place]bool{}, min(to, l.pos+itemsAtOnce)
		if err := m.Mending.Items(ctx, scoring.Range{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, From: l.pos, To: until}, func(offset int64, item int32) {
			stand[place{offset, item}] = true
		}); err != nil {
			return err
		}
		for l.pos < until {
			kept := 0
			if err := l.openBatch(ctx, false); err != nil {
				return err
			}
			b := l.open
			b.mend, b.clock, b.line.FirstTime, b.line.LastTime = true, clock, clock, clock
			b.only = func(offset int64, item int32) bool {
				if stand[place{offset, item}] {
					kept++
					return false
				}
				return true
			}
			if err := m.fill(ctx, until); err != nil {
				return err
			}
			l.tail.settle()
			b.line.LastOffset, b.line.LastHash, b.line.LastKnown = l.tail.offset, l.tail.hash, l.tail.known
			if _, err := l.store(ctx, b, m.hold); err != nil {
				return err
			}
			if err := stored(b, kept); err != nil {
				return err
			}
			l.open, l.done = nil, l.pos
			l.p.recycle(b)
		}
	}
	return nil
}

// itemsAtOnce is how many offsets are asked for at a time: more than a batch holds.
const itemsAtOnce = 2 * MaxBatchRows

type place struct {
	offset int64
	item   int32
}

// bring brings the state to an offset: onwards from where it is when it can, else from a snapshot or the last cold start.
func (m *Mender) bring(ctx context.Context, to, stateFrom, first int64) error {
	l := m.lane
	l.dropChunk()
	l.tail, l.snapAt = tail{}, math.MaxInt64
	defer func() { l.pos, l.done, l.snapAt = to, to, math.MaxInt64 }()
	if l.judge != nil && l.stateFrom == stateFrom && l.pos <= to {
		if l.pos == to {
			return nil
		}
		from := l.pos
		l.done = to
		path, err := l.path(ctx, from, l.pack.Digest, l.p.InForce())
		if err != nil {
			return err
		}
		for _, s := range path {
			l.become(s.pack)
			if err := l.replay(ctx, from, s.to); err != nil {
				return err
			}
			from = max(from, s.to)
		}
		l.judgeNext(l.p.InForce())
		return nil
	}
	l.done, l.stateFrom = to, stateFrom
	return l.restore(ctx, first)
}

// fill takes entries into the open batch up to limit, or until the batch is full or its day ends.
func (m *Mender) fill(ctx context.Context, limit int64) error {
	l := m.lane
	for l.pos < limit {
		if !l.have {
			if _, err := l.advance(ctx, limit); err != nil {
				return err
			}
			continue
		}
		if l.entry.First >= limit {
			l.open.gap(limit)
			l.pos = limit
			return nil
		}
		if !l.open.accepts(&l.entry) {
			return nil
		}
		l.take()
		if l.open.full() || !l.open.share.grow(l.open.memory()) {
			return nil
		}
	}
	return nil
}

// unheld waits until nobody mends the lane.
func (l *lane) unheld(ctx context.Context, lease func(context.Context) error) error {
	if l.p.Orders == nil {
		return nil
	}
	return l.retry(ctx, lease, "wait for who mends the lane", func() error {
		who, err := l.p.Orders.HeldBy(ctx, l.topic, l.partition, l.binding.Epoch)
		if err == nil && who != "" {
			err = fmt.Errorf("held by %s", who)
		}
		return err
	})
}
