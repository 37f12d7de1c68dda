package clickhouse

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ClickHouse/ch-go"

	"github.com/agentrisk/agentrisk/scoring"
)

// fullBlock holds as much as a batch may: 50,000 rows that send every column, about 28 MiB of them.
func fullBlock() *Block {
	b := NewBlock(testPack, [16]byte{1})
	text := strings.Repeat("some text of an agent ", 6)
	for o := range int64(50_000) {
		var e scoring.Event
		e.Origin = scoring.Origin{Topic: "t", Offset: o}
		e.KafkaTime, e.Time = today.UnixMilli()+o, today.UnixMilli()+o
		for i, f := range scoring.Fields {
			id := scoring.FieldID(i)
			if (int64(i)+o)%10 != 0 { // each row speaks of a tenth of the fields
				continue
			}
			switch f.Type {
			case scoring.String:
				e.SetStr(id, fmt.Sprint(f.Name, o%1000))
			case scoring.Int, scoring.Milli:
				e.SetInt(id, o%1000)
			case scoring.Bool:
				e.SetBool(id, true)
			}
		}
		e.SetStr(scoring.FieldEventID, fmt.Sprint("event-", o, text))
		e.SetStr(scoring.FieldAgent, fmt.Sprint("a", o%700))
		b.Append(&e, &scoring.Verdict{Score: scoring.Score(o % 1000)})
	}
	return b
}

// A block keeps the memory of batches like the last one: what one large batch took is let go after a small one.
func TestBlockLetsGoOfWhatOneLargeBatchTook(t *testing.T) {
	held := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	b := fullBlock()
	b.Reset()
	if full := held() - before; full < 28<<20 {
		t.Fatalf("%d MiB kept after a full batch, want what the next such batch needs", full>>20)
	}
	b.Append(&scoring.Event{}, &scoring.Verdict{})
	b.Reset()
	if left := held() - before; left > 5<<20 {
		t.Errorf("%d MiB kept after a batch of one row", left>>20)
	}
	runtime.KeepAlive(b)
}

// One insert takes a bounded part of the server's memory: 20 a second and several processes must fit. With the server's
// defaults it was 698 MiB.
func TestAnInsertTakesLittleOfTheServersMemory(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	blk := fullBlock()
	var peak atomic.Int64
	c, err := b.native.get(b.soon())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := blk.input()
	names := make([]string, len(in))
	for i, col := range in {
		names[i] = "`" + col.Name + "`"
	}
	if len(in) < 130 {
		t.Errorf("the block sends %d columns, which is no full one", len(in))
	}
	if err := c.Do(b.soon(), ch.Query{
		Body: "INSERT INTO " + b.table("verdicts") + " (" + strings.Join(names, ", ") + ") VALUES", Input: in, Settings: pinnedNative,
		OnProfileEvents: func(_ context.Context, events []ch.ProfileEvent) error {
			for _, e := range events {
				if e.Name == "MemoryTrackerPeakUsage" {
					peak.Store(max(peak.Load(), e.Value))
				}
			}
			return nil
		},
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows, %d columns, %d MiB: %d MiB of the server's memory", blk.Rows(), len(in), blk.Bytes()>>20, peak.Load()>>20)
	if mib := peak.Load() >> 20; mib == 0 || mib > 256 {
		t.Errorf("the insert took %d MiB of the server's memory, want at most 256", mib)
	}
	b.want("rows", "SELECT count() FROM {db}.verdicts", "50000")
}
