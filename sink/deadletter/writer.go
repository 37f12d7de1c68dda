package deadletter

import (
	"context"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/topic"
)

// Writer writes dead letters to their topic. It is safe for concurrent use.
type Writer struct{ w *topic.Writer }

// New checks the configuration and connects to nothing. The topic must exist: migrate makes it.
func New(brokers []string, name string, transport kafka.RoundTripper) (*Writer, error) {
	w, err := topic.New(topic.Config{Brokers: brokers, Topic: name, Transport: transport})
	if err != nil {
		return nil, err
	}
	return &Writer{w}, nil
}

// Write returns nil when every letter is stored by all in-sync replicas. After an error some may be: write all
// of them again; readers tell a repetition by its origin.
func (w *Writer) Write(ctx context.Context, letters []scoring.DeadLetter) error {
	records := make([]kafka.Message, len(letters))
	for i := range letters {
		d := &letters[i]
		value, err := Encode(d)
		if err != nil {
			return err
		}
		records[i] = kafka.Message{Key: d.Key, Value: value, Headers: headers(d)}
	}
	return w.w.Write(ctx, records...)
}

// Close releases the connections.
func (w *Writer) Close() error { return w.w.Close() }
