package ingest

import (
	"sort"
	"sync/atomic"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// laneStatus is what other goroutines may read of a lane.
type laneStatus struct {
	state         atomic.Pointer[stateText]
	highWatermark atomic.Int64
	position      atomic.Int64
	done          atomic.Int64
	planTo        atomic.Int64
	planAt        atomic.Pointer[time.Time] // with its monotonic reading: the clock may be set meanwhile; nil without a plan
	stats         atomic.Pointer[scoring.Stats]
	pack          atomic.Pointer[scoring.Pack]
}

type stateText struct {
	state  string
	reason ParkReason // parked only
	detail string
	since  time.Time
}

// States of a lane.
const (
	stateStarting = "starting"
	stateRunning  = "running"
	stateRetrying = "retrying"
	stateWaiting  = "waiting"
	stateParked   = "parked"
	stateDrained  = "drained"
)

func (s *laneStatus) set(state, detail string) { s.enter(stateText{state: state, detail: detail}) }

func (s *laneStatus) park(p *Park) {
	s.enter(stateText{state: stateParked, reason: p.Reason, detail: p.Detail})
}

func (s *laneStatus) enter(t stateText) {
	t.since = time.Now()
	if was := s.state.Load(); was != nil && was.state == t.state && was.reason == t.reason {
		t.since = was.since
	}
	s.state.Store(&t)
}

func (s *laneStatus) planned(r scoring.Range, at time.Time) {
	s.planTo.Store(r.To)
	s.planAt.Store(&at)
}

func (s *laneStatus) finished(to int64, state scoring.Stats) {
	s.done.Store(to)
	s.planAt.Store(nil)
	s.stats.Store(&state)
}

// LaneStatus is a lane as operators see it.
type LaneStatus struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Epoch     int32     `json:"epoch"`
	State     string    `json:"state"`
	Reason    string    `json:"reason,omitempty"` // why it is parked
	Detail    string    `json:"detail,omitempty"`
	Since     time.Time `json:"since"` // when it came into this state
	Done      int64     `json:"done"`
	Position  int64     `json:"position"`
	End       int64     `json:"end"`
	Pack      string    `json:"pack,omitempty"` // digest of the pack that judges what comes next
	PlanTo    int64     `json:"plan_to,omitempty"`
	PlanAge   string    `json:"plan_age,omitempty"`

	// The state in memory, as the last batch left it. Evictions count from the lane's cold start.
	Agents     int    `json:"agents"`
	StateBytes int64  `json:"state_bytes"`
	Evictions  uint64 `json:"evictions"`
}

// Lag is the number of offsets that are not stored yet.
func (s LaneStatus) Lag() int64 { return max(0, s.End-s.Done) }

// Status lists the lanes of this process by topic and partition.
func (p *Pipeline) Status() []LaneStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]LaneStatus, 0, len(p.lanes))
	for _, l := range p.lanes {
		t := l.status.state.Load()
		s := LaneStatus{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, State: t.state, Reason: string(t.reason), Detail: t.detail, Since: t.since.UTC(),
			Done: l.status.done.Load(), Position: l.status.position.Load(), End: l.status.highWatermark.Load()}
		if pack := l.status.pack.Load(); pack != nil {
			s.Pack = pack.Digest
		}
		if g := l.status.stats.Load(); g != nil {
			s.Agents, s.StateBytes, s.Evictions = g.Agents, g.Bytes, g.Evictions
		}
		if at := l.status.planAt.Load(); at != nil {
			s.PlanTo, s.PlanAge = l.status.planTo.Load(), p.now().Sub(*at).Round(time.Millisecond).String()
		}
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Topic != list[j].Topic {
			return list[i].Topic < list[j].Topic
		}
		return list[i].Partition < list[j].Partition
	})
	return list
}
