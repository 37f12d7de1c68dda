package ingest

import (
	"context"
	"errors"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// finish stores the planned batch and everything that goes with it, the ledger line last.
func (l *lane) finish(ctx context.Context, gen Generation) error {
	b := l.planned
	began := l.p.now()
	inserted, err := l.store(ctx, b, func(ctx context.Context) error { return l.lease(ctx, gen) })
	if err != nil {
		return err
	}
	l.p.metrics.finished(b, began, inserted, l.p.now())
	l.done, l.fence, l.lineAt = b.line.To, l.tailOf(b), l.p.now()
	l.planned = nil
	l.movedOn()
	l.p.recycle(b)
	l.status.finished(b.line.To, b.judge.Engine.Stats())
	if l.done-l.snapAt > snapshotTail && l.open == nil {
		return l.snapshot(ctx)
	}
	return nil
}

// store stores a batch: rows, alerts, dead letters, and then the line that says so. It tells when the rows were in.
func (l *lane) store(ctx context.Context, b *batch, lease func(context.Context) error) (inserted time.Time, err error) {
	r := b.line.Range
	b.line.Rows, b.line.DeadLetters, b.line.Hash = uint64(b.block.Rows()), uint64(len(b.dead)), b.block.Hash()
	b.line.Status = scoring.LineDone
	if b.compare && !b.mend {
		if err := l.unheld(ctx, lease); err != nil {
			return inserted, err
		}
	}
	if b.block.Rows() > 0 {
		already, err := l.p.Store.Insert(ctx, Insert{Range: r, Block: b.block, Compare: b.compare, InLedger: b.mend, Lease: lease})
		if err != nil {
			return inserted, err
		}
		if already > 0 {
			// Rows that stood already keep their verdicts, and alerts follow the rows, not a second judgement.
			b.line.Status = scoring.LineMixed
			if err := l.retry(ctx, lease, "read stored alerts", func() (err error) {
				b.alerts, err = l.p.Store.StoredAlerts(ctx, r)
				return err
			}); err != nil {
				return inserted, err
			}
		}
	}
	inserted = l.p.now()
	lines := 1
	if b.mend {
		lines = 0
	}
	b.line.Alerts = uint64(len(b.alerts))
	for _, step := range []struct {
		name string
		n    int
		do   func() error
	}{
		{"write alerts to the outbox", len(b.alerts), func() error { return l.p.Outbox.Write(ctx, b.alerts) }},
		{"write dead letters to their topic", len(b.dead), func() error { return l.p.DeadLetterTopic.Write(ctx, b.dead) }},
		{"write dead letters to their table", len(b.dead), func() error { return l.p.Store.DeadLetters(ctx, r, b.dead) }},
		{"write the ledger", lines, func() error { return l.p.Store.Ledger(ctx, b.line) }},
	} {
		if step.n == 0 {
			continue
		}
		if err := l.retry(ctx, lease, step.name, step.do); err != nil {
			return inserted, err
		}
	}
	return inserted, nil
}

func (l *lane) tailOf(b *batch) tail {
	if b.line.LastKnown {
		return tail{offset: b.line.LastOffset, hash: b.line.LastHash, known: true}
	}
	return l.fence
}

// retry repeats what may pass for as long as the lane is ours.
func (l *lane) retry(ctx context.Context, lease func(context.Context) error, what string, do func() error) error {
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := do()
		var park *Park
		if err == nil || ctx.Err() != nil || errors.As(err, &park) {
			return err
		}
		l.log.Warn("will try again", "what", what, "err", err, "in", wait)
		l.status.set(stateRetrying, what+": "+err.Error())
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
		if err := lease(ctx); err != nil {
			return err
		}
		l.status.set(stateRunning, "")
	}
}
