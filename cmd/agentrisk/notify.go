package main

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/agentrisk/agentrisk/sink/alert"
	"github.com/agentrisk/agentrisk/sink/alert/webhook"
)

func notifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Deliver alerts to the webhook",
		Long: `Reads the outbox with a consumer group of its own and posts each alert to alerts.webhook.url, signed as Standard
Webhooks asks. It repeats until the receiver answers, so an alert may come twice; webhook-id is the idempotency key.`,
		Example: `  agentrisk notify --config agentrisk.yaml`,
		Args:    cobra.NoArgs,
	}
	path := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := wire(*path)
		if err != nil {
			return err
		}
		defer p.close()
		if p.config.Alerts.Webhook.URL == "" {
			return errors.New("alerts.webhook.url is not configured: there is nobody to notify")
		}
		n, m, err := p.notifier()
		if err != nil {
			return err
		}
		reg := prometheus.NewRegistry()
		reg.MustRegister(m)
		g, ctx := errgroup.WithContext(cmd.Context())
		g.Go(func() error {
			return serveHTTP(ctx, p.config.HTTP, reg, health{ready: func() []string { return nil }, lanes: func() any { return []string{} }}, p.log)
		})
		g.Go(func() error { return n.Run(ctx) })
		return g.Wait()
	}
	return cmd
}

// notifier makes the notifier of the webhook.
func (p *parts) notifier() (*alert.Notifier, *alert.Metrics, error) {
	w := p.config.Alerts.Webhook
	hook, err := webhook.New(webhook.Config{URL: w.URL, Secrets: w.Secrets, Allow: w.Allow})
	if err != nil {
		return nil, nil, err
	}
	m := alert.NewMetrics()
	n, err := alert.NewNotifier(alert.NotifierConfig{Brokers: p.config.Kafka.Brokers, Topic: p.config.Alerts.Topic, DeadTopic: p.config.Alerts.Topic + ".dead", Name: "webhook", Channel: hook, Log: p.log, Metrics: m, Dialer: p.kafka.Dialer(), Transport: p.kafka.Transport()})
	return n, m, err
}
