package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// ClusterID is the cluster's name for itself, given when its storage was formatted.
func (c *Client) ClusterID(ctx context.Context) (string, error) {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	m, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{}})
	if err != nil {
		return "", fmt.Errorf("kafka: cluster id: %w", err)
	}
	return m.ClusterID, nil
}

// Topic is a topic of the cluster.
type Topic struct {
	Name       string
	Partitions int
}

// Topics lists the topics that match the pattern, in which * stands for any characters, by name. Kafka's internal
// topics are left out. What it says may be three seconds old.
func (c *Client) Topics(ctx context.Context, pattern string) ([]Topic, error) {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	m, err := c.kafka.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return nil, fmt.Errorf("kafka: topics %s: %w", pattern, err)
	}
	var list []Topic
	for _, t := range m.Topics {
		if !t.Internal && t.Error == nil && match(pattern, t.Name) {
			list = append(list, Topic{t.Name, len(t.Partitions)})
		}
	}
	slices.SortFunc(list, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// match reports whether name follows pattern, in which * stands for any characters.
func match(pattern, name string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, head)
	if !ok {
		return false
	}
	for i := range len(rest) + 1 {
		if match(tail, rest[i:]) {
			return true
		}
	}
	return false
}

// Bounds are the offsets that a partition holds: [First, Next).
type Bounds struct {
	Partition   int32
	First, Next int64
}

// Offsets returns the bounds of all of a topic's partitions, in their order. Next is the end of what a
// read_committed fetch can see: the first offset of an open transaction, else the high watermark.
func (c *Client) Offsets(ctx context.Context, topic string) ([]Bounds, error) {
	list, err := c.Topics(ctx, topic)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("kafka: offsets of %s: %w", topic, ErrUnknownTopic)
	}
	partitions := make([]int32, list[0].Partitions)
	for i := range partitions {
		partitions[i] = int32(i)
	}
	b, err := c.offsets(ctx, topic, partitions, kafka.ReadCommitted)
	if err != nil {
		return nil, fmt.Errorf("kafka: offsets of %s: %w", topic, err)
	}
	return b, nil
}

// Bounds is Offsets for one partition.
func (c *Client) Bounds(ctx context.Context, topic string, partition int32) (Bounds, error) {
	b, err := c.offsets(ctx, topic, []int32{partition}, kafka.ReadCommitted)
	if err != nil {
		return Bounds{}, fmt.Errorf("kafka: bounds of %s/%d: %w", topic, partition, err)
	}
	return b[0], nil
}

// offsets asks the partitions' leaders.
func (c *Client) offsets(ctx context.Context, topic string, partitions []int32, level kafka.IsolationLevel) ([]Bounds, error) {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	var ask []kafka.OffsetRequest
	for _, p := range partitions {
		ask = append(ask, kafka.FirstOffsetOf(int(p)), kafka.LastOffsetOf(int(p)))
	}
	res, err := c.kafka.ListOffsets(ctx, &kafka.ListOffsetsRequest{IsolationLevel: level, Topics: map[string][]kafka.OffsetRequest{topic: ask}})
	if err != nil {
		return nil, c.routing(ctx, err)
	}
	var list []Bounds
	for _, p := range res.Topics[topic] {
		switch {
		case p.Error != nil:
			return nil, denied(c.refusedBounds(p.Error), "DESCRIBE", "topic", topic)
		case p.FirstOffset < 0 || p.LastOffset < p.FirstOffset:
			return nil, fmt.Errorf("partition %d: the broker says [%d, %d)", p.Partition, p.FirstOffset, p.LastOffset)
		}
		list = append(list, Bounds{int32(p.Partition), p.FirstOffset, p.LastOffset})
	}
	if len(list) != len(partitions) {
		return nil, fmt.Errorf("the broker answered for %d of %d partitions", len(list), len(partitions))
	}
	slices.SortFunc(list, func(a, b Bounds) int { return int(a.Partition - b.Partition) })
	return list, nil
}

