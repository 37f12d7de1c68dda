package kafka

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

func TestMain(m *testing.M) { os.Exit(stacktest.Main(m)) }

// newClient is a client of the Kafka that the tests share.
func newClient(t testing.TB) *Client {
	t.Helper()
	return clientOf(t, stacktest.Start(t).Brokers)
}

// ownKafka is a stack of Apache Kafka, with these broker settings, that the test may attack.
func ownKafka(t *testing.T, settings ...string) *stacktest.Stack {
	t.Helper()
	args := []string{"--kafka", "apache"}
	for _, s := range settings {
		args = append(args, "--kafka-set", s)
	}
	return stacktest.StartOwn(t, args...)
}

func clientOf(t testing.TB, brokers []string) *Client {
	t.Helper()
	c, err := NewClient(Config{Brokers: brokers, ClientID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newTopic makes a topic with append time and a name of its own.
func newTopic(t testing.TB, c *Client, partitions int) string {
	t.Helper()
	name := stacktest.Unique("t-")
	makeTopic(t, c, name, partitions)
	return name
}

func makeTopic(t testing.TB, c *Client, name string, partitions int) {
	t.Helper()
	advice, err := c.CreateTopics(deadline(t), NewTopic{Name: name, Partitions: partitions})
	if err != nil || advice != nil {
		t.Fatal(advice, err)
	}
}

// rawTopic makes a topic with settings as given and no others.
func rawTopic(t testing.TB, c *Client, settings ...string) string {
	t.Helper()
	name := stacktest.Unique("t-")
	cfg := kafka.TopicConfig{Topic: name, NumPartitions: 1, ReplicationFactor: 1}
	for i := 0; i < len(settings); i += 2 {
		cfg.ConfigEntries = append(cfg.ConfigEntries, kafka.ConfigEntry{ConfigName: settings[i], ConfigValue: settings[i+1]})
	}
	res, err := c.kafka.CreateTopics(deadline(t), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{cfg}})
	if err == nil {
		err = res.Errors[name]
	}
	if err == nil {
		_, err = c.ready(deadline(t), name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func deleteTopic(t testing.TB, c *Client, name string) {
	t.Helper()
	res, err := c.kafka.DeleteTopics(deadline(t), &kafka.DeleteTopicsRequest{Topics: []string{name}})
	if err == nil {
		err = res.Errors[name]
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic is gone", func() error {
		_, err := c.Offsets(deadline(t), name)
		if err == nil {
			return fmt.Errorf("%s still answers", name)
		}
		return nil
	})
}

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually repeats check until it is content.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("never: %s: %v", what, err)
}

func texts(format string, from, to int) (list []Message) {
	for i := from; i < to; i++ {
		list = append(list, Message{Value: fmt.Appendf(nil, format, i)})
	}
	return list
}

func produce(t testing.TB, c *Client, topic string, messages ...Message) {
	t.Helper()
	if err := c.NewProducer(None).Produce(deadline(t), topic, messages); err != nil {
		t.Fatal(err)
	}
}

// consume reads a partition from an offset to its end.
func consume(t testing.TB, c *Client, topic string, partition int32, from int64) (all seen) {
	t.Helper()
	bounds, err := c.Bounds(deadline(t), topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	for from < bounds.Next {
		f, err := c.Fetch(deadline(t), topic, partition, from, 1<<20, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var d Decoder
		d.Reset(f.Raw, from, f.Aborted)
		part := readAll(t, &d)
		all.offsets = append(all.offsets, part.offsets...)
		all.aborted = append(all.aborted, part.aborted...)
		all.control = append(all.control, part.control...)
		all.errs = append(all.errs, part.errs...)
		all.records = append(all.records, part.records...) // f.Raw is left to the collector
		from = d.End()
	}
	return all
}

func (s seen) values() (list []string) {
	for _, r := range s.records {
		list = append(list, string(r.Value))
	}
	return list
}
