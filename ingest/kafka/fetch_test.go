package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// What our producer sent, and what the broker itself compressed (Java's codecs, snappy with xerial framing), comes
// back equal.
func TestFetchReadsEveryCodec(t *testing.T) {
	c := newClient(t)
	var sent []Message
	var want []string
	for i := range 300 {
		m := Message{Key: fmt.Appendf(nil, "key %d", i), Value: bytes.Repeat(fmt.Appendf(nil, "value %d ", i), 20), Headers: []Header{{[]byte("h"), []byte("v")}}}
		sent, want = append(sent, m), append(want, string(m.Value))
	}
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		for _, setting := range []string{"producer", codec.String()} {
			t.Run(fmt.Sprintf("%s by %s", codec, map[bool]string{true: "producer", false: "broker"}[setting == "producer"]), func(t *testing.T) {
				if setting == "none" {
					setting = "uncompressed"
				} else if setting != "producer" {
					stacktest.Start(t).NeedApache(t, "compression by the broker")
				}
				topic := rawTopic(t, c, "compression.type", setting)
				from := None
				if setting == "producer" {
					from = codec
				}
				if err := c.NewProducer(from).Produce(deadline(t), topic, sent); err != nil {
					t.Fatal(err)
				}
				f, err := c.Fetch(deadline(t), topic, 0, 0, 1<<20, time.Second)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Release()
				var d Decoder
				d.Reset(f.Raw, 0, nil)
				if b, err := d.NextBatch(); err != nil || b.Codec != codec {
					t.Fatalf("codec %v, error %v", b, err)
				}
				got := consume(t, c, topic, 0, 0)
				if !slices.Equal(got.values(), want) || got.errs != nil {
					t.Fatalf("%d records, errors %v", len(got.records), got.errs)
				}
				if r := got.records[7]; string(r.Key) != "key 7" || !reflect.DeepEqual(r.Headers, sent[7].Headers) {
					t.Errorf("record 7: %+v", r)
				}
				if f.HighWatermark != 300 || f.LastStable != 300 || f.LogStart != 0 {
					t.Errorf("bounds %+v", f)
				}
			})
		}
	}
}

// History 39: the broker stamps records, the producer's clock stands at 1999. Both read paths of kafka-go return
// 1999.
func TestHistory39AppendTime(t *testing.T) {
	stacktest.Start(t).NeedApache(t, "append time")
	c := newClient(t)
	topic := newTopic(t, c, 1)
	before := time.Now().Add(-time.Minute)
	w := kafka.Writer{Addr: c.kafka.Addr, Transport: c.transport, Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond}
	defer w.Close()
	old := time.Date(1999, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := w.WriteMessages(deadline(t), kafka.Message{Value: []byte("a"), Time: old}, kafka.Message{Value: []byte("b"), Time: old.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	got := consume(t, c, topic, 0, 0)
	if len(got.records) != 2 {
		t.Fatalf("records %v", got.values())
	}
	for _, r := range got.records {
		if at := time.UnixMilli(r.Time); at.Before(before) || at.After(time.Now().Add(time.Minute)) {
			t.Errorf("%s is of %v, not of now", r.Value, at)
		}
	}
}

func TestFetchFromTheMiddle(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 1)
	produce(t, c, topic, texts("%d", 0, 50)...)
	produce(t, c, topic, texts("%d", 50, 60)...)
	if got := consume(t, c, topic, 0, 17).values(); len(got) != 43 || got[0] != "17" {
		t.Errorf("got %v", got)
	}
}

// The broker sends at least one batch whole, however little was asked for. One that unpacks to more than the
// limit costs its own offset and no other.
func TestFetchLargeBatches(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 1)
	produce(t, c, topic, Message{Value: bytes.Repeat([]byte("x"), 100_000)})
	if err := c.NewProducer(Zstd).Produce(deadline(t), topic, []Message{{Value: make([]byte, 20<<20)}}); err != nil {
		t.Fatal(err)
	}
	produce(t, c, topic, texts("%d", 2, 3)...)
	f, err := c.Fetch(deadline(t), topic, 0, 0, 1000, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var d Decoder
	d.Reset(f.Raw, 0, nil)
	if got := readAll(t, &d); !slices.Equal(got.offsets, []int64{0}) {
		t.Errorf("got %v", got.offsets)
	}
	if f, err = c.Fetch(deadline(t), topic, 0, 1, 1<<20, time.Second); err != nil {
		t.Fatal(err)
	}
	d.Limit = 4 << 20
	d.Reset(f.Raw, 1, nil)
	got := readAll(t, &d)
	if len(got.errs) != 1 || got.errs[0].First != 1 || got.errs[0].Last != 1 || got.errs[0].Reason != ReasonTooLarge || !slices.Equal(got.offsets, []int64{2}) {
		t.Errorf("errors %v, offsets %v", got.errs, got.offsets)
	}
}

func TestFetchErrors(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 1)
	produce(t, c, topic, texts("%d", 0, 5)...)
	_, err := c.Fetch(deadline(t), topic, 0, 77, 1<<20, time.Second)
	var out *OutOfRange
	if !errors.As(err, &out) || *out != (OutOfRange{Offset: 77, LogStart: 0, HighWatermark: 5}) {
		t.Errorf("beyond the end: %v", err)
	}
	if _, err := c.Fetch(deadline(t), topic, 1, 0, 1<<20, time.Second); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("a partition that is not there: %v", err)
	}
	if _, err := c.Fetch(deadline(t), "no-such-topic", 0, 0, 1<<20, time.Second); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("a topic that is not there: %v", err)
	}
}

