package alert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink"
	"github.com/agentrisk/agentrisk/sink/topic"
)

const (
	fetchBytes = 1 << 20
	fetchWait  = 500 * time.Millisecond // for something to come; it is delivered at once when it does
	maxAsked   = time.Hour              // that a receiver may ask us to wait: it must not silence itself for ever
)

// errRejoin ends the generation: what it believes of the partition's position may be wrong.
var errRejoin = errors.New("joins the group again")

// lane delivers one partition of the outbox for one generation. It waits for its own receiver only: the
// generation's heartbeats and the other partitions go on.
type lane struct {
	n         *Notifier
	gen       *kafka.Generation
	partition int
	next      int64 // offset of the next alert, or kafka.FirstOffset
	conn      *kafka.Conn
	log       *slog.Logger
}

// run serves the partition until the generation ends. To return earlier ends the generation for all.
func (l *lane) run(ctx context.Context) {
	trouble := say{log: l.log}
	for attempt := 0; ; attempt++ {
		before := l.next
		err := l.serve(ctx)
		if l.next != before {
			attempt = 0
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errRejoin):
			l.log.Warn("leaves the generation", "err", err)
			return
		case errors.Is(err, kafka.RequestTimedOut):
			// kafka-go's word for a poll that ended late with nothing. It is no trouble, but nobody knows what the
			// connection still carries, nor whether the topic is the same: connect anew and look.
			if !sleep(ctx, 200*time.Millisecond) {
				return
			}
			continue
		}
		trouble.warn("cannot read the outbox, tries again", "err", topic.Denied(err, "READ", "topic", l.n.c.Topic))
		if !sleep(ctx, backoff(attempt, 200*time.Millisecond, 10*time.Second)) {
			return
		}
	}
}

// serve connects to the partition's leader and delivers until something fails.
func (l *lane) serve(ctx context.Context) error {
	conn, err := l.dial(ctx)
	if err != nil {
		return err
	}
	l.conn = conn
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := l.settle(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		messages, end, err := l.fetch()
		for i := range messages {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := l.handle(ctx, &messages[i]); err != nil {
				return err
			}
			l.waiting(end)
		}
		if err != nil {
			return err
		}
		l.waiting(end)
	}
	return ctx.Err()
}

func (l *lane) waiting(end int64) {
	l.n.c.Metrics.Waiting.WithLabelValues(l.n.c.Name, strconv.Itoa(l.partition)).Set(float64(max(0, end-l.next)))
}

// recount looks how many wait, for those who watch while the receiver is away.
func (l *lane) recount() {
	if l.conn.SetDeadline(time.Now().Add(networkTime)) == nil {
		if end, err := l.conn.ReadLastOffset(); err == nil {
			l.waiting(end)
		}
	}
}

// dial asks one broker after the other for the leader.
func (l *lane) dial(ctx context.Context) (conn *kafka.Conn, err error) {
	for _, broker := range l.n.c.Brokers {
		if conn, err = l.n.c.Dialer.DialLeader(ctx, "tcp", broker, l.n.c.Topic, l.partition); err == nil {
			return conn, nil
		}
	}
	return nil, l.gone(err)
}

// gone makes of an error that says the topic vanished one that ends the generation: should the topic be made
// again, the group's position, which vanishes with it, is the one to trust.
func (l *lane) gone(err error) error {
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return fmt.Errorf("%s/%d: %w: %w", l.n.c.Topic, l.partition, err, errRejoin)
	}
	return err
}

// settle holds the position against what the log has.
func (l *lane) settle() error {
	if err := l.conn.SetDeadline(time.Now().Add(networkTime)); err != nil {
		return err
	}
	first, end, err := l.conn.ReadOffsets()
	if err != nil {
		return l.gone(fmt.Errorf("read the bounds of %s/%d: %w", l.n.c.Topic, l.partition, err))
	}
	switch {
	case l.next == kafka.FirstOffset:
		l.next = first
	case l.next < first:
		l.log.Error("alerts are lost: the outbox's retention took them before they were delivered", "from", l.next, "to", first)
		l.n.c.Metrics.Lost.WithLabelValues(l.n.c.Name).Add(float64(first - l.next))
		l.next = first
	case l.next > end:
		l.log.Warn("the outbox ends before the group's position: it was made again, delivers it from its start", "position", l.next, "end", end)
		l.next = first
	}
	_, err = l.conn.Seek(l.next, kafka.SeekAbsolute|kafka.SeekDontCheck)
	return err
}

