package clickhouse

import (
	"context"
	"fmt"
	"strconv"
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

// lanePrefix begins the query id of every insert of the lane.
func (db *DB) lanePrefix(r scoring.Range) string {
	return fmt.Sprintf("agentrisk|%s|%d|%s|%d|", db.deployment, r.Epoch, r.Topic, r.Partition)
}

// queryID is the same for every insert of a range: the server refuses a second one while the first runs (code 216).
func (db *DB) queryID(r scoring.Range) string {
	return fmt.Sprintf("%s%d|%d", db.lanePrefix(r), r.From, r.To)
}

// outcome of an insert that the server has answered with OK.
type outcome struct {
	inserted   int64 // rows, as the server's events count them: also those that it dropped
	duplicated int64 // blocks that were dropped because their token is known
}

// clean reports whether the rows are stored for sure. An OK alone says nothing, and neither does silence: a profile that
// turns the server's events off leaves every insert to be settled.
func (o outcome) clean() bool { return o.duplicated == 0 && o.inserted > 0 }

// pinnedNative are the settings that the hot insert stands on; their defaults differ between versions and profiles.
// Those that are not important are passed over by servers that do not know them.
var pinnedNative = []ch.Setting{
	{Key: "async_insert", Value: "0", Important: true},
	{Key: "insert_deduplicate", Value: "1", Important: true},
	{Key: "deduplicate_insert", Value: "enable"}, // overrides the one above since 26.2
	{Key: "max_insert_threads", Value: "1", Important: true},
	{Key: "optimize_on_insert", Value: "0", Important: true}, // no two rows of a block share a sorting key: nothing to merge before writing
	{Key: "send_profile_events", Value: "1"},
	{Key: "fsync_metadata", Value: "1"},
}

// send sends the block once. A nil error is the server's definite OK.
func (db *DB) send(ctx context.Context, b *Block, token, queryID string) (out outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, db.deadline)
	defer cancel()
	c, err := db.native.get(ctx)
	if err != nil {
		return outcome{}, err
	}
	var mu sync.Mutex // the callback runs on the connection's reading goroutine
	var seen outcome
	in := b.input()
	names := make([]string, len(in))
	for i, col := range in {
		names[i] = "`" + col.Name + "`"
	}
	settings := append([]ch.Setting{{Key: "insert_deduplication_token", Value: token, Important: true}}, pinnedNative...)
	settings = append(settings, ch.Setting{Key: "receive_timeout", Value: strconv.Itoa(int(db.silence.Seconds())), Important: true})
	if db.cfg.Cluster != "" {
		settings = append(settings, ch.Setting{Key: "insert_quorum", Value: "auto", Important: true})
	}
	err = c.Do(ctx, ch.Query{
		Body:     "INSERT INTO " + db.table("verdicts") + " (" + strings.Join(names, ", ") + ") VALUES",
		QueryID:  queryID,
		Input:    in,
		Settings: settings,
		OnProfileEvents: func(_ context.Context, events []ch.ProfileEvent) error {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range events {
				switch e.Name {
				case "DuplicatedInsertedBlocks":
					seen.duplicated += e.Value
				case "InsertedRows":
					seen.inserted += e.Value
				}
			}
			return nil
		},
	})
	db.native.put(c, err)
	if err != nil {
		return outcome{}, fmt.Errorf("clickhouse: insert %s: %w", token, err)
	}
	mu.Lock()
	defer mu.Unlock()
	return seen, nil
}

// hopeless are errors of the server after which sending again cannot help: the schema is not what this program writes,
// or it may not write there.
var hopeless = map[int]bool{
	10:  true, // not found column in block
	16:  true, // no such column
	20:  true, // number of columns does not match
	47:  true, // unknown identifier
	50:  true, // unknown type
	53:  true, // type mismatch
	60:  true, // unknown table
	62:  true, // syntax error
	70:  true, // cannot convert type
	81:  true, // unknown database
	115: true, // unknown setting
	164: true, // read-only user
	349: true, // null in an ordinary column
	452: true, // a profile forbids a setting
	469: true, // violated constraint
	497: true, // not enough privileges
}

// again runs do until it succeeds, waiting longer each time up to five seconds, for as long as ctx lives and the lease
// holds: a database that is away for minutes comes back. One that does not answer is asked every two seconds, which costs
// it nothing; one that answers with an error may have too much to do.
func (db *DB) again(ctx context.Context, req Request, do func() error) error {
	for wait := db.backoff; ; wait *= 2 {
		if req.Lease != nil {
			if err := req.Lease(ctx); err != nil {
				return err
			}
		}
		err := do()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case hopeless[code(err)]:
			return &ParkError{err.Error() + ": run `agentrisk migrate`, or grant what is missing, then restart"}
		case Passes(err):
			wait = min(wait, 2*time.Second)
		}
		wait = min(wait, 5*time.Second)
		if db.cfg.Retry != nil {
			db.cfg.Retry(req.Range.String(), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
