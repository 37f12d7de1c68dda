package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// History 25: kafka.Writer{} says nil to a record that the broker refused. Ours says which, and why.
func TestHistory25RefusedRecord(t *testing.T) {
	c := newClient(t)
	topic := rawTopic(t, c, "max.message.bytes", "20000")
	large := Message{Value: []byte(strings.Repeat("x", 30000))}

	w := kafka.Writer{Addr: c.kafka.Addr, Transport: newTransport(c.cfg), Topic: topic, BatchTimeout: time.Millisecond}
	defer w.Close()
	if err := w.WriteMessages(deadline(t), kafka.Message{Value: large.Value}); err != nil {
		t.Errorf("kafka.Writer{} has become honest, history 25 can go: %v", err)
	}

	err := c.NewProducer(None).Produce(deadline(t), topic, []Message{large})
	var failed *ProduceError
	if !errors.As(err, &failed) || !slices.Equal(failed.Unacknowledged, []int{0}) || !errors.Is(err, ErrRefused) || !errors.Is(err, kafka.MessageSizeTooLarge) {
		t.Errorf("got %v", err)
	}
	if got := consume(t, c, topic, 0, 0); len(got.offsets) != 0 {
		t.Errorf("stored %v", got.offsets)
	}
}

// Nothing overtakes a batch that failed (kafka.Writer stores 0,1,2,6,7,8 of these), other partitions are not
// concerned, and what was not acknowledged is named.
func TestProduceKeepsOrder(t *testing.T) {
	c := newClient(t)
	topic := rawTopic(t, c, "max.message.bytes", "20000")
	var list []Message
	zero := int32(0)
	for i := range 9 {
		m := Message{Value: fmt.Appendf(nil, "%d", i), Partition: &zero}
		if i == 4 {
			m.Value = []byte(strings.Repeat("x", 30000))
		}
		list = append(list, m)
	}
	p := c.NewProducer(None)
	p.batch = 3 * 33
	err := p.Produce(deadline(t), topic, list)
	var failed *ProduceError
	if !errors.As(err, &failed) || !slices.Equal(failed.Unacknowledged, []int{4, 5, 6, 7, 8}) && !slices.Equal(failed.Unacknowledged, []int{3, 4, 5, 6, 7, 8}) {
		t.Fatalf("got %v", err)
	}
	want := []string{"0", "1", "2", "3"}[:failed.Unacknowledged[0]]
	if got := consume(t, c, topic, 0, 0).values(); !slices.Equal(got, want) {
		t.Errorf("the log holds %v, want %v", got, want)
	}
}

// A key always goes to the partition that Java's producer would choose.
func TestProduceByKey(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 8)
	var list []Message
	for i := range 100 {
		list = append(list, Message{Key: fmt.Appendf(nil, "agent-%d", i%10), Value: fmt.Appendf(nil, "%d", i)})
	}
	list = append(list, texts("no key %d", 0, 5)...)
	if err := c.NewProducer(Zstd).Produce(deadline(t), topic, list); err != nil {
		t.Fatal(err)
	}
	found := 0
	for p := range int32(8) {
		last := map[string]int{}
		for _, r := range consume(t, c, topic, p, 0).records {
			found++
			if r.Key == nil {
				continue
			}
			var n int
			fmt.Sscan(string(r.Value), &n)
			if before, ok := last[string(r.Key)]; ok && n != before+10 {
				t.Errorf("%s: %d follows %d", r.Key, n, before)
			}
			last[string(r.Key)] = n
			if want := (kafka.Murmur2Balancer{}).Balance(kafka.Message{Key: r.Key}, 0, 1, 2, 3, 4, 5, 6, 7); want != int(p) {
				t.Errorf("%s is in partition %d, want %d", r.Key, p, want)
			}
		}
	}
	if found != len(list) {
		t.Errorf("%d of %d messages", found, len(list))
	}
}

func TestProduceRefusedByClient(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 1)
	if err := c.NewProducer(None).Produce(deadline(t), "no-such-topic", texts("%d", 0, 2)); !errors.Is(err, ErrRefused) || !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("unknown topic: %v", err)
	}
	one := int32(1)
	if err := c.NewProducer(None).Produce(deadline(t), topic, []Message{{Partition: &one}}); !errors.Is(err, ErrRefused) {
		t.Errorf("unknown partition: %v", err)
	}
	if err := c.NewProducer(None).Produce(deadline(t), topic, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}
