package scoring

import "slices"

// Bounds of an agent's state; they are part of the engine's version.
const (
	buckets      = 12          // of a window
	maxSubKeys   = 32          // of a feature with `by`, the most recent
	maxDistinct  = 256         // values that Distinct tells apart
	maxPartials  = 8           // unfinished runs of a sequence
	maxSessions  = 64          // open sessions of an agent
	maxSeenIDs   = 8           // ids remembered for retries
	sessionIdle  = 30 * 60_000 // milliseconds after which a session is closed
	lateAfter    = 60 * 60_000 // behind the agent's clock
	coldFor      = 24 * 60 * 60_000
	maxColdNames = 4096 // tenants whose last eviction is remembered one by one
)

// agent is what a lane knows of one agent.
type agent struct {
	key, tenant uint64
	clock       int64 // newest state time
	coldUntil   int64
	era         era
	order       uint32 // counts events, to tell which sub-key is older
	seen        []seenID
	best        []agedWeight // of each family
	cells       []cell
	sessions    []*session // least recent first
	bytes       int64

	newer, older *agent // by the lane's order of records
}

type seenID struct{ id, payload uint64 }

type agedWeight struct {
	family, weight uint16
	at             int64
}

// session is what a lane knows of one session.
type session struct {
	key   uint64
	last  int64 // the agent's clock at its newest event
	best  []agedWeight
	rose  bool
	paged []uint16 // rules that have paged, by index
	cells []cell
}

// cell is the state of one feature and one sub-key.
type cell struct {
	feature  uint16
	sub      uint64
	used     uint32 // the agent's order when it last changed
	head     int64  // newest bucket of values
	values   []int64
	distinct []distinctValue
	last     int64 // Since: time of the last match plus one, 0 for none
	partials []partial
}

type distinctValue struct {
	hash   uint64
	bucket int64
}

// partial is an unfinished run of a sequence.
type partial struct {
	next         uint8
	start        int64
	same, differ uint64
}

// Sizes for accounting, about what the runtime needs.
const (
	agentBytes   = 240
	sessionBytes = 120
	cellBytes    = 136
)

func cellsSize(cells []cell) (n int64) {
	for i := range cells {
		c := &cells[i]
		n += cellBytes + int64(cap(c.values))*8 + int64(cap(c.distinct))*16 + int64(cap(c.partials))*32
	}
	return n
}

// MaxBytes is the most that the feature keeps of one agent or session, about.
func (f *Feature) MaxBytes() int64 {
	n := int64(cellBytes)
	switch f.Kind {
	case Count, Sum, Max:
		n += buckets * 8
	case Distinct:
		n += maxDistinct * 16
	case Sequence:
		n += maxPartials * 32
	}
	if len(f.By) > 0 {
		n *= maxSubKeys
	}
	return n
}

func (a *agent) size() int64 {
	n := agentBytes + int64(cap(a.seen)+cap(a.best))*16 + cellsSize(a.cells)
	for _, s := range a.sessions {
		n += sessionBytes + int64(cap(s.best))*16 + int64(cap(s.paged))*2 + cellsSize(s.cells)
	}
	return n
}

// find returns the cell of a feature's sub-key, nil when there is none.
func find(cells []cell, feature int, sub uint64) *cell {
	for i := range cells {
		if c := &cells[i]; int(c.feature) == feature && c.sub == sub {
			return c
		}
	}
	return nil
}

// obtain returns the cell, making it in place of the feature's least recent sub-key when there are too many.
func obtain(cells *[]cell, feature int, sub uint64) *cell {
	if c := find(*cells, feature, sub); c != nil {
		return c
	}
	n, oldest := 0, -1
	for i := range *cells {
		if c := &(*cells)[i]; int(c.feature) == feature {
			if n++; oldest < 0 || c.used < (*cells)[oldest].used {
				oldest = i
			}
		}
	}
	if n >= maxSubKeys {
		(*cells)[oldest] = cell{feature: uint16(feature), sub: sub}
		return &(*cells)[oldest]
	}
	*cells = append(*cells, cell{feature: uint16(feature), sub: sub})
	return &(*cells)[len(*cells)-1]
}

// session returns the open session of the key, nil when there is none.
func (a *agent) session(key uint64, now int64) *session {
	for _, s := range a.sessions {
		if s.key == key && now-s.last <= sessionIdle {
			return s
		}
	}
	return nil
}

// touch makes the session the most recent, opens it if need be, and closes those that were idle too long.
// It reports whether an open session had to go.
func (a *agent) touch(key uint64, now int64) (s *session, evicted bool) {
	a.sessions = slices.DeleteFunc(a.sessions, func(o *session) bool {
		if now-o.last > sessionIdle {
			return true
		}
		if o.key == key {
			s = o
			return true
		}
		return false
	})
	if s == nil {
		s = &session{key: key}
		if len(a.sessions) >= maxSessions {
			a.sessions, evicted = slices.Delete(a.sessions, 0, 1), true
		}
	}
	s.last = now
	a.sessions = append(a.sessions, s)
	return s, evicted
}

// raise notes a family's weight when it is at least what is left of the one before.
func raise(best []agedWeight, family uint16, weight int, now int64, aging bool) []agedWeight {
	for i := range best {
		b := &best[i]
		if b.family != family {
			continue
		}
		left := int(b.weight)
		if aging {
			left = decay(left, now-b.at)
		}
		if weight >= left {
			*b = agedWeight{family, uint16(weight), now}
		}
		return best
	}
	return append(best, agedWeight{family, uint16(weight), now})
}
