package kafka

import (
	"context"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/scoring"
)

// books say that the offsets up to to are done and which of them have a row.
type books struct {
	to   int64
	rows []int64
}

func (b books) LedgerEnds(context.Context, string, int32, int32) (from, to int64, err error) {
	return 0, b.to, nil
}

func (b books) LedgerPage(_ context.Context, topic string, partition, epoch int32, afterFrom, _, _ int64, _ int) ([]scoring.Line, error) {
	if afterFrom >= 0 {
		return nil, nil
	}
	return []scoring.Line{{Range: scoring.Range{Topic: topic, Partition: partition, Epoch: epoch, To: b.to}, Status: scoring.LineDone, Rows: uint64(len(b.rows)), LastTime: 1 << 60}}, nil
}

func (b books) Kept(context.Context) (rows, letters int64, err error) { return 0, 0, nil }

func (b books) Stored(_ context.Context, _ scoring.Range, yield func(ingest.StoredOffset)) error {
	for _, o := range b.rows {
		yield(ingest.StoredOffset{Offset: o, Rows: 1, Distinct: 1})
	}
	return nil
}

// Records of aborted transactions are never judged, and reconcile counts them and the markers as what they are: their offsets
// need no row, and a row of one would be found.
func TestReconcileOfTransactions(t *testing.T) {
	stacktest.Start(t).NeedApache(t, "transactions of a producer without franz-go")
	c := newClient(t)
	topic := newTopic(t, c, 1)
	tx := stacktest.NewTransactions(t, stacktest.Start(t).Brokers, topic)
	tx.Write("one", "two")
	tx.End(false) // 0, 1 aborted, 2 marker
	tx.Write("one")
	tx.End(true) // 3 committed, 4 marker
	eventually(t, "the last marker is written", func() error {
		b, err := c.Bounds(deadline(t), topic, 0)
		if err == nil && b.Next != 5 {
			err = ErrNotLeader
		}
		return err
	})
	for _, tt := range []struct {
		rows []int64
		kind string
	}{{[]int64{3}, ""}, {[]int64{1, 3}, ingest.FindUnexpected}, {[]int64{2, 3}, ingest.FindUnexpected}, {nil, ingest.FindMissing}} {
		r, err := (&ingest.Reconciler{Log: NewLog(c), Audit: books{5, tt.rows}}).Lane(deadline(t), topic, 0, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		if r.Control != 2 || r.Aborted != 2 || r.Records != 1 {
			t.Errorf("%d control, %d aborted, %d records; want 2, 2, 1", r.Control, r.Aborted, r.Records)
		}
		if tt.kind == "" && !r.OK() || tt.kind != "" && (len(r.Findings) != 1 || r.Findings[0].Kind != tt.kind) {
			t.Errorf("rows %v: findings %+v, want %q", tt.rows, r.Findings, tt.kind)
		}
	}
}
