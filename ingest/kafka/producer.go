package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// ErrRefused: the broker or the client has refused messages. They are not stored.
var ErrRefused = errors.New("refused")

// Message is a record to write.
type Message struct {
	Key, Value []byte
	Headers    []Header
	Partition  *int32 // nil: by key, as Java's producer does; without a key anywhere
}

// ProduceError lists the messages of a Produce that were not acknowledged.
type ProduceError struct {
	Topic          string
	Unacknowledged []int // indexes, ascending
	Err            error // of the first batch that failed: ErrRefused or ErrUnknownOutcome with the cause
}

func (e *ProduceError) Error() string {
	return fmt.Sprintf("kafka: write to %s: %d messages are not acknowledged: %v", e.Topic, len(e.Unacknowledged), e.Err)
}

func (e *ProduceError) Unwrap() error { return e.Err }

// Producer writes records and waits until all in-sync replicas have them. There is one batch in flight for a
// partition, and nothing overtakes a batch that failed. It does not use kafka-go's Writer, which as a literal
// takes a record as written before the broker has answered, and after a failed batch goes on with the next.
// It is safe for concurrent use.
type Producer struct {
	client *Client
	codec  Codec
	batch  int
	turn   atomic.Uint32 // for messages without a key
}

// maxBatch leaves room below max.message.bytes of brokers with default settings, 1 MiB.
const maxBatch = 900 << 10

// NewProducer returns a producer that compresses its batches with codec.
func (c *Client) NewProducer(codec Codec) *Producer {
	return &Producer{client: c, codec: codec, batch: maxBatch}
}

// Produce writes the messages, in their order within each partition, and returns nil once all are stored. The
// error is a *ProduceError that says which are not known to be stored; writing those again in their order is
// right, and after ErrUnknownOutcome may store some twice.
func (p *Producer) Produce(ctx context.Context, topic string, messages []Message) error {
	if len(messages) == 0 {
		return nil
	}
	lists, err := p.split(ctx, topic, messages)
	if err != nil {
		all := make([]int, len(messages))
		for i := range all {
			all[i] = i
		}
		return &ProduceError{topic, all, fmt.Errorf("%w: %w", ErrRefused, err)}
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed ProduceError
	)
	for partition, list := range lists {
		wg.Go(func() {
			left, err := p.inOrder(ctx, topic, partition, messages, list)
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			failed.Unacknowledged = append(failed.Unacknowledged, left...)
			if failed.Err == nil {
				failed.Err = fmt.Errorf("partition %d: %w", partition, err)
			}
		})
	}
	wg.Wait()
	if failed.Err == nil {
		return nil
	}
	failed.Topic = topic
	slices.Sort(failed.Unacknowledged)
	return &failed
}

// split lists the messages of each partition.
func (p *Producer) split(ctx context.Context, topic string, messages []Message) (map[int32][]int, error) {
	list, err := p.client.Topics(ctx, topic)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || list[0].Partitions == 0 {
		return nil, ErrUnknownTopic
	}
	partitions := make([]int, list[0].Partitions)
	for i := range partitions {
		partitions[i] = i
	}
	anywhere := int32(p.turn.Add(1) % uint32(len(partitions)))
	lists := map[int32][]int{}
	for i := range messages {
		m, to := &messages[i], anywhere
		switch {
		case m.Partition != nil:
			to = *m.Partition
		case m.Key != nil:
			to = int32(kafka.Murmur2Balancer{}.Balance(kafka.Message{Key: m.Key}, partitions...))
		}
		if to < 0 || int(to) >= len(partitions) {
			return nil, fmt.Errorf("message %d is for partition %d of %d", i, to, len(partitions))
		}
		lists[to] = append(lists[to], i)
	}
	return lists, nil
}

// inOrder writes a partition's messages batch by batch and stops at the first that fails. It returns what is
// left.
func (p *Producer) inOrder(ctx context.Context, topic string, partition int32, messages []Message, list []int) (left []int, err error) {
	for len(list) > 0 {
		n, size := 0, 0
		for n < len(list) {
			s := messages[list[n]].size()
			if n > 0 && size+s > p.batch {
				break
			}
			n, size = n+1, size+s
		}
		if err := p.write(ctx, topic, partition, messages, list[:n]); err != nil {
			return list, err
		}
		list = list[n:]
	}
	return nil, nil
}

// size is about what the message takes in a batch.
func (m *Message) size() int {
	n := len(m.Key) + len(m.Value) + 32
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value) + 8
	}
	return n
}

// write sends one batch.
func (p *Producer) write(ctx context.Context, topic string, partition int32, messages []Message, list []int) error {
	records := make([]kafka.Record, len(list))
	for i, index := range list {
		m := &messages[index]
		// A nil slice must stay a nil interface: it means "no key".
		if m.Key != nil {
			records[i].Key = protocol.NewBytes(m.Key)
		}
		if m.Value != nil {
			records[i].Value = protocol.NewBytes(m.Value)
		}
		for _, h := range m.Headers {
			records[i].Headers = append(records[i].Headers, kafka.Header{Key: string(h.Key), Value: h.Value})
		}
	}
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	res, err := p.client.kafka.Produce(ctx, &kafka.ProduceRequest{
		Topic:        topic,
		Partition:    int(partition),
		RequiredAcks: kafka.RequireAll,
		Records:      kafka.NewRecordReader(records...),
		Compression:  kafka.Compression(p.codec),
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, p.client.routing(ctx, err))
	case res.Error == nil:
		return nil
	case storedNothing(res.Error):
		return fmt.Errorf("%w: %w", ErrRefused, denied(res.Error, "WRITE", "topic", topic))
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, res.Error)
}

// refusals are the codes that a broker sends before it appends anything.
var refusals = []kafka.Error{
	kafka.InvalidMessage, kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.NotLeaderForPartition,
	kafka.MessageSizeTooLarge, kafka.InvalidTopic, kafka.RecordListTooLarge, kafka.NotEnoughReplicas,
	kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.InvalidTimestamp, kafka.UnsupportedForMessageFormat,
	kafka.UnsupportedCompressionType, kafka.InvalidRecord, kafka.PolicyViolation,
}

func storedNothing(err error) bool {
	for _, code := range refusals {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
