package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest/kafka"
)

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Make tables and topics",
		Long: `Brings the ClickHouse schema up to date and makes the topics of the configured providers, the outbox and the
dead-letter topic, with the broker's append time. It changes nothing that exists, may run twice and by two at once, and
says what an operator should change about topics that exist already.`,
		Example: `  agentrisk migrate --config agentrisk.yaml --dry-run
  agentrisk migrate --config agentrisk.yaml`,
		Args: cobra.NoArgs,
	}
	path := configFlag(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "print the SQL and the topics, change nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := wire(*path)
		if err != nil {
			return err
		}
		defer p.close()
		say := func(s string) { fmt.Fprintln(cmd.OutOrStdout(), s) }
		if err := p.open(cmd.Context()); err != nil {
			return err
		}
		if err := p.db.Migrate(cmd.Context(), *dry, say); err != nil {
			return err
		}
		if *dry {
			for _, t := range p.wantedTopics(p.config.Providers) {
				say(fmt.Sprintf("-- topic %s: %d partitions, LogAppendTime", t.Name, t.Partitions))
			}
			return nil
		}
		advice, err := p.makeTopics(cmd.Context(), p.config.Providers, false)
		for _, a := range advice {
			say("advice: " + a)
		}
		if err == nil {
			say("topics are there")
		}
		return err
	}
	return cmd
}

// wantedTopics are the topics of the providers, the outbox and the dead letters.
func (p *parts) wantedTopics(providers []string) []kafka.NewTopic {
	var list []kafka.NewTopic
	add := func(name string, partitions int) {
		if name != "" && !slices.ContainsFunc(list, func(t kafka.NewTopic) bool { return t.Name == name }) {
			list = append(list, kafka.NewTopic{Name: name, Partitions: partitions, Replication: p.config.Kafka.Replication})
		}
	}
	for _, provider := range providers {
		for i := range p.config.Bindings {
			b := &p.config.Bindings[i]
			add(b.TopicOf(provider), b.Partitions)
		}
	}
	for i := range p.config.Bindings {
		if b := &p.config.Bindings[i]; !containsStar(b.Topics) {
			add(b.Topics, b.Partitions)
		}
	}
	add(p.config.Alerts.Topic, 3)
	add(p.config.Alerts.Topic+".dead", 1)
	add(p.config.DeadLetters.Topic, 3)
	return list
}

func containsStar(s string) bool { return slices.Contains([]byte(s), '*') }

// makeTopics asks again for as long as a broker is slow or just starting. One that cannot be reached at all is an error at
// once, unless it was reached before.
func (p *parts) makeTopics(ctx context.Context, providers []string, reached bool) (advice []string, err error) {
	for end := time.Now().Add(patience); ; {
		advice, err = p.kafka.CreateTopics(ctx, p.wantedTopics(providers)...)
		if err == nil || ctx.Err() != nil || !kafka.Passes(err) || !reached && kafka.Unreached(err) || time.Now().After(end) {
			return advice, err
		}
		reached = true
		p.log.Warn("topics are not ready: asking again", "err", err, "in", startWait)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(startWait):
		}
	}
}
