package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// ErrGroupClosed is what Next returns after Close.
var ErrGroupClosed = errors.New("kafka: the group is closed")

// GroupConfig describes a membership. Zero durations take the defaults named beside them.
type GroupConfig struct {
	ID        string
	Topics    []string      // that exist; may be empty, then Next waits for SetTopics
	Session   time.Duration // 12 s: the broker gives up on a member that is silent for so long
	Heartbeat time.Duration // 1 s: as long as that a member may not know that others wait for it to join anew
	Rebalance time.Duration // 25 s: for all members to stop their lanes and join again
	Backoff   time.Duration // 500 ms between a failed join and the next
	Log       *slog.Logger
	// Incarnation names this start of the process to the group; random when 0.
	Incarnation uint64
}

// Group is a process's membership in a consumer group. It has a sticky balancer, so that lanes stay where their
// state is.
type Group struct {
	client   *Client
	cfg      GroupConfig
	balancer *stickyBalancer

	mu       sync.Mutex
	topics   []string
	member   *kafka.ConsumerGroup
	leaving  chan struct{} // closed when the membership before has left
	changed  chan struct{} // closed by SetTopics and Close
	closed   bool
	served   string // id of the member that served last, until it has left
	lastErr  string // as logged
	loggedAt time.Time
}

// NewGroup checks the configuration. It joins with the first Next.
func NewGroup(c *Client, cfg GroupConfig) (*Group, error) {
	if cfg.ID == "" {
		return nil, errors.New("kafka: a consumer group needs a name")
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&cfg.Session, 12 * time.Second}, {&cfg.Heartbeat, time.Second}, {&cfg.Rebalance, 25 * time.Second}, {&cfg.Backoff, 500 * time.Millisecond}} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	if cfg.Session < 3*cfg.Heartbeat {
		return nil, fmt.Errorf("kafka: group %s: session %v is less than three heartbeats of %v", cfg.ID, cfg.Session, cfg.Heartbeat)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	g := &Group{client: c, cfg: cfg, changed: make(chan struct{}), leaving: make(chan struct{})}
	close(g.leaving)
	g.topics = sortedSet(cfg.Topics)
	if cfg.Incarnation == 0 {
		cfg.Incarnation = rand.Uint64()
	}
	g.balancer = &stickyBalancer{lookup: g.partitions, mine: claim{incarnation: cfg.Incarnation}}
	return g, nil
}

func sortedSet(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// Next waits for the next generation. Errors on the way to it (no coordinator yet, evicted, broker away) are
// logged and tried again for as long as ctx lives; so the error is ctx's or ErrGroupClosed. A generation ends
// before the next begins.
func (g *Group) Next(ctx context.Context) (*Generation, error) {
	for {
		member, err := g.membership(ctx)
		if err != nil {
			return nil, err
		}
		gen, err := member.Next(ctx)
		switch {
		case err == nil:
			joined := newGeneration(gen)
			g.balancer.serves(joined.ID, joined.Assignments)
			g.logJoin(joined)
			g.mu.Lock()
			g.served = joined.MemberID
			g.mu.Unlock()
			return joined, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, kafka.ErrGroupClosed): // by SetTopics or Close
		case errors.Is(err, kafka.RebalanceInProgress): // it stays the member that it was
			g.logRetry(err)
		default:
			g.logRetry(err)
			g.depart(ctx)
		}
	}
}

// membership returns the current one, makes it if need be, and waits for topics before that.
func (g *Group) membership(ctx context.Context) (*kafka.ConsumerGroup, error) {
	for {
		g.mu.Lock()
		member, changed, leaving, empty, closed := g.member, g.changed, g.leaving, len(g.topics) == 0, g.closed
		g.mu.Unlock()
		if closed {
			return nil, ErrGroupClosed
		}
		if member != nil {
			return member, nil
		}
		if empty {
			leaving = changed
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-leaving:
		}
		if !empty {
			if err := g.join(); err != nil {
				return nil, err
			}
		}
	}
}

func (g *Group) join() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.member != nil || len(g.topics) == 0 {
		return nil
	}
	member, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                g.cfg.ID,
		Brokers:           g.client.cfg.Brokers,
		Dialer:            g.client.Dialer(),
		Topics:            g.topics,
		GroupBalancers:    []kafka.GroupBalancer{g.balancer},
		SessionTimeout:    g.cfg.Session,
		HeartbeatInterval: g.cfg.Heartbeat,
		RebalanceTimeout:  g.cfg.Rebalance,
		JoinGroupBackoff:  g.cfg.Backoff,
		Timeout:           dialTimeout,
		// WatchPartitionChanges stays off: after a topic is deleted its watcher ends each generation at once, and
		// the whole group joins in a tight loop.
	})
	if err != nil {
		return fmt.Errorf("kafka: group %s: %w", g.cfg.ID, err)
	}
	g.member = member
	return nil
}

