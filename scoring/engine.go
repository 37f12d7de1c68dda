package scoring

import (
	"encoding/binary"
	"slices"

	"github.com/dchest/siphash"
)

// EngineVersion covers decoders, derivations and the meaning of features: it changes when the same pack would judge
// the same events otherwise. It stands on every row and in every snapshot.
const EngineVersion = "2"

// Options of an engine. The zero value suits `agentrisk score`.
type Options struct {
	// Key of the hashes that stand for values in the state. Verdicts do not depend on it, but for collisions:
	// two of a million keys are equal with a chance below one in ten million.
	Key [16]byte
	// MaxBytes bounds the state, about; 0 means 256 MiB.
	MaxBytes int64
}

// Engine judges events one after the other and keeps the state that this needs. Verdicts depend on the pack and on
// earlier events of the same agent, on nothing else; what had to be evicted is marked. It is not safe for
// concurrent use.
type Engine struct {
	pack     *Pack
	eval     Evaluator
	k0, k1   uint64
	maxBytes int64

	familyOf []uint16 // by rule
	families []string
	born     []uint32 // by feature: number of the pack that brought it, 0 for those of the engine's first pack
	packs    uint32   // that brought new features, so far

	agents         map[uint64]*agent
	newest, oldest *agent
	bytes          int64
	evictions      uint64
	evicted        map[uint64]int64 // tenant: state time of its last eviction
	evictedAt      int64            // of the tenants that are not remembered one by one

	// Scratch of one judgement.
	buf      []byte
	list     []int
	updates  []update
	values   []int64
	computed []bool
	counted  []int
	weights  []int
}

// NewEngine returns an engine without state.
func NewEngine(p *Pack, o Options) *Engine {
	g := &Engine{maxBytes: o.MaxBytes, agents: map[uint64]*agent{}, evicted: map[uint64]int64{},
		k0: binary.LittleEndian.Uint64(o.Key[:8]), k1: binary.LittleEndian.Uint64(o.Key[8:])}
	if g.maxBytes == 0 {
		g.maxBytes = 256 << 20
	}
	g.use(p)
	return g
}

// Stats of an engine's state.
type Stats struct {
	Agents    int
	Bytes     int64 // about
	Evictions uint64
}

// Stats returns the size of the state.
func (g *Engine) Stats() Stats {
	return Stats{Agents: len(g.agents), Bytes: g.bytes, Evictions: g.evictions}
}

// Judge fills v with the judgement of e. State is written only after the judgement: a panic leaves it as it was.
func (g *Engine) Judge(e *Event, v *Verdict) {
	v.Reset()
	v.Flags = e.Flags
	t := e.StateTime()
	key, tenant := g.agentKey(e)
	var a *agent
	if key != 0 {
		a = g.agents[key]
	}
	known := a != nil
	if a == nil {
		a = &agent{key: key, tenant: tenant, era: era{pack: g.packs, warm: g.packs}}
		if at, ok := g.evictedFor(tenant); ok && key != 0 && t-at < coldFor {
			a.coldUntil = at + coldFor
		}
	}
	now := max(a.clock, t)
	v.StateTime = now
	if t < now-lateAfter {
		v.Flags |= FlagLate
	}
	if now < a.coldUntil {
		v.Flags |= FlagCold
	}
	id := seenID{}
	if key != 0 && e.Str(FieldEventID) != "" {
		id = seenID{g.hash(e.Str(FieldEventID)), g.payload(e)}
		for _, s := range a.seen {
			if s.id == id.id && s.payload == id.payload {
				v.Flags |= FlagDuplicate
			} else if s.id == id.id {
				v.Flags |= FlagIDReused
			}
		}
	}
	sessionKey := g.hash(e.Str(FieldSession))
	s := a.session(sessionKey, now)
	if v.Flags&FlagDuplicate != 0 {
		v.SessionScore, v.AgentScore = g.totals(a, s, nil, now)
		return
	}
	if v.Flags&FlagIDReused != 0 {
		e.SetBool(FieldIDReused, true)
	}
	g.judge(e, v, a, s, now, t)
	v.Score = g.scoreHits(v.Hits)
	v.Level = LevelOf(v.Score)
	g.Explain(v)
	before, _ := g.totals(a, s, nil, now)
	v.SessionScore, v.AgentScore = g.totals(a, s, v.Hits, now)
	g.alert(v, s, before)
	e.Flags = v.Flags
	if key == 0 {
		return
	}
	g.write(e, v, a, known, sessionKey, id, now, t)
}

