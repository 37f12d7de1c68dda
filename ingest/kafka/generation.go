package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/segmentio/kafka-go"
)

// ErrEnded is the cause of a generation's end that nobody here asked for: a rebalance, a lost connection, or the
// group's Close.
var ErrEnded = errors.New("the group is joining anew")

// Generation is one membership in the group, from one rebalance to the next.
type Generation struct {
	GroupID     string
	ID          int32
	MemberID    string
	Assignments map[string][]int32 // partitions of each topic that are ours, ascending; not to be changed

	gen    *kafka.Generation
	ctx    context.Context
	cancel context.CancelCauseFunc
	end    chan struct{}
	idle   chan struct{}

	mu      sync.Mutex
	ending  bool
	running int
	over    bool
}

func newGeneration(gen *kafka.Generation) *Generation {
	g := &Generation{GroupID: gen.GroupID, ID: gen.ID, MemberID: gen.MemberID, Assignments: map[string][]int32{}, gen: gen, end: make(chan struct{}), idle: make(chan struct{})}
	for topic, list := range gen.Assignments {
		for _, p := range list {
			g.Assignments[topic] = append(g.Assignments[topic], int32(p.ID))
		}
		slices.Sort(g.Assignments[topic])
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	// kafka-go ends a generation when any function that it started returns. This is the one that may.
	gen.Start(func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-g.end:
		}
		g.finish()
	})
	return g
}

// Context ends with the generation; its cause is ErrEnded or the reason given to End.
func (g *Generation) Context() context.Context { return g.ctx }

// Done is closed when the generation has ended: what was assigned may belong to another member soon.
func (g *Generation) Done() <-chan struct{} { return g.ctx.Done() }

// Idle is closed when the generation has ended and every function that Go started has returned. Until then the
// process cannot join again, and the broker gives its partitions away when the rebalance timeout is over: a
// caller that waits for Idle too long had better end the process.
func (g *Generation) Idle() <-chan struct{} { return g.idle }

// Go runs fn within the generation. fn must return soon after its context has ended, because the group joins the
// next generation only then. That it returns earlier ends nothing.
func (g *Generation) Go(fn func(ctx context.Context)) {
	g.mu.Lock()
	counted := !g.over
	if counted {
		g.running++
	}
	g.mu.Unlock()
	g.gen.Start(func(ended context.Context) {
		fn(g.ctx)
		if counted {
			g.returned()
		}
		<-ended.Done()
	})
}

// End leaves the generation on purpose. The group joins anew, and because each join carries a nonce the broker
// counts a new generation, in which commits of this one are refused. End does not wait; further calls do nothing.
func (g *Generation) End(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ending {
		g.ending = true
		g.cancel(errors.New(reason))
		close(g.end)
	}
}

func (g *Generation) finish() {
	g.cancel(ErrEnded)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over = true; g.running == 0 {
		close(g.idle)
	}
}

func (g *Generation) returned() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running--; g.running == 0 && g.over {
		close(g.idle)
	}
}
