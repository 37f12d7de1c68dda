package clickhouse

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Writer is the version of what this program writes. A database whose min_writer is higher refuses it. It goes up with
// the first migration that older programs cannot write beside.
const Writer = 1

type migration struct {
	name      string
	sum       string
	minWriter uint32 // programs of an earlier Writer must not write once it is applied
	commands  []string
}

// minWriter is the line of a migration that older programs cannot live with: -- min_writer: 2. Almost none has it, so
// that programs of both versions may run side by side while an upgrade goes through.
var minWriter = regexp.MustCompile(`(?m)^-- min_writer: ([0-9]+)$`)

// replicated turns statements for one server into those for a cluster of replicas, whose dedup window is set by count and
// by time.
var replicated = strings.NewReplacer(
	"ENGINE = MergeTree", "ENGINE = ReplicatedMergeTree",
	"ENGINE = ReplacingMergeTree", "ENGINE = ReplicatedReplacingMergeTree",
	"non_replicated_deduplication_window = ", "replicated_deduplication_window_seconds = 86400, replicated_deduplication_window = ",
)

var onCluster = regexp.MustCompile(`(?m)^((?:CREATE (?:DATABASE|TABLE|VIEW) IF NOT EXISTS|ALTER TABLE) \S+)`)

// forCluster makes a statement that of a cluster; an empty name leaves it as it is.
func forCluster(statement, cluster string) string {
	if cluster == "" {
		return statement
	}
	return onCluster.ReplaceAllString(replicated.Replace(statement), "$1 ON CLUSTER '"+cluster+"'")
}

// loadMigrations returns the statements of every migration for a database, in order.
func loadMigrations(database, cluster string) ([]migration, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var list []migration
	for _, f := range files {
		b, err := migrations.ReadFile(f)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		m := migration{name: strings.TrimSuffix(strings.TrimPrefix(f, "migrations/"), ".sql"), sum: hex.EncodeToString(sum[:])}
		m.minWriter = 1
		if found := minWriter.FindSubmatch(b); found != nil {
			n, err := strconv.ParseUint(string(found[1]), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("migration %s: min_writer: %w", f, err)
			}
			m.minWriter = uint32(n)
		}
		for _, c := range strings.Split(string(b), ";\n") {
			if c = strings.TrimSpace(strings.ReplaceAll(c, "{database}", "`"+database+"`")); c != "" {
				m.commands = append(m.commands, forCluster(c, cluster))
			}
		}
		list = append(list, m)
	}
	return list, nil
}

func (db *DB) bootstrap() []string {
	list := []string{
		"CREATE DATABASE IF NOT EXISTS `" + db.cfg.Database + "`",
		"CREATE TABLE IF NOT EXISTS " + db.table("migrations") + ` (
    name String COMMENT 'file',
    sha256 String COMMENT 'of its text',
    min_writer UInt32 COMMENT 'programs below this version must not write',
    applied DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when'
) ENGINE = ReplacingMergeTree ORDER BY name COMMENT 'Migrations that were applied'`,
	}
	for i, c := range list {
		list[i] = forCluster(c, db.cfg.Cluster)
	}
	return list
}

// Migrate brings the schema up to date and tells what it does. It may run twice and by two at once: every statement
// changes nothing when it was done before. A migration whose text has changed since it was applied is refused.
func (db *DB) Migrate(ctx context.Context, dryRun bool, say func(string)) error {
	list, err := loadMigrations(db.cfg.Database, db.cfg.Cluster)
	if err != nil {
		return err
	}
	if dryRun {
		for _, c := range db.bootstrap() {
			say(c + ";")
		}
		for _, m := range list {
			say("-- " + m.name + "\n" + strings.Join(m.commands, ";\n\n") + ";")
		}
		return nil
	}
	for _, c := range db.bootstrap() {
		if err := db.exec(ctx, c); err != nil {
			return fmt.Errorf("clickhouse: migrate: %w", err)
		}
	}
	applied, err := db.applied(ctx)
	if err != nil {
		return err
	}
	for _, m := range list {
		switch sum, ok := applied[m.name]; {
		case ok && sum != m.sum:
			return fmt.Errorf("clickhouse: migration %s.sql was applied with another text (%.12s, now %.12s): restore the file, and put the change into a new migration", m.name, sum, m.sum)
		case ok:
			say("already applied: " + m.name)
			continue
		}
		for _, c := range m.commands {
			if err := db.exec(ctx, c); err != nil {
				return fmt.Errorf("clickhouse: migration %s.sql: %w", m.name, err)
			}
		}
		if err := db.exec(ctx, "INSERT INTO "+db.table("migrations")+" (name, sha256, min_writer) VALUES (?, ?, ?)", m.name, m.sum, m.minWriter); err != nil {
			return fmt.Errorf("clickhouse: migration %s.sql: %w", m.name, err)
		}
		say("applied: " + m.name)
	}
	known := map[string]bool{}
	for _, m := range list {
		known[m.name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(applied)) {
		if !known[name] {
			say("applied by a newer agentrisk: " + name)
		}
	}
	return nil
}

func (db *DB) applied(ctx context.Context) (map[string]string, error) {
	rows, err := db.conn.Query(ctx, "SELECT name, sha256 FROM "+db.table("migrations")+" FINAL")
	if err != nil {
		return nil, fmt.Errorf("clickhouse: read migrations: %w", err)
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var name, sum string
		if err := rows.Scan(&name, &sum); err != nil {
			return nil, err
		}
		out[name] = sum
	}
	return out, rows.Err()
}

// codes of the server for what a missing migration looks like.
const (
	codeUnknownDatabase = 81
	codeUnknownTable    = 60
)

// Check refuses a database that lacks migrations or wants a newer program.
func (db *DB) Check(ctx context.Context) error {
	list, err := loadMigrations(db.cfg.Database, db.cfg.Cluster)
	if err != nil {
		return err
	}
	applied, err := db.applied(ctx)
	if c := code(err); c == codeUnknownDatabase || c == codeUnknownTable {
		applied, err = nil, nil
	}
	if err != nil {
		return err
	}
	for _, m := range list {
		if applied[m.name] == "" {
			return fmt.Errorf("clickhouse: database %s lacks migration %s: run `agentrisk migrate` first", db.cfg.Database, m.name)
		}
	}
	return db.CheckWriter(ctx)
}

// TooOldError refuses a program that must not write into this database any more.
type TooOldError struct {
	Database string
	Wants    uint32
}

func (e *TooOldError) Error() string {
	return fmt.Sprintf("clickhouse: database %s wants writers of version %d or later, this program is %d: run a newer agentrisk, as the one that migrated it", e.Database, e.Wants, Writer)
}

// CheckWriter returns a TooOldError when a migration was applied that this program cannot write beside.
func (db *DB) CheckWriter(ctx context.Context) error {
	var least uint32
	if err := db.conn.QueryRow(ctx, "SELECT max(min_writer) FROM "+db.table("migrations")).Scan(&least); err != nil {
		return fmt.Errorf("clickhouse: read migrations: %w", err)
	}
	if least > Writer {
		return &TooOldError{db.cfg.Database, least}
	}
	return nil
}