// Explain says again why the hits of the event that was judged last did match, after a field of it was changed.
func (g *Engine) Explain(v *Verdict) {
	for i := range v.Hits {
		v.Hits[i].Why = g.eval.Why(v.Hits[i].Rule)
	}
}

// judge evaluates features and rules without touching the state.
func (g *Engine) judge(e *Event, v *Verdict, a *agent, s *session, now, t int64) {
	perAgent := e.KeyedBy == KeyedByAgent && a.key != 0
	perSession := e.KeyedBy != KeyedByNone && a.key != 0 && e.Str(FieldSession) != ""
	since := a.eraAt(g.packs)
	g.eval.Bind(e)
	clear(g.computed)
	g.updates = g.updates[:0]
	g.list = g.eval.Features(g.list[:0])
	for _, i := range g.list {
		f := &g.pack.Features[i]
		if f.Per == PerAgent && !perAgent || f.Per == PerSession && !perSession {
			continue
		}
		u, err := g.update(e, i)
		if err != nil {
			v.Flags |= FlagRuleFailed
		}
		if err == nil && (u.match || u.steps != 0 || u.reset) {
			g.updates = append(g.updates, u)
		}
	}
	g.list = g.eval.Rules(g.list[:0])
	for _, i := range g.list {
		r := &g.pack.Rules[i]
		if r.NeedsAgent && !perAgent || r.NeedsSession && !perSession {
			v.Lacks = append(v.Lacks, i)
			continue
		}
		for _, f := range r.Features {
			g.compute(e, f, a, s, now, t)
			if g.young(since, f, now) {
				v.Flags |= FlagCold
			}
		}
		switch hit, err := g.eval.When(i); {
		case err != nil:
			v.Failed = append(v.Failed, i)
			v.Flags |= FlagRuleFailed
		case hit:
			v.Hits = append(v.Hits, Hit{Rule: i})
		}
	}
}

// update asks what the event would do to the feature.
func (g *Engine) update(e *Event, i int) (u update, err error) {
	f := &g.pack.Features[i]
	u.feature = i
	if f.HasReset {
		if u.reset, err = g.eval.Reset(i); err != nil {
			return u, err
		}
	}
	if f.Kind == Sequence {
		for n := range f.Steps {
			ok, err := g.eval.Step(i, n)
			if err != nil {
				return u, err
			}
			if ok {
				u.steps |= 1 << n
			}
		}
		if u.steps != 0 {
			u.same, u.differ = g.fields(e, f.Same), g.fields(e, f.Differ)
		}
	} else if u.match, err = g.eval.Step(i, 0); err != nil || !u.match && !u.reset {
		return u, err
	}
	u.sub = g.fields(e, f.By)
	if !u.match {
		return u, nil
	}
	switch f.Kind {
	case Count:
		u.value = 1
	case Sum, Max:
		u.value, err = g.eval.Value(i)
	case Distinct:
		u.hash = g.fields(e, []FieldID{f.Distinct})
	}
	return u, err
}

// compute gives the evaluator a feature's value, once an event.
func (g *Engine) compute(e *Event, i int, a *agent, s *session, now, t int64) {
	if g.computed[i] {
		return
	}
	g.computed[i] = true
	f := &g.pack.Features[i]
	var u *update
	for n := range g.updates {
		if g.updates[n].feature == i {
			u = &g.updates[n]
		}
	}
	sub := uint64(0)
	if u != nil {
		sub = u.sub
	} else if len(f.By) > 0 {
		sub = g.fields(e, f.By)
	}
	var c *cell
	if f.Per == PerAgent {
		c = find(a.cells, i, sub)
	} else if s != nil {
		c = find(s.cells, i, sub)
	}
	g.eval.SetFeature(i, f.value(c, u, now, t))
}

