package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

func TestStoredOnceHoweverOften(t *testing.T) {
	b := newBench(t)
	b.store(b.DB, request(0, 100), 0)
	b.store(b.DB, request(0, 100), 100)
	other := b.open(b.stack.ClickHouseNative)
	b.claim(other)
	b.store(other, request(0, 100), 100)
	again := request(0, 100)
	again.Compare = true
	b.store(other, again, 100)
	b.holds(100)
}

// Under other bounds, as after a restored database (history 64), only what the table lacks goes in.
func TestOnlyWhatTheTableLacks(t *testing.T) {
	b := newBench(t)
	b.store(b.DB, request(0, 60), 0)
	b.store(b.DB, request(80, 90), 0)
	over := request(40, 120)
	over.Compare = true
	b.store(b.DB, over, 30)
	b.holds(120)
	// What the first owner of these bounds sent and nobody heard of arrives now: it is dropped.
	if out, err := b.send(t.Context(), request(40, 120).Block, b.token(rng(40, 120)), "late"); err != nil || out.clean() {
		t.Errorf("a late insert of the same range: %+v, %v; want a dropped block", out, err)
	}
	b.holds(120)
}

// History 40: the connection breaks and the insert still runs. Asking the table would say 0.
func TestHistory40InsertRunsOnWithoutItsClient(t *testing.T) {
	b := newBench(t)
	b.query("ALTER TABLE {db}.verdicts ADD COLUMN slow UInt8 MATERIALIZED sleepEachRow(0.01)")
	p := newProxy(t, b.stack.ClickHouseNative)
	b.cfg.Addresses = []string{p.address, b.stack.ClickHouseNative}
	go func() {
		<-p.inserting
		close(p.pass)
		time.Sleep(300 * time.Millisecond)
		p.cut()
	}()
	b.store(b.DB, request(0, 100), 100)
	b.holds(100)
	if heard := b.heard(); !strings.Contains(heard, "(216)") {
		t.Errorf("the server did not refuse a second insert while the first ran: %s", heard)
	}
}

// History 40: the insert was still on its way when the successor killed, compared and stored. It arrives afterwards.
func TestHistory40InsertArrivesAfterTheSuccessor(t *testing.T) {
	b := newBench(t)
	b.store(b.DB, request(0, 30), 0) // what another owner stored under other bounds
	p := newProxy(t, b.stack.ClickHouseNative)
	ghost := b.open(b.stack.ClickHouseNative)
	b.claim(ghost)
	ghost.cfg.Addresses = []string{p.address, b.stack.ClickHouseNative}
	whole := request(30, 100)
	done := make(chan error, 1)
	go func() {
		_, err := ghost.Store(b.soon(), whole)
		done <- err
	}()
	<-p.inserting
	next := request(30, 100)
	next.Compare = true
	b.store(b.DB, next, 0)
	close(p.pass)
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.holds(100)
}

