package alert

import (
	"context"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/topic"
)

// Outbox writes alerts to their topic. It is safe for concurrent use.
type Outbox struct{ w *topic.Writer }

// NewOutbox checks the configuration and connects to nothing. The topic must exist: migrate makes it.
func NewOutbox(brokers []string, name string, transport kafka.RoundTripper) (*Outbox, error) {
	w, err := topic.New(topic.Config{Brokers: brokers, Topic: name, Transport: transport})
	if err != nil {
		return nil, err
	}
	return &Outbox{w}, nil
}

// Write returns nil when every alert is stored by all in-sync replicas. After an error some may be: write all
// of them again. The key is the alert's id, so a repetition lies in the same partition, after the first.
func (o *Outbox) Write(ctx context.Context, alerts []scoring.Alert) error {
	records := make([]kafka.Message, len(alerts))
	for i := range alerts {
		a := &alerts[i]
		value, err := Encode(a)
		if err != nil {
			return err
		}
		records[i] = kafka.Message{Key: []byte(a.ID), Value: value, Headers: []kafka.Header{
			{Key: "schema", Value: []byte(Schema)},
			{Key: "provider", Value: []byte(cut(a.Provider, maxField))},
			{Key: "level", Value: []byte(a.Level.String())},
		}}
	}
	return o.w.Write(ctx, records...)
}

// Close releases the connections.
func (o *Outbox) Close() error { return o.w.Close() }
