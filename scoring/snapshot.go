package scoring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A snapshot is a list of chunks. The first names features, families and rules, so that the state survives a pack
// whose definitions did not change; the others hold agents, the one not heard of for longest first.
const (
	snapshotVersion = 3         // 1 knew nothing of packs that bring new features, 2 nothing of its key
	chunkSize       = 256 << 10 // an agent is never cut in two
)

// keyMark is what a snapshot holds the hash of, so that it is never read under another key: no agent would be found in it.
const keyMark = "agentrisk state key"

// StateVersion stands beside every saved state, where a program looks before it reads any: that of the engine, and
// that of the form. A program of another version refuses the state and falls back to what it can read.
var StateVersion = stateVersion(EngineVersion, snapshotVersion)

// CanLoad reports whether this engine reads a state that was saved under that version.
func CanLoad(version string) bool {
	for v := 1; v <= snapshotVersion; v++ {
		if version == stateVersion(EngineVersion, v) {
			return true
		}
	}
	return false
}

func stateVersion(engine string, form int) string {
	if form == 1 {
		return engine
	}
	return fmt.Sprintf("%s.%d", engine, form)
}

// Save writes the state in chunks, in an order that only the stream of events decides. A chunk is used again after
// write returns.
func (g *Engine) Save(write func(chunk []byte) error) error {
	w := &writer{}
	w.uint(snapshotVersion)
	n := g.names()
	w.texts(n.features)
	w.texts(n.families)
	w.texts(n.rules)
	w.uint(uint64(g.packs))
	for _, b := range g.born {
		w.uint(uint64(b))
	}
	w.uint(g.hash(keyMark))
	w.uint(g.evictions)
	w.int(g.evictedAt)
	tenants := make([]uint64, 0, len(g.evicted))
	for t := range g.evicted {
		tenants = append(tenants, t)
	}
	slices.Sort(tenants)
	w.uint(uint64(len(tenants)))
	for _, t := range tenants {
		w.uint(t)
		w.int(g.evicted[t])
	}
	if err := write(w.b); err != nil {
		return err
	}
	w.b = w.b[:0]
	for a := g.oldest; a != nil; a = a.newer {
		w.agent(a)
		if len(w.b) >= chunkSize || a.newer == nil {
			if err := write(w.b); err != nil {
				return err
			}
			w.b = w.b[:0]
		}
	}
	return nil
}

// Load replaces the state by a snapshot; next returns io.EOF after the last chunk. State of features that the pack
// does not have is dropped; features that the snapshot does not have start cold. After an error the engine must not
// be used.
func (g *Engine) Load(next func() ([]byte, error)) error {
	b, err := next()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	r := &reader{b: b}
	if r.version = r.uint(); r.version < 1 || r.version > snapshotVersion {
		return fmt.Errorf("snapshot: version %d, this engine reads 1 to %d", r.version, snapshotVersion)
	}
	g.agents, g.newest, g.oldest, g.bytes, g.evicted = map[uint64]*agent{}, nil, nil, 0, map[uint64]int64{}
	saved := names{r.texts(), r.texts(), r.texts()}
	r.at = g.names().places(saved)
	born, packs := make([]uint32, len(saved.features)), uint32(0)
	if r.version >= 2 {
		packs = uint32(r.uint())
		for i := range born {
			born[i] = uint32(r.uint())
		}
	}
	if r.version >= 3 {
		if mark := r.uint(); r.err == nil && mark != g.hash(keyMark) {
			return errors.New("snapshot: saved under another state key: give this process the one that it was saved under, or let the state be made from the log")
		}
	}
	g.inherit(r.at, born, packs)
	g.evictions = r.uint()
	g.evictedAt = r.int()
	for range r.count(maxColdNames) {
		t := r.uint()
		g.evicted[t] = r.int()
	}
	for r.err == nil {
		if b, err = next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		for r.b = b; len(r.b) > 0 && r.err == nil; {
			a := r.agent()
			if r.err != nil {
				break
			}
			if g.agents[a.key] != nil {
				return errors.New("snapshot: an agent stands twice in it")
			}
			a.bytes = a.size()
			g.bytes += a.bytes
			g.agents[a.key] = a
			g.front(a)
		}
	}
	return fmt.Errorf("snapshot: %w", r.err)
}

type writer struct{ b []byte }

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) text(s string) { w.b = appendText(w.b, s) }

func (w *writer) texts(list []string) {
	w.uint(uint64(len(list)))
	for _, s := range list {
		w.text(s)
	}
}

