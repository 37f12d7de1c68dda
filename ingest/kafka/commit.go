package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
)

var (
	// ErrNotOurs: the broker has refused the commit because another generation of the group owns the partition.
	// It was not stored and never will be.
	ErrNotOurs = errors.New("partition belongs to another generation of the group")
	// ErrUnknownOutcome: nobody can say whether a commit or a record was stored, is about to be, or never will be.
	// Repeating a commit could move the position back behind the next owner, so the generation has to end.
	ErrUnknownOutcome = errors.New("outcome is unknown")
)

// Commit stores offset and metadata (at most 4096 bytes) for a partition under the generation. Nil says that the
// broker has stored it. The error is ErrNotOurs if the broker answered illegal generation (22) or unknown member
// (25); with anything else it is ErrUnknownOutcome, also with codes that read like a refusal: a commit that was
// answered "coordinator not available" has been seen stored seconds later.
func (c *Client) Commit(ctx context.Context, g *Generation, topic string, partition int32, offset int64, metadata string) error {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	res, err := c.kafka.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID:      g.GroupID,
		GenerationID: int(g.ID),
		MemberID:     g.MemberID,
		Topics:       map[string][]kafka.OffsetCommit{topic: {{Partition: int(partition), Offset: offset, Metadata: metadata}}},
	})
	if err == nil {
		err = commitAnswer(res.Topics[topic], partition)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kafka.IllegalGeneration), errors.Is(err, kafka.UnknownMemberId):
		err = fmt.Errorf("%w: %w", ErrNotOurs, err)
	default:
		if errors.Is(err, kafka.TopicAuthorizationFailed) {
			err = denied(err, "READ", "topic", topic)
		} else {
			err = denied(err, "READ", "group", g.GroupID)
		}
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return fmt.Errorf("kafka: commit %s/%d at %d in generation %d of %s: %w", topic, partition, offset, g.ID, g.GroupID, err)
}

func commitAnswer(answers []kafka.OffsetCommitPartition, partition int32) error {
	if len(answers) != 1 || answers[0].Partition != int(partition) {
		return errors.New("the broker answered for other partitions than asked")
	}
	return answers[0].Error
}

// Committed is what a group stores for a partition.
type Committed struct {
	Offset   int64 // -1: nothing is stored, or no longer
	Metadata string
}

// Committed reads what the group stores for partitions of a topic. Every partition that was asked for is in the
// answer. Nothing stored can mean that the group never committed, that it was empty longer than
// offsets.retention.minutes, or that the topic was deleted: the caller must know from elsewhere.
func (c *Client) Committed(ctx context.Context, group, topic string, partitions []int32) (map[int32]Committed, error) {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	ask := make([]int, len(partitions))
	for i, p := range partitions {
		ask[i] = int(p)
	}
	found := make(map[int32]Committed, len(partitions))
	res, err := c.kafka.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: ask}})
	if err == nil {
		err = res.Error
	}
	if errors.Is(err, kafka.GroupIdNotFound) { // some brokers say so of a group that never was
		for _, p := range partitions {
			found[p] = Committed{Offset: -1}
		}
		return found, nil
	}
	if err == nil {
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				err = fmt.Errorf("partition %d: %w", p.Partition, p.Error)
				break
			}
			found[int32(p.Partition)] = Committed{p.CommittedOffset, p.Metadata}
		}
	}
	if err == nil && len(found) != len(partitions) {
		err = fmt.Errorf("the broker answered for %d of %d partitions", len(found), len(partitions))
	}
	if err != nil {
		resource, name := "group", group
		if errors.Is(err, kafka.TopicAuthorizationFailed) {
			resource, name = "topic", topic
		}
		return nil, fmt.Errorf("kafka: commits of group %s on %s: %w", group, topic, denied(err, "READ or DESCRIBE", resource, name))
	}
	return found, nil
}
