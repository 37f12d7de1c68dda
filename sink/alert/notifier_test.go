package alert_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/segmentio/kafka-go"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink"
	"github.com/agentrisk/agentrisk/sink/alert"
	"github.com/agentrisk/agentrisk/sink/alert/alerttest"
	"github.com/agentrisk/agentrisk/sink/alert/webhook"
)

const secret = "whsec_bmV3IHNlY3JldCBvZiB0aGlydHktdHdvIGJ5dGVzIQ=="

// receiver is a webhook receiver that is out of order half of the time.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	accepted map[string]int
	order    []string // ids in the order of their first acceptance
	broken   atomic.Int64
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{accepted: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = verifier.Verify(body, req.Header)
		}
		if err != nil {
			t.Errorf("request: %v", err)
		}
		accept := func() {
			id := req.Header.Get("webhook-id")
			if r.accepted[id]++; r.accepted[id] == 1 {
				r.order = append(r.order, id)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		switch rand.N(8) {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		case 2: // has taken it and hangs up before it says so
			accept()
			panic(http.ErrAbortHandler)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			accept()
			return
		}
		r.broken.Add(1)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) channel(t *testing.T) alert.Channel {
	t.Helper()
	c, err := webhook.New(webhook.Config{URL: r.URL, Secrets: []string{secret}, Allow: []string{strings.TrimPrefix(r.URL, "http://")}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *receiver) has(from, to int) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for n := from; n < to; n++ {
			if r.accepted[alerttest.Alert(n).ID] == 0 {
				return false
			}
		}
		return true
	}
}

// Through a receiver that fails half of the time every alert arrives, those of a partition in order. A channel
// that joins late begins with the oldest.
func TestFlakyReceiverGetsEverything(t *testing.T) {
	b := newBench(t, 3)
	b.write(0, 60)
	r := newReceiver(t)
	metrics := alert.NewMetrics()
	stop := b.notify(alert.NotifierConfig{Channel: r.channel(t), Metrics: metrics})
	b.write(60, 120)
	b.until("120 alerts arrive", r.has(0, 120))
	b.until("120 are counted", func() bool { return testutil.ToFloat64(metrics.Delivered.WithLabelValues(b.name)) >= 120 })
	stop()
	if failed := testutil.ToFloat64(metrics.Failed.WithLabelValues(b.name)); failed < float64(r.broken.Load()) {
		t.Errorf("%v failures are counted, the receiver knows of %d", failed, r.broken.Load())
	}
	for p := range 3 {
		if got := testutil.ToFloat64(metrics.Waiting.WithLabelValues(b.name, string(rune('0'+p)))); got != 0 {
			t.Errorf("partition %d: %v wait", p, got)
		}
	}
	at := map[string]int{}
	for i, id := range r.order {
		at[id] = i
	}
	last := map[int]int{}
	seen := map[string]bool{}
	for _, m := range b.read(b.topic) {
		id := string(m.Key)
		if seen[id] {
			continue
		}
		seen[id] = true
		if prev, ok := last[m.Partition]; ok && at[id] < prev {
			t.Errorf("partition %d: alert at offset %d came before its predecessor", m.Partition, m.Offset)
		}
		last[m.Partition] = at[id]
	}
}

// What is refused for good, or is no alert, goes to the dead topic as it was, with the reason; what stands
// behind it is delivered.
func TestRefusedAndMalformedGoOn(t *testing.T) {
	b := newBench(t, 1)
	b.write(0, 3)
	w := &kafka.Writer{Addr: kafka.TCP(b.brokers...), Topic: b.topic, RequiredAcks: kafka.RequireAll, Transport: b.client.Transport}
	defer w.Close()
	junk := []kafka.Message{{Key: []byte("k1"), Value: []byte("not json")}, {Value: nil}, {Key: []byte("k3"), Value: []byte(`{"schema":"agentrisk.alert/9","id":"x"}`)}}
	if err := w.WriteMessages(t.Context(), junk...); err != nil {
		t.Fatal(err)
	}
	b.write(3, 6)
	refused := alerttest.Alert(4).ID
	in := &inbox{refuse: func(a *scoring.Alert) error {
		if a.ID == refused {
			return sink.Permanent(errors.New("receiver answers 422"))
		}
		return nil
	}}
	metrics := alert.NewMetrics()
	stop := b.notify(alert.NotifierConfig{Channel: in, Metrics: metrics})
	b.until("the last alert arrives", in.has(5, 6))
	stop()
	if in.len() < 5 || !in.has(0, 4)() {
		t.Errorf("%d alerts came", in.len())
	}
	reasons := map[string][]string{}
	values := map[string]bool{}
	for _, m := range b.read(b.dead) {
		h := map[string]string{}
		for _, x := range m.Headers {
			h[x.Key] = string(x.Value)
		}
		reasons[h["agentrisk-reason"]] = append(reasons[h["agentrisk-reason"]], h["agentrisk-detail"])
		values[string(m.Value)] = true
		if h["agentrisk-channel"] != b.name || !strings.HasPrefix(h["agentrisk-origin"], b.topic+"/0/") {
			t.Errorf("headers %v", h)
		}
	}
	if len(reasons["malformed"]) != 3 || len(reasons["refused"]) != 1 || reasons["refused"][0] != "receiver answers 422" {
		t.Errorf("dead: %v", reasons)
	}
	for _, m := range junk {
		if !values[string(m.Value)] {
			t.Errorf("%q is not in the dead topic", m.Value)
		}
	}
	if got := testutil.ToFloat64(metrics.Dead.WithLabelValues(b.name, "malformed")); got != 3 {
		t.Errorf("%v malformed are counted", got)
	}
}

// History 26: a receiver that takes nothing of one partition holds up neither the other partitions nor another
// channel, and its own alerts wait for it.
func TestOneStuckPartitionHoldsUpNothingElse(t *testing.T) {
	b := newBench(t, 3)
	b.write(0, 60)
	stuck := map[string]bool{}
	for _, m := range b.read(b.topic) {
		if m.Partition == 1 {
			stuck[string(m.Key)] = true
		}
	}
	down := &inbox{refuse: func(a *scoring.Alert) error {
		if stuck[a.ID] {
			return sink.RetryAfter(errors.New("down"), 0)
		}
		return nil
	}}
	up := &inbox{}
	metrics := alert.NewMetrics()
	b.notify(alert.NotifierConfig{Channel: down, Metrics: metrics})
	b.notify(alert.NotifierConfig{Channel: up, Name: b.name + "-b"})
	b.until("the other channel gets everything", up.has(0, 60))
	b.until("the other partitions get everything", func() bool { return down.len() >= 60-len(stuck) })
	b.until("those that wait are counted", func() bool {
		return testutil.ToFloat64(metrics.Waiting.WithLabelValues(b.name, "1")) == float64(len(stuck))
	})
	if down.has(0, 60)() {
		t.Error("what the receiver refused is counted as delivered")
	}
	down.mu.Lock()
	down.refuse = nil
	down.mu.Unlock()
	b.until("what waited arrives", down.has(0, 60))
}

// Two members of one channel share the partitions; when one goes, the other takes over, and nothing is lost.
func TestTwoMembersShare(t *testing.T) {
	b := newBench(t, 4)
	one, two := &inbox{}, &inbox{}
	stopOne := b.notify(alert.NotifierConfig{Channel: one})
	b.notify(alert.NotifierConfig{Channel: two})
	n := 0
	b.until("both get some", func() bool {
		b.write(n, n+8)
		n += 8
		return one.len() > 0 && two.len() > 0
	})
	all := func(from, to int) func() bool {
		return func() bool {
			for i := from; i < to; i++ {
				if !one.has(i, i+1)() && !two.has(i, i+1)() {
					return false
				}
			}
			return true
		}
	}
	b.until("together they get all", all(0, n))
	stopOne()
	b.write(n, n+40)
	b.until("the one that stays gets the rest", two.has(n, n+40))
}

// A notifier that starts before migrate waits, says so, makes no topic, and begins when it is there.
func TestWaitsForTheTopic(t *testing.T) {
	b := newBench(t, 0)
	in, book := &inbox{}, &logbook{}
	b.notify(alert.NotifierConfig{Channel: in, Log: book.log()})
	b.until("it says what it waits for", book.says("waits for the outbox topic: agentrisk migrate makes it"))
	b.create(b.topic, 2)
	b.write(0, 10)
	b.until("alerts arrive", in.has(0, 10))
}

// A topic that is deleted and made again is delivered from its start, whether the old one had got further or
// not.
func TestTopicMadeAgain(t *testing.T) {
	for name, more := range map[string]int{"shorter": 5, "longer": 50} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 1)
			in := &inbox{}
			b.notify(alert.NotifierConfig{Channel: in})
			b.write(0, 30)
			b.until("the first alerts arrive", in.has(0, 30))
			if _, err := b.client.DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{b.topic}}); err != nil {
				t.Fatal(err)
			}
			b.until("the topic is gone", func() bool {
				meta, err := b.client.Metadata(t.Context(), &kafka.MetadataRequest{Topics: []string{b.topic}})
				return err == nil && errors.Is(meta.Topics[0].Error, kafka.UnknownTopicOrPartition)
			})
			b.create(b.topic, 1)
			b.write(100, 100+more)
			b.until("the alerts of the new topic arrive", in.has(100, 100+more))
		})
	}
}

