package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Pack is a pack as the database keeps it, by digest.
type Pack struct {
	*scoring.Pack
	Canonical []byte // what the digest is made of
	Source    []byte // what the pack was read from: its files by name, as JSON
}

// PutPack stores a pack, its rules and its source. Doing it again changes nothing.
func (db *DB) PutPack(ctx context.Context, p Pack) error {
	if err := db.insert(ctx, "pack_sources", "digest, source", "", [][]any{{p.Digest, string(p.Source)}}); err != nil {
		return err
	}
	if err := db.insert(ctx, "packs", "digest, name, version, canonical", "", [][]any{{p.Digest, p.Name, p.Version, string(p.Canonical)}}); err != nil {
		return err
	}
	var rows [][]any
	for i := range p.Rules {
		r := &p.Rules[i]
		rows = append(rows, []any{p.Digest, r.ID, r.Family, r.TitleEN, r.TitleZH, r.Severity.String(), uint16(r.Weight), r.Status.String()})
	}
	if len(rows) == 0 {
		return nil
	}
	return db.insert(ctx, "rules", "pack, rule, family, title_en, title_zh, severity, weight, status", "", rows)
}

// PackSource returns the source of a pack, nil when the database has none: it never saw the pack, or an older program
// activated it.
func (db *DB) PackSource(ctx context.Context, digest string) ([]byte, error) {
	var n uint64
	var source string
	if err := db.conn.QueryRow(ctx, "SELECT count(), argMax(source, written) FROM "+db.table("pack_sources")+" WHERE digest = ?", digest).Scan(&n, &source); err != nil {
		return nil, fmt.Errorf("clickhouse: source of pack %.12s: %w", digest, err)
	}
	if n == 0 {
		return nil, nil
	}
	return []byte(source), nil
}

// PackDigests lists the digests of stored packs that begin with prefix, at most three.
func (db *DB) PackDigests(ctx context.Context, prefix string) (list []string, err error) {
	if err := db.conn.QueryRow(ctx, "SELECT groupArray(3)(digest) FROM (SELECT DISTINCT digest FROM "+db.table("pack_sources")+" WHERE startsWith(digest, ?) ORDER BY digest)", prefix).Scan(&list); err != nil {
		return nil, fmt.Errorf("clickhouse: packs: %w", err)
	}
	return list, nil
}

// Activation is a row of who put which pack in force, and why.
type Activation struct {
	ID      string // random, one an act; empty on rows of older programs
	Pack    string // digest
	Name    string // of the pack; empty when the database does not know it
	Version string
	Who     string
	Why     string
	Written time.Time
}

// Active is the digest of the pack that is in force, "" when none was ever activated. Of two that were activated at once
// it is the later; should even that be equal, all choose the same.
func (db *DB) Active(ctx context.Context) (digest string, err error) {
	if err := db.conn.QueryRow(ctx, "SELECT argMax(pack, (written, pack)) FROM "+db.table("activations")).Scan(&digest); err != nil {
		return "", fmt.Errorf("clickhouse: active pack: %w", err)
	}
	return digest, nil
}

// Activations lists the newest, the one in force first.
func (db *DB) Activations(ctx context.Context, limit int) (list []Activation, err error) {
	rows, err := db.conn.Query(ctx, `SELECT a.id, a.pack, p.name, p.version, a.who, a.why, a.written FROM `+db.table("activations")+` AS a
		LEFT JOIN (SELECT digest, any(toString(name)) AS name, any(toString(version)) AS version FROM `+db.table("packs")+` GROUP BY digest) AS p ON p.digest = a.pack
		ORDER BY a.written DESC, a.pack DESC LIMIT ?`, limit)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: activations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var a Activation
		if err := rows.Scan(&a.ID, &a.Pack, &a.Name, &a.Version, &a.Who, &a.Why, &a.Written); err != nil {
			return nil, fmt.Errorf("clickhouse: activations: %w", err)
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

// Activate puts a pack in force. The id tells one act from another: after an error it may be called again with the same
// id, and the act is recorded once.
func (db *DB) Activate(ctx context.Context, a Activation) error {
	var n uint64
	if err := db.conn.QueryRow(ctx, "SELECT count() FROM "+db.table("activations")+" WHERE id = ?", a.ID).Scan(&n); err != nil {
		return fmt.Errorf("clickhouse: activate pack %.12s: %w", a.Pack, err)
	}
	if n > 0 {
		return nil
	}
	return db.insert(ctx, "activations", "id, pack, who, why", "", [][]any{{a.ID, a.Pack, a.Who, a.Why}})
}

// NewActID names an act that an operator does once.
func NewActID() string { return nonce() }
