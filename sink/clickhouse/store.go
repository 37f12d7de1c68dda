package clickhouse

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/agentrisk/agentrisk/scoring"
)

// Request asks for a planned range to be stored.
type Request struct {
	Range scoring.Range
	Block *Block
	// Compare says that rows of the range may be stored already: by a predecessor under this plan, or under other
	// bounds by one whose ledger was lost.
	Compare bool
	// InLedger says that the range was done before: only inserts of this very range may still run, and the lane's others
	// are left alone.
	InLedger bool
	// Replay names a dead letter's replay: it has tokens of its own.
	Replay bool
	Lease  func(context.Context) error // called before each send; its error is returned as it is
}

// maxRounds bounds how often a range is compared and completed before the lane parks.
const maxRounds = 10

// ParkError says that a range does not become complete: an operator must look.
type ParkError struct{ Detail string }

func (e *ParkError) Error() string { return e.Detail }

// Store stores the rows of a range exactly once and returns how many of them this call did not insert: they stood
// there before, or an attempt of this call landed whose answer was lost.
//
// The first insert goes out under the token of the range, and again until the server gives a definite answer: of all
// who send this token, now or late, one lands. An OK without a dropped block is the end of it. So are rows that stand there
// when it is about to go out again.
//
// A dropped block says that the token is spent, and not that rows are there: somebody else's rows may have spent it,
// or an insert that died between the token's log and its part. So every insert of the lane that still runs is killed,
// what the table holds of the range is compared by (offset, item), and what is missing goes in under the token and the
// hash of the missing set. A second one who settles the same range finds the same set and sends the same token. When
// that is spent too and rows are still missing, the round joins the token: nobody can land under the older ones any more.
//
// Comparing first and sending the rows under a fresh token would double them: the first insert may still be on its
// way. With Compare the table is asked first, but what it lacks goes out under the range's own token all the same. That
// spends it, and an insert of the predecessor that arrives later is dropped.
//
// Rows at the edge of retention vanish as they land and are never complete; there a definite answer is enough, and the
// ledger remembers that the range is done.
func (db *DB) Store(ctx context.Context, req Request) (already uint64, err error) {
	b := req.Block
	if b.Rows() == 0 {
		return 0, nil
	}
	if err := b.check(req.Range); err != nil {
		return 0, err
	}
	missing := b
	if req.Compare {
		if missing, err = db.lacking(ctx, req); err != nil {
			return 0, err
		}
	}
	for round, token := 0, req.token(db); missing.Rows() > 0; round++ {
		var out outcome
		if missing, out, err = db.insist(ctx, req, missing, token); err != nil {
			return 0, err
		}
		if missing.Rows() == 0 || out.clean() {
			return uint64(b.Rows() - missing.Rows()), nil
		}
		old, err := db.expired(ctx, req)
		if err != nil || old {
			return 0, err
		}
		if round == maxRounds {
			return 0, &ParkError{fmt.Sprintf("%s: %d of %d rows are still missing after %d rounds of settling; see the server's log and system.errors, then restart", req.Range, missing.Rows(), b.Rows(), maxRounds)}
		}
		if missing, err = db.lacking(ctx, req); err != nil {
			return 0, err
		}
		token = fmt.Sprintf("%s|%s|%d", req.token(db), missing.setHash(), round)
	}
	return uint64(b.Rows()), nil
}

// check refuses a block that cannot be one part, or that belongs elsewhere.
func (b *Block) check(r scoring.Range) error {
	first, last := b.placeOf(0), b.placeOf(b.n-1)
	switch {
	case b.mixed:
		return &ParkError{fmt.Sprintf("%s: rows of two Kafka days in one batch, which would be two parts", r)}
	case first.offset < r.From || last.offset >= r.To || b.last.Topic != r.Topic || b.last.Partition != r.Partition:
		return &ParkError{fmt.Sprintf("%s: the block holds %s/%d, offsets %d to %d", r, b.last.Topic, b.last.Partition, first.offset, last.offset)}
	}
	return nil
}