// SetTopics changes what the member subscribes to. If that is a change, the current generation ends, the member
// leaves, and Next joins with the new topics. It does not wait for that. Topics that do not exist must not be
// among them: a broker that makes topics by itself would, and any other would make the group's leader ask twice.
func (g *Group) SetTopics(topics []string) {
	topics = sortedSet(topics)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || slices.Equal(topics, g.topics) {
		return
	}
	g.cfg.Log.Info("group changes its topics", "group", g.cfg.ID, "topics", topics)
	g.topics = topics
	g.leave()
	close(g.changed)
	g.changed = make(chan struct{})
}

// leave ends the membership in the background; g.mu is held.
func (g *Group) leave() {
	old := g.member
	if old == nil {
		return
	}
	left := make(chan struct{})
	g.member, g.leaving = nil, left
	go func() {
		_ = old.Close() // always nil
		close(left)
	}()
}

// Close ends the current generation, waits for its functions and leaves the group, so that the others need not
// wait for the session to time out.
func (g *Group) Close() {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		g.leave()
		close(g.changed)
	}
	leaving := g.leaving
	g.mu.Unlock()
	<-leaving
}

// depart makes the member that served last leave. After an error kafka-go forgets its id and joins as a new member; it
// tries to leave before, once, which a broker that is away does not hear. When that is back it waits for the member that
// will never come, until its session is over, and all lanes of the group wait with it: 12 s for nothing.
func (g *Group) depart(ctx context.Context) {
	g.mu.Lock()
	member := g.served
	g.served = ""
	g.mu.Unlock()
	if member == "" {
		return
	}
	go func() {
		for g.client.leave(ctx, g.cfg.ID, member) != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(g.cfg.Backoff):
			}
		}
	}()
}

// leave takes a member out of a group. A member that is not there has left.
func (c *Client) leave(ctx context.Context, group, member string) error {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	res, err := c.kafka.LeaveGroup(ctx, &kafka.LeaveGroupRequest{GroupID: group, Members: []kafka.LeaveGroupRequestMember{{ID: member}}})
	if err != nil {
		return err
	}
	err = res.Error
	if err == nil && len(res.Members) == 1 {
		err = res.Members[0].Error
	}
	if errors.Is(err, kafka.UnknownMemberId) {
		return nil
	}
	return err
}

// partitions finds the partitions of the topics that exist now: not from the client's transport, which remembers
// a deleted topic for some seconds.
func (g *Group) partitions(topics []string) []kafka.Partition {
	ctx, cancel := bounded(context.Background(), 0)
	defer cancel()
	fresh := newTransport(g.client.cfg)
	defer fresh.CloseIdleConnections()
	asking := kafka.Client{Addr: g.client.kafka.Addr, Transport: fresh}
	m, err := asking.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		g.logRetry(err)
		return nil
	}
	var list []kafka.Partition
	for _, t := range m.Topics {
		if t.Error == nil {
			list = append(list, t.Partitions...)
		}
	}
	return list
}

func (g *Group) logJoin(gen *Generation) {
	n := 0
	for _, list := range gen.Assignments {
		n += len(list)
	}
	g.mu.Lock()
	g.lastErr = ""
	g.mu.Unlock()
	g.cfg.Log.Info("group joined", "group", g.cfg.ID, "generation", gen.ID, "member", gen.MemberID, "partitions", n)
}

// passing are errors on the way to a generation that need nobody's attention.
var passing = []error{kafka.RebalanceInProgress, kafka.UnknownMemberId, kafka.IllegalGeneration, kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup, kafka.MemberIDRequired}

// logRetry says why there is no generation yet: once, and again when it changes or half a minute later.
func (g *Group) logRetry(err error) {
	err = denied(g.client.cfg.explain(err), "READ", "group", g.cfg.ID)
	g.mu.Lock()
	defer g.mu.Unlock()
	level := slog.LevelWarn
	for _, p := range passing {
		if errors.Is(err, p) {
			level = slog.LevelDebug
		}
	}
	if err.Error() == g.lastErr && time.Since(g.loggedAt) < 30*time.Second {
		level = slog.LevelDebug
	} else if level > slog.LevelDebug {
		g.lastErr, g.loggedAt = err.Error(), time.Now()
	}
	g.cfg.Log.Log(context.Background(), level, "group tries again to join", "group", g.cfg.ID, "err", err)
}
