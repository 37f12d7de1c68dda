package scoring

import "slices"

// A pack may change while an engine holds state. A feature whose definition did not change keeps what it has counted.
// One that is new has counted nothing yet of the agents that were there before: until an agent's own clock has passed
// the feature's window, verdicts for which a rule reads it are marked cold. Agents that came later miss nothing.

// era is since when an agent is judged by the features that the pack has now. Packs that brought new features are
// numbered by the engine, from 1 on.
type era struct {
	pack uint32 // number of the newest such pack that the agent has met
	warm uint32 // features of this pack and of earlier ones have seen a whole window
	at   int64  // the agent's clock when it met the newest
}

// maxWindow is the longest time that a feature looks back. Those without a window count as having this one.
const maxWindow = 24 * 60 * 60_000

// eraAt is the agent's era at its next event, when the engine's newest pack with new features is number n.
func (a *agent) eraAt(n uint32) era {
	if a.era.pack == n {
		return a.era
	}
	e := era{pack: n, warm: a.era.pack, at: a.clock}
	if a.era.warm != a.era.pack && a.clock-a.era.at < maxWindow {
		e.warm = a.era.warm // what the pack before brought is still filling
	}
	return e
}

// young reports whether the feature has not yet seen a whole window of an agent in era e.
func (g *Engine) young(e era, feature int, now int64) bool {
	window := g.pack.Features[feature].Window
	if window == 0 {
		window = maxWindow
	}
	return g.born[feature] > e.warm && now-e.at < window
}

// use makes p the engine's pack, without any state.
func (g *Engine) use(p *Pack) {
	g.pack, g.eval = p, p.NewEvaluator()
	g.values, g.computed, g.born = make([]int64, len(p.Features)), make([]bool, len(p.Features)), make([]uint32, len(p.Features))
	g.familyOf, g.families = nil, nil
	for _, r := range p.Rules {
		f := slices.Index(g.families, r.Family)
		if f < 0 {
			f = len(g.families)
			g.families = append(g.families, r.Family)
		}
		g.familyOf = append(g.familyOf, uint16(f))
	}
}

// names are what state hangs on beside agents: their numbers change with the pack.
type names struct{ features, families, rules []string }

func (g *Engine) names() (n names) {
	for i := range g.pack.Features {
		n.features = append(n.features, g.pack.Features[i].ID)
	}
	for i := range g.pack.Rules {
		n.rules = append(n.rules, g.pack.Rules[i].ID)
	}
	n.families = g.families
	return n
}

// places are the numbers in this pack of what another one numbers, -1 for what this one lacks.
type places struct{ features, families, rules []int }

func (n names) places(old names) places {
	return places{findEach(n.features, old.features), findEach(n.families, old.families), findEach(n.rules, old.rules)}
}

// findEach finds each text of old in list; what stands there twice is found twice.
func findEach(list, old []string) []int {
	free := map[string][]int{}
	for i, s := range list {
		free[s] = append(free[s], i)
	}
	out := make([]int, len(old))
	for i, s := range old {
		if out[i] = -1; len(free[s]) > 0 {
			out[i], free[s] = free[s][0], free[s][1:]
		}
	}
	return out
}

// inherit gives features that were there before their number, and those that are new the next one.
func (g *Engine) inherit(at places, born []uint32, newest uint32) {
	g.packs = newest
	known := make([]bool, len(g.born))
	for old, i := range at.features {
		if i >= 0 {
			g.born[i], known[i] = born[old], true
		}
	}
	if slices.Contains(known, false) {
		g.packs++
	}
	for i := range g.born {
		if !known[i] {
			g.born[i] = g.packs
		}
	}
}

// Adopt makes p the engine's pack and keeps the state of what p has in common with the pack before: the same as to save
// the state and to load it into an engine of p. It must not be called between the judgement of an event and the next
// one's, as everything else.
func (g *Engine) Adopt(p *Pack) {
	before, born := g.names(), g.born
	g.use(p)
	at := g.names().places(before)
	g.inherit(at, born, g.packs)
	g.bytes = 0
	for a := g.oldest; a != nil; a = a.newer {
		a.move(at)
		a.bytes = a.size()
		g.bytes += a.bytes
	}
}

// move gives everything that the agent has its numbers in another pack, and drops what that lacks.
func (a *agent) move(at places) {
	a.best, a.cells = moveBest(a.best, at.families), moveCells(a.cells, at.features)
	for _, s := range a.sessions {
		s.best, s.cells = moveBest(s.best, at.families), moveCells(s.cells, at.features)
		paged := s.paged[:0]
		for _, p := range s.paged {
			if n := at.rules[p]; n >= 0 {
				paged = append(paged, uint16(n))
			}
		}
		s.paged = paged
	}
}

func moveBest(list []agedWeight, at []int) []agedWeight {
	kept := list[:0]
	for _, b := range list {
		if n := at[b.family]; n >= 0 {
			b.family = uint16(n)
			kept = append(kept, b)
		}
	}
	return kept
}

func moveCells(list []cell, at []int) []cell {
	kept := list[:0]
	for _, c := range list {
		if n := at[c.feature]; n >= 0 {
			c.feature = uint16(n)
			kept = append(kept, c)
		}
	}
	clear(list[len(kept):])
	return kept
}
