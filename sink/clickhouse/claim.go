package clickhouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Claim makes the database this deployment's, or refuses when it is another's. All claims are inserted under one
// token, so that of two at once the server stores one.
func (db *DB) Claim(ctx context.Context, cluster, group string) (deployment string, err error) {
	sum := sha256.Sum256([]byte(cluster + "|" + group))
	id := hex.EncodeToString(sum[:4])
	owner := func() (n uint64, id, cluster, group string, err error) {
		err = db.conn.QueryRow(ctx, "SELECT count(), any(deployment), any(cluster), any(consumer_group) FROM "+db.table("claim")).Scan(&n, &id, &cluster, &group)
		return n, id, cluster, group, err
	}
	n, heldBy, heldCluster, heldGroup, err := owner()
	if err == nil && n == 0 {
		if err = db.insert(ctx, "claim", "deployment, cluster, consumer_group", "claim", [][]any{{id, cluster, group}}); err == nil {
			n, heldBy, heldCluster, heldGroup, err = owner()
		}
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("clickhouse: claim of database %s: %w", db.cfg.Database, err)
	case n == 0:
		return "", fmt.Errorf("clickhouse: the claim of database %s was made before and its row is gone: drop the table claim and run `agentrisk migrate`, if nobody else writes here", db.cfg.Database)
	case heldBy != id:
		return "", fmt.Errorf("clickhouse: database %s belongs to Kafka cluster %s, group %s: this is cluster %s, group %s; use another database (clickhouse.database), one for each deployment", db.cfg.Database, heldCluster, heldGroup, cluster, group)
	}
	db.deployment = id
	return id, nil
}
