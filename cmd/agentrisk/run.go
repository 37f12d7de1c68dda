package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
	"github.com/agentrisk/agentrisk/sink/alert"
	"github.com/agentrisk/agentrisk/sink/clickhouse"
	"github.com/agentrisk/agentrisk/sink/deadletter"
)

// drainTime is how long a clean stop may take.
const drainTime = 20 * time.Second

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the pipeline",
		Long: `Reads the bound topics, judges every event, and stores each one once in ClickHouse. Processes with the same
configuration share the partitions: start as many as you like.

Metrics, /live, /ready and /lanes are served over HTTP (http.listen). With a webhook configured, alerts are delivered
too; ` + "`agentrisk notify`" + ` does only that. SIGTERM stores what is in hand, saves the state and ends within ` + drainTime.String() + `.`,
		Example: `  agentrisk run --config agentrisk.yaml
  AGENTRISK_CONFIG=agentrisk.yaml AGENTRISK_CLICKHOUSE_PASSWORD=... agentrisk run`,
		Args: cobra.NoArgs,
	}
	path := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		debug.SetMaxStack(maxStack)
		p, err := wire(*path)
		if err != nil {
			return err
		}
		defer p.close()
		err = p.run(cmd.Context())
		if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
			return nil // asked to stop before it had begun
		}
		return err
	}
	return cmd
}

// run wires the pipeline:
//
//	Kafka topics ──> lanes (fetch, decode, judge) ──> ClickHouse: verdicts, ledger, snapshots
//	                   │            │
//	                   │            └──> dead letters: topic and table
//	                   └──> outbox topic ──> notifier ──> webhook
func (p *parts) run(ctx context.Context) error {
	ours, err := loadPack(p.config.Pack)
	if err != nil {
		return err
	}
	if _, err := affordable(ours); err != nil {
		return err
	}
	var began inForce
	var cluster, deployment string
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if err := p.patiently(ctx, func() (err error) {
		if p.db == nil {
			if err := p.open(ctx); err != nil {
				return err
			}
		}
		if err := p.db.Check(ctx); err != nil {
			return err
		}
		if cluster, deployment, err = p.claim(ctx); err != nil {
			return err
		}
		began, err = p.activePack(ctx, ours)
		return err
	}); err != nil {
		return err
	}
	active := began.pack
	state, key, err := p.config.keys()
	if err != nil {
		return err
	}
	if key.ID() == redact.Unkeyed {
		p.log.Warn("no key is configured: who reads a row can try out what its fingerprints stand for; `agentrisk keys new FILE` makes keys, keys_file names them")
	}
	if err := p.putSettings(ctx, key); err != nil {
		return err
	}
	budget, err := ingest.NewBudget(int64(p.config.Memory.Budget))
	if err != nil {
		return err
	}
	outbox, err := alert.NewOutbox(p.config.Kafka.Brokers, p.config.Alerts.Topic, p.kafka.Transport())
	if err != nil {
		return err
	}
	defer outbox.Close()
	dead, err := deadletter.New(p.config.Kafka.Brokers, p.config.DeadLetters.Topic, p.kafka.Transport())
	if err != nil {
		return err
	}
	defer dead.Close()
	metrics := ingest.NewMetrics()
	incarnation := newIncarnation()
	pipeline, err := ingest.New(ingest.Config{
		Log: kafka.NewLog(p.kafka), Store: store{p.db, key}, Outbox: outbox, DeadLetterTopic: dead, Orders: store{p.db, key},
		Pack: active.Pack, Packs: p.packs, Engine: scoring.Options{Key: state, MaxBytes: int64(p.config.Memory.State)},
		Key: key, Bindings: p.config.Bindings, Budget: budget, Trial: newTrial(p.path), Partitions: p.firstPartitions, Metrics: metrics, Logger: p.log,
		Cluster: cluster, Deployment: deployment, Incarnation: incarnation,
		MinAge: time.Duration(p.config.Batch.MinAge), MaxAge: time.Duration(p.config.Batch.MaxAge),
	})
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(metrics, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := p.kafka.Seen(ctx, "WRITE", p.config.Alerts.Topic, p.config.DeadLetters.Topic); err != nil {
		return err
	}
	topics, err := p.topics(ctx)
	if err != nil {
		return err
	}
	group, err := kafka.NewGroup(p.kafka, kafka.GroupConfig{ID: p.config.Kafka.Group, Topics: topics, Log: p.log, Incarnation: incarnationNumber(incarnation)})
	if err != nil {
		return err
	}
	if len(topics) == 0 {
		p.log.Warn("no topic matches the bindings yet: looking again every minute; `agentrisk migrate` makes those of the configured providers; those on which this user has no right to READ are not shown to it", "bindings", p.patterns())
	}
	p.log.Info("pipeline starts", "pack", active.Name, "version", active.Version, "digest", active.Digest[:12], "rules", len(active.Rules), "topics", topics, "deployment", deployment)

	// The work outlives ctx by the time of a clean stop.
	work, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var joined atomic.Bool
	g, work := errgroup.WithContext(work)
	g.Go(func() error { return members(work, group, p.kafka, pipeline, &joined) })
	g.Go(func() error { return p.watchTopics(work, group) })
	g.Go(func() error { return p.tellStatus(work, incarnation, pipeline) })
	follower := p.follow(pipeline, metrics, began)
	g.Go(func() error {
		if err := follower.run(work); err != nil {
			stop(err)
		}
		return nil
	})
	g.Go(func() error {
		return serveHTTP(work, p.config.HTTP, reg, health{ready: func() []string { return notReady(&joined, pipeline) }, remarks: follower.remarks, lanes: func() any { return pipeline.Status() }}, p.log)
	})
	if p.config.Alerts.Webhook.URL != "" {
		n, m, err := p.notifier()
		if err != nil {
			return err
		}
		reg.MustRegister(m)
		g.Go(func() error { return n.Run(work) })
	}
	var drained sync.WaitGroup
	drained.Go(func() {
		select {
		case <-ctx.Done():
		case <-work.Done():
			return
		}
		p.log.Info("stops: storing what is in hand")
		bound, cancel := context.WithTimeout(work, drainTime)
		defer cancel()
		if err := pipeline.Drain(bound); err != nil {
			p.log.Warn("stopped early", "err", err)
		}
		group.Close()
		end()
	})
	err = g.Wait()
	end()
	drained.Wait()
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, kafka.ErrGroupClosed) {
		return err
	}
	p.log.Info("stopped")
	var tooOld *clickhouse.TooOldError
	if cause := context.Cause(ctx); errors.As(cause, &tooOld) {
		return cause
	}
	return nil
}

