package clickhouse

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"

	"github.com/agentrisk/agentrisk/scoring"
)

// token names a planned range: whoever sends it sends the same rows.
func (db *DB) token(r scoring.Range) string {
	return fmt.Sprintf("%s|%d|%s|%d|%d|%d", db.deployment, r.Epoch, r.Topic, r.Partition, r.From, r.To)
}

// outcome of an insert that the server has answered with OK.
type outcome struct {
	duplicated int64 // blocks that were dropped because their token is known
}

// send sends the block once. A nil error is the server's definite OK.
func (db *DB) send(ctx context.Context, b *Block, token, queryID string) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	c, err := db.dial(ctx)
	if err != nil {
		return outcome{}, err
	}
	var mu sync.Mutex
	var out outcome
	in := b.input()
	names := make([]string, len(in))
	for i, col := range in {
		names[i] = "`" + col.Name + "`"
	}
	err = c.Do(ctx, ch.Query{
		Body:    "INSERT INTO " + db.table("verdicts") + " (" + strings.Join(names, ", ") + ") VALUES",
		QueryID: queryID,
		Input:   in,
		Settings: []ch.Setting{
			{Key: "insert_deduplication_token", Value: token, Important: true},
			{Key: "async_insert", Value: "0", Important: true},
			{Key: "insert_deduplicate", Value: "1", Important: true},
			{Key: "max_insert_threads", Value: "1", Important: true},
		},
		OnProfileEvents: func(_ context.Context, events []ch.ProfileEvent) error {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range events {
				if e.Name == "DuplicatedInsertedBlocks" {
					out.duplicated += e.Value
				}
			}
			return nil
		},
	})
	if err != nil {
		_ = c.Close() // its state is unknown
		return outcome{}, fmt.Errorf("clickhouse: insert %s: %w", token, err)
	}
	select {
	case db.native <- c:
	default:
		_ = c.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	return out, nil
}

// dial takes an idle connection, or makes one to the first address that answers.
func (db *DB) dial(ctx context.Context) (*ch.Client, error) {
	for {
		select {
		case c := <-db.native:
			if c.IsClosed() || c.Ping(ctx) != nil {
				_ = c.Close()
				continue
			}
			return c, nil
		default:
		}
		var last error
		for _, a := range db.cfg.Addresses {
			c, err := ch.Dial(ctx, ch.Options{Address: a, Database: db.cfg.Database, User: db.cfg.User, Password: db.cfg.Password, DialTimeout: dialTimeout, ReadTimeout: insertTimeout, ClientName: "agentrisk"})
			if err == nil {
				return c, nil
			}
			last = fmt.Errorf("clickhouse at %s: %w", a, err)
		}
		return nil, last
	}
}

// Request asks for a planned range to be stored.
type Request struct {
	Range scoring.Range
	Block *Block
	// Compare says that rows of the range may be stored already: by a predecessor under this plan, or under other
	// bounds by one whose ledger was lost.
	Compare bool
	Lease   func(context.Context) error // called before each send; its error is returned as it is
}

// maxRounds bounds how often a range is compared and completed before the lane parks.
const maxRounds = 10

// ParkError says that a range does not become complete: an operator must look.
type ParkError struct{ Detail string }

func (e *ParkError) Error() string { return e.Detail }

// Server errors after which sending again cannot help: the schema is not what this program writes.
var hopeless = map[int]bool{
	16:  true, // no such column
	53:  true, // type mismatch
	60:  true, // unknown table
	81:  true, // unknown database
	497: true, // not enough privileges
}

