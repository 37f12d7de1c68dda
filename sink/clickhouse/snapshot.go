package clickhouse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// Snapshot identifies a lane's saved state.
type Snapshot struct {
	Topic            string
	Partition, Epoch int32
	Offset           int64
	StateFrom        int64
	Pack, Engine     string
}

const snapshotColumns = "topic, partition, epoch, offset, id, chunk, data, state_from, pack, engine"

// SaveSnapshot stores the chunks that save produces and then a manifest with their hashes: a snapshot without its
// manifest does not exist. The newest two of a lane are kept, however old.
func (db *DB) SaveSnapshot(ctx context.Context, s Snapshot, save func(func([]byte) error) error) error {
	id := nonce()
	var manifest []byte
	row := func(n int32, data []byte) []any {
		return []any{s.Topic, s.Partition, s.Epoch, s.Offset, id, n, string(data), s.StateFrom, s.Pack, s.Engine}
	}
	n := int32(0)
	err := save(func(chunk []byte) error {
		sum := sha256.Sum256(chunk)
		manifest = append(manifest, sum[:]...)
		n++
		return db.insert(ctx, "snapshots", snapshotColumns, fmt.Sprintf("%s|%d", id, n), [][]any{row(n-1, chunk)})
	})
	if err == nil {
		err = db.insert(ctx, "snapshots", snapshotColumns, id+"|manifest", [][]any{row(-1, manifest)})
	}
	if err != nil {
		return fmt.Errorf("clickhouse: snapshot of %s/%d at %d: %w", s.Topic, s.Partition, s.Offset, err)
	}
	return db.dropOldSnapshots(ctx, s)
}

// dropOldSnapshots keeps the two of a lane that were written last, and what is younger than an hour: somebody may be
// writing it. The ids are named one by one, so that replicas delete the same.
func (db *DB) dropOldSnapshots(ctx context.Context, s Snapshot) error {
	t := db.table("snapshots")
	fail := func(err error) error {
		return fmt.Errorf("clickhouse: drop old snapshots of %s/%d: %w", s.Topic, s.Partition, err)
	}
	const lane = " WHERE topic = ? AND partition = ? AND epoch = ?"
	rows, err := db.conn.Query(ctx, "SELECT id, countIf(chunk = -1) > 0, max(written) < now() - INTERVAL 1 HOUR FROM "+t+lane+" GROUP BY id ORDER BY max(written) DESC, id", s.Topic, s.Partition, s.Epoch)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	var old []string
	for whole := 0; rows.Next(); {
		var id string
		var complete, aged bool
		if err := rows.Scan(&id, &complete, &aged); err != nil {
			return fail(err)
		}
		if complete {
			whole++
		}
		if aged && (!complete || whole > 2) {
			old = append(old, quote(id))
		}
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	if len(old) == 0 {
		return nil
	}
	if err := db.exec(ctx, "DELETE FROM "+t+lane+" AND id IN ("+strings.Join(old, ", ")+")", s.Topic, s.Partition, s.Epoch); err != nil {
		return fail(err)
	}
	return nil
}

// unreadable are errors of the server that say that what it has on disk is broken.
var unreadable = map[int]bool{
	33:  true, // cannot read all data
	40:  true, // checksum does not match
	107: true, // file does not exist
	246: true, // corrupted data
	271: true, // cannot decompress
}

// LoadSnapshot gives load the newest whole snapshot that was cut at or before notAfter; it falls back to an older one
// when a chunk is missing or damaged, which next says with [scoring.ErrDamaged], or load refuses it. found is false when
// there is none to be had. A server that does not answer is no reason to fall back: its error is returned at once.
func (db *DB) LoadSnapshot(ctx context.Context, topic string, partition, epoch int32, notAfter int64, load func(Snapshot, func() ([]byte, error)) error) (found bool, err error) {
	t := db.table("snapshots")
	rows, err := db.conn.Query(ctx, "SELECT id, offset, data, state_from, pack, engine FROM "+t+
		" WHERE topic = ? AND partition = ? AND epoch = ? AND chunk = -1 AND offset <= ? ORDER BY offset DESC, written DESC", topic, partition, epoch, notAfter)
	if err != nil {
		return false, fmt.Errorf("clickhouse: snapshots of %s/%d: %w", topic, partition, err)
	}
	type candidate struct {
		Snapshot
		id, manifest string
	}
	var list []candidate
	for rows.Next() {
		c := candidate{Snapshot: Snapshot{Topic: topic, Partition: partition, Epoch: epoch}}
		if err := rows.Scan(&c.id, &c.Offset, &c.manifest, &c.StateFrom, &c.Pack, &c.Engine); err != nil {
			rows.Close()
			return false, err
		}
		list = append(list, c)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return false, fmt.Errorf("clickhouse: snapshots of %s/%d: %w", topic, partition, err)
	}
	var refused, unread error
	for _, c := range list {
		n := 0
		err := load(c.Snapshot, func() ([]byte, error) {
			if n*sha256.Size >= len(c.manifest) {
				return nil, io.EOF
			}
			var data string
			if err := db.conn.QueryRow(ctx, "SELECT data FROM "+t+" WHERE topic = ? AND partition = ? AND epoch = ? AND offset = ? AND id = ? AND chunk = ?",
				topic, partition, epoch, c.Offset, c.id, int32(n)).Scan(&data); errors.Is(err, sql.ErrNoRows) || unreadable[code(err)] {
				return nil, fmt.Errorf("clickhouse: chunk %d of snapshot %s: %w: %w", n, c.id, scoring.ErrDamaged, err)
			} else if err != nil {
				unread = fmt.Errorf("clickhouse: chunk %d of snapshot %s: %w", n, c.id, err)
				return nil, unread
			}
			sum := sha256.Sum256([]byte(data))
			if !bytes.Equal(sum[:], []byte(c.manifest[n*sha256.Size:min(len(c.manifest), (n+1)*sha256.Size)])) {
				return nil, fmt.Errorf("clickhouse: chunk %d of snapshot %s is not the one that was written: %w", n, c.id, scoring.ErrDamaged)
			}
			n++
			return []byte(data), nil
		})
		if err == nil {
			return true, nil
		}
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case unread != nil:
			return false, unread
		}
		refused = err
	}
	return false, refused
}
