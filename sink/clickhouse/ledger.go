package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentrisk/agentrisk/scoring"
)

// ledgerEvery is how often the lines of all lanes go in, together: ten times a second.
const ledgerEvery = 100 * time.Millisecond

// ledger gathers the lines of all lanes of a process.
type ledger struct {
	db   *DB
	in   chan ledgerLine
	stop chan struct{}
	once sync.Once
}

type ledgerLine struct {
	line scoring.Line
	done chan error
}

func newLedger(db *DB) *ledger {
	l := &ledger{db: db, in: make(chan ledgerLine), stop: make(chan struct{})}
	go l.run()
	return l
}

func (l *ledger) close() { l.once.Do(func() { close(l.stop) }) }

func (l *ledger) run() {
	var last time.Time // of the insert before
	for {
		var group []ledgerLine
		select {
		case <-l.stop:
			return
		case first := <-l.in:
			group = append(group, first)
		}
		// A line after a pause goes in at once; under load lines gather until the next insert is due.
		for timer := time.After(time.Until(last.Add(ledgerEvery))); timer != nil; {
			select {
			case more := <-l.in:
				group = append(group, more)
			case <-timer:
				timer = nil
			}
		}
		last = time.Now()
		err := l.write(group)
		for _, g := range group {
			g.done <- err
		}
	}
}

var errClosed = errors.New("clickhouse: closed")

// Ledger writes a line and returns when it is stored. After an error it may be stored all the same; writing it again
// changes nothing for who reads the ledger.
func (db *DB) Ledger(ctx context.Context, line scoring.Line) error {
	w := ledgerLine{line, make(chan error, 1)}
	select {
	case db.ledger.in <- w:
	case <-db.ledger.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-db.ledger.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

const lineColumns = "topic, partition, epoch, from_offset, to_offset, status, rows, dead_letters, duplicates, control, aborted, gaps, alerts, hash, last_offset, last_hash, last_known, first_time, last_time, state_from, pack, engine, incarnation, poison, settings"

// write inserts the lines under a token of this attempt's own. With one made of the lines a retry could be dropped
// although the first attempt left nothing but its token, and the line would be lost without a word. Doubles change
// nothing for who reads the ledger.
func (l *ledger) write(group []ledgerLine) error {
	rows := make([][]any, 0, len(group))
	for _, g := range group {
		x := &g.line
		rows = append(rows, []any{x.Topic, x.Partition, x.Epoch, x.From, x.To, string(x.Status), x.Rows, x.DeadLetters, x.Duplicates, x.Control, x.Aborted,
			x.Gaps, x.Alerts, x.Hash, x.LastOffset, x.LastHash, x.LastKnown, time.UnixMilli(x.FirstTime).UTC(), time.UnixMilli(x.LastTime).UTC(), x.StateFrom,
			x.Pack, x.Engine, x.Incarnation, append([]int64{}, x.Poison...), x.Settings})
	}
	return l.db.insert(context.Background(), "batches", lineColumns, "ledger|"+nonce(), rows)
}

// Position is where a lane stands according to the database.
type Position struct {
	HasLedger bool
	To        int64        // contiguous end of the ledger
	Last      scoring.Line // the line that ends there
	// TableTo is one past the highest offset in verdicts, 0 when there is none. Where there is a ledger only rows at or
	// beyond its end are looked at: what lies before is done, and a table of years is long.
	TableTo int64
}

// Position reads a lane's ledger and the highest offset of its rows.
func (db *DB) Position(ctx context.Context, topic string, partition, epoch int32) (at Position, err error) {
	const lane = " WHERE topic = ? AND partition = ? AND epoch = ?"
	fail := func(err error) (Position, error) {
		return Position{}, fmt.Errorf("clickhouse: position of %s/%d: %w", topic, partition, err)
	}
	var lines uint64
	var end int64
	if err := db.conn.QueryRow(ctx, `SELECT count(), min(if(n > 1 AND from_offset > before, before, reach)) FROM (
		SELECT from_offset, row_number() OVER w AS n, max(to_offset) OVER (ORDER BY from_offset, to_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before,
			max(to_offset) OVER () AS reach
		FROM `+db.table("batches")+lane+` WINDOW w AS (ORDER BY from_offset, to_offset))`, topic, partition, epoch).Scan(&lines, &end); err != nil {
		return fail(err)
	}
	from := int64(0)
	if lines > 0 {
		from = end
	}
	if err := db.conn.QueryRow(ctx, "SELECT toInt64(if(count() = 0, 0, max(offset) + 1)) FROM "+db.table("verdicts")+lane+" AND offset >= ?", topic, partition, epoch, from).Scan(&at.TableTo); err != nil {
		return fail(err)
	}
	if lines == 0 {
		return at, nil
	}
	at.HasLedger, at.To = true, end
	rows, err := db.conn.Query(ctx, "SELECT "+lineColumns+" FROM "+db.table("batches")+lane+" AND to_offset = ? ORDER BY written DESC, from_offset DESC LIMIT 1", topic, partition, epoch, end)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	for rows.Next() {
		if at.Last, err = scanLine(rows); err != nil {
			return fail(err)
		}
	}
	return at, rows.Err()
}

func scanLine(rows driver.Rows) (x scoring.Line, err error) {
	var status string
	var first, last time.Time
	err = rows.Scan(&x.Topic, &x.Partition, &x.Epoch, &x.From, &x.To, &status, &x.Rows, &x.DeadLetters, &x.Duplicates, &x.Control, &x.Aborted, &x.Gaps,
		&x.Alerts, &x.Hash, &x.LastOffset, &x.LastHash, &x.LastKnown, &first, &last, &x.StateFrom, &x.Pack, &x.Engine, &x.Incarnation, &x.Poison, &x.Settings)
	x.Status, x.FirstTime, x.LastTime = scoring.LineStatus(status), first.UnixMilli(), last.UnixMilli()
	return x, err
}

// Lines returns the ledger lines that overlap the range, in order, equal ones once.
func (db *DB) Lines(ctx context.Context, r scoring.Range) ([]scoring.Line, error) {
	rows, err := db.conn.Query(ctx, "SELECT "+lineColumns+" FROM "+db.table("batches")+
		" WHERE topic = ? AND partition = ? AND epoch = ? AND from_offset < ? AND to_offset > ? ORDER BY from_offset, to_offset, written", r.Topic, r.Partition, r.Epoch, r.To, r.From)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: lines of %s: %w", r, err)
	}
	defer rows.Close()
	var list []scoring.Line
	for rows.Next() {
		x, err := scanLine(rows)
		if err != nil {
			return nil, fmt.Errorf("clickhouse: lines of %s: %w", r, err)
		}
		if n := len(list); n == 0 || list[n-1].Range != x.Range || list[n-1].Hash != x.Hash {
			list = append(list, x)
		}
	}
	return list, rows.Err()
}
