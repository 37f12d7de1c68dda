package clickhouse

import "context"

// PutSettings stores settings under their digest. Doing it again changes nothing.
func (db *DB) PutSettings(ctx context.Context, digest, text string) error {
	return db.insert(ctx, "settings", "digest, text", "", [][]any{{digest, text}})
}
