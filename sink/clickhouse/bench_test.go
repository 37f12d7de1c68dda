package clickhouse

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// bench is a migrated and claimed database of one test.
type bench struct {
	t     *testing.T
	stack *stacktest.Stack
	name  string
	*DB

	mu      sync.Mutex
	retries []string // what the Retry callback heard
}

func newBench(t *testing.T) *bench { return newBenchOn(t, stacktest.Start(t)) }

func newBenchOn(t *testing.T, s *stacktest.Stack) *bench {
	t.Helper()
	b := &bench{t: t, stack: s, name: s.Database(t)}
	b.DB = b.open(s.ClickHouseNative)
	if err := b.Migrate(t.Context(), false, func(string) {}); err != nil {
		t.Fatal(err)
	}
	b.claim(b.DB)
	return b
}

// open opens the bench's database once more, as another process would.
func (b *bench) open(addresses ...string) *DB {
	b.t.Helper()
	db, err := Open(b.t.Context(), Config{Addresses: addresses, Database: b.name, Retry: func(what string, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.retries = append(b.retries, what+": "+err.Error())
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	db.backoff = 20 * time.Millisecond
	b.t.Cleanup(db.Close)
	return db
}

// claim makes db the bench's deployment.
func (b *bench) claim(db *DB) {
	b.t.Helper()
	if _, err := db.Claim(b.t.Context(), "cluster", "group"); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) heard() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.retries, "\n")
}

// query runs SQL in which {db} is the bench's database.
func (b *bench) query(sql string) string {
	b.t.Helper()
	return b.stack.Query(b.t, strings.ReplaceAll(sql, "{db}", b.name))
}

// want compares the answer to a query.
func (b *bench) want(what, sql, want string) {
	b.t.Helper()
	if got := b.query(sql); got != want {
		b.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// holds checks that verdicts has n rows of n origins, without FINAL.
func (b *bench) holds(n int) {
	b.t.Helper()
	b.want("rows and origins", "SELECT count(), uniqExact(topic, partition, epoch, offset, item) FROM {db}.verdicts", fmt.Sprintf("%d\t%d", n, n))
}

// store stores and demands how many rows were not this call's.
func (b *bench) store(db *DB, req Request, already uint64) {
	b.t.Helper()
	got, err := db.Store(b.soon(), req)
	if err != nil {
		b.t.Fatalf("store %s: %v", req.Range, err)
	}
	if got != already {
		b.t.Errorf("store %s: %d rows already, want %d", req.Range, got, already)
	}
}

// soon ends when a test has waited too long for something.
func (b *bench) soon() context.Context {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	b.t.Cleanup(cancel)
	return ctx
}

// request asks for the rows of a range.
func request(from, to int64) Request {
	return Request{Range: rng(from, to), Block: block(from, to, today), Lease: fine}
}