// patiently repeats what a server that is away makes fail: a pipeline that starts before its servers waits for them.
func (p *parts) patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		var tls *closedError
		var sasl *kafka.ClosedError
		if err == nil || ctx.Err() != nil || !clickhouse.Passes(err) || errors.As(err, &tls) || errors.As(err, &sasl) {
			return err
		}
		p.log.Warn("a server is away: trying again", "err", err, "in", startWait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(startWait):
		}
	}
}

const startWait = 2 * time.Second

// members serves one generation after the other.
func members(ctx context.Context, group *kafka.Group, client *kafka.Client, pipeline *ingest.Pipeline, joined *atomic.Bool) error {
	for {
		gen, err := group.Next(ctx)
		if err != nil {
			return err
		}
		joined.Store(true)
		failed := make(chan error, 1)
		gen.Go(func(ctx context.Context) { failed <- pipeline.Serve(ctx, kafka.NewMember(client, gen)) })
		select {
		case err := <-failed:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watchTopics looks the patterns up every minute: new topics make the group join anew.
func (p *parts) watchTopics(ctx context.Context, group *kafka.Group) error {
	partitions := map[string]int{}
	p.tellGrowth(ctx, partitions)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Minute):
		}
		p.tellGrowth(ctx, partitions)
		topics, err := p.topics(ctx)
		if err != nil {
			p.log.Warn("topics not looked up", "err", err)
			continue
		}
		group.SetTopics(topics)
	}
}

// notReady lists what keeps the process from its whole work.
func notReady(joined *atomic.Bool, pipeline *ingest.Pipeline) (why []string) {
	if !joined.Load() {
		return []string{"the consumer group is not joined yet"}
	}
	for _, s := range pipeline.Status() {
		if s.State == "parked" || s.State == "retrying" {
			why = append(why, fmt.Sprintf("%s/%d is %s: %s", s.Topic, s.Partition, s.State, s.Detail))
		}
	}
	return why
}
