// Package alert brings verdicts that someone must hear of to where people are.
//
// The scoring path writes each alert to the outbox, a Kafka topic, and goes on ([Outbox]). Each channel (a
// webhook, a chat) has a [Notifier]: a consumer group of its own on that topic. So Kafka keeps each channel's
// position, and a chat service that is down for a day holds up no page. An alert may come twice; it is never
// lost. Its id is the idempotency key, the same however often and by whomever it is written.
//
//	lane -> Outbox -> agentrisk.alerts -+-> Notifier (group agentrisk.notify.webhook) -> webhook
//	                                    +-> Notifier (group agentrisk.notify.<other>) -> ...
//
// A channel is a folder below this one and one method.
package alert

import (
	"context"

	"github.com/agentrisk/agentrisk/scoring"
)

// Topics of the outbox, unless the configuration names others.
const (
	Topic     = "agentrisk.alerts"
	DeadTopic = "agentrisk.alerts.dead" // what a channel refused for good
)

// Channel brings one alert to its receiver.
type Channel interface {
	// Deliver returns nil when the receiver has accepted the alert. The error says through package sink
	// whether and when to try again: sink.Permanent when the receiver refuses this very alert, otherwise it
	// is tried again, not before what sink.RetryAfter says. Deliver tries once, ends when ctx does, and is
	// called from several goroutines at a time, with the same alert again after an error or a restart: it
	// passes the id on as the idempotency key. No secret may stand in the error.
	Deliver(ctx context.Context, a *scoring.Alert) error
}

// ChannelFunc is a Channel made of a function.
type ChannelFunc func(ctx context.Context, a *scoring.Alert) error

// Deliver calls f.
func (f ChannelFunc) Deliver(ctx context.Context, a *scoring.Alert) error { return f(ctx, a) }
