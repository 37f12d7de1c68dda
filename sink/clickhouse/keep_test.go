package clickhouse

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/agentrisk/agentrisk/scoring"
)

// A provider that is silent about two fields means something else than zero; rows say what the rules saw, whether or not
// the block holds a row that does speak of them.
func TestAbsentFieldsReadAsTheRulesSawThem(t *testing.T) {
	b := newBench(t)
	b.store(b.DB, request(0, 2), 0)
	r := request(2, 5)
	var e scoring.Event
	e.Origin, e.KafkaTime = scoring.Origin{Topic: "t", Offset: 4, Item: 1}, today.UnixMilli()
	e.SetBool(scoring.FieldRegistered, false)
	e.SetInt(scoring.FieldIntentMatch, 0)
	r.Block.Append(&e, &scoring.Verdict{})
	e.Origin.Item = 2
	e.SetInt(scoring.FieldIntentMatch, 250)
	r.Block.Append(&e, &scoring.Verdict{})
	r.Range.To = 6
	b.store(b.DB, r, 0)
	b.want("fields", "SELECT agent_registered, prov_intent_match, count() FROM {db}.verdicts GROUP BY 1, 2 ORDER BY 2", "true\t-1\t5\nfalse\t0\t1\nfalse\t0.25\t1")
	// What settling copies keeps them.
	b.query("ALTER TABLE {db}.verdicts DELETE WHERE offset >= 3 SETTINGS mutations_sync = 2")
	b.store(b.DB, r, 1)
	b.want("fields after settling", "SELECT agent_registered, prov_intent_match, count() FROM {db}.verdicts GROUP BY 1, 2 ORDER BY 2", "true\t-1\t5\nfalse\t0\t1\nfalse\t0.25\t1")
}

// Every table and column explains itself.
func TestEverythingHasAComment(t *testing.T) {
	b := newBench(t)
	b.want("columns without a comment", "SELECT count() FROM system.columns JOIN system.tables AS t ON t.database = columns.database AND t.name = columns.table WHERE database = '{db}' AND engine != 'View' AND columns.comment = ''", "0")
	b.want("tables without a comment", "SELECT groupArray(name) FROM system.tables WHERE database = '{db}' AND engine != 'View' AND comment = ''", "[]")
}

func TestDryRunChangesNothing(t *testing.T) {
	b := newBench(t)
	b.query("DROP DATABASE {db} SYNC")
	var said []string
	if err := b.Migrate(t.Context(), true, func(s string) { said = append(said, s) }); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, "CREATE TABLE IF NOT EXISTS `"+b.name+"`.verdicts") || strings.Contains(all, "{") && strings.Contains(all, "{database}") {
		t.Errorf("the SQL is not whole:\n%.2000s", all)
	}
	b.want("databases", "SELECT count() FROM system.databases WHERE name = '{db}'", "0")
}

// What would be sent to a cluster; no replicas run here.
func TestStatementsForACluster(t *testing.T) {
	list, err := loadMigrations("d", "main")
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, m := range list {
		for _, c := range m.commands {
			if !strings.Contains(c, " ON CLUSTER 'main'") {
				t.Errorf("%s: a statement stays on one server: %.80s", m.name, c)
			}
			if strings.Contains(c, "ENGINE = ") {
				tables++
				if !strings.Contains(c, "ENGINE = Replicated") || strings.Contains(c, "non_replicated") {
					t.Errorf("%s: a table is not replicated: %.80s", m.name, c)
				}
			}
		}
	}
	if tables < 8 {
		t.Errorf("%d tables", tables)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	b := newBench(t)
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"a name that is none": {Config{Addresses: []string{b.stack.ClickHouseNative}, Database: "a`; DROP"}, "letters, digits"},
		"no address":          {Config{Database: "d"}, "host:port"},
		"nobody there":        {Config{Addresses: []string{"127.0.0.1:1"}, Database: "d"}, "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := Open(t.Context(), tt.cfg)
			if err == nil {
				db.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want an error with %q", err, tt.want)
			}
		})
	}
}