func (w *writer) agent(a *agent) {
	w.uint(a.key)
	w.uint(a.tenant)
	w.int(a.clock)
	w.int(a.coldUntil)
	w.uint(uint64(a.era.pack))
	w.uint(uint64(a.era.warm))
	w.int(a.era.at)
	w.uint(uint64(a.order))
	w.uint(uint64(len(a.seen)))
	for _, s := range a.seen {
		w.uint(s.id)
		w.uint(s.payload)
	}
	w.best(a.best)
	w.cells(a.cells)
	w.uint(uint64(len(a.sessions)))
	for _, s := range a.sessions {
		w.uint(s.key)
		w.int(s.last)
		w.best(s.best)
		w.uint(map[bool]uint64{true: 1}[s.rose])
		w.uint(uint64(len(s.paged)))
		for _, p := range s.paged {
			w.uint(uint64(p))
		}
		w.cells(s.cells)
	}
}

func (w *writer) best(list []agedWeight) {
	w.uint(uint64(len(list)))
	for _, b := range list {
		w.uint(uint64(b.family))
		w.uint(uint64(b.weight))
		w.int(b.at)
	}
}

func (w *writer) cells(list []cell) {
	w.uint(uint64(len(list)))
	for i := range list {
		c := &list[i]
		w.uint(uint64(c.feature))
		w.uint(c.sub)
		w.uint(uint64(c.used))
		w.int(c.head)
		w.uint(uint64(len(c.values)))
		for _, v := range c.values {
			w.int(v)
		}
		w.uint(uint64(len(c.distinct)))
		for _, d := range c.distinct {
			w.uint(d.hash)
			w.int(d.bucket)
		}
		w.int(c.last)
		w.uint(uint64(len(c.partials)))
		for _, p := range c.partials {
			w.uint(uint64(p.next))
			w.int(p.start)
			w.uint(p.same)
			w.uint(p.differ)
		}
	}
}

// reader reads what writer wrote; its first error stays.
type reader struct {
	b       []byte
	err     error
	version uint64
	at      places // in this pack, of what the snapshot numbers
}

// ErrDamaged is the error of a saved state that is not what was written: no attempt more makes it whole, and another one
// has to do.
var ErrDamaged = errors.New("damaged")

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.err = nil, ErrDamaged
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.err = nil, ErrDamaged
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a length that is at most limit.
func (r *reader) count(limit int) int {
	n := r.uint()
	if n > uint64(limit) || n > uint64(len(r.b)) {
		if n > 0 {
			r.b, r.err = nil, ErrDamaged
		}
		return 0
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.count(1 << 10)
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) texts() []string {
	list := make([]string, r.count(1<<16))
	for i := range list {
		list[i] = r.text()
	}
	return list
}

// number reads a snapshot's number and returns this pack's, -1 for what it lacks.
func (r *reader) number(index []int) int {
	n := r.uint()
	if n >= uint64(len(index)) {
		r.b, r.err = nil, ErrDamaged
		return -1
	}
	return index[n]
}

func (r *reader) agent() *agent {
	a := &agent{key: r.uint(), tenant: r.uint(), clock: r.int(), coldUntil: r.int()}
	if r.version >= 2 {
		a.era = era{pack: uint32(r.uint()), warm: uint32(r.uint()), at: r.int()}
	}
	a.order = uint32(r.uint())
	for range r.count(maxSeenIDs) {
		a.seen = append(a.seen, seenID{r.uint(), r.uint()})
	}
	a.best, a.cells = r.best(), r.cells()
	for range r.count(maxSessions) {
		s := &session{key: r.uint(), last: r.int(), best: r.best(), rose: r.uint() == 1}
		for range r.count(1 << 16) {
			if n := r.number(r.at.rules); n >= 0 {
				s.paged = append(s.paged, uint16(n))
			}
		}
		s.cells = r.cells()
		a.sessions = append(a.sessions, s)
	}
	return a
}

func (r *reader) best() (list []agedWeight) {
	for range r.count(256) {
		f, b := r.number(r.at.families), agedWeight{weight: uint16(min(r.uint(), 999)), at: r.int()}
		if f >= 0 {
			b.family = uint16(f)
			list = append(list, b)
		}
	}
	return list
}

func (r *reader) cells() (list []cell) {
	for range r.count(1 << 16) {
		f := r.number(r.at.features)
		c := cell{sub: r.uint(), used: uint32(r.uint()), head: r.int()}
		for range r.count(buckets) {
			c.values = append(c.values, r.int())
		}
		for range r.count(maxDistinct) {
			c.distinct = append(c.distinct, distinctValue{r.uint(), r.int()})
		}
		c.last = r.int()
		for range r.count(maxPartials) {
			c.partials = append(c.partials, partial{uint8(r.uint()), r.int(), r.uint(), r.uint()})
		}
		if f >= 0 {
			c.feature = uint16(f)
			list = append(list, c)
		}
	}
	return list
}
