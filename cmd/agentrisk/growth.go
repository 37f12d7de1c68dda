package main

import (
	"context"
	"fmt"

	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// firstPartitions is how many partitions a topic had when it was first read.
func (p *parts) firstPartitions(ctx context.Context, topic string, epoch int32) (int32, error) {
	found, err := p.kafka.Topics(ctx, topic)
	if err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("topic %s: %w", topic, kafka.ErrUnknownTopic)
	}
	return p.db.Partitions(ctx, topic, epoch, int32(found[0].Partitions))
}

// tellGrowth says of topics that have got more partitions since the process saw them: members learn of them only when they
// join again, and then their lanes park.
func (p *parts) tellGrowth(ctx context.Context, seen map[string]int) {
	for i := range p.config.Bindings {
		found, err := p.kafka.Topics(ctx, p.config.Bindings[i].Topics)
		if err != nil {
			p.log.Warn("partitions not looked up", "err", err)
			continue
		}
		for _, t := range found {
			if was, ok := seen[t.Name]; ok && t.Partitions > was {
				p.log.Error("a topic has got more partitions, which nobody reads: agents would be split over two lanes; make a new topic instead", "topic", t.Name, "had", was, "has", t.Partitions)
			}
			seen[t.Name] = t.Partitions
		}
	}
}
