package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/sink/topic"
)

// Times of a notifier.
const (
	attemptTime = 30 * time.Second // of one delivery, whatever the channel's own limits
	graceTime   = 5 * time.Second  // for a delivery under way when the partition goes to another
	leaveTime   = 15 * time.Second // for leaving the group at a stop
	networkTime = 5 * time.Second
	spareTime   = 5 * time.Second  // between two looks of a member without a partition
	sessionTime = 10 * time.Second // after which the group gives up a silent member, and another takes its partitions
)

// NotifierConfig says which channel reads which outbox. The zero value of what is optional suits.
type NotifierConfig struct {
	Brokers   []string
	Topic     string // of the outbox
	DeadTopic string // for what is malformed or refused for good
	Name      string // of the channel: the group is agentrisk.notify.<name>, so a new name starts at the oldest alert
	Channel   Channel
	Log       *slog.Logger // optional
	Metrics   *Metrics     // optional
	Dialer    *kafka.Dialer
	Transport kafka.RoundTripper
	MinWait   time.Duration // before the first repetition, doubled each time; default 1 s
	MaxWait   time.Duration // default 5 min
}

// Notifier delivers the alerts of the outbox through one channel: each at least once, those of one partition
// in order. Several notifiers of one name, in one process or many, share the partitions.
type Notifier struct {
	c     NotifierConfig
	group string
	dead  *topic.Writer
	log   *slog.Logger
}

// NewNotifier checks the configuration and connects to nothing.
func NewNotifier(c NotifierConfig) (*Notifier, error) {
	switch {
	case len(c.Brokers) == 0:
		return nil, errors.New("notifier: no brokers")
	case c.Topic == "" || c.DeadTopic == "" || c.Topic == c.DeadTopic:
		return nil, errors.New("notifier: want two topics, the outbox and one for what is refused")
	case !validID(c.Name):
		return nil, fmt.Errorf("notifier: name %q of the channel is not letters, digits, - or _", c.Name)
	case c.Channel == nil:
		return nil, errors.New("notifier: no channel")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Dialer == nil {
		c.Dialer = &kafka.Dialer{Timeout: networkTime, DualStack: true}
	}
	if c.MinWait <= 0 {
		c.MinWait = time.Second
	}
	if c.MaxWait <= 0 {
		c.MaxWait = 5 * time.Minute
	}
	dead, err := topic.New(topic.Config{Brokers: c.Brokers, Topic: c.DeadTopic, Transport: c.Transport, Create: true})
	if err != nil {
		return nil, err
	}
	c.Metrics.start(c.Name)
	return &Notifier{c: c, group: "agentrisk.notify." + c.Name, dead: dead, log: c.Log.With("channel", c.Name)}, nil
}

// Run delivers until ctx ends and then returns nil within a bounded time: a delivery under way may end, and
// the group is told that the partitions are free. Whatever goes wrong meanwhile is logged, counted and tried
// again. Run is called once.
func (n *Notifier) Run(ctx context.Context) error {
	defer n.dead.Close()
	if !n.await(ctx) {
		return nil
	}
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                     n.group,
		Brokers:                n.c.Brokers,
		Dialer:                 n.c.Dialer,
		Topics:                 []string{n.c.Topic},
		StartOffset:            kafka.FirstOffset, // a channel that was added late hears what is still there
		SessionTimeout:         sessionTime,
		HeartbeatInterval:      2 * time.Second,
		RebalanceTimeout:       2 * (graceTime + networkTime),
		JoinGroupBackoff:       time.Second,
		Timeout:                networkTime,
		WatchPartitionChanges:  true,
		PartitionWatchInterval: networkTime,
	})
	if err != nil {
		return fmt.Errorf("notifier %s: %w", n.c.Name, err)
	}
	n.generations(ctx, group)

	left := make(chan struct{})
	go func() { group.Close(); close(left) }()
	select {
	case <-left:
	case <-time.After(leaveTime): // a join in flight cannot be called back; the broker will notice
		n.log.Warn("left the group without a word", "group", n.group, "after", leaveTime)
	}
	return nil
}