func (c *Client) refusedBounds(err error) error {
	var code kafka.Error
	switch {
	case !errors.As(err, &code):
		return err
	case code == kafka.UnknownTopicOrPartition:
		return fmt.Errorf("%w: %w", ErrUnknownTopic, code)
	case code == kafka.NotLeaderForPartition || code == kafka.LeaderNotAvailable:
		return fmt.Errorf("%w: %w", ErrNotLeader, code)
	}
	return code
}

// NewTopic describes a topic to make. Its records get the broker's append time.
type NewTopic struct {
	Name        string
	Partitions  int
	Replication int           // -1 or 0: the cluster's default
	Retention   time.Duration // 0: the cluster's default
}

// timestampType is the topic setting that says whose clock a record's time is.
const timestampType = "message.timestamp.type"

// CreateTopics makes the topics that do not exist yet and waits, at most half a minute, until every partition has
// a leader that answers.
// The advice names what an operator should change about topics that exist already: nothing about them is changed
// here.
func (c *Client) CreateTopics(ctx context.Context, topics ...NewTopic) (advice []string, err error) {
	if len(topics) == 0 {
		return nil, nil
	}
	req := &kafka.CreateTopicsRequest{}
	for _, t := range topics {
		cfg := kafka.TopicConfig{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.Replication,
			ConfigEntries: []kafka.ConfigEntry{{ConfigName: timestampType, ConfigValue: "LogAppendTime"}}}
		if t.Replication == 0 {
			cfg.ReplicationFactor = -1
		}
		if t.Retention > 0 {
			cfg.ConfigEntries = append(cfg.ConfigEntries, kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(t.Retention.Milliseconds(), 10)})
		}
		req.Topics = append(req.Topics, cfg)
	}
	ctx, cancel := bounded(ctx, 20*time.Second)
	defer cancel()
	res, err := c.kafka.CreateTopics(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("kafka: create topics: %w", err)
	}
	for _, t := range topics {
		switch err := res.Errors[t.Name]; {
		case errors.Is(err, kafka.TopicAlreadyExists):
		case err != nil:
			return nil, fmt.Errorf("kafka: create topic %s: %w", t.Name, denied(err, "CREATE", "topic", t.Name))
		}
		found, err := c.ready(ctx, t.Name)
		if err != nil {
			return nil, err
		}
		more, err := c.advise(ctx, t, found)
		if err != nil {
			return nil, err
		}
		advice = append(advice, more...)
	}
	return advice, nil
}

// ready waits until all partitions of the topic answer.
func (c *Client) ready(ctx context.Context, topic string) (partitions int, err error) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		var b []Bounds
		if b, err = c.Offsets(ctx, topic); err == nil {
			return len(b), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("kafka: topic %s is not ready: %w", topic, err)
		case <-time.After(wait):
		}
	}
}

// advise compares a topic with what was wanted.
func (c *Client) advise(ctx context.Context, want NewTopic, partitions int) (advice []string, err error) {
	clock, err := c.TimestampType(ctx, want.Name)
	if err != nil {
		return nil, err
	}
	if clock != "LogAppendTime" {
		advice = append(advice, fmt.Sprintf("topic %s keeps %s, the producer's clock: set it to the broker's with kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config %s=LogAppendTime", want.Name, clock, want.Name, timestampType))
	}
	if partitions != want.Partitions {
		advice = append(advice, fmt.Sprintf("topic %s has %d partitions and not %d: partitions belong to the binding, say %d there or bind a new topic", want.Name, partitions, want.Partitions, partitions))
	}
	return advice, nil
}

// TimestampType says whose clock a topic's records bear: LogAppendTime, the broker's, or CreateTime, the
// producer's.
func (c *Client) TimestampType(ctx context.Context, topic string) (string, error) {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	res, err := c.kafka.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{timestampType}}}})
	if err != nil {
		return "", fmt.Errorf("kafka: settings of topic %s: %w", topic, err)
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			return "", fmt.Errorf("kafka: settings of topic %s: %w", topic, denied(r.Error, "DESCRIBE_CONFIGS", "topic", topic))
		}
		for _, e := range r.ConfigEntries {
			if e.ConfigName == timestampType {
				return e.ConfigValue, nil
			}
		}
	}
	return "", fmt.Errorf("kafka: topic %s: the broker does not say its %s", topic, timestampType)
}
