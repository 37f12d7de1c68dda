package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// revokeTime is how long lanes may take to let go of a generation. A process that cannot is ended by its
// caller: a ghost is worse than a crash.
const revokeTime = 20 * time.Second

// Config is what a pipeline is made of.
type Config struct {
	Log             Log
	Store           Store
	Outbox          Outbox
	DeadLetterTopic DeadLetterTopic
	Orders          Orders        // nil: operators have no say
	Pack            *scoring.Pack // that lanes judge by until the first [Pipeline.Adopt]
	Packs           Packs         // packs by digest, for the state of what another pack judged; may be nil
	Engine          scoring.Options
	Key             redact.Key // of the fingerprints on rows
	Bindings        []Binding  // checked
	Budget          *Budget
	Trial           Trial // of records after an unclean end; none when nil
	// Partitions tells how many partitions a topic had when it was first read under an epoch; nil where nobody knows.
	Partitions func(ctx context.Context, topic string, epoch int32) (int32, error)
	Metrics    *Metrics
	Logger     *slog.Logger

	Cluster     string // id of the Kafka cluster
	Deployment  string // from the claim
	Incarnation string // random, one a process start

	MinAge, MaxAge time.Duration    // of a batch; 0.5 s and 5 s when zero
	Now            func() time.Time // time.Now when nil
}

// Pipeline runs the lanes of one process.
type Pipeline struct {
	Config
	metrics *Metrics
	now     func() time.Time
	pack    atomic.Pointer[scoring.Pack] // in force: lanes look at it between batches

	mu     sync.Mutex
	lanes  map[string]*lane
	undone map[*lane]bool // lanes of this generation that are not drained
	free   []Block
	freeOf *scoring.Pack // that the free blocks are made for

	stop     chan struct{}
	stopOnce sync.Once
	idle     chan struct{} // closed when every lane is drained
}

// New returns a pipeline at rest.
func New(c Config) (*Pipeline, error) {
	if c.Budget == nil || c.Pack == nil || c.Log == nil || c.Store == nil {
		return nil, fmt.Errorf("pipeline: log, store, pack and budget are needed")
	}
	for i := range c.Bindings {
		if err := c.Bindings[i].Redaction.Check(); err != nil {
			return nil, fmt.Errorf("binding %s: %w", c.Bindings[i].Topics, err)
		}
	}
	if c.MinAge == 0 {
		c.MinAge = 500 * time.Millisecond
	}
	if c.MaxAge == 0 {
		c.MaxAge = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	p := &Pipeline{Config: c, metrics: c.Metrics, now: c.Now, lanes: map[string]*lane{}, stop: make(chan struct{}), idle: make(chan struct{})}
	p.pack.Store(c.Pack)
	c.Metrics.observe(p)
	return p, nil
}

// Serve runs the lanes of one generation until ctx ends. Its error says that a lane did not let go in time:
// the process must end.
func (p *Pipeline) Serve(ctx context.Context, gen Generation) error {
	lanes := p.assign(gen)
	var wg sync.WaitGroup
	for _, l := range lanes {
		wg.Go(func() { l.run(ctx, gen) })
	}
	wg.Go(func() { p.watchOrders(ctx, lanes) })
	<-ctx.Done()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-time.After(revokeTime):
		return fmt.Errorf("a lane did not let go of its generation within %s: the process must end", revokeTime)
	}
}

// assign keeps the lanes that stay with this process, with their state, and forgets the others.
func (p *Pipeline) assign(gen Generation) []*lane {
	p.mu.Lock()
	was, now := p.lanes, map[string]*lane{}
	for topic, partitions := range gen.Assignments() {
		b := p.binding(topic)
		if b == nil {
			p.Logger.Warn("no binding for a topic of the group: its lanes wait", "topic", topic)
			continue
		}
		for _, n := range partitions {
			key := fmt.Sprintf("%s/%d", topic, n)
			l := was[key]
			if l == nil {
				l = p.newLane(topic, n, b)
			}
			l.status.set(stateStarting, "")
			now[key] = l
			delete(was, key)
		}
	}
	p.lanes, p.undone = now, map[*lane]bool{}
	list := make([]*lane, 0, len(now))
	for _, l := range now {
		p.undone[l] = true
		list = append(list, l)
	}
	p.checkIdle()
	p.mu.Unlock()
	for _, l := range was { // outside of the lock: a lane that was busy gives its blocks back, which takes it
		l.forget()
	}
	return list
}

func (p *Pipeline) binding(topic string) *Binding {
	for i := range p.Bindings {
		if p.Bindings[i].Match(topic) {
			return &p.Bindings[i]
		}
	}
	return nil
}

// Drain asks the lanes to store what they hold and waits until they have, or ctx ends.
func (p *Pipeline) Drain(ctx context.Context) error {
	p.stopOnce.Do(func() { close(p.stop) })
	p.mu.Lock()
	p.checkIdle()
	p.mu.Unlock()
	select {
	case <-p.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("not every lane was drained: %w; the next start settles what is planned", ctx.Err())
	}
}

func (p *Pipeline) stopping() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// settled notes that a lane is drained, or (nil) that one parked or waits.
func (p *Pipeline) settled(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.undone, l)
	p.checkIdle()
}

// checkIdle closes idle once there is nothing left to drain. Parked and waiting lanes hold nothing.
func (p *Pipeline) checkIdle() {
	if !p.stopping() {
		return
	}
	for l := range p.undone {
		if s := l.status.state.Load().state; s != stateParked && s != stateWaiting {
			return
		}
	}
	select {
	case <-p.idle:
	default:
		close(p.idle)
	}
}

// batchAge grows with the number of lanes, so that a process makes at most 20 inserts a second.
func (p *Pipeline) batchAge() time.Duration {
	p.mu.Lock()
	n := len(p.lanes)
	p.mu.Unlock()
	return min(max(p.MinAge, time.Duration(n)*time.Second/insertsPerSec), p.MaxAge)
}

// block takes a block from the free list: only open batches hold one, and the budget bounds those.
func (p *Pipeline) block(pack *scoring.Pack) Block {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 && p.freeOf == pack {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return p.Store.NewBlock(pack)
}

func (p *Pipeline) recycle(b *batch) {
	b.block.Reset()
	p.mu.Lock()
	if now := p.pack.Load(); p.freeOf != now {
		p.free, p.freeOf = nil, now
	}
	if b.pack == p.freeOf { // blocks of a pack that is no longer in force are let go
		p.free = append(p.free, b.block)
	}
	p.mu.Unlock()
	b.share.release()
}
