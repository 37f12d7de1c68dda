package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// process is a member of a group the way `run` is one: it takes every generation and does nothing in it.
type process struct {
	t     *testing.T
	c     *Client
	group *Group
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex
	current *Generation
}

func startProcess(t *testing.T, c *Client, group string, topics ...string) *process {
	t.Helper()
	return startMember(t, c, GroupConfig{ID: group, Topics: topics, Session: 6 * time.Second})
}

func startMember(t *testing.T, c *Client, cfg GroupConfig) *process {
	t.Helper()
	cfg.Heartbeat, cfg.Backoff, cfg.Log = 200*time.Millisecond, 100*time.Millisecond, slog.New(slog.NewTextHandler(testWriter{t}, nil))
	g, err := NewGroup(c, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{t: t, c: c, group: g, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for {
			gen, err := g.Next(ctx)
			if err != nil {
				return
			}
			gen.Go(func(context.Context) {}) // a lane that returns at once ends nothing
			p.mu.Lock()
			p.current = gen
			p.mu.Unlock()
		}
	}()
	t.Cleanup(p.close)
	return p
}

func (p *process) close() {
	p.stop()
	p.group.Close()
	<-p.done
}

// generation is the current one, if it has not ended.
func (p *process) generation() *Generation {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil || p.current.Context().Err() != nil {
		return nil
	}
	return p.current
}

// settled waits until the processes are in one generation and have so many partitions together.
func settled(t *testing.T, partitions int, processes ...*process) (list []*Generation) {
	t.Helper()
	eventually(t, "the group settles", func() error {
		list = nil
		n := 0
		for _, p := range processes {
			gen := p.generation()
			if gen == nil || len(list) > 0 && list[0].ID != gen.ID {
				return errors.New("not in one generation")
			}
			list = append(list, gen)
			for _, ps := range gen.Assignments {
				n += len(ps)
			}
		}
		if n != partitions {
			return fmt.Errorf("%d of %d partitions", n, partitions)
		}
		return nil
	})
	return list
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	if w.t.Context().Err() == nil { // the test is over, nobody reads
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// A second process takes its share and no more, and what the first keeps are partitions that it had. When the
// second goes, the first has them all.
func TestGroupIsSticky(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 6)
	one := startProcess(t, c, "g-"+topic, topic)
	settled(t, 6, one)
	two := startProcess(t, c, "g-"+topic, topic)
	g := settled(t, 6, one, two)
	kept, moved := g[0].Assignments[topic], g[1].Assignments[topic]
	if len(kept) != 3 || len(moved) != 3 {
		t.Fatalf("shares %v and %v", kept, moved)
	}
	three := startProcess(t, c, "g-"+topic, topic)
	g = settled(t, 6, one, two, three)
	for i, had := range [][]int32{kept, moved} {
		for _, p := range g[i].Assignments[topic] {
			if !slices.Contains(had, p) {
				t.Errorf("process %d had %v and was given %d", i, had, p)
			}
		}
	}
	two.close()
	three.close()
	settled(t, 6, one)
}

// A generation ends on purpose, the group joins anew under a higher number with the same partitions, and what
// ran in the old one has returned before.
func TestGenerationEnds(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 2)
	p := startProcess(t, c, "g-"+topic, topic)
	gen := settled(t, 2, p)[0]
	returned := make(chan struct{})
	gen.Go(func(ctx context.Context) {
		<-ctx.Done()
		time.Sleep(100 * time.Millisecond)
		close(returned)
	})
	gen.End("a commit's outcome is unknown")
	gen.End("twice does nothing")
	<-gen.Done()
	if cause := context.Cause(gen.Context()); cause == nil || cause.Error() != "a commit's outcome is unknown" {
		t.Errorf("cause %v", cause)
	}
	next := settled(t, 2, p)[0]
	if next.ID <= gen.ID {
		t.Errorf("generation %d follows %d", next.ID, gen.ID)
	}
	select {
	case <-returned:
	default:
		t.Error("the next generation began while a function of the last was running")
	}
	<-gen.Idle()
}

// A pattern has found a new topic: the member joins anew with both. Then one of them is deleted, and another
// member that still names it keeps nobody from the other.
func TestGroupTopics(t *testing.T) {
	c := newClient(t)
	first, second := newTopic(t, c, 2), newTopic(t, c, 3)
	p := startProcess(t, c, "g-"+first)
	p.group.SetTopics([]string{first})
	settled(t, 2, p)
	p.group.SetTopics([]string{second, first, second})
	settled(t, 5, p)
	deleteTopic(t, c, second)
	slow := startProcess(t, c, "g-"+first, first, second)
	p.group.SetTopics([]string{first})
	g := settled(t, 2, p, slow)
	if len(g[0].Assignments[first]) != 1 || len(g[1].Assignments[first]) != 1 {
		t.Errorf("assignments %v and %v", g[0].Assignments, g[1].Assignments)
	}
}

func TestCommit(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 2)
	group := "g-" + topic
	none, err := c.Committed(deadline(t), group, topic, []int32{0, 1})
	if err != nil || none[0].Offset != -1 || none[1].Offset != -1 || len(none) != 2 {
		t.Errorf("before: %v %v", none, err)
	}
	gen := settled(t, 2, startProcess(t, c, group, topic))[0]
	if err := c.Commit(deadline(t), gen, topic, 1, 7, "to=9"); err != nil {
		t.Fatal(err)
	}
	got, err := c.Committed(deadline(t), group, topic, []int32{0, 1})
	if err != nil || got[1] != (Committed{7, "to=9"}) || got[0].Offset != -1 {
		t.Errorf("after: %v %v", got, err)
	}
	if err := c.Commit(deadline(t), gen, topic, 1, 8, strings.Repeat("x", 4096)); err != nil {
		t.Errorf("4096 bytes of metadata: %v", err)
	}
	// Only the broker's word that it belongs to others is definite; a refusal for another reason is not.
	t.Run("refused", func(t *testing.T) {
		stacktest.Start(t).NeedApache(t, "limit of metadata")
		if err := c.Commit(deadline(t), gen, topic, 1, 8, strings.Repeat("x", 4097)); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, kafka.OffsetMetadataTooLarge) {
			t.Errorf("4097 bytes of metadata: %v", err)
		}
	})
	stranger := &Generation{GroupID: group, ID: gen.ID, MemberID: "nobody"}
	if err := c.Commit(deadline(t), stranger, topic, 1, 1, ""); !errors.Is(err, ErrNotOurs) {
		t.Errorf("a stranger: %v", err)
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Commit(canceled, gen, topic, 1, 9, ""); !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotOurs) {
		t.Errorf("cancelled: %v", err)
	}
}

