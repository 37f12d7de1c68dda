package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/agentrisk/agentrisk/scoring"
)

// Reasons of a replay that found no record to judge, beside those of dead letters.
const (
	ReplayGone    scoring.Reason = "gone"    // the log no longer holds the record
	ReplayChanged scoring.Reason = "changed" // the log holds another record there
	ReplayUndone  scoring.Reason = "undone"  // the lane has not finished with the offset
)

// Replayed is what became of one item: a row, or the reason why it still is none.
type Replayed struct {
	Origin scoring.Origin
	Reject *scoring.Reject // nil: it is a row
	Score  scoring.Score
}

// Replay judges dead letters of one record again, from the log, and stores what is an event now under its first origin,
// flagged as replayed and cold: the judge knows no earlier event. Doing it again, or by two at once, stores nothing twice,
// because all send the same token and compare. With dry it stores nothing. letters are of one offset and epoch.
func (m *Mender) Replay(ctx context.Context, letters []scoring.DeadLetter, dry bool) ([]Replayed, error) {
	first := &letters[0]
	r := scoring.Range{Topic: first.Topic, Partition: first.Partition, Epoch: first.Epoch, From: first.Offset, To: first.Offset + 1}
	b := m.Pipeline.binding(r.Topic)
	if b == nil {
		return nil, fmt.Errorf("no binding for topic %s: its records cannot be judged", r.Topic)
	}
	all := func(reason scoring.Reason, format string, args ...any) (out []Replayed, err error) {
		for i := range letters {
			out = append(out, Replayed{Origin: letters[i].Origin, Reject: &scoring.Reject{Reason: reason, Detail: fmt.Sprintf(format, args...)}})
		}
		return out, nil
	}
	if first.Reason == scoring.ReasonPoison {
		return all(scoring.ReasonPoison, "it ended the process that judged it, and is not judged again")
	}
	if !dry {
		done, err := m.finished(ctx, r)
		if err != nil {
			return nil, err
		}
		if !done {
			return all(ReplayUndone, "the lane has not finished with offset %d yet: try again later", r.From)
		}
	}
	own := *b
	own.Epoch = r.Epoch
	l := m.Pipeline.newLane(r.Topic, r.Partition, &own)
	l.pos, l.known = r.From, r.To
	if err := l.newJudge(l.p.InForce()); err != nil {
		return nil, err
	}
	l.judgeNext(l.p.InForce())
	chunk, err := l.p.Log.Fetch(ctx, r.Topic, r.Partition, r.From, fetchWait)
	var out *OutOfRange
	if errors.As(err, &out) {
		return all(ReplayGone, "the log now holds offsets %d to %d", out.First, out.Next)
	}
	if err != nil {
		return nil, err
	}
	defer chunk.Release()
	var e Entry
	found := chunk.Next(&e)
	for found && e.Last < r.From {
		found = chunk.Next(&e)
	}
	switch {
	case !found || e.First > r.From || e.Kind == EntryControl || e.Kind == EntryAborted:
		return all(ReplayGone, "the log holds no record at offset %d any more", r.From)
	case e.Kind == EntryCorrupt:
		return all(scoring.ReasonCorrupt, "%v", e.Err)
	}
	if sum := sha256.Sum256(e.Record.Value); first.Hash != "" && hex.EncodeToString(sum[:]) != first.Hash {
		return all(ReplayChanged, "the record at offset %d is not the one that became this letter: the topic was made again", r.From)
	}
	if err := l.openBatch(ctx, false); err != nil {
		return nil, err
	}
	defer l.p.recycle(l.open)
	e.Record.Time = first.KafkaTime
	taken := replayOutput{batch: l.open, results: map[int32]Replayed{}, want: map[int32]bool{}}
	for i := range letters {
		taken.want[letters[i].Item] = true
	}
	l.judge.Record(&e.Record, &taken)
	if l.open.block.Rows() > 0 && !dry {
		if err := m.storeReplay(ctx, l, r); err != nil {
			return nil, err
		}
	}
	list := make([]Replayed, 0, len(letters))
	for i := range letters {
		one, ok := taken.results[letters[i].Item]
		if !ok {
			one.Reject = &scoring.Reject{Reason: ReplayGone, Detail: "the record has no such item any more"}
		}
		one.Origin = letters[i].Origin
		list = append(list, one)
	}
	return list, nil
}

// finished reports whether the ledger and the group are beyond a range, so that the lane does not judge it now.
func (m *Mender) finished(ctx context.Context, r scoring.Range) (bool, error) {
	at, err := m.Pipeline.Store.Position(ctx, r.Topic, r.Partition, r.Epoch)
	if err != nil {
		return false, err
	}
	committed, err := m.Committed(ctx, r.Topic, r.Partition, r.Epoch)
	return at.To >= r.To && (committed < 0 || committed >= r.To), err
}

// storeReplay stores the open batch and sends its alerts. The lane is held meanwhile, so that it does not go over the
// offset; other replays are no danger.
func (m *Mender) storeReplay(ctx context.Context, l *lane, r scoring.Range) error {
	id := "replay|" + m.Pipeline.Incarnation
	hold := func(ctx context.Context) error {
		_, err := m.Mending.Hold(ctx, r.Topic, r.Partition, r.Epoch, id, m.Who)
		return err
	}
	if err := hold(ctx); err != nil {
		return err
	}
	defer func() {
		_ = m.Mending.Release(context.WithoutCancel(ctx), r.Topic, r.Partition, r.Epoch, id) // else it ends by itself
	}()
	if done, err := m.finished(ctx, r); err != nil || !done {
		return errors.Join(err, errUndone)
	}
	b := l.open
	already, err := l.p.Store.Insert(ctx, Insert{Range: r, Block: b.block, Compare: true, InLedger: true, Replay: true, Lease: hold})
	if err != nil {
		return err
	}
	if already > 0 {
		if b.alerts, err = l.p.Store.StoredAlerts(ctx, r); err != nil {
			return err
		}
	}
	if len(b.alerts) == 0 {
		return nil
	}
	return l.p.Outbox.Write(ctx, b.alerts)
}

var errUndone = errors.New("the lane goes over the offset right now: try again later")

// replayOutput takes the wanted items of a record.
type replayOutput struct {
	batch   *batch
	want    map[int32]bool
	results map[int32]Replayed
}

func (o *replayOutput) Row(e *scoring.Event, v *scoring.Verdict) {
	if !o.want[e.Origin.Item] {
		return
	}
	v.Flags |= scoring.FlagReplayed | scoring.FlagCold
	o.results[e.Origin.Item] = Replayed{Score: v.Score}
	o.batch.Row(e, v)
}

func (o *replayOutput) Dead(d *scoring.DeadLetter) {
	o.results[d.Item] = Replayed{Reject: &scoring.Reject{Reason: d.Reason, Detail: d.Detail}}
}
