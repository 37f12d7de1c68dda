package clickhouse

import (
	"context"
	"fmt"
)

// Partitions returns how many partitions the topic had when it was first read under the epoch. Who asks first remembers
// that it has now; of two who do so at once the older row counts for both.
func (db *DB) Partitions(ctx context.Context, topic string, epoch, now int32) (first int32, err error) {
	fail := func(err error) (int32, error) { return 0, fmt.Errorf("clickhouse: partitions of %s: %w", topic, err) }
	for range 2 {
		var rows uint64
		if err := db.conn.QueryRow(ctx, "SELECT count(), argMin(partitions, (written, partitions)) FROM "+db.table("topics")+" WHERE topic = ? AND epoch = ?", topic, epoch).Scan(&rows, &first); err != nil {
			return fail(err)
		}
		if rows > 0 {
			return first, nil
		}
		if err := db.insert(ctx, "topics", "topic, epoch, partitions", "topic|"+nonce(), [][]any{{topic, epoch, now}}); err != nil {
			return fail(err)
		}
	}
	return fail(fmt.Errorf("a row that was written is not there"))
}