// A group whose position lies beyond the log (a cluster restored from yesterday) would hear nothing until the
// log has grown that far: it begins anew instead.
func TestPositionBeyondTheLog(t *testing.T) {
	b := newBench(t, 1)
	b.write(0, 5)
	b.until("the position is stored", func() bool {
		res, err := b.client.OffsetCommit(t.Context(), &kafka.OffsetCommitRequest{GroupID: "agentrisk.notify." + b.name, GenerationID: -1,
			Topics: map[string][]kafka.OffsetCommit{b.topic: {{Partition: 0, Offset: 1000}}}})
		return err == nil && res.Topics[b.topic][0].Error == nil
	})
	in, book := &inbox{}, &logbook{}
	b.notify(alert.NotifierConfig{Channel: in, Log: book.log()})
	b.until("alerts arrive", in.has(0, 5))
	if !book.says("ends before the group's position")() {
		t.Error("nothing is said of it")
	}
}

func TestNotifierConfig(t *testing.T) {
	good := alert.NotifierConfig{Brokers: []string{"127.0.0.1:1"}, Topic: "a", DeadTopic: "b", Name: "webhook", Channel: &inbox{}}
	if _, err := alert.NewNotifier(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*alert.NotifierConfig){
		"no brokers":      func(c *alert.NotifierConfig) { c.Brokers = nil },
		"no topic":        func(c *alert.NotifierConfig) { c.Topic = "" },
		"no dead topic":   func(c *alert.NotifierConfig) { c.DeadTopic = "" },
		"one topic":       func(c *alert.NotifierConfig) { c.DeadTopic = c.Topic },
		"no channel":      func(c *alert.NotifierConfig) { c.Channel = nil },
		"name for humans": func(c *alert.NotifierConfig) { c.Name = "my hook" },
	} {
		c := good
		change(&c)
		if _, err := alert.NewNotifier(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
