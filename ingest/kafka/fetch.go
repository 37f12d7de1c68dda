package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

var (
	// ErrNotLeader: the broker that was asked does not lead the partition, or nobody does just now. It passes.
	ErrNotLeader = errors.New("partition has another leader or none")
	// ErrUnknownTopic: the cluster has no such topic or partition, has not heard of it yet, or does not show it to us.
	ErrUnknownTopic = errors.New("topic or partition is unknown, or this user has no right to READ or WRITE on it")
)

// OutOfRange says that the log does not hold the offset that was asked for.
type OutOfRange struct{ Offset, LogStart, HighWatermark int64 }

func (e *OutOfRange) Error() string {
	return fmt.Sprintf("offset %d is outside the log, which holds [%d, %d)", e.Offset, e.LogStart, e.HighWatermark)
}

// Fetched is what one fetch brought.
type Fetched struct {
	Raw           []byte // record batches for a Decoder; valid until Release
	Offset        int64  // asked for
	HighWatermark int64  // offset after the partition's last record
	LastStable    int64  // first offset of an open transaction, at most HighWatermark: fetches end there
	LogStart      int64  // first offset of the log
	Aborted       []Aborted

	slab *[]byte
}

// Release gives the memory of Raw back. Call it once.
func (f *Fetched) Release() {
	putSlab(f.slab)
	f.Raw, f.slab = nil, nil
}

// Fetch reads committed records from offset on: whole batches up to maxBytes, at least one if there is any. It
// waits at most maxWait for a first byte; nothing is no error. The first batch may begin below offset. Errors are
// *OutOfRange, ErrNotLeader, ErrUnknownTopic, or whatever else passes: the caller waits and tries again.
func (c *Client) Fetch(ctx context.Context, topic string, partition int32, offset int64, maxBytes int, maxWait time.Duration) (*Fetched, error) {
	f, err := c.fetch(ctx, topic, partition, offset, maxBytes, maxWait)
	if err != nil {
		return nil, fmt.Errorf("kafka: fetch %s/%d at %d: %w", topic, partition, offset, err)
	}
	return f, nil
}

func (c *Client) fetch(ctx context.Context, topic string, partition int32, offset int64, maxBytes int, maxWait time.Duration) (*Fetched, error) {
	ctx, cancel := bounded(ctx, maxWait)
	defer cancel()
	m, err := c.kafka.Transport.RoundTrip(ctx, c.kafka.Addr, &fetch.Request{
		ReplicaID:      -1,
		MaxWaitTime:    int32(maxWait.Milliseconds()),
		MinBytes:       1,
		MaxBytes:       int32(maxBytes),
		IsolationLevel: int8(kafka.ReadCommitted),
		SessionEpoch:   -1, // no fetch session
		Topics: []fetch.RequestTopic{{Topic: topic, Partitions: []fetch.RequestPartition{{
			Partition:          partition,
			CurrentLeaderEpoch: -1,
			FetchOffset:        offset,
			PartitionMaxBytes:  int32(maxBytes),
		}}}},
	})
	if err != nil {
		return nil, c.routing(ctx, err)
	}
	res := m.(*fetchResponse)
	if res.ErrorCode != 0 {
		return nil, kafka.Error(res.ErrorCode)
	}
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return nil, errors.New("the broker answered for other partitions than asked")
	}
	p := &res.Topics[0].Partitions[0]
	if err := kafka.Error(p.ErrorCode); err != 0 {
		putSlab(p.Records.slab)
		return nil, c.refused(ctx, err, topic, partition, offset)
	}
	f := &Fetched{Raw: p.Records.bytes, slab: p.Records.slab, Offset: offset, HighWatermark: p.HighWatermark, LastStable: p.LastStableOffset, LogStart: p.LogStartOffset}
	for _, a := range p.AbortedTransactions {
		f.Aborted = append(f.Aborted, Aborted{a.ProducerID, a.FirstOffset})
	}
	return f, nil
}

// routing explains why a request found no broker. What kafka-go calls an unknown topic is also what it says
// before it has reached any broker.
func (c *Client) routing(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition):
		if _, cause := c.kafka.Metadata(ctx, &kafka.MetadataRequest{}); cause != nil {
			return cause
		}
		return ErrUnknownTopic
	case errors.Is(err, protocol.ErrNoLeader), errors.Is(err, kafka.BrokerNotAvailable):
		return ErrNotLeader
	}
	return err
}

// refused makes the error for a broker's code.
func (c *Client) refused(ctx context.Context, code kafka.Error, topic string, partition int32, offset int64) error {
	switch code {
	case kafka.OffsetOutOfRange: // the response itself says -1 for both bounds
		b, err := c.offsets(ctx, topic, []int32{partition}, kafka.ReadUncommitted)
		if err != nil {
			return fmt.Errorf("%w, and its bounds: %w", code, err)
		}
		return &OutOfRange{Offset: offset, LogStart: b[0].First, HighWatermark: b[0].Next}
	case kafka.NotLeaderForPartition, kafka.LeaderNotAvailable, kafka.ReplicaNotAvailable, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch:
		return fmt.Errorf("%w: %w", ErrNotLeader, code)
	case kafka.UnknownTopicOrPartition, kafka.UnknownTopicID:
		return fmt.Errorf("%w: %w", ErrUnknownTopic, code)
	}
	return denied(code, "READ", "topic", topic)
}
