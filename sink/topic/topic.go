// Package topic writes records to a Kafka topic and returns when all in-sync replicas have them.
//
// It stands between the sinks that write to Kafka and kafka-go's Writer, whose zero value asks for no
// acknowledgement at all, waits a second for company and reports a refused batch among accepted ones.
package topic

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// MaxBytes is the size that one request, and so one record, may have: the broker's default.
const MaxBytes = 1 << 20

// Config says where to write.
type Config struct {
	Brokers   []string
	Topic     string
	Transport kafka.RoundTripper // nil: plain connections
	// Create lets the broker make the topic when it is missing and its configuration allows that.
	Create bool
}

// Writer writes to one topic. It is safe for concurrent use.
type Writer struct {
	topic string
	w     *kafka.Writer
}

// New checks the configuration and connects to nothing.
func New(c Config) (*Writer, error) {
	if len(c.Brokers) == 0 {
		return nil, errors.New("topic: no brokers")
	}
	if c.Topic == "" {
		return nil, errors.New("topic: no name")
	}
	return &Writer{topic: c.Topic, w: &kafka.Writer{
		Addr:                   kafka.TCP(c.Brokers...),
		Topic:                  c.Topic,
		Transport:              c.Transport,
		AllowAutoTopicCreation: c.Create,
		Balancer:               kafka.Murmur2Balancer{}, // the partition that other clients choose for the key
		RequiredAcks:           kafka.RequireAll,        // the Writer's default is none
		BatchTimeout:           5 * time.Millisecond,    // the default makes every call wait a second
		BatchBytes:             MaxBytes,
		BatchSize:              1000,
		MaxAttempts:            3, // beyond a hiccup the caller decides
		ReadTimeout:            10 * time.Second,
		WriteTimeout:           10 * time.Second,
	}}, nil
}

// Write returns nil when every record is stored. After an error some may be: write all of them again, under
// keys that tell a repetition.
func (w *Writer) Write(ctx context.Context, records ...kafka.Message) error {
	err := w.w.WriteMessages(ctx, records...)
	var each kafka.WriteErrors
	if errors.As(err, &each) {
		// The list would name every record; the first cause and the count say it all.
		for _, e := range each {
			if e != nil {
				return fmt.Errorf("topic %s: %d of %d records not stored: %w", w.topic, each.Count(), len(records), Denied(e, "WRITE", "topic", w.topic))
			}
		}
	}
	if err != nil {
		return fmt.Errorf("topic %s: %w", w.topic, Denied(err, "WRITE", "topic", w.topic))
	}
	return nil
}

// Denied names the right that a broker misses, or may be hiding the topic for; other errors it returns as they are.
func Denied(err error, operation, resource, name string) error {
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return fmt.Errorf("is it there (agentrisk migrate), and has this user the right to %s on %s %s? %w", operation, resource, name, err)
	}
	if errors.Is(err, kafka.TopicAuthorizationFailed) || errors.Is(err, kafka.GroupAuthorizationFailed) {
		return fmt.Errorf("no right to %s on %s %s: `agentrisk access kafka` prints the ACLs that are needed: %w", operation, resource, name, err)
	}
	return err
}

// Close releases the connections.
func (w *Writer) Close() error { return w.w.Close() }
