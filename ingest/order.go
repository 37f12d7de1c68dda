package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// orderPoll is how often a process looks for what operators ask of its lanes.
const orderPoll = 2 * time.Second

// Order is what an operator asks of a lane. A parked lane obeys; one that is not parked only when forced.
type Order struct {
	ID               string
	Topic            string
	Partition, Epoch int32
	Verb             string
	From             int64 // skip: where the lane stood when it was ordered
	To               int64 // skip: where the lane is to go on
	Force            bool
	Who, Why         string
}

// Verbs of orders.
const (
	OrderSkip   = "skip"   // leave [From, To) out, for good
	OrderResume = "resume" // try again
)

// Answers to orders.
const (
	OrderDone    = "done"
	OrderRefused = "refused"
)

// Orders is where operators leave their orders. An order that was answered is never open again.
type Orders interface {
	OpenOrders(ctx context.Context) ([]Order, error)
	AnswerOrder(ctx context.Context, o Order, answer, detail, by string) error
	// HeldBy names who mends the lane right now, "" for nobody.
	HeldBy(ctx context.Context, topic string, partition, epoch int32) (who string, err error)
}

// errAgain says that an order was obeyed: the lane starts again from what the ledger says.
var errAgain = errors.New("an operator's order was obeyed")

// watchOrders offers orders to the lanes of a generation until it ends.
func (p *Pipeline) watchOrders(ctx context.Context, lanes []*lane) {
	if p.Orders == nil || len(lanes) == 0 {
		return
	}
	for sleep(ctx, orderPoll) {
		open, err := p.Orders.OpenOrders(ctx)
		if err != nil {
			p.Logger.Debug("orders not read", "err", err)
			continue
		}
		for _, o := range open {
			for _, l := range lanes {
				if o.Topic == l.topic && o.Partition == l.partition && o.Epoch == l.binding.Epoch {
					l.offer(ctx, o)
				}
			}
		}
	}
}

// offer hands an order to the lane's goroutine when that may take it, and refuses it when the lane is not parked. What
// is neither taken nor refused is offered again.
func (l *lane) offer(ctx context.Context, o Order) {
	switch state := l.status.state.Load().state; {
	case state == stateParked:
	case state == stateStarting:
		return // it may be about to park, or come from an order that was obeyed a moment ago
	case !o.Force:
		answer, detail := OrderRefused, "the lane is "+state+" and not parked; --force orders it all the same"
		if done, err := l.obeyed(ctx, o); err != nil {
			return
		} else if done {
			answer, detail = OrderDone, fmt.Sprintf("[%d, %d) is skipped", o.From, o.To)
		}
		if err := l.p.Orders.AnswerOrder(ctx, o, answer, detail, l.p.Incarnation); err != nil {
			l.log.Warn("order not answered", "order", o.ID, "err", err)
		}
		return
	default:
		if stop := l.interrupt.Load(); stop != nil {
			(*stop)()
		}
	}
	select {
	case l.orders <- o:
	case <-ctx.Done():
	case <-time.After(orderPoll):
	}
}

// obeyed reports whether the ledger holds the line that a skip leaves: a process may have died before it could answer.
func (l *lane) obeyed(ctx context.Context, o Order) (bool, error) {
	if o.Verb != OrderSkip {
		return false, nil
	}
	lines, err := l.p.Store.Lines(ctx, scoring.Range{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, From: o.From, To: o.To})
	for i := range lines {
		if lines[i].Status == scoring.LineSkipped && lines[i].From == o.From && lines[i].To == o.To {
			return true, err
		}
	}
	return false, err
}