// The lines of many lanes go in together: a line each would be many small parts a second (history 66).
func TestHistory66LinesGoInTogether(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	for lane := range int32(64) {
		wg.Go(func() {
			for i := range int64(3) {
				if err := b.Ledger(b.soon(), scoring.Line{Range: scoring.Range{Topic: "t", Partition: lane, From: i, To: i + 1}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.want("lines", "SELECT count() FROM {db}.batches", "192")
	// Each new part was one insert, whatever has been merged since.
	if n := b.query("SELECT max(max_block_number) <= 20 FROM system.parts WHERE database = '{db}' AND table = 'batches'"); n != "1" {
		t.Error("the lines of 64 lanes took more than 20 inserts")
	}
}

// A line that was written twice, or by two, changes nothing, and a gap is told to people too.
func TestLedgerGaps(t *testing.T) {
	b := newBench(t)
	for _, r := range []scoring.Range{rng(0, 10), rng(0, 10), rng(5, 12), rng(12, 12), rng(20, 30), rng(25, 26), {Topic: "u", From: 100, To: 110}} {
		if err := b.Ledger(b.soon(), scoring.Line{Range: r, LastOffset: r.To - 1}); err != nil {
			t.Fatal(err)
		}
	}
	b.want("gaps", "SELECT * FROM {db}.ledger_gaps", "t\t0\t0\t12\t20\t8")
	b.store(b.DB, request(0, 40), 0)
	at, err := b.Position(t.Context(), "t", 0, 0)
	if err != nil || at.To != 12 || at.TableTo != 40 {
		t.Errorf("%+v, %v: want the contiguous end 12 and rows up to 40", at, err)
	}
	if at, err = b.Position(t.Context(), "u", 0, 0); err != nil || at.To != 110 || at.TableTo != 0 {
		t.Errorf("%+v, %v: want 110 and no rows", at, err)
	}
	if at, err = b.Position(t.Context(), "t", 0, 1); err != nil || at.HasLedger || at.TableTo != 0 {
		t.Errorf("%+v, %v: another epoch knows nothing", at, err)
	}
}

// The server remembers the tokens of a claim and of dead letters whose rows it lost; both arrive all the same.
func TestSpentTokensOfSmallTables(t *testing.T) {
	b := newBench(t)
	b.query("ALTER TABLE {db}.claim DELETE WHERE 1 SETTINGS mutations_sync = 2")
	b.claim(b.open(b.stack.ClickHouseNative))
	b.want("claims", "SELECT count() FROM {db}.claim", "1")

	var letters []scoring.DeadLetter
	for i := range int32(4) {
		letters = append(letters, scoring.DeadLetter{Origin: scoring.Origin{Topic: "t", Offset: 3, Item: i}, KafkaTime: today.UnixMilli(), Reason: scoring.ReasonJSON})
	}
	for _, lost := range []string{"0", "1", "item > 1"} {
		b.query("ALTER TABLE {db}.dead_letters DELETE WHERE " + lost + " SETTINGS mutations_sync = 2")
		if err := b.DeadLetters(t.Context(), rng(0, 10), letters); err != nil {
			t.Fatal(err)
		}
		b.want("dead letters after losing "+lost, "SELECT count(), uniqExact(offset, item) FROM {db}.dead_letters", "4\t4")
	}
}

// History 56: the newest two of a lane are kept however old, what is half written counts for nothing, and a chunk that
// is being written is left alone.
func TestHistory56SnapshotsKept(t *testing.T) {
	b := newBench(t)
	save := func(offset int64) error {
		return b.SaveSnapshot(t.Context(), Snapshot{Topic: "t", Offset: offset}, func(w func([]byte) error) error {
			if err := w(fmt.Append(nil, offset)); err != nil {
				return err
			}
			if offset == 25 {
				return io.ErrUnexpectedEOF // dies in the middle
			}
			return nil
		})
	}
	for _, offset := range []int64{10, 20, 25, 30} {
		if err := save(offset); (err == nil) == (offset == 25) {
			t.Fatal(err)
		}
	}
	b.want("young ones", "SELECT arraySort(groupUniqArray(offset)) FROM {db}.snapshots", "[10,20,25,30]")
	b.query("ALTER TABLE {db}.snapshots UPDATE written = written - INTERVAL 300 DAY WHERE 1 SETTINGS mutations_sync = 2")
	if err := save(40); err != nil {
		t.Fatal(err)
	}
	b.want("old ones", "SELECT arraySort(groupUniqArray(offset)) FROM {db}.snapshots", "[30,40]")
	// Without its manifest the newest does not exist.
	b.query("ALTER TABLE {db}.snapshots DELETE WHERE offset = 40 AND chunk = -1 SETTINGS mutations_sync = 2")
	var got []int64
	found, err := b.LoadSnapshot(t.Context(), "t", 0, 0, 100, func(s Snapshot, next func() ([]byte, error)) error {
		got = append(got, s.Offset)
		for {
			if _, err := next(); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
	if err != nil || !found || !slices.Equal(got, []int64{30}) {
		t.Errorf("%v, %v, tried %v; want the one at 30", found, err, got)
	}
}

// The limit of inserts is the process's, whatever the number of lanes: what is over it waits for its turn.
func TestInsertsWaitTheirTurn(t *testing.T) {
	b := newBench(t)
	b.limit = rate.NewLimiter(rate.Every(time.Hour), 2)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var stored atomic.Int32
	var wg sync.WaitGroup
	for i := range int64(5) {
		wg.Go(func() {
			if _, err := b.Store(ctx, request(i*10, i*10+10)); err == nil {
				stored.Add(1)
			}
		})
	}
	wg.Wait()
	if stored.Load() != 2 {
		t.Errorf("%d of 5 inserts went out, want 2 within the hour", stored.Load())
	}
	b.holds(20)
}

// Histories 3 and 38: nothing is derived while rows go in, so nothing can land half or be missing from what a view makes.
func TestHistory38NoViewOnTheInsertPath(t *testing.T) {
	list, err := loadMigrations("d", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		for _, c := range m.commands {
			if strings.Contains(c, "MATERIALIZED VIEW") && !strings.Contains(c, "REFRESH") {
				t.Errorf("%s: a view stands on the insert path: %.80s", m.name, c)
			}
		}
	}
}
