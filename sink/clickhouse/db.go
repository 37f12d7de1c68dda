package clickhouse

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/time/rate"
)

// Config says where the database is.
type Config struct {
	Addresses      []string // host:port of the native protocol
	Database       string
	User, Password string
	Dialer         Dialer // nil: plain TCP
	// Cluster makes tables Replicated and statements ON CLUSTER; empty for a single server. Servers then need the
	// macros {shard} and {replica}. This build has not been run against replicas.
	Cluster string
	// Retry is told of every insert that will be tried again; it may be nil.
	Retry func(what string, err error)
}

// Dialer connects to a server and returns when the connection is ready, TLS included.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// DB is a ClickHouse database. It is safe for concurrent use.
type DB struct {
	cfg        Config
	conn       driver.Conn
	native     native        // connections of the hot insert
	limit      *rate.Limiter // of verdict inserts: 20 a second and process
	deadline   time.Duration // of one insert or comparison
	silence    time.Duration // after which the server gives up an insert whose data does not come, whole seconds
	backoff    time.Duration // first wait before something is tried again
	deployment string
	ledger     *ledger
}

var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

const (
	dialTimeout   = 3 * time.Second
	insertTimeout = 60 * time.Second
	insertsPerSec = 20
	firstBackoff  = 200 * time.Millisecond

	// clientSilence is how long the server waits in the middle of a block for its rest. A server that waits cannot be
	// killed, and the insert of a client that vanished keeps its query id: with the default of 300 s whoever settles
	// the range would wait as long. The server waits up to three times as much (for the rest, and again to skip it), so
	// that is at most half of insertTimeout, which bounds KILL QUERY ... SYNC too.
	clientSilence = 10 * time.Second
)

// Open checks the configuration and that a server answers.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if !databaseName.MatchString(cfg.Database) {
		return nil, fmt.Errorf("clickhouse: database %q: want letters, digits and underscores", cfg.Database)
	}
	if cfg.Cluster != "" && !databaseName.MatchString(cfg.Cluster) {
		return nil, fmt.Errorf("clickhouse: cluster %q: want letters, digits and underscores", cfg.Cluster)
	}
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("clickhouse: no address: name host:port of the native protocol, often port 9000")
	}
	if cfg.Dialer == nil {
		cfg.Dialer = &net.Dialer{Timeout: dialTimeout}
	}
	conn, err := clickhouse.Open(&clickhouse.Options{
		DialContext: func(ctx context.Context, address string) (net.Conn, error) {
			return cfg.Dialer.DialContext(ctx, "tcp", address)
		},
		Addr:             cfg.Addresses,
		Auth:             clickhouse.Auth{Database: "default", Username: cfg.User, Password: cfg.Password},
		DialTimeout:      dialTimeout,
		ReadTimeout:      insertTimeout,
		MaxOpenConns:     16,
		ConnOpenStrategy: clickhouse.ConnOpenInOrder,
	})
	if err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	db := &DB{cfg: cfg, conn: conn, limit: rate.NewLimiter(insertsPerSec, 1), deadline: insertTimeout, silence: clientSilence, backoff: firstBackoff}
	db.native.cfg = &db.cfg
	db.ledger = newLedger(db)
	if err := conn.Ping(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("clickhouse at %s: %w%s", strings.Join(cfg.Addresses, ", "), err, advice(err))
	}
	return db, nil
}

// advice says what to look at when a server cannot be talked to.
func advice(err error) string {
	var network *net.OpError
	switch {
	case code(err) == 516: // authentication failed
		return "; see clickhouse.user and clickhouse.password, which AGENTRISK_CLICKHOUSE_PASSWORD and clickhouse.password_file can give"
	case strings.Contains(err.Error(), "unexpected packet [21]"): // how a TLS server's alert reads to a plain client
		return "; the server speaks TLS on this port and we do not: set clickhouse.tls.enabled: true, or use its plain port"
	case errors.Is(err, io.EOF):
		return "; is this its native port, and does it want TLS (clickhouse.tls.enabled)?"
	case errors.As(err, &network) && network.Op == "dial":
		return "; is it up?"
	}
	return ""
}

// Close ends the connections. Lines of the ledger that wait are given up.
func (db *DB) Close() {
	db.ledger.close()
	db.native.close()
	_ = db.conn.Close()
}

// Deployment is the id of the claim; empty before Claim.
func (db *DB) Deployment() string { return db.deployment }

func (db *DB) table(name string) string { return "`" + db.cfg.Database + "`." + name }

func (db *DB) exec(ctx context.Context, sql string, args ...any) error {
	return db.conn.Exec(ctx, sql, args...)
}

// pinned are the settings that an insert stands on (their defaults differ between versions).
var pinned = clickhouse.Settings{"async_insert": 0, "insert_deduplicate": 1, "max_insert_threads": 1}

// withToken is a context for an insert that the server drops when it has stored the same token.
func withToken(ctx context.Context, token string) context.Context {
	s := clickhouse.Settings{"insert_deduplication_token": token}
	for k, v := range pinned {
		s[k] = v
	}
	return clickhouse.Context(ctx, clickhouse.WithSettings(s))
}

// insert sends rows of few columns in one block. An empty token is none: the server then keeps doubles.
func (db *DB) insert(ctx context.Context, table, columns, token string, rows [][]any) error {
	_, err := db.insertCounting(ctx, table, columns, token, rows)
	return err
}

// insertCounting is insert that tells how many blocks the server dropped because their token is known: whether their
// rows are there it does not say.
func (db *DB) insertCounting(ctx context.Context, table, columns, token string, rows [][]any) (dropped int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	var mu sync.Mutex // the callback may outlive a Send that was given up
	var seen int64
	ctx = clickhouse.Context(withToken(ctx, token), clickhouse.WithProfileEvents(func(events []clickhouse.ProfileEvent) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			if e.Name == "DuplicatedInsertedBlocks" {
				seen += e.Value
			}
		}
	}))
	b, err := db.conn.PrepareBatch(ctx, "INSERT INTO "+db.table(table)+" ("+columns+")")
	if err != nil {
		return 0, fmt.Errorf("clickhouse: insert into %s: %w", table, err)
	}
	defer b.Close()
	for _, r := range rows {
		if err := b.Append(r...); err != nil {
			return 0, fmt.Errorf("clickhouse: insert into %s: %w", table, err)
		}
	}
	if err := b.Send(); err != nil {
		return 0, fmt.Errorf("clickhouse: insert into %s: %w", table, err)
	}
	mu.Lock()
	defer mu.Unlock()
	return seen, nil
}

// nonce makes a token that nobody has sent before.
func nonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// code is the server's error code, 0 when the error is none of the server's.
func code(err error) int {
	var a *clickhouse.Exception
	if errors.As(err, &a) {
		return int(a.Code)
	}
	if e, ok := ch.AsException(err); ok {
		return int(e.Code)
	}
	return 0
}
