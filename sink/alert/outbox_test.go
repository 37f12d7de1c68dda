package alert_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/alert"
	"github.com/agentrisk/agentrisk/sink/alert/alerttest"
)

// What Write returned for stands in the topic, under its id, and a repetition stands beside it and says the
// same.
func TestOutboxStores(t *testing.T) {
	b := newBench(t, 4)
	want := alerttest.Alerts(0, 100)
	b.write(0, 100)
	if got := len(b.read(b.topic)); got < 100 {
		t.Fatalf("%d records after writing 100", got)
	}
	b.write(0, 100)
	byID := map[string][]kafka.Message{}
	for _, m := range b.read(b.topic) {
		byID[string(m.Key)] = append(byID[string(m.Key)], m)
	}
	partitions := map[int]bool{}
	for _, a := range want {
		twice := byID[a.ID]
		if len(twice) < 2 {
			t.Fatalf("alert %s stands %d times after being written twice", a.ID, len(twice))
		}
		for _, m := range twice {
			if m.Partition != twice[0].Partition || !bytes.Equal(m.Value, twice[0].Value) {
				t.Fatalf("alert %s: its repetition lies elsewhere or differs", a.ID)
			}
		}
		partitions[twice[0].Partition] = true
		got, err := alert.Decode(twice[0].Value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&a, got); diff != "" {
			t.Fatal(diff)
		}
		if h := twice[0].Headers; len(h) != 3 || string(h[0].Value) != alert.Schema || string(h[1].Value) != "aliyun" || string(h[2].Value) != "critical" {
			t.Fatalf("headers %v", h)
		}
	}
	if len(partitions) != 4 {
		t.Errorf("100 alerts lie in %d of 4 partitions", len(partitions))
	}
}

// History 25: a writer that asks for no acknowledgement says nil when the broker refuses a record. And when
// one batch is refused and the next is taken, the call has failed.
func TestOutboxTellsOfARefusal(t *testing.T) {
	b := newBench(t, 0)
	b.create(b.topic, 2, kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "2000"})
	o := b.outbox()
	small, large := alerttest.Alert(1), alerttest.Alert(2)
	b.until("the topic takes a small alert", func() bool { return o.Write(t.Context(), []scoring.Alert{small}) == nil })
	for len(large.Hits) < 50 {
		large.Hits = append(large.Hits, large.Hits[0])
	}
	if err := o.Write(t.Context(), []scoring.Alert{large}); err == nil {
		t.Error("a record that the broker refuses: no error")
	}
	mixed := []scoring.Alert{large}
	for n := 10; n < 20; n++ {
		mixed = append(mixed, alerttest.Alert(n))
	}
	err := o.Write(t.Context(), mixed)
	if err == nil || !strings.Contains(err.Error(), b.topic) {
		t.Errorf("a batch of which a part is refused: error %v, want one that names the topic", err)
	}
	for _, m := range b.read(b.topic) {
		if string(m.Key) == large.ID {
			t.Error("the refused alert stands in the topic")
		}
	}
}

func TestOutboxWithoutTopic(t *testing.T) {
	b := newBench(t, 0)
	if err := b.outbox().Write(t.Context(), alerttest.Alerts(0, 1)); err == nil {
		t.Error("written to a topic that does not exist")
	}
}