// generations serves one membership after the other until ctx ends.
func (n *Notifier) generations(ctx context.Context, group *kafka.ConsumerGroup) {
	trouble := say{log: n.log}
	var began time.Time
	for n.await(ctx) {
		// A watcher that finds no topic ends its generation at once, and kafka-go joins again without a pause.
		if pause := time.Second - time.Since(began); pause > 0 && !sleep(ctx, pause) {
			return
		}
		gen, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, kafka.RebalanceInProgress), errors.Is(err, kafka.UnknownMemberId), errors.Is(err, kafka.IllegalGeneration):
			n.log.Debug("joins the group again", "group", n.group, "err", err) // how a rebalance looks from inside
			continue
		case err != nil:
			trouble.warn("cannot join the group, tries again", "group", n.group, "err", topic.Denied(err, "READ", "group", n.group))
			continue
		}
		began = time.Now()
		trouble.text = ""
		n.log.Info("joined the group", "group", n.group, "generation", gen.ID, "partitions", len(gen.Assignments[n.c.Topic]))
		n.c.Metrics.Waiting.DeletePartialMatch(map[string]string{"channel": n.c.Name})
		for _, p := range gen.Assignments[n.c.Topic] {
			l := &lane{n: n, gen: gen, partition: p.ID, next: p.Offset, log: n.log.With("partition", p.ID)}
			gen.Start(l.run)
		}
		if len(gen.Assignments[n.c.Topic]) == 0 {
			gen.Start(n.spare)
		}
	}
}

// spare is a member without a partition. It waits for the next generation, and ends this one when nobody serves the
// outbox: the leader shared out the partitions while the topic was away, and kafka-go's watcher, which began after it was
// made again, sees no change.
func (n *Notifier) spare(ctx context.Context) {
	client := &kafka.Client{Addr: kafka.TCP(n.c.Brokers...), Transport: n.c.Transport, Timeout: networkTime}
	for sleep(ctx, spareTime) {
		res, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{n.group}})
		if err != nil || len(res.Groups) != 1 || res.Groups[0].Error != nil || res.Groups[0].GroupState != "Stable" {
			continue
		}
		served := 0
		for _, m := range res.Groups[0].Members {
			for _, t := range m.MemberAssignments.Topics {
				served += len(t.Partitions)
			}
		}
		if served == 0 {
			n.log.Info("nobody serves the outbox: joins the group again", "group", n.group)
			return
		}
	}
}

// await returns true when the outbox exists, false when ctx ends. Joining before that would make the topic,
// with whatever the broker's defaults are.
func (n *Notifier) await(ctx context.Context) bool {
	client := &kafka.Client{Addr: kafka.TCP(n.c.Brokers...), Transport: n.c.Transport, Timeout: networkTime}
	trouble := say{log: n.log}
	for {
		meta, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{n.c.Topic}})
		if err == nil && len(meta.Topics) > 0 {
			err = meta.Topics[0].Error
		}
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil:
			trouble.over("the outbox is there", "topic", n.c.Topic)
			return true
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			trouble.warn("waits for the outbox topic: agentrisk migrate makes it, and this user needs the right to READ on it", "topic", n.c.Topic)
		default:
			trouble.warn("waits for Kafka", "brokers", n.c.Brokers, "err", topic.Denied(err, "DESCRIBE", "topic", n.c.Topic))
		}
		if !sleep(ctx, time.Second) {
			return false
		}
	}
}

// say logs what goes on for long: at once, then once a minute, and when it is over.
type say struct {
	log  *slog.Logger
	text string
	at   time.Time
}

func (s *say) warn(text string, args ...any) {
	if text != s.text || time.Since(s.at) > time.Minute {
		s.log.Warn(text, args...)
		s.text, s.at = text, time.Now()
	}
}

func (s *say) over(text string, args ...any) {
	if s.text != "" {
		s.log.Info(text, args...)
		s.text = ""
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