// History 42: a follower's lane ends its generation. Without a nonce in the user data the broker hands the same
// generation back and a late commit of the old one moves the plan back.
func TestHistory42LateCommit(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 4)
	group := "g-" + topic
	leader := startProcess(t, c, group, topic)
	settled(t, 4, leader)
	follower := startProcess(t, c, group, topic)
	// Twice: in the first round the member's word of what it owns is new as well, in the second only the nonce is.
	old, gen := settled(t, 4, leader, follower)[1], (*Generation)(nil)
	p := old.Assignments[topic][0]
	for round := range 2 {
		if err := c.Commit(deadline(t), old, topic, p, 100, "to=150"); err != nil {
			t.Fatal(err)
		}
		old.End("outcome of a commit is unknown")
		<-old.Done()
		eventually(t, "the follower is back", func() error {
			if gen := follower.generation(); gen == nil || gen == old {
				return errors.New("no generation")
			}
			return nil
		})
		gen = settled(t, 4, leader, follower)[1]
		if round == 0 {
			old = gen
		}
	}
	if gen.ID == old.ID || !slices.Contains(gen.Assignments[topic], p) {
		t.Fatalf("generation %d with %v follows %d with %v", gen.ID, gen.Assignments, old.ID, old.Assignments)
	}
	if err := c.Commit(deadline(t), gen, topic, p, 200, "to=250"); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(deadline(t), old, topic, p, 100, "to=150"); !errors.Is(err, ErrNotOurs) || !errors.Is(err, kafka.IllegalGeneration) {
		t.Errorf("the late commit: %v", err)
	}
	if got, err := c.Committed(deadline(t), group, topic, []int32{p}); err != nil || got[p] != (Committed{200, "to=250"}) {
		t.Errorf("stored %v %v", got, err)
	}
}

// History 43: the topic is deleted under a living group, its offsets with it; made again, the member's commit is
// accepted and a fetch at the old position reads on. Neither says a word: the ledger and the hash of the record
// before have to.
func TestHistory43TopicMadeAgain(t *testing.T) {
	c := newClient(t)
	topic := newTopic(t, c, 1)
	group := "g-" + topic
	produce(t, c, topic, texts("old %d", 0, 10)...)
	gen := settled(t, 1, startProcess(t, c, group, topic))[0]
	if err := c.Commit(deadline(t), gen, topic, 0, 10, "to=20"); err != nil {
		t.Fatal(err)
	}
	deleteTopic(t, c, topic)
	eventually(t, "the commit is gone", func() error {
		got, err := c.Committed(deadline(t), group, topic, []int32{0})
		if err == nil && got[0].Offset != -1 {
			err = fmt.Errorf("stored %v", got)
		}
		return err
	})
	makeTopic(t, c, topic, 1)
	if err := c.Commit(deadline(t), gen, topic, 0, 20, "to=30"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writers know the new topic", func() error {
		return c.NewProducer(None).Produce(deadline(t), topic, texts("new %d", 0, 25))
	})
	if got := consume(t, c, topic, 0, 20).values(); len(got) == 0 || got[0] != "new 20" {
		t.Errorf("read on at 20: %v", got)
	}
}
