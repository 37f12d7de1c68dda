package main

import (
	"context"
	"errors"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/alert"
	"github.com/agentrisk/agentrisk/sink/deadletter"
)

// atRest makes a pipeline that serves no lane: for commands that judge and store what a running one left out, by the same
// pack, under the same claim and through the same settling. close releases it.
func (p *parts) atRest(ctx context.Context) (pipeline *ingest.Pipeline, close func(), err error) {
	if err := p.db.Check(ctx); err != nil {
		return nil, nil, err
	}
	cluster, deployment, err := p.claim(ctx)
	if err != nil {
		return nil, nil, err
	}
	ours, err := loadPack(p.config.Pack)
	if err != nil {
		return nil, nil, err
	}
	active, err := p.activePack(ctx, ours)
	if err != nil {
		return nil, nil, err
	}
	state, key, err := p.config.keys()
	if err != nil {
		return nil, nil, err
	}
	if err := p.putSettings(ctx, key); err != nil {
		return nil, nil, err
	}
	budget, err := ingest.NewBudget(ingest.MinBudget)
	if err != nil {
		return nil, nil, err
	}
	outbox, err := alert.NewOutbox(p.config.Kafka.Brokers, p.config.Alerts.Topic, p.kafka.Transport())
	if err != nil {
		return nil, nil, err
	}
	dead, err := deadletter.New(p.config.Kafka.Brokers, p.config.DeadLetters.Topic, p.kafka.Transport())
	if err != nil {
		return nil, nil, errors.Join(err, outbox.Close())
	}
	pipeline, err = ingest.New(ingest.Config{
		Log: kafka.NewLog(p.kafka), Store: store{p.db, key}, Outbox: outbox, DeadLetterTopic: dead,
		Pack: active.pack.Pack, Packs: p.packs, Engine: scoring.Options{Key: state, MaxBytes: int64(p.config.Memory.State)},
		Key: key, Bindings: p.config.Bindings, Budget: budget, Logger: p.log,
		Cluster: cluster, Deployment: deployment, Incarnation: newIncarnation(),
	})
	close = func() { _, _ = outbox.Close(), dead.Close() }
	if err != nil {
		close()
		return nil, nil, err
	}
	return pipeline, close, nil
}

// mender mends and replays with a pipeline at rest.
func (p *parts) mender(pipeline *ingest.Pipeline) *ingest.Mender {
	db := store{db: p.db}
	return &ingest.Mender{Pipeline: pipeline, Audit: db, Mending: db, Committed: p.committed, Who: operator()}
}

// committed reads what the group has committed for a lane in this epoch, -1 for nothing.
func (p *parts) committed(ctx context.Context, topic string, partition, epoch int32) (int64, error) {
	found, err := p.kafka.Committed(ctx, p.config.Kafka.Group, topic, []int32{partition})
	if err != nil {
		return 0, err
	}
	c := found[partition]
	if _, of, _, err := ingest.Planned(c.Metadata); err != nil || of != epoch {
		return -1, nil
	}
	return c.Offset, nil
}