// History 40: a process that is gone left an insert running under bounds that are not the successor's, as after a restored
// database. Its token holds nothing off, and while it runs nobody sees its rows: it is ended before the comparison.
func TestHistory40InsertUnderOtherBounds(t *testing.T) {
	b := newBench(t)
	b.query("ALTER TABLE {db}.verdicts ADD COLUMN slow UInt8 MATERIALIZED sleepEachRow(0.02)")
	ghost := b.open(b.stack.ClickHouseNative)
	b.claim(ghost)
	done := make(chan error, 1)
	go func() {
		_, err := ghost.send(b.soon(), request(0, 50).Block, ghost.token(rng(0, 50)), ghost.queryID(rng(0, 50)))
		done <- err
	}()
	for b.query("SELECT count() FROM system.processes WHERE query_id LIKE 'agentrisk|%|50'") == "0" {
		select {
		case err := <-done:
			t.Fatalf("the insert was over before it was seen: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	next := request(0, 100)
	next.Compare = true
	if _, err := b.Store(b.soon(), next); err != nil {
		t.Fatal(err)
	}
	<-done
	b.holds(100)
}

// History 40: the connection breaks in the middle of a block and the server does not hear of it. It waits for the rest,
// and while it waits it cannot be killed: the insert keeps its query id until the server gives up. Another process settles
// the range, and so does the one whose insert was cut.
func TestHistory40InsertCutInMidBlock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p := newProxy(t, b.stack.ClickHouseNative)
	p.most = 3_000
	close(p.pass)
	ghost := b.open(b.stack.ClickHouseNative)
	b.claim(ghost)
	ghost.silence = 2 * time.Second
	ghost.cfg.Addresses = []string{p.address, b.stack.ClickHouseNative}
	done := make(chan error, 1)
	go func() {
		_, err := ghost.Store(b.soon(), request(0, 5_000))
		done <- err
	}()
	<-p.inserting
	next := request(0, 5_000)
	next.Compare = true
	if _, err := b.DB.Store(b.soon(), next); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.holds(5_000)
}

// History 41: the token is known, its rows were somebody else's and are gone. The server answers OK with 100 rows
// inserted, and there are none.
func TestHistory41TokenExistsAlready(t *testing.T) {
	b := newBench(t)
	b.spend(b.token(rng(0, 100)))
	out, err := b.send(t.Context(), request(0, 100).Block, b.token(rng(0, 100)), "probe")
	if err != nil || out.clean() || out.inserted != 100 {
		t.Fatalf("%+v, %v: the server no longer shows what this history is about", out, err)
	}
	b.holds(0)
	b.store(b.DB, request(0, 100), 0)
	b.holds(100)
}

// Histories 1 and 2: an insert dies between its token's log and its part, and so does the one that settles, twice.
func TestTokensOfSettlingSpentToo(t *testing.T) {
	b := newBench(t)
	r := request(0, 100)
	for _, token := range []string{"", "|" + r.Block.setHash() + "|0", "|" + r.Block.setHash() + "|1"} {
		b.spend(b.token(r.Range) + token)
	}
	b.store(b.DB, r, 0)
	b.holds(100)
}

func TestParksWhenEveryTokenIsSpent(t *testing.T) {
	b := newBench(t)
	r := request(0, 10)
	b.spend(b.token(r.Range))
	for i := range maxRounds {
		b.spend(fmt.Sprintf("%s|%s|%d", b.token(r.Range), r.Block.setHash(), i))
	}
	_, err := b.Store(b.soon(), r)
	var park *ParkError
	if !errors.As(err, &park) || !strings.Contains(err.Error(), "10 of 10 rows") {
		t.Errorf("%v, want a parked lane that names what is missing", err)
	}
	b.holds(0)
}

// spend makes the server remember a token whose rows are gone.
func (b *bench) spend(token string) {
	b.t.Helper()
	if out, err := b.send(b.t.Context(), block(0, 1, today), token, "spend"); err != nil || !out.clean() {
		b.t.Fatalf("spend %s: %+v, %v", token, out, err)
	}
	b.query("ALTER TABLE {db}.verdicts DELETE WHERE 1 SETTINGS mutations_sync = 2")
}

// History 45: rows beyond retention vanish as they land; comparing would find them missing for ever.
func TestHistory45BeyondRetention(t *testing.T) {
	b := newBench(t)
	old := time.Now().UTC().AddDate(0, 0, -181).Truncate(24 * time.Hour)
	for _, compare := range []bool{false, false, true} {
		r := Request{Range: rng(0, 100), Block: block(0, 100, old), Lease: fine, Compare: compare}
		if _, err := b.Store(b.soon(), r); err != nil {
			t.Fatalf("compare %v: %v", compare, err)
		}
		b.query("OPTIMIZE TABLE {db}.verdicts FINAL")
		b.want("rows beyond retention", "SELECT count() FROM {db}.verdicts", "0")
	}
	// An operator's own retention counts.
	b.query("ALTER TABLE {db}.verdicts MODIFY TTL toDateTime(kafka_time) + INTERVAL 2 DAY")
	for range 2 {
		r := Request{Range: rng(100, 200), Block: block(100, 200, today.AddDate(0, 0, -3)), Lease: fine}
		if _, err := b.Store(b.soon(), r); err != nil {
			t.Fatal(err)
		}
		b.query("OPTIMIZE TABLE {db}.verdicts FINAL")
	}
	b.want("rows beyond the operator's retention", "SELECT count() FROM {db}.verdicts", "0")
}

// History 45: of rows with equal sorting keys in a block the server keeps one.
func TestHistory45OriginsGrowWithinABlock(t *testing.T) {
	for _, tt := range []struct {
		name         string
		offset, item int64
		ok           bool
	}{
		{"the same origin", 7, 3, false},
		{"an item before", 7, 2, false},
		{"an offset before", 6, 9, false},
		{"the next item", 7, 4, true},
		{"the next offset", 8, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBlock(testPack, [16]byte{})
			add := func(offset, item int64) {
				b.Append(&scoring.Event{Origin: scoring.Origin{Topic: "t", Offset: offset, Item: int32(item)}}, &scoring.Verdict{})
			}
			add(7, 3)
			defer func() {
				if refused := recover() != nil; refused == tt.ok {
					t.Errorf("refused: %v", refused)
				}
			}()
			add(tt.offset, tt.item)
		})
	}
}

func TestRowsOutsideTheirRangeAreRefused(t *testing.T) {
	b := newBench(t)
	for _, r := range []scoring.Range{rng(0, 9), rng(1, 10), {Topic: "u", To: 10}, {Topic: "t", Partition: 1, To: 10}} {
		var park *ParkError
		if _, err := b.Store(b.soon(), Request{Range: r, Block: block(0, 10, today), Lease: fine}); !errors.As(err, &park) {
			t.Errorf("%s: %v, want a parked lane", r, err)
		}
	}
	b.holds(0)
}

// Nothing is sent without the lease, and its error is not dressed up.
func TestLeaseIsAskedBeforeEachSend(t *testing.T) {
	b := newBench(t)
	gone := errors.New("not ours any more")
	r := request(0, 10)
	r.Lease = func(context.Context) error { return gone }
	if _, err := b.Store(b.soon(), r); err != gone {
		t.Errorf("%v, want the lease's own error", err)
	}
	b.holds(0)
	b.spend(b.token(r.Range))
	asked := 0
	r.Lease = func(context.Context) error {
		if asked++; asked > 2 {
			return gone
		}
		return nil
	}
	if _, err := b.Store(b.soon(), r); err != gone {
		t.Errorf("%v, want the lease's own error after the comparison", err)
	}
	b.holds(0)
}

func TestParksOnASchemaThatCannotTakeRows(t *testing.T) {
	b := newBench(t)
	b.query("ALTER TABLE {db}.verdicts DROP COLUMN region")
	r := request(0, 2)
	var e scoring.Event
	e.Origin, e.KafkaTime = scoring.Origin{Topic: "t", Offset: 1, Item: 1}, today.UnixMilli()
	e.SetStr(scoring.FieldRegion, "r1")
	r.Block.Append(&e, &scoring.Verdict{})
	var park *ParkError
	if _, err := b.Store(b.soon(), r); !errors.As(err, &park) || !strings.Contains(err.Error(), "migrate") {
		t.Errorf("%v, want a parked lane that says what to do", err)
	}
}

// proxy stands before a server. It takes one connection, and lets its insert through when the test says so.
type proxy struct {
	address   string
	inserting chan struct{} // closed when an insert wants to pass
	pass      chan struct{} // closed by the test
	most      int           // bytes that pass after the insert's text before the connection breaks; 0: all
	client    net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); server.Close() })
	p := &proxy{address: l.Addr().String(), inserting: make(chan struct{}), pass: make(chan struct{})}
	go func() {
		p.client, err = l.Accept()
		l.Close()
		if err == nil {
			go func() {
				_, _ = io.Copy(p.client, server)
				// To close with bytes unread resets the connection, and this server (26.7.2.1) may end over that.
				_, _ = io.Copy(io.Discard, server)
			}()
			p.pump(server)
		}
	}()
	return p
}

func (p *proxy) pump(server net.Conn) {
	buf := make([]byte, 1<<20)
	for held := false; ; {
		n, err := p.client.Read(buf)
		if err != nil {
			return // the server's side stays open: it does not learn that nobody waits for its answer
		}
		if !held && strings.Contains(string(buf[:n]), "INSERT INTO") {
			held = true
			close(p.inserting)
			<-p.pass
		} else if held && p.most > 0 {
			if n >= p.most {
				_, _ = server.Write(buf[:p.most])
				p.cut()
				return
			}
			p.most -= n
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut breaks the connection on the client's side.
func (p *proxy) cut() { p.client.Close() }