// Store stores the rows of a range exactly once and returns how many of them stood there before.
//
// A clean insert is an OK without a dropped block. An insert whose outcome is unknown is sent again under the same
// token until the server answers: the token makes one of the two land. A dropped block only says that the token is
// known, and not that rows are there, so what the table holds is compared, and what is missing goes in under a token of
// its own. Comparing first and using a fresh token would double: the first insert may still land. That is why an
// insert of the range that may still run is killed before each comparison, and why a range of which nothing is stored
// goes in under its plain token.
func (db *DB) Store(ctx context.Context, req Request) (already uint64, err error) {
	b := req.Block
	switch {
	case b.Rows() == 0:
		return 0, nil
	case b.mixed:
		return 0, &ParkError{fmt.Sprintf("%s: rows of two Kafka days in one batch", req.Range)}
	}
	whole := uint64(b.Rows())
	if !req.Compare {
		out, err := db.insist(ctx, req, b, db.token(req.Range))
		if err != nil || out.duplicated == 0 {
			return 0, err
		}
	}
	for round := range maxRounds {
		stored, err := db.present(ctx, req)
		if err != nil {
			return 0, err
		}
		missing := b
		token := db.token(req.Range)
		if have := uint64(len(stored)); have > 0 {
			if missing = b.without(stored); missing.Rows() == 0 {
				return whole, nil
			}
		} else if req.Compare {
			out, err := db.insist(ctx, req, b, token)
			if err != nil || out.duplicated == 0 {
				return 0, err
			}
			req.Compare = false // the token is known and its rows are not there
			continue
		}
		if db.expired(b) {
			return 0, nil // rows beyond retention vanish as they land: the ledger decides
		}
		before := whole - uint64(missing.Rows())
		// The round is part of the token: one whose rows were dropped before would be dropped for ever. What an
		// earlier round sent has been answered or killed by now.
		out, err := db.insist(ctx, req, missing, fmt.Sprintf("%s|%s|%d", token, missing.setHash(), round))
		if err != nil {
			return before, err
		}
		if out.duplicated == 0 {
			return before, nil
		}
		if stored, err = db.present(ctx, req); err != nil {
			return before, err
		}
		if b.without(stored).Rows() == 0 {
			return before, nil
		}
	}
	return 0, &ParkError{fmt.Sprintf("%s: rows are still missing after %d rounds of settling; see system.errors and the server's log, then restart", req.Range, maxRounds)}
}

// insist sends until the server gives a definite OK, for as long as ctx lives and the lease holds.
func (db *DB) insist(ctx context.Context, req Request, b *Block, token string) (outcome, error) {
	queryID := "agentrisk|" + token
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		if err := db.limit.Wait(ctx); err != nil {
			return outcome{}, err
		}
		if err := req.Lease(ctx); err != nil {
			return outcome{}, err
		}
		out, err := db.send(ctx, b, token, queryID)
		if err == nil {
			return out, nil
		}
		if ctx.Err() != nil {
			return outcome{}, ctx.Err()
		}
		if hopeless[code(err)] {
			return outcome{}, &ParkError{err.Error() + ": run `agentrisk migrate`, or grant what is missing"}
		}
		if db.cfg.Retry != nil {
			db.cfg.Retry(req.Range.String(), err)
		}
		select {
		case <-ctx.Done():
			return outcome{}, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// present ends every insert of the lane that still runs and returns what the table holds of the range.
func (db *DB) present(ctx context.Context, req Request) (map[place]uint64, error) {
	r := req.Range
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		if err := req.Lease(ctx); err != nil {
			return nil, err
		}
		stored, err := db.kill(ctx, r)
		if err == nil {
			return stored, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if db.cfg.Retry != nil {
			db.cfg.Retry(r.String(), err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (db *DB) kill(ctx context.Context, r scoring.Range) (map[place]uint64, error) {
	lane := fmt.Sprintf("agentrisk|%s|%d|%s|%d|", db.deployment, r.Epoch, r.Topic, r.Partition)
	if err := db.exec(ctx, "KILL QUERY WHERE startsWith(query_id, ?) SYNC", lane); err != nil {
		return nil, fmt.Errorf("clickhouse: end inserts of %s: %w", r, err)
	}
	rows, err := db.conn.Query(ctx, "SELECT offset, item, count() FROM "+db.table("verdicts")+
		" WHERE topic = ? AND partition = ? AND epoch = ? AND offset >= ? AND offset < ? GROUP BY offset, item", r.Topic, r.Partition, r.Epoch, r.From, r.To)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: compare %s: %w", r, err)
	}
	defer rows.Close()
	stored := map[place]uint64{}
	for rows.Next() {
		var p place
		var n uint64
		if err := rows.Scan(&p.offset, &p.item, &n); err != nil {
			return nil, fmt.Errorf("clickhouse: compare %s: %w", r, err)
		}
		stored[p] = n
	}
	return stored, rows.Err()
}

// retention of verdicts, as in migration 0001.
const retention = 180 * 24 * time.Hour

// expired reports whether the block's day is at the edge of retention or beyond.
func (db *DB) expired(b *Block) bool {
	return time.Unix(b.day*86_400, 0).Before(time.Now().Add(-retention + 48*time.Hour))
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
