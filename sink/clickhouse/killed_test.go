package clickhouse

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/scoring"
)

// The server is killed again and again in the middle of inserts, and once it only hangs. Several lanes store on: every
// origin has one row, and every line of the ledger is there.
func TestKilledServerLosesAndDoublesNothing(t *testing.T) {
	const lanes, ranges, size = 4, 60, 400
	stack := stacktest.StartOwn(t, "--kafka", "kfake")
	b := newBenchOn(t, stack)
	b.deadline = 5 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	var g errgroup.Group
	for lane := range int32(lanes) {
		g.Go(func() error {
			for i := range int64(ranges) {
				r := scoring.Range{Topic: "t", Partition: lane, From: i * size, To: (i + 1) * size}
				if _, err := b.Store(ctx, Request{Range: r, Block: laneBlock(r), Lease: fine}); err != nil {
					return err
				}
				// A lane writes its line again until it hears that it is stored.
				for b.Ledger(ctx, scoring.Line{Range: r, Status: scoring.LineDone, Rows: size}) != nil {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(50 * time.Millisecond):
					}
				}
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	random := rand.New(rand.NewPCG(7, 7))
	for round := 0; ; round++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("%v\n%s", err, b.heard())
			}
			if round < 3 {
				t.Errorf("the server was killed %d times, which is no test", round)
			}
			b.holds(lanes * ranges * size)
			for lane := range int32(lanes) {
				if at, err := b.Position(t.Context(), "t", lane, 0); err != nil || at.To != ranges*size {
					t.Errorf("lane %d: ledger ends at %d, %v", lane, at.To, err)
				}
			}
			return
		case <-time.After(time.Duration(300+random.IntN(1200)) * time.Millisecond):
		}
		if round == 1 {
			stack.Pause(t, "clickhouse")
			time.Sleep(b.deadline + time.Second)
			stack.Resume(t, "clickhouse")
			continue
		}
		stack.Kill(t, "clickhouse")
		stack.Start(t, "clickhouse")
	}
}

// A loss of power takes what was not synced: the server's log of tokens, and not the parts. Who sends the range again finds
// its rows there.
func TestPowerLossTakesTheTokenOfRowsThatStay(t *testing.T) {
	stack := stacktest.StartOwn(t, "--kafka", "kfake")
	b := newBenchOn(t, stack)
	landed := request(0, 100) // and nobody heard of it
	if _, err := b.send(t.Context(), landed.Block, landed.token(b.DB), landed.queryID(b.DB)); err != nil {
		t.Fatal(err)
	}
	stack.Kill(t, "clickhouse")
	logs, err := filepath.Glob(filepath.Join(stack.Dir, "clickhouse", "store", "*", "*", "deduplication_logs", "*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs of tokens: %v", err)
	}
	for _, path := range logs {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() {
		already, err := b.Store(b.soon(), request(0, 100))
		if err == nil && already != 100 {
			err = fmt.Errorf("%d rows already, want 100", already)
		}
		done <- err
	}()
	for b.heard() == "" {
		select {
		case err := <-done:
			t.Fatalf("stored while the server was away: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	stack.Start(t, "clickhouse")
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.holds(100)
}

// laneBlock holds a row for each offset of the range, of any partition.
func laneBlock(r scoring.Range) *Block {
	b := NewBlock(testPack, [16]byte{})
	for o := r.From; o < r.To; o++ {
		e := scoring.Event{Origin: scoring.Origin{Topic: r.Topic, Partition: r.Partition, Offset: o}, KafkaTime: today.UnixMilli() + o}
		e.SetStr(scoring.FieldAgent, fmt.Sprint("a", o%50))
		b.Append(&e, &scoring.Verdict{})
	}
	return b
}
