package alert_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/alert"
	"github.com/agentrisk/agentrisk/sink/alert/alerttest"
)

// deadline is for what must happen some time; nothing waits for it when all is well.
const deadline = 90 * time.Second

// bench is one outbox on a real Kafka.
type bench struct {
	t       *testing.T
	brokers []string
	client  *kafka.Client
	topic   string
	dead    string
	name    string // of the channel: a group of its own for every test
}

var benches atomic.Int64 // made by this process: names must differ also where the clock is coarse

// newBench makes the two topics; without partitions the outbox is left to the test.
func newBench(t *testing.T, partitions int) *bench {
	t.Helper()
	t.Parallel()
	b := &bench{t: t, brokers: brokers(t)}
	b.client = &kafka.Client{Addr: kafka.TCP(b.brokers...), Timeout: 10 * time.Second, Transport: &kafka.Transport{MetadataTTL: 200 * time.Millisecond}}
	b.name = fmt.Sprintf("c%d-%d", time.Now().UnixNano(), benches.Add(1))
	b.topic, b.dead = "alerts."+b.name, "alerts."+b.name+".dead"
	b.create(b.dead, 1)
	if partitions > 0 {
		b.create(b.topic, partitions)
	}
	return b
}

func (b *bench) create(topic string, partitions int, config ...kafka.ConfigEntry) {
	b.t.Helper()
	b.until("topic "+topic+" is made", func() bool {
		res, err := b.client.CreateTopics(b.t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{
			{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: config}}})
		return err == nil && (res.Errors[topic] == nil || errors.Is(res.Errors[topic], kafka.TopicAlreadyExists))
	})
	b.until("topic "+topic+" has leaders", func() bool {
		meta, err := b.client.Metadata(b.t.Context(), &kafka.MetadataRequest{Topics: []string{topic}})
		return err == nil && meta.Topics[0].Error == nil && len(meta.Topics[0].Partitions) == partitions
	})
}

// until waits for something that must come about.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (b *bench) outbox() *alert.Outbox {
	b.t.Helper()
	o, err := alert.NewOutbox(b.brokers, b.topic, b.client.Transport)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { o.Close() })
	return o
}

// write stores the sample alerts [from, to).
func (b *bench) write(from, to int) {
	b.t.Helper()
	o := b.outbox()
	b.until("the outbox takes alerts", func() bool { return o.Write(b.t.Context(), alerttest.Alerts(from, to)) == nil })
}

// read returns everything that a topic holds, partition by partition.
func (b *bench) read(topic string) (all []kafka.Message) {
	b.t.Helper()
	meta, err := b.client.Metadata(b.t.Context(), &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range meta.Topics[0].Partitions {
		conn, err := kafka.DialLeader(b.t.Context(), "tcp", b.brokers[0], topic, p.ID)
		if err != nil {
			b.t.Fatal(err)
		}
		first, end, err := conn.ReadOffsets()
		if err != nil {
			b.t.Fatal(err)
		}
		conn.Seek(first, kafka.SeekAbsolute)
		for next := first; next < end; {
			m, err := conn.ReadMessage(1 << 20)
			if err != nil {
				b.t.Fatal(err)
			}
			all, next = append(all, m), m.Offset+1
		}
		conn.Close()
	}
	return all
}

// notify runs a notifier until the test ends or stop is called, which waits for it.
func (b *bench) notify(c alert.NotifierConfig) (stop func()) {
	b.t.Helper()
	c.Brokers, c.Topic, c.DeadTopic = b.brokers, b.topic, b.dead
	if c.Name == "" {
		c.Name = b.name
	}
	if c.Transport == nil {
		c.Transport = b.client.Transport
	}
	if c.MinWait == 0 {
		c.MinWait, c.MaxWait = 5*time.Millisecond, 50*time.Millisecond
	}
	n, err := alert.NewNotifier(c)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					b.t.Errorf("Run: %v", err)
				}
			case <-time.After(deadline):
				b.t.Error("Run does not end")
			}
		})
	}
	b.t.Cleanup(stop)
	return stop
}

// inbox is a channel that keeps what comes, in order, unless refuse says otherwise.
type inbox struct {
	mu     sync.Mutex
	got    []*scoring.Alert
	count  map[string]int
	refuse func(a *scoring.Alert) error
}

func (i *inbox) Deliver(ctx context.Context, a *scoring.Alert) error {
	i.mu.Lock()
	refuse := i.refuse
	i.mu.Unlock()
	if refuse != nil {
		if err := refuse(a); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.count == nil {
		i.count = map[string]int{}
	}
	i.got = append(i.got, a)
	i.count[a.ID]++
	return nil
}

// has reports whether all sample alerts [from, to) came, each at least once.
func (i *inbox) has(from, to int) func() bool {
	return func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		for n := from; n < to; n++ {
			if i.count[alerttest.Alert(n).ID] == 0 {
				return false
			}
		}
		return true
	}
}

func (i *inbox) len() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.got)
}

// logbook collects log lines.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

func (l *logbook) says(text string) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return bytes.Contains(l.buf.Bytes(), []byte(text))
	}
}

func (l *logbook) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Writer(l), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
