package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

func TestMain(m *testing.M) { os.Exit(stacktest.Main(m)) }

var testPack = &scoring.Pack{Digest: "d1", Rules: []scoring.Rule{{ID: "AR-A-001", Family: "A", TitleEN: "title", TitleZH: "标题", Severity: scoring.High, Weight: 700}, {ID: "AR-B-001", Family: "B"}}}

// open returns a migrated and claimed database of this test.
func open(t *testing.T, s *stacktest.Stack) *DB {
	t.Helper()
	db, err := Open(t.Context(), Config{Addresses: []string{s.ClickHouseNative}, Database: s.Database(t), User: "default"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if err := db.Migrate(t.Context(), false, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Claim(t.Context(), "cluster", "group"); err != nil {
		t.Fatal(err)
	}
	return db
}

func fine(context.Context) error { return nil }

// block makes rows for the offsets [from, to) of one day.
func block(from, to int64, day time.Time) *Block {
	b := NewBlock(testPack, [16]byte{1})
	for o := from; o < to; o++ {
		var e scoring.Event
		e.Origin = scoring.Origin{Topic: "t", Offset: o}
		e.KafkaTime, e.Time = day.UnixMilli()+o, day.UnixMilli()+o
		e.SetStr(scoring.FieldEventID, fmt.Sprint("e", o))
		e.SetStr(scoring.FieldAgent, fmt.Sprint("a", o%7))
		b.Append(&e, &scoring.Verdict{Score: scoring.Score(o)})
	}
	return b
}

var today = time.Now().UTC().Truncate(24 * time.Hour).Add(time.Hour)

func rng(from, to int64) scoring.Range { return scoring.Range{Topic: "t", From: from, To: to} }

func (db *DB) counts(t *testing.T, s *stacktest.Stack) string {
	t.Helper()
	return s.Query(t, "SELECT count(), uniqExact(offset, item) FROM "+db.table("verdicts"))
}

// The table has a column for everything that the one table of fields stores, each with a comment, and nothing that a
// block does not fill.
func TestColumnsFollowTheFields(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	got := map[string]string{}
	for line := range strings.Lines(s.Query(t, "SELECT name, type, comment FROM system.columns WHERE database = '"+db.cfg.Database+"' AND table = 'verdicts' FORMAT TSV") + "\n") {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		got[f[0]] = f[1]
		if f[2] == "" {
			t.Errorf("column %s has no comment", f[0])
		}
	}
	for _, f := range scoring.Fields {
		if f.Column == "" {
			continue
		}
		if want := map[scoring.Type]string{scoring.String: "String", scoring.Int: "Int64", scoring.Milli: "Decimal(18, 3)", scoring.Bool: "Bool", scoring.Strings: "Array"}[f.Type]; !strings.Contains(got[f.Column], want) {
			t.Errorf("%s: column %s is %q, want %s", f.Name, f.Column, got[f.Column], want)
		}
	}
	b := NewBlock(testPack, [16]byte{})
	for name := range got {
		if !slices.Contains(b.names, name) {
			t.Errorf("no block fills column %s", name)
		}
	}
	for _, name := range b.names {
		if got[name] == "" {
			t.Errorf("the table has no column %s", name)
		}
	}
}

// Two migrate at once, again and again; a changed migration is refused, and so is a program that is too old.
func TestMigrate(t *testing.T) {
	s := stacktest.Start(t)
	name := s.Database(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			db, err := Open(t.Context(), Config{Addresses: []string{s.ClickHouseNative}, Database: name, User: "default"})
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			for range 2 {
				if err := db.Migrate(t.Context(), false, func(string) {}); err != nil {
					t.Error(err)
				}
			}
			if err := db.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db, err := Open(t.Context(), Config{Addresses: []string{s.ClickHouseNative}, Database: name, User: "default"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s.Query(t, "INSERT INTO "+name+".migrations (name, sha256, min_writer) VALUES ('0001_verdicts', 'other', 1)")
	if err := db.Migrate(t.Context(), false, func(string) {}); err == nil || !strings.Contains(err.Error(), "0001_verdicts") {
		t.Errorf("a changed migration: %v", err)
	}
	s.Query(t, "INSERT INTO "+name+".migrations (name, sha256, min_writer) VALUES ('9999_future', 'x', 99)")
	if err := db.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "newer agentrisk") {
		t.Errorf("min_writer: %v", err)
	}
	empty, err := Open(t.Context(), Config{Addresses: []string{s.ClickHouseNative}, Database: s.Database(t), User: "default"})
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if err := empty.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "agentrisk migrate") {
		t.Errorf("an empty database: %v", err)
	}
}

// Everything that an event and a verdict can say comes back from the table.
func TestRowRoundTrip(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	b := NewBlock(testPack, [16]byte{1})
	b.Epoch, b.StateFrom, b.Keep = 3, 5, redact.Row{Policy: "p", KeyID: "k", Content: redact.Excerpt, Arguments: redact.Drop, Excerpt: 4}
	for o := range int64(3) {
		var e scoring.Event
		e.Origin, e.KafkaTime, e.Time = scoring.Origin{Topic: "t", Partition: 2, Offset: o, Item: int32(o)}, today.UnixMilli(), today.UnixMilli()-1
		if o == 1 { // the others say nothing: columns are filled up around it
			for id, f := range scoring.Fields {
				switch id := scoring.FieldID(id); f.Type {
				case scoring.String:
					e.SetStr(id, "v "+f.Name)
				case scoring.Bool:
					e.SetBool(id, true)
				case scoring.Strings:
					e.Append(id, "x")
					e.Append(id, f.Name)
				default:
					e.SetInt(id, 7)
				}
			}
			e.Attributes = []scoring.Attribute{{Key: "k", Value: "v"}}
		}
		v := scoring.Verdict{Score: 87_125, Level: scoring.LevelCritical, SessionScore: 90_000, AgentScore: 1, Alert: scoring.AlertRose, Flags: scoring.FlagLate | scoring.FlagCold, Lacks: []int{1}, Failed: []int{0},
			Hits: []scoring.Hit{{Rule: 0, Contribution: 87_125, Why: "because"}, {Rule: 1, Why: "also"}}}
		b.Append(&e, &v)
	}
	if _, err := db.Store(t.Context(), Request{Range: scoring.Range{Topic: "t", Partition: 2, Epoch: 3, To: 3}, Block: b, Lease: fine}); err != nil {
		t.Fatal(err)
	}
	for _, f := range scoring.Fields {
		if f.Column == "" {
			continue
		}
		want := map[scoring.Type]string{scoring.String: "v " + f.Name, scoring.Int: "7", scoring.Milli: "0.007", scoring.Bool: "true", scoring.Strings: "['x','" + f.Name + "']"}[f.Type]
		if got := s.Query(t, fmt.Sprintf("SELECT toString(`%s`) FROM %s WHERE offset = 1 FORMAT TSVRaw", f.Column, db.table("verdicts"))); got != want {
			t.Errorf("%s: %s, want %s", f.Column, got, want)
		}
	}
	got := s.Query(t, "SELECT score, level, session_score, agent_score, hits.rule, hits.contribution, hits.why, flags, lacks, failed, alert, topic, partition, offset, item, epoch, state_from, attributes, content_length, excerpt, content_fingerprint != 0, args_length, args_fingerprint, args_excerpt, redaction, key_id, pack, engine FROM "+db.table("verdicts")+" WHERE offset = 1")
	want := "87.125\tcritical\t90\t0.001\t['AR-A-001','AR-B-001']\t[87.125,0]\t['because','also']\t['late','cold']\t['AR-B-001']\t['AR-A-001']\trose\tt\t2\t1\t1\t3\t5\t{'k':'v'}\t9\tv co\t1\t11\t0\t\tp\tk\td1\t" + scoring.EngineVersion
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("an origin that does not grow was taken")
		}
	}()
	var e scoring.Event
	e.Origin = scoring.Origin{Topic: "t", Offset: 1}
	b.Append(&e, &scoring.Verdict{})
}

// The token is there and its rows are not (history 41): OK is not believed, and the rows arrive.
func TestHistory41KnownTokenWithoutRows(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	for _, compare := range []bool{false, true} {
		req := Request{Range: rng(0, 100), Block: block(0, 100, today), Compare: compare, Lease: fine}
		if already, err := db.Store(t.Context(), req); err != nil || already != 0 {
			t.Fatal(already, err)
		}
		s.Query(t, "ALTER TABLE "+db.table("verdicts")+" DELETE WHERE 1 SETTINGS mutations_sync = 2")
		if already, err := db.Store(t.Context(), req); err != nil || already != 0 {
			t.Fatal(already, err)
		}
		if got := db.counts(t, s); got != "100\t100" {
			t.Fatalf("compare %v: %s", compare, got)
		}
		if already, err := db.Store(t.Context(), req); err != nil || already != 100 {
			t.Errorf("compare %v, stored again: %d already, %v", compare, already, err)
		}
		s.Query(t, "ALTER TABLE "+db.table("verdicts")+" DELETE WHERE offset % 3 = 0 SETTINGS mutations_sync = 2")
		if already, err := db.Store(t.Context(), req); err != nil || already != 66 || db.counts(t, s) != "100\t100" {
			t.Errorf("compare %v, a third missing: %d already, %v, %s", compare, already, err, db.counts(t, s))
		}
		s.Query(t, "ALTER TABLE "+db.table("verdicts")+" DELETE WHERE 1 SETTINGS mutations_sync = 2")
	}
}

// Rows stand there under other bounds (history 64): only what is missing goes in.
func TestOnlyWhatIsMissingGoesIn(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	if _, err := db.Store(t.Context(), Request{Range: rng(0, 60), Block: block(0, 60, today), Lease: fine}); err != nil {
		t.Fatal(err)
	}
	already, err := db.Store(t.Context(), Request{Range: rng(20, 120), Block: block(20, 120, today), Compare: true, Lease: fine})
	if err != nil || already != 40 || db.counts(t, s) != "120\t120" {
		t.Errorf("%d already, %v, %s", already, err, db.counts(t, s))
	}
}

// An insert times out and still runs; the retry under the same token does not double it (history 40).
func TestHistory40TimeoutWhileTheInsertRuns(t *testing.T) {
	s := stacktest.StartOwn(t)
	db := open(t, s)
	s.Query(t, "ALTER TABLE "+db.table("verdicts")+" ADD COLUMN slow UInt8 MATERIALIZED sleepEachRow(0.01)")
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	_, err := db.Store(ctx, Request{Range: rng(0, 100), Block: block(0, 100, today), Lease: fine})
	cancel()
	if err == nil {
		t.Fatal("the insert was not slow")
	}
	for _, compare := range []bool{true, false} {
		if _, err := db.Store(t.Context(), Request{Range: rng(0, 100), Block: block(0, 100, today), Compare: compare, Lease: fine}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second) // whatever still ran has landed
	if got := db.counts(t, s); got != "100\t100" {
		t.Errorf("rows and origins: %s", got)
	}
}

// Rows beyond retention vanish as they land (history 45): the range is done all the same. A block of two days is refused
// (history 61), and so is a table that is not there, with advice.
func TestHistory45And61(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	old := time.Now().UTC().AddDate(0, 0, -200)
	for range 2 {
		if _, err := db.Store(t.Context(), Request{Range: rng(0, 10), Block: block(0, 10, old), Lease: fine}); err != nil {
			t.Fatal(err)
		}
	}
	two := block(0, 1, today)
	var e scoring.Event
	e.Origin, e.KafkaTime = scoring.Origin{Topic: "t", Offset: 5}, today.Add(24*time.Hour).UnixMilli()
	two.Append(&e, &scoring.Verdict{})
	var park *ParkError
	if _, err := db.Store(t.Context(), Request{Range: rng(0, 6), Block: two, Lease: fine}); !errors.As(err, &park) {
		t.Errorf("two days: %v", err)
	}
	s.Query(t, "DROP TABLE "+db.table("verdicts")+" SYNC")
	if _, err := db.Store(t.Context(), Request{Range: rng(0, 10), Block: block(0, 10, today), Lease: fine}); !errors.As(err, &park) || !strings.Contains(err.Error(), "migrate") {
		t.Errorf("no table: %v", err)
	}
	lost := errors.New("not ours")
	if _, err := db.Store(t.Context(), Request{Range: rng(0, 10), Block: block(0, 10, today), Lease: func(context.Context) error { return lost }}); !errors.Is(err, lost) {
		t.Errorf("a lost lease: %v", err)
	}
}

// History 44: of two deployments that claim at once one wins, and the other hears who.
func TestHistory44Claim(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	s.Query(t, "TRUNCATE TABLE "+db.table("claim"))
	s.Query(t, "DROP TABLE "+db.table("claim")+" SYNC")
	s.Query(t, "ALTER TABLE "+db.table("migrations")+" DELETE WHERE name = '0002_delivery' SETTINGS mutations_sync = 2")
	if err := db.Migrate(t.Context(), false, func(string) {}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	won, refused := 0, 0
	for i := range 8 {
		wg.Go(func() {
			other, err := Open(t.Context(), Config{Addresses: []string{s.ClickHouseNative}, Database: db.cfg.Database, User: "default"})
			if err != nil {
				t.Error(err)
				return
			}
			defer other.Close()
			_, err = other.Claim(t.Context(), "cluster", fmt.Sprint("group-", i%2))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if refused++; !strings.Contains(err.Error(), "belongs to") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 4 || refused != 4 || s.Query(t, "SELECT count() FROM "+db.table("claim")) != "1" {
		t.Errorf("%d won, %d refused", won, refused)
	}
}

func TestLedger(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	if at, err := db.Position(t.Context(), "t", 0, 0); err != nil || at.HasLedger {
		t.Fatalf("%+v %v", at, err)
	}
	var wg sync.WaitGroup
	for _, r := range [][2]int64{{0, 0}, {0, 10}, {10, 30}, {10, 30}, {30, 30}, {40, 50}} {
		wg.Go(func() {
			l := scoring.Line{Range: rng(r[0], r[1]), Status: scoring.LineDone, Rows: uint64(r[1] - r[0]), LastHash: uint64(r[1]), LastKnown: true, FirstTime: 1, LastTime: 2, StateFrom: 4}
			if err := db.Ledger(t.Context(), l); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	at, err := db.Position(t.Context(), "t", 0, 0)
	if err != nil || !at.HasLedger || at.To != 30 || at.Last.LastHash != 30 || at.Last.StateFrom != 4 {
		t.Errorf("a gap after 30: %+v, %v", at, err)
	}
	lines, err := db.Lines(t.Context(), rng(5, 45))
	if err != nil || len(lines) != 4 { // [0,10) [10,30) [30,30) [40,50)
		t.Errorf("%d lines: %+v, %v", len(lines), lines, err)
	}
}

func TestSnapshots(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	save := func(offset int64, chunks ...string) {
		t.Helper()
		err := db.SaveSnapshot(t.Context(), Snapshot{Topic: "t", Offset: offset, StateFrom: 1, Engine: "1"}, func(w func([]byte) error) error {
			for _, c := range chunks {
				if err := w([]byte(c)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var last error
	load := func(notAfter int64) (found bool, text string) {
		found, err := db.LoadSnapshot(t.Context(), "t", 0, 0, notAfter, func(s Snapshot, next func() ([]byte, error)) error {
			text = fmt.Sprint(s.Offset, ":")
			for {
				c, err := next()
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				text += string(c)
			}
		})
		if last = err; found != (err == nil && found) {
			t.Error(err)
		}
		return found, text
	}
	if found, _ := load(100); found {
		t.Error("found one where none is")
	}
	save(10, "a", "b")
	save(20, "c\x00\xff")
	for notAfter, want := range map[int64]string{9: "", 15: "10:ab", 20: "20:c\x00\xff", 99: "20:c\x00\xff"} {
		if found, got := load(notAfter); found != (want != "") || found && got != want {
			t.Errorf("not after %d: %q, want %q", notAfter, got, want)
		}
	}
	s.Query(t, "ALTER TABLE "+db.table("snapshots")+" UPDATE data = 'x' WHERE offset = 20 AND chunk = 0 SETTINGS mutations_sync = 2")
	if found, got := load(99); !found || got != "10:ab" {
		t.Errorf("a damaged chunk: %v %q, want the older snapshot", found, got)
	}
	s.Query(t, "ALTER TABLE "+db.table("snapshots")+" DELETE WHERE offset = 10 AND chunk = 1 SETTINGS mutations_sync = 2")
	if found, _ := load(99); found || !errors.Is(last, scoring.ErrDamaged) {
		t.Errorf("no whole snapshot: %v %v, want one that says that it is damaged", found, last)
	}
}

// Alerts of stored rows are those that judging made (history 50).
func TestHistory50AlertsFromStoredRows(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	if err := db.PutPack(t.Context(), Pack{Pack: testPack, Canonical: []byte("{}"), Source: []byte("source")}); err != nil {
		t.Fatal(err)
	}
	b := NewBlock(testPack, [16]byte{})
	var e scoring.Event
	e.Origin, e.KafkaTime, e.Time = scoring.Origin{Topic: "t", Offset: 4}, today.UnixMilli(), today.UnixMilli()+1
	e.SetStr(scoring.FieldAgent, "a")
	e.SetStr(scoring.FieldSession, "s")
	v := scoring.Verdict{Score: 70_000, Level: scoring.LevelHigh, SessionScore: 71_001, Alert: scoring.AlertByRule, Flags: scoring.FlagLate, Hits: []scoring.Hit{{Rule: 0, Contribution: 70_000, Why: "w"}}}
	b.Append(&e, &v)
	if _, err := db.Store(t.Context(), Request{Range: rng(0, 10), Block: b, Lease: fine}); err != nil {
		t.Fatal(err)
	}
	got, err := db.StoredAlerts(t.Context(), rng(0, 10))
	want := scoring.NewAlert(db.Deployment(), 0, testPack, &e, &v)
	if err != nil || len(got) != 1 || fmt.Sprintf("%+v", got[0]) != fmt.Sprintf("%+v", want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
	for _, view := range []string{"sessions", "hits", "provider_hour", "common_rules"} {
		s.Query(t, "SELECT * FROM "+db.table(view))
	}
	if n := s.Query(t, "SELECT concat(rule, ' ', title_zh) FROM "+db.table("hits")); n != "AR-A-001 标题" {
		t.Errorf("view hits: %s", n)
	}
}

// The later activation holds, one act is recorded once however often it is tried, and sources are found by digest.
func TestActivations(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	ctx := t.Context()
	if digest, err := db.Active(ctx); err != nil || digest != "" {
		t.Errorf("active %q %v", digest, err)
	}
	if err := errors.Join(db.PutPack(ctx, Pack{Pack: testPack, Source: []byte("first")}), db.PutPack(ctx, Pack{Pack: testPack, Source: []byte("second")})); err != nil {
		t.Fatal(err)
	}
	one, two := Activation{ID: NewActID(), Pack: testPack.Digest, Who: "me", Why: "a test"}, Activation{ID: NewActID(), Pack: "two", Who: "you", Why: "another"}
	if err := errors.Join(db.Activate(ctx, one), db.Activate(ctx, two), db.Activate(ctx, one)); err != nil {
		t.Fatal(err)
	}
	if digest, err := db.Active(ctx); err != nil || digest != "two" {
		t.Errorf("active %q %v", digest, err)
	}
	list, err := db.Activations(ctx, 10)
	if err != nil || len(list) != 2 || list[0].Who != "you" || list[1].Name != testPack.Name || list[1].Why != "a test" || list[1].Written.IsZero() {
		t.Errorf("activations %+v %v", list, err)
	}
	if source, err := db.PackSource(ctx, testPack.Digest); err != nil || len(source) == 0 {
		t.Errorf("source %q %v", source, err)
	}
	if source, err := db.PackSource(ctx, "two"); err != nil || source != nil {
		t.Errorf("source of an unknown pack: %q %v", source, err)
	}
	if found, err := db.PackDigests(ctx, testPack.Digest[:2]); err != nil || len(found) != 1 || found[0] != testPack.Digest {
		t.Errorf("digests %v %v", found, err)
	}
}

func TestStoredOffsets(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	if _, err := db.Store(t.Context(), Request{Range: rng(0, 3), Block: block(0, 3, today), Lease: fine}); err != nil {
		t.Fatal(err)
	}
	s.Query(t, "INSERT INTO "+db.table("verdicts")+" (topic, offset, kafka_time) VALUES ('t', 1, now())")
	letters := []scoring.DeadLetter{{Origin: scoring.Origin{Topic: "t", Offset: 2}, KafkaTime: today.UnixMilli()}, {Origin: scoring.Origin{Topic: "t", Offset: 5}, KafkaTime: today.UnixMilli()}}
	for range 2 {
		if err := db.DeadLetters(t.Context(), rng(0, 10), letters); err != nil {
			t.Fatal(err)
		}
	}
	var got []StoredOffset
	if err := db.Stored(t.Context(), rng(0, 10), func(o StoredOffset) { got = append(got, o) }); err != nil {
		t.Fatal(err)
	}
	if want := []StoredOffset{{0, 1, 1, 0, 0, 0}, {1, 2, 1, 0, 0, 0}, {2, 1, 1, 1, 1, 0}, {5, 0, 0, 1, 0, 0}}; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// The score in SQL is the score in Go, for a million sets of hits.
func TestScoreSQL(t *testing.T) {
	s := stacktest.Start(t)
	db := open(t, s)
	s.Query(t, "CREATE TABLE "+db.table("sets")+" (w Array(UInt16), score Int32) ENGINE = MergeTree ORDER BY tuple()")
	r := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		b, err := db.conn.PrepareBatch(t.Context(), "INSERT INTO "+db.table("sets"))
		if err != nil {
			t.Fatal(err)
		}
		var sets [][]uint16
		var scores []int32
		for range 100_000 {
			set, weights := make([]uint16, r.IntN(9)), make([]int, 0, 9)
			for i := range set {
				set[i] = uint16(r.IntN(1000))
				weights = append(weights, int(set[i]))
			}
			sets, scores = append(sets, set), append(scores, int32(scoring.Combine(weights)))
		}
		if err := errors.Join(b.Column(0).Append(sets), b.Column(1).Append(scores), b.Send()); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Query(t, "SELECT count(), countIf("+ScoreSQL("w")+" != score) FROM "+db.table("sets")); got != "1000000\t0" {
		t.Errorf("sets and differences: %s", got)
	}
}

func BenchmarkAppend(b *testing.B) {
	blk := NewBlock(testPack, [16]byte{})
	var e scoring.Event
	e.Origin, e.KafkaTime, e.Time = scoring.Origin{Topic: "agent.events.a"}, today.UnixMilli(), today.UnixMilli()
	for _, id := range []scoring.FieldID{scoring.FieldEventID, scoring.FieldSource, scoring.FieldKind, scoring.FieldProvider, scoring.FieldRegion, scoring.FieldTenant, scoring.FieldUser, scoring.FieldActorType, scoring.FieldAgent,
		scoring.FieldAgentInstance, scoring.FieldAgentName, scoring.FieldAgentVersion, scoring.FieldSession, scoring.FieldTrace, scoring.FieldTask, scoring.FieldPrincipal, scoring.FieldToolName, scoring.FieldToolOp, scoring.FieldToolStatus} {
		e.SetStr(id, "a value of usual size")
	}
	v := scoring.Verdict{}
	b.ReportAllocs()
	for b.Loop() {
		if blk.Rows() == 50_000 {
			blk.Reset()
			e.Origin.Offset = 0
		}
		blk.Append(&e, &v)
		e.Origin.Offset++
	}
}