// totals are the session's and the agent's score with these hits.
func (g *Engine) totals(a *agent, s *session, hits []Hit, now int64) (ofSession, ofAgent Score) {
	total := func(best []agedWeight, aging bool) Score {
		g.weights = g.weights[:0]
		var strongest [256]int
		used := len(g.families)
		for _, b := range best {
			w := int(b.weight)
			if aging {
				w = decay(w, now-b.at)
			}
			strongest[b.family] = max(strongest[b.family], w)
		}
		for _, h := range hits {
			if r := &g.pack.Rules[h.Rule]; r.Status != Shadow {
				f := g.familyOf[h.Rule]
				strongest[f] = max(strongest[f], r.Weight)
			}
		}
		for _, w := range strongest[:used] {
			if w > 0 {
				g.weights = append(g.weights, w)
			}
		}
		return Combine(g.weights)
	}
	if s != nil {
		ofSession = total(s.best, false)
	} else if len(hits) > 0 {
		ofSession = total(nil, false)
	}
	if len(a.best) > 0 || len(hits) > 0 {
		ofAgent = total(a.best, true)
	}
	return ofSession, ofAgent
}

// alert decides whether someone must hear of the verdict: the first time the session rises to high or above, or a
// rule with alert, once a session. Only stable rules page.
func (g *Engine) alert(v *Verdict, s *session, before Score) {
	stable := false
	for _, h := range v.Hits {
		r := &g.pack.Rules[h.Rule]
		if r.Status != Stable {
			continue
		}
		stable = true
		if r.Alert && (s == nil || !slices.Contains(s.paged, uint16(h.Rule))) {
			v.Alert = AlertByRule
		}
	}
	high := LevelOf(v.SessionScore) >= LevelHigh
	if stable && high && (s == nil || !s.rose) && LevelOf(before) < LevelHigh {
		v.Alert = AlertRose
	}
}

// write enters the event into the state.
func (g *Engine) write(e *Event, v *Verdict, a *agent, known bool, sessionKey uint64, id seenID, now, t int64) {
	if !known {
		g.agents[a.key] = a
	}
	a.era = a.eraAt(g.packs)
	a.clock = now
	a.order++
	if id.id != 0 {
		if len(a.seen) == maxSeenIDs {
			a.seen = append(a.seen[:0], a.seen[1:]...)
		}
		a.seen = append(a.seen, id)
	}
	s, evicted := a.touch(sessionKey, now)
	if evicted {
		a.coldUntil = max(a.coldUntil, now+coldFor)
		g.evictions++
	}
	for i := range g.updates {
		u := &g.updates[i]
		f := &g.pack.Features[u.feature]
		cells := &a.cells
		if f.Per == PerSession {
			cells = &s.cells
		}
		if !u.match && u.steps == 0 && find(*cells, u.feature, u.sub) == nil {
			continue // nothing to forget
		}
		c := obtain(cells, u.feature, u.sub)
		c.used = a.order
		f.write(c, u, now, t)
	}
	for _, h := range v.Hits {
		r := &g.pack.Rules[h.Rule]
		if r.Status == Shadow || r.Weight == 0 {
			continue
		}
		s.best = raise(s.best, g.familyOf[h.Rule], r.Weight, now, false)
		a.best = raise(a.best, g.familyOf[h.Rule], r.Weight, now, true)
	}
	g.page(v, s)
	size := a.size()
	g.bytes += size - a.bytes
	a.bytes = size
	g.front(a)
	g.evict(now)
}

// page remembers what the session has paged for.
func (g *Engine) page(v *Verdict, s *session) {
	s.rose = s.rose || LevelOf(v.SessionScore) >= LevelHigh && v.Alert == AlertRose
	if v.Alert == NoAlert {
		return
	}
	for _, h := range v.Hits {
		if r := &g.pack.Rules[h.Rule]; r.Alert && r.Status == Stable && !slices.Contains(s.paged, uint16(h.Rule)) {
			s.paged = append(s.paged, uint16(h.Rule))
		}
	}
}