// Nobody there is not "unknown topic", which kafka-go says of it.
func TestFetchWithoutBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, err = clientOf(t, []string{l.Addr().String()}).Fetch(deadline(t), "t", 0, 0, 1<<20, time.Second)
	if err == nil || errors.Is(err, ErrUnknownTopic) {
		t.Errorf("got %v", err)
	}
}

// A fetch waits for a first byte, and a cancelled context ends the wait at once, not when the broker answers.
func TestFetchWaitsAndCancels(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 1)
	ctx, cancel := context.WithCancel(deadline(t))
	done := make(chan error, 1)
	go func() {
		_, err := c.Fetch(ctx, topic, 0, 0, 1<<20, 2*time.Minute)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("an empty topic answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the cancelled fetch goes on waiting")
	}
	f, err := c.Fetch(deadline(t), topic, 0, 0, 1<<20, 10*time.Millisecond)
	if err != nil || len(f.Raw) != 0 {
		t.Errorf("nothing is no error: %v %v", f, err)
	}
}

// 32 lanes wait at one broker at a time: each has a connection to itself, none waits behind another, and the
// connections are used again.
func TestFetchManyLanes(t *testing.T) {
	const lanes = 32
	c := newClient(t)
	var dials atomic.Int32
	c.transport.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, address)
	}
	topic := newTopic(t, c, lanes)
	var offsets [lanes]int64
	for round := range 3 {
		var wg sync.WaitGroup
		var waiting sync.WaitGroup
		waiting.Add(lanes)
		errs := make([]error, lanes)
		for p := range int32(lanes) {
			wg.Go(func() {
				waiting.Done()
				for len(offsets) > 0 {
					f, err := c.Fetch(deadline(t), topic, p, offsets[p], 1<<20, 5*time.Second)
					if err != nil {
						errs[p] = err
						return
					}
					var d Decoder
					d.Reset(f.Raw, offsets[p], nil)
					got := readAll(t, &d)
					offsets[p] = d.End()
					f.Release()
					if len(got.offsets) > 0 {
						return
					}
				}
			})
		}
		waiting.Wait()
		for p := range int32(lanes) {
			produce(t, c, topic, Message{Value: []byte("x"), Partition: &p})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for p, o := range offsets {
			if o != int64(round+1) {
				t.Errorf("round %d: lane %d stands at %d", round, p, o)
			}
		}
	}
	if n := dials.Load(); n > lanes+10 {
		t.Errorf("%d connections for %d lanes", n, lanes)
	}
}

// Records of an aborted transaction are named as such, a marker takes an offset, and an open transaction bounds
// what a fetch sees.
func TestFetchTransactions(t *testing.T) {
	stacktest.Start(t).NeedApache(t, "transactions of a producer without franz-go")
	c := newClient(t)
	topic := newTopic(t, c, 1)
	stable := func(want int64) {
		t.Helper()
		eventually(t, "the marker is written", func() error {
			b, err := c.Bounds(deadline(t), topic, 0)
			if err == nil && b.Next != want {
				err = fmt.Errorf("bounds %+v", b)
			}
			return err
		})
	}
	tx := stacktest.NewTransactions(t, stacktest.Start(t).Brokers, topic)
	tx.Write("one", "two")
	tx.End(false) // 0, 1 aborted, 2 marker
	stable(3)
	produce(t, c, topic, texts("plain %d", 3, 4)...)
	tx.Write("one")
	tx.End(true) // 4 committed, 5 marker
	stable(6)
	tx.Write("one") // 6 open
	produce(t, c, topic, texts("behind %d", 7, 8)...)
	got := consume(t, c, topic, 0, 0)
	if !slices.Equal(got.offsets, []int64{3, 4}) || !slices.Equal(got.aborted, []int64{0, 1}) || !slices.Equal(got.control, []int64{2, 5}) {
		t.Errorf("data %v aborted %v control %v", got.offsets, got.aborted, got.control)
	}
	f, err := c.Fetch(deadline(t), topic, 0, 1, 1<<20, time.Second)
	if err != nil || f.LastStable != 6 || f.HighWatermark != 8 {
		t.Errorf("got %+v %v", f, err)
	}
	tx.End(true)
	stable(9)
	if got := consume(t, c, topic, 0, 6); !slices.Equal(got.offsets, []int64{6, 7}) || !slices.Equal(got.control, []int64{8}) {
		t.Errorf("data %v control %v", got.offsets, got.control)
	}
}