// serveOrObey serves the lane; when it parks, or an operator forces it, it waits for orders instead. Its error is
// errAgain once an order was obeyed.
func (l *lane) serveOrObey(ctx context.Context, gen Generation) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	l.interrupt.Store(&stop)
	err := l.serve(serving, gen)
	var park *Park
	switch {
	case ctx.Err() != nil:
		return err
	case errors.As(err, &park):
		l.forget()
		return l.park(ctx, gen, park)
	case err != nil && serving.Err() != nil && !errors.Is(err, errOutcomeUnknown) && !errors.Is(err, ErrNotOurs):
		l.forget()
		select {
		case o := <-l.orders:
			return l.obey(ctx, gen, o)
		case <-time.After(2 * orderPoll): // the process could not read it again
			return errAgain
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// park waits for an operator's order or the end of the generation.
func (l *lane) park(ctx context.Context, gen Generation, park *Park) error {
	l.log.Error("lane is parked", "reason", park.Reason, "detail", park.Detail)
	l.status.park(park)
	l.p.metrics.Parked.WithLabelValues(l.topic, fmt.Sprint(l.partition), string(park.Reason)).Set(1)
	defer l.p.metrics.Parked.DeletePartialMatch(map[string]string{"topic": l.topic, "partition": fmt.Sprint(l.partition)})
	l.p.settled(nil)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case o := <-l.orders:
		return l.obey(ctx, gen, o)
	}
}

// obey does what was ordered, answers, and has the lane start again.
func (l *lane) obey(ctx context.Context, gen Generation, o Order) error {
	l.log.Warn("obeys an order", "verb", o.Verb, "from", o.From, "to", o.To, "who", o.Who, "why", o.Why)
	answer, detail := OrderDone, "the lane starts again"
	none := func(context.Context) error { return nil }
	metadata, err := l.confirm(ctx, gen)
	if err != nil {
		return err
	}
	if o.Verb == OrderSkip {
		if err := l.retry(ctx, none, "skip offsets", func() (err error) {
			answer, detail, err = l.skip(ctx, metadata, o)
			return err
		}); err != nil {
			return err
		}
	}
	if err := l.retry(ctx, none, "answer an order", func() error { return l.p.Orders.AnswerOrder(ctx, o, answer, detail, l.p.Incarnation) }); err != nil {
		return err
	}
	l.p.metrics.Orders.WithLabelValues(o.Verb, answer).Inc()
	return errAgain
}

// confirm stores the group's commit once more, as it is: the broker takes it only from who owns the lane.
func (l *lane) confirm(ctx context.Context, gen Generation) (metadata string, err error) {
	offset, metadata, err := gen.Committed(ctx, l.topic, l.partition)
	if err != nil || offset < 0 {
		return metadata, err
	}
	return metadata, l.commit(ctx, gen, commitment{offset, metadata})
}

// skip enters in the ledger that [From, To) is left out, provided that the lane stands where the operator saw it.
// metadata is that of the group's commit. The state behind it starts cold: what was left out is not in it, and rows say so.
func (l *lane) skip(ctx context.Context, metadata string, o Order) (answer, detail string, err error) {
	refuse := func(format string, args ...any) (string, string, error) {
		return OrderRefused, fmt.Sprintf(format, args...), nil
	}
	at, err := l.p.Store.Position(ctx, l.topic, l.partition, l.binding.Epoch)
	if err != nil {
		return "", "", err
	}
	first, next, err := l.p.Log.Bounds(ctx, l.topic, l.partition)
	if err != nil {
		return "", "", err
	}
	from := at.To
	if !at.HasLedger {
		from = first
	}
	switch done, err := l.obeyed(ctx, o); {
	case err != nil:
		return "", "", err
	case done:
		return OrderDone, fmt.Sprintf("[%d, %d) is skipped", o.From, o.To), nil
	case o.From != from:
		return refuse("the lane stood at %d when this was ordered, and stands at %d: look again", o.From, from)
	case o.To < from || o.To == from && at.HasLedger:
		return refuse("everything below %d is done already", from)
	case o.To > next:
		return refuse("the log ends at %d: what is not there yet cannot be skipped; raise the binding's epoch when the topic was made again", next)
	}
	now := l.p.now().UnixMilli()
	r := scoring.Range{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, From: from, To: o.To}
	// Rows of a plan that did not become complete stay, and so do their alerts.
	if p, foreign := parsePlan(metadata); at.HasLedger && foreign == nil && p.Epoch == r.Epoch && p.To > from {
		alerts, err := l.p.Store.StoredAlerts(ctx, scoring.Range{Topic: r.Topic, Partition: r.Partition, Epoch: r.Epoch, From: from, To: min(p.To, o.To)})
		if err != nil {
			return "", "", err
		}
		if len(alerts) > 0 {
			if err := l.p.Outbox.Write(ctx, alerts); err != nil {
				return "", "", err
			}
		}
	}
	line := scoring.Line{Range: r, Status: scoring.LineSkipped, FirstTime: now, LastTime: now, StateFrom: o.To, LastOffset: -1,
		Pack: l.p.InForce().Digest, Engine: scoring.EngineVersion, Incarnation: l.p.Incarnation, Settings: l.settings}
	if err := l.p.Store.Ledger(ctx, line); err != nil {
		return "", "", err
	}
	l.p.metrics.Skipped.Add(float64(o.To - from))
	return OrderDone, fmt.Sprintf("[%d, %d) is skipped", from, o.To), nil
}
