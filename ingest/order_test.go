package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// memoryOrders is the operators' table.
type memoryOrders struct {
	mu      sync.Mutex
	orders  []Order
	answers map[string]string
}

func (m *memoryOrders) give(o Order) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.ID, o.Topic = fmt.Sprint(len(m.orders)), "agent.events.a"
	m.orders = append(m.orders, o)
	return o.ID
}

func (m *memoryOrders) HeldBy(context.Context, string, int32, int32) (string, error) { return "", nil }

func (m *memoryOrders) answer(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.answers[id]
}

func (m *memoryOrders) OpenOrders(context.Context) (open []Order, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.orders {
		if m.answers[o.ID] == "" {
			open = append(open, o)
		}
	}
	return open, nil
}

func (m *memoryOrders) AnswerOrder(_ context.Context, o Order, answer, detail, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[o.ID] += answer + ": " + detail
	return nil
}

// A group that has progress without a ledger parks its lane. It obeys what an operator orders: once, only while it is
// parked unless it is forced, and every offset is accounted for.
func TestOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := testLog(rand.New(rand.NewPCG(9, 1)), 1, 600)
		store, group := newMemoryStore(), &memoryGroup{commits: map[int32]commitment{0: {100, ""}}}
		orders := &memoryOrders{answers: map[string]string{}}
		fine := func(string) error { return nil }
		outbox := &memoryOutbox{ids: map[string]int{}, fault: fine}
		ctx, stop := context.WithCancel(t.Context())
		begun := make(chan *Pipeline, 1)
		made := func(p *Pipeline) { p.Orders = orders; begun <- p }
		var wg sync.WaitGroup
		wg.Go(func() {
			lifeWith(ctx, t, log, store, group, outbox, fine, rand.New(rand.NewPCG(9, 2)), made)
		})
		p := <-begun
		state := func() LaneStatus { return p.Status()[0] }
		wait := func(what string, ok func() bool) {
			t.Helper()
			for range 600 {
				if ok() {
					return
				}
				time.Sleep(time.Second)
			}
			t.Fatalf("did not come true: %s; %+v", what, state())
		}
		time.Sleep(time.Second)
		wait("it parks", func() bool { return state().State == stateParked && state().Reason == string(ParkNoLedger) })
		resume := orders.give(Order{Verb: OrderResume})
		wait("resume is done", func() bool { return orders.answer(resume) == "done: the lane starts again" })
		wait("it parks again", func() bool { return state().State == stateParked })
		for want, o := range map[string]Order{
			"refused: the lane stood at 7 when this was ordered, and stands at 0: look again":                                                {Verb: OrderSkip, From: 7, To: 100},
			"refused: the log ends at 600: what is not there yet cannot be skipped; raise the binding's epoch when the topic was made again": {Verb: OrderSkip, From: 0, To: 601},
		} {
			id := orders.give(o)
			wait(want, func() bool { return orders.answer(id) == want })
		}
		skip := Order{Verb: OrderSkip, From: 0, To: 50}
		one, two := orders.give(skip), orders.give(skip)
		wait("skip is done, once", func() bool {
			return orders.answer(one) == "done: [0, 50) is skipped" && orders.answer(two) == "done: [0, 50) is skipped"
		})
		wait("it goes on", func() bool { return state().Done == 600 })
		if n := len(store.lines); store.lines[0].Status != scoring.LineSkipped || store.lines[0].To != 50 || n == 0 {
			t.Errorf("first line %+v", store.lines[0])
		}
		for _, l := range store.lines[1:] {
			if l.Status == scoring.LineSkipped || l.StateFrom != 50 {
				t.Errorf("line %+v: want one skipped line, and state from 50 behind it", l)
			}
		}
		late := orders.give(Order{Verb: OrderResume})
		wait("a lane that runs refuses", func() bool {
			return orders.answer(late) == "refused: the lane is running and not parked; --force orders it all the same"
		})
		forced := orders.give(Order{Verb: OrderResume, Force: true})
		wait("unless it is forced", func() bool { return orders.answer(forced) == "done: the lane starts again" })
		stop()
		wg.Wait()
		r, err := (&Reconciler{Log: log, Audit: memoryAudit{store}}).Lane(t.Context(), "agent.events.a", 0, 0, false)
		if err != nil || !r.OK() || r.Skipped != 50 {
			t.Errorf("%+v, %v: want 50 offsets skipped and no finding", r, err)
		}
	})
}