// front makes a the agent that was heard of last.
func (g *Engine) front(a *agent) {
	if g.newest == a {
		return
	}
	g.unlink(a)
	a.older = g.newest
	if g.newest != nil {
		g.newest.newer = a
	}
	g.newest = a
	if g.oldest == nil {
		g.oldest = a
	}
}

func (g *Engine) unlink(a *agent) {
	if a.newer != nil {
		a.newer.older = a.older
	}
	if a.older != nil {
		a.older.newer = a.newer
	}
	if g.oldest == a {
		g.oldest = a.newer
	}
	if g.newest == a {
		g.newest = a.older
	}
	a.newer, a.older = nil, nil
}

// evict lets the agents go that were not heard of for longest until the state fits.
func (g *Engine) evict(now int64) {
	for g.bytes > g.maxBytes && g.oldest != g.newest {
		a := g.oldest
		g.unlink(a)
		delete(g.agents, a.key)
		g.bytes -= a.bytes
		g.evictions++
		if _, ok := g.evicted[a.tenant]; ok || len(g.evicted) < maxColdNames {
			g.evicted[a.tenant] = max(g.evicted[a.tenant], now)
		} else {
			g.evictedAt = max(g.evictedAt, now)
		}
	}
}

// evictedFor is when a key of the tenant was last evicted.
func (g *Engine) evictedFor(tenant uint64) (int64, bool) {
	at, ok := g.evicted[tenant]
	if g.evictedAt > at {
		return g.evictedAt, true
	}
	return at, ok
}

// agentKey is the key of the state that the event belongs to, 0 for none. Where the binding is keyed by session the
// session is part of it.
func (g *Engine) agentKey(e *Event) (key, tenant uint64) {
	g.buf = appendText(appendText(g.buf[:0], e.Str(FieldProvider)), e.Str(FieldTenant))
	tenant = siphash.Hash(g.k0, g.k1, g.buf)
	if e.KeyedBy == KeyedByNone || e.Str(FieldAgent) == "" {
		return 0, tenant
	}
	g.buf = appendText(g.buf, e.Str(FieldAgent))
	if e.KeyedBy == KeyedBySession {
		if e.Str(FieldSession) == "" {
			return 0, tenant
		}
		g.buf = appendText(g.buf, e.Str(FieldSession))
	}
	return siphash.Hash(g.k0, g.k1, g.buf) | 1, tenant
}

func (g *Engine) hash(s string) uint64 {
	g.buf = append(g.buf[:0], s...)
	return siphash.Hash(g.k0, g.k1, g.buf)
}

// fields hashes the values of some fields together; 0 for no fields.
func (g *Engine) fields(e *Event, ids []FieldID) uint64 {
	if len(ids) == 0 {
		return 0
	}
	g.buf = g.buf[:0]
	for _, id := range ids {
		g.buf = e.appendField(g.buf, id)
	}
	return siphash.Hash(g.k0, g.k1, g.buf)
}

// payload hashes everything that the event says.
func (g *Engine) payload(e *Event) uint64 {
	g.buf = binary.AppendVarint(g.buf[:0], e.Time)
	for id := range FieldID(numFields) {
		if e.Has(id) {
			g.buf = e.appendField(append(g.buf, byte(id)), id)
		}
	}
	for _, a := range e.Attributes {
		g.buf = appendText(appendText(g.buf, a.Key), a.Value)
	}
	return siphash.Hash(g.k0, g.k1, g.buf)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendField appends a field's value so that different values differ.
func (e *Event) appendField(b []byte, id FieldID) []byte {
	switch Fields[id].Type {
	case String:
		return appendText(b, e.Str(id))
	case Int, Milli:
		return binary.AppendVarint(b, e.Int(id))
	case Bool:
		if e.Bool(id) {
			return append(b, 1)
		}
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(e.List(id))))
	for _, s := range e.List(id) {
		b = appendText(b, s)
	}
	return b
}
