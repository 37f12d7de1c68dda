package scoring

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// whole is the survival that a score starts from, and full the score of certainty in milli-points.
const (
	whole int64 = 1_000_000_000_000
	full  Score = 100_000
)

// survive is what is left of the chance s of being harmless after a hit of weight w thousandths.
func survive(s int64, w int) int64 { return (s*int64(1000-w) + 500) / 1000 }

func scoreOf(s int64) Score { return Score((whole - s) / 10_000_000) }

// Combine returns the score of the strongest weights (thousandths) of different families. It sorts them: rounding
// depends on the order from six families on, so the order is fixed, falling. Equal weights commute.
func Combine(weights []int) Score {
	slices.SortFunc(weights, func(a, b int) int { return b - a })
	s := whole
	for _, w := range weights {
		s = survive(s, w)
	}
	return scoreOf(s)
}

// scoreHits scores the hits and shares the score among them. Within a family the strongest hit counts, ties by
// rule id; the others, shadow rules and weight 0 contribute nothing. Shares are by -ln(1-w) with integer division;
// what is left over goes to the strongest, so that they add up to the score.
func (g *Engine) scoreHits(hits []Hit) Score {
	rules := g.pack.Rules
	slices.SortFunc(hits, func(a, b Hit) int {
		ra, rb := &rules[a.Rule], &rules[b.Rule]
		return cmp.Or(rb.Weight-ra.Weight, cmp.Compare(ra.ID, rb.ID))
	})
	s, total := whole, int64(0)
	g.counted = g.counted[:0]
	var seen [4]uint64 // families that have counted already
	for i := range hits {
		r := &rules[hits[i].Rule]
		f := g.familyOf[hits[i].Rule]
		if r.Status == Shadow || r.Weight == 0 || seen[f/64]&(1<<(f%64)) != 0 {
			continue
		}
		seen[f/64] |= 1 << (f % 64)
		s = survive(s, r.Weight)
		total += share[r.Weight]
		g.counted = append(g.counted, i)
	}
	if total == 0 {
		return 0
	}
	score := scoreOf(s)
	left := score
	for _, i := range g.counted {
		c := Score(int64(score) * share[rules[hits[i].Rule].Weight] / total)
		hits[i].Contribution = c
		left -= c
	}
	hits[g.counted[0]].Contribution += left
	slices.SortStableFunc(hits, func(a, b Hit) int { return int(b.Contribution - a.Contribution) })
	return score
}

// halfLife of an agent's weights.
const halfLife = 6 * 60 * 60 * 1000

// decay is what is left of a weight after dt milliseconds.
func decay(w int, dt int64) int {
	if dt <= 0 {
		return w
	}
	n := dt / halfLife
	if n >= 16 {
		return 0
	}
	k := dt % halfLife * 64 / halfLife
	return int((int64(w)*halving[k] + 1<<19) >> 20 >> n)
}

// LevelOf is the level of a score: info < 10, low < 30, medium < 60, high < 85, critical.
func LevelOf(s Score) Level {
	switch {
	case s < 10_000:
		return LevelInfo
	case s < 30_000:
		return LevelLow
	case s < 60_000:
		return LevelMedium
	case s < 85_000:
		return LevelHigh
	}
	return LevelCritical
}

// Append writes the score in points with at most three decimals: 87, 40.5, 0.125.
func (s Score) Append(dst []byte) []byte {
	dst = strconv.AppendInt(dst, int64(s)/1000, 10)
	if rest := int64(s) % 1000; rest != 0 {
		dst = append(dst, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return dst
}

func (s Score) String() string { return string(s.Append(nil)) }

// MarshalJSON writes the score in points.
func (s Score) MarshalJSON() ([]byte, error) { return s.Append(nil), nil }

// UnmarshalJSON reads a score in points.
func (s *Score) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || f < 0 || f > 100 {
		return fmt.Errorf("score %.40q: want 0 to 100", b)
	}
	*s = Score(f*1000 + 0.5)
	return nil
}