// fetch returns what is there, in order, and the offset after the log's last record. With an error it returns
// what came before it.
func (l *lane) fetch() (messages []kafka.Message, end int64, err error) {
	if err := l.conn.SetDeadline(time.Now().Add(fetchWait + networkTime)); err != nil {
		return nil, 0, err
	}
	batch := l.conn.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: 1, MaxBytes: fetchBytes, MaxWait: fetchWait})
	defer batch.Close() // its error is the one that ReadMessage gave
	end = batch.HighWaterMark()
	for {
		m, err := batch.ReadMessage()
		switch {
		case err == nil:
			messages = append(messages, m)
			continue
		case !errors.Is(err, io.EOF):
			return messages, end, l.gone(fmt.Errorf("read %s/%d at %d: %w", l.n.c.Topic, l.partition, l.next, err))
		case len(messages) == 0:
			l.next = max(l.next, batch.Offset()) // a stretch that holds no records
		}
		return messages, end, nil
	}
}

// handle sees a record through and commits behind it. The error is ctx's or errRejoin.
func (l *lane) handle(ctx context.Context, m *kafka.Message) error {
	a, err := Decode(m.Value)
	if err != nil {
		err = l.bury(ctx, m, reasonMalformed, err)
	} else {
		err = l.deliver(ctx, m, a)
	}
	if err != nil {
		return err
	}
	l.next = m.Offset + 1
	err = l.gen.CommitOffsets(map[string]map[int]int64{l.n.c.Topic: {l.partition: l.next}})
	if err != nil {
		return fmt.Errorf("commit %s/%d at %d: %w: %w", l.n.c.Topic, l.partition, l.next, err, errRejoin)
	}
	return nil
}

// deliver tries until the receiver accepts the alert, refuses it for good, or the generation ends.
func (l *lane) deliver(ctx context.Context, m *kafka.Message, a *scoring.Alert) error {
	metrics, name := l.n.c.Metrics, l.n.c.Name
	for attempt := 0; ; attempt++ {
		err := l.attempt(ctx, a)
		switch {
		case err == nil:
			metrics.Delivered.WithLabelValues(name).Inc()
			if a.KafkaTime > 0 {
				metrics.Delay.WithLabelValues(name).Observe(max(0, time.Since(time.UnixMilli(a.KafkaTime)).Seconds())) // the broker's clock and ours differ
			}
			l.log.Debug("alert delivered", "alert", a.ID)
			return nil
		case sink.IsPermanent(err):
			return l.bury(ctx, m, reasonRefused, err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		metrics.Failed.WithLabelValues(name).Inc()
		wait := max(backoff(attempt, l.n.c.MinWait, l.n.c.MaxWait), min(sink.Wait(err), maxAsked))
		l.log.Warn("alert not delivered, tries again", "alert", a.ID, "attempt", attempt+1, "in", wait.Round(time.Millisecond), "err", err)
		l.recount()
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// attempt delivers once. When the generation ends meanwhile, the delivery may still end: the receiver is most
// likely busy with it, and to break off would only page again.
func (l *lane) attempt(ctx context.Context, a *scoring.Alert) error {
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if sleep(inner, graceTime) {
			cancel()
		}
	})()
	return l.n.c.Channel.Deliver(inner, a)
}

// bury moves a record to the dead topic, as it is, with the reason in its headers, and returns when it is
// stored there.
func (l *lane) bury(ctx context.Context, m *kafka.Message, reason string, why error) error {
	l.log.Error("alert goes to the dead topic", "reason", reason, "alert", cut(string(m.Key), 128), "offset", m.Offset, "topic", l.n.c.DeadTopic, "err", why)
	dead := kafka.Message{Key: m.Key, Value: m.Value, Headers: append(m.Headers[:len(m.Headers):len(m.Headers)],
		kafka.Header{Key: "agentrisk-channel", Value: []byte(l.n.c.Name)},
		kafka.Header{Key: "agentrisk-reason", Value: []byte(reason)},
		kafka.Header{Key: "agentrisk-detail", Value: []byte(cut(why.Error(), maxWhy))},
		kafka.Header{Key: "agentrisk-origin", Value: fmt.Appendf(nil, "%s/%d/%d", l.n.c.Topic, l.partition, m.Offset)},
	)}
	trouble := say{log: l.log}
	for attempt := 0; ; attempt++ {
		err := l.n.dead.Write(ctx, dead)
		if err == nil {
			l.n.c.Metrics.Dead.WithLabelValues(l.n.c.Name, reason).Inc()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		trouble.warn("the dead topic takes nothing, tries again: agentrisk migrate makes it", "topic", l.n.c.DeadTopic, "err", err)
		if !sleep(ctx, backoff(attempt, time.Second, 30*time.Second)) {
			return ctx.Err()
		}
	}
}

// backoff doubles from least to most and takes a random half off, so that many do not come back at once.
func backoff(attempt int, least, most time.Duration) time.Duration {
	d := most
	if attempt < 30 && least<<attempt < most {
		d = least << attempt
	}
	return d/2 + rand.N(d/2+1)
}