// insist sends until the server gives a definite OK, and returns what it sent at last.
//
// A single server syncs parts and not the log of its tokens: a loss of power may take the token of rows that stay, and the
// same insert again would double them. So what the table holds by now is not sent again.
func (db *DB) insist(ctx context.Context, req Request, b *Block, token string) (sent *Block, out outcome, err error) {
	tried := false
	err = db.again(ctx, req, func() error {
		if tried && db.cfg.Cluster == "" {
			stored, err := db.stored(ctx, req)
			if err != nil {
				return err
			}
			if len(stored) > 0 {
				b = b.without(stored)
			}
			if b.Rows() == 0 {
				return nil
			}
		}
		tried = true
		err := db.limit.Wait(ctx)
		if err == nil {
			out, err = db.send(ctx, b, token, req.queryID(db))
		}
		return err
	})
	return b, out, err
}

// lacking ends every insert of the lane that still runs and returns the rows that the table then lacks.
func (db *DB) lacking(ctx context.Context, req Request) (missing *Block, err error) {
	err = db.again(ctx, req, func() error {
		stored, err := db.compare(ctx, req)
		if err == nil {
			missing = req.Block.without(stored)
		}
		return err
	})
	return missing, err
}

// token and queryID name what the request inserts.
func (req *Request) token(db *DB) string {
	if req.Replay {
		return db.token(req.Range) + "|replay"
	}
	return db.token(req.Range)
}

func (req *Request) queryID(db *DB) string {
	if req.Replay {
		return db.queryID(req.Range) + "|replay"
	}
	return db.queryID(req.Range)
}

func (db *DB) compare(ctx context.Context, req Request) (stored map[place]uint64, err error) {
	r, kill := req.Range, db.lanePrefix(req.Range)
	if req.InLedger {
		kill = req.queryID(db)
	}
	ctx, cancel := context.WithTimeout(ctx, db.deadline)
	defer cancel()
	if err := db.native.killInserts(ctx, kill); err != nil {
		return nil, fmt.Errorf("clickhouse: end inserts of %s: %w", r, err)
	}
	return db.stored(ctx, req)
}

// stored counts the rows that the table holds of the range.
func (db *DB) stored(ctx context.Context, req Request) (stored map[place]uint64, err error) {
	r := req.Range
	ctx, cancel := context.WithTimeout(ctx, db.deadline)
	defer cancel()
	c, err := db.native.get(ctx)
	if err != nil {
		return nil, err
	}
	var offset proto.ColInt64
	var item proto.ColInt32
	var n proto.ColUInt64
	stored = map[place]uint64{}
	err = c.Do(ctx, ch.Query{
		Body: fmt.Sprintf("SELECT offset, item, count() AS n FROM %s WHERE topic = %s AND partition = %d AND epoch = %d AND offset >= %d AND offset < %d GROUP BY offset, item",
			db.table("verdicts"), quote(r.Topic), r.Partition, r.Epoch, r.From, r.To),
		Settings: []ch.Setting{{Key: "select_sequential_consistency", Value: "1"}},
		Result:   proto.Results{{Name: "offset", Data: &offset}, {Name: "item", Data: &item}, {Name: "n", Data: &n}},
		OnResult: func(context.Context, proto.Block) error {
			for i := range n {
				stored[place{offset[i], item[i]}] = n[i]
			}
			return nil
		},
	})
	db.native.put(c, err)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: compare %s: %w", r, err)
	}
	return stored, nil
}

// expired reports whether the block's day is at the edge of the table's retention, within two days, or beyond.
func (db *DB) expired(ctx context.Context, req Request) (old bool, err error) {
	err = db.again(ctx, req, func() error {
		edge, err := db.retention(ctx, "verdicts")
		old = err == nil && time.Unix(req.Block.day*86_400, 0).Before(edge)
		return err
	})
	return old, err
}

// setHash names the set of rows.
func (b *Block) setHash() string {
	h := sha256.New()
	var buf [12]byte
	for i := range b.n {
		p := b.placeOf(i)
		binary.BigEndian.PutUint64(buf[:], uint64(p.offset))
		binary.BigEndian.PutUint32(buf[8:], uint32(p.item))
		h.Write(buf[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
