package clickhouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Claim makes the database this deployment's, or refuses when it is another's, and says whose.
//
// Nothing here decides between two who claim at once but the server's own token: all send the same one, and one row
// lands. A server that died between the token's log and the row has spent the token for nothing; then the next number
// is tried, by everybody in the same order. Should two rows ever stand there, the older one holds.
func (db *DB) Claim(ctx context.Context, cluster, group string) (deployment string, err error) {
	sum := sha256.Sum256([]byte(cluster + "|" + group))
	id := hex.EncodeToString(sum[:4])
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("clickhouse: claim of database %s: %w", db.cfg.Database, err)
	}
	for try := 0; ; try++ {
		holder, found, err := db.holder(ctx)
		switch {
		case err != nil:
			return fail(err)
		case found && holder.id == id:
			db.deployment = id
			return id, nil
		case found:
			return "", fmt.Errorf("clickhouse: database %s belongs to Kafka cluster %s, group %s: this is cluster %s, group %s; use another database (clickhouse.database), one for each deployment",
				db.cfg.Database, holder.cluster, holder.group, cluster, group)
		case try == maxRounds:
			return "", fmt.Errorf("clickhouse: claim of database %s: the server takes the claim and does not keep it; see its log", db.cfg.Database)
		}
		if err := db.insert(ctx, "claim", "deployment, cluster, consumer_group", fmt.Sprintf("claim|%d", try), [][]any{{id, cluster, group}}); err != nil {
			return fail(err)
		}
	}
}

type claimant struct{ id, cluster, group string }

// holder reads who holds the database.
func (db *DB) holder(ctx context.Context) (c claimant, found bool, err error) {
	var n uint64
	err = db.conn.QueryRow(ctx, `SELECT count(), argMin(deployment, (written, deployment)), argMin(cluster, (written, deployment)), argMin(consumer_group, (written, deployment))
		FROM `+db.table("claim")).Scan(&n, &c.id, &c.cluster, &c.group)
	return c, n > 0, err
}
