package scoring

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

// The tables are what their comments say. math.Log and math.Exp2 are exact to far more digits than the tables hold;
// where a value lies near a half the big computation decides, and none does.
func TestTables(t *testing.T) {
	for w, got := range share {
		if want := math.Round(-math.Log1p(-float64(w)/1000) * 1e6); float64(got) != want {
			t.Errorf("share[%d] = %d, want %v", w, got, want)
		}
	}
	for k, got := range halving {
		if want := math.Round(math.Exp2(-float64(k)/64) * (1 << 20)); float64(got) != want {
			t.Errorf("halving[%d] = %d, want %v", k, got, want)
		}
	}
}

// combineBig is the formula of the design, step by step in integers of any size.
func combineBig(weights []int) Score {
	weights = slices.Clone(weights)
	slices.Sort(weights)
	slices.Reverse(weights)
	s := big.NewInt(whole)
	for _, w := range weights {
		s.Mul(s, big.NewInt(int64(1000-w)))
		s.Add(s, big.NewInt(500))
		s.Div(s, big.NewInt(1000))
	}
	return Score(s.Sub(big.NewInt(whole), s).Div(s, big.NewInt(10_000_000)).Int64())
}

func TestCombine(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		weights := make([]int, r.IntN(9))
		for i := range weights {
			weights[i] = r.IntN(1000)
		}
		want := combineBig(weights)
		r.Shuffle(len(weights), func(i, j int) { weights[i], weights[j] = weights[j], weights[i] })
		if got := Combine(weights); got != want || got < 0 || got > full {
			t.Fatalf("%v: %d, want %d", weights, got, want)
		}
	}
}

// History 57: the product of six weights differs by order; the order is fixed.
func TestHistory57Order(t *testing.T) {
	weights := []int{504, 481, 450, 205, 140, 78}
	want := combineBig(weights)
	if want != 91_075 && want != 91_074 {
		t.Fatalf("score %d", want)
	}
	for range 100 {
		rand.Shuffle(len(weights), func(i, j int) { weights[i], weights[j] = weights[j], weights[i] })
		if got := Combine(weights); got != want {
			t.Fatalf("%v: %d, want %d", weights, got, want)
		}
	}
}

// Shares add up to the score; the strongest of a family counts, shadow rules and weight 0 do not (history 58: only
// such hits once divided by zero).
func TestHistory58SharesAddUp(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	families := []string{"A", "B", "C", "D", "E", "F", "G"}
	for range 20_000 {
		p := &Pack{NewEvaluator: func() Evaluator { return nil }}
		var hits []Hit
		best := map[string]int{}
		for i := range 1 + r.IntN(12) {
			rule := Rule{ID: string(rune('a' + i)), Family: families[r.IntN(len(families))], Weight: r.IntN(1000), Status: Status(r.IntN(3))}
			if r.IntN(4) == 0 {
				rule.Weight = 0
			}
			if rule.Status != Shadow {
				best[rule.Family] = max(best[rule.Family], rule.Weight)
			}
			p.Rules = append(p.Rules, rule)
			hits = append(hits, Hit{Rule: i})
		}
		var weights []int
		for _, w := range best {
			if w > 0 {
				weights = append(weights, w)
			}
		}
		g := NewEngine(p, Options{})
		score := g.scoreHits(hits)
		if want := combineBig(weights); score != want {
			t.Fatalf("score %d, want %d", score, want)
		}
		sum, counted := Score(0), map[string]bool{}
		for _, h := range hits {
			rule := p.Rules[h.Rule]
			sum += h.Contribution
			if h.Contribution > 0 && (rule.Status == Shadow || rule.Weight == 0 || counted[rule.Family]) {
				t.Fatalf("%+v contributes %d", rule, h.Contribution)
			}
			counted[rule.Family] = counted[rule.Family] || h.Contribution > 0
		}
		if sum != score {
			t.Fatalf("shares sum to %d of %d", sum, score)
		}
	}
}

func TestScoreText(t *testing.T) {
	for s := Score(0); s <= full; s += 37 {
		var back Score
		if err := back.UnmarshalJSON(s.Append(nil)); err != nil || back != s {
			t.Fatalf("%d is written as %s and read as %d: %v", s, s, back, err)
		}
	}
	for s, want := range map[Score]string{0: "0", 125: "0.125", 40_500: "40.5", 100_000: "100", 87_010: "87.01"} {
		if s.String() != want {
			t.Errorf("%d: %s, want %s", s, s, want)
		}
	}
	for s, want := range map[Score]Level{0: LevelInfo, 9_999: LevelInfo, 10_000: LevelLow, 29_999: LevelLow, 30_000: LevelMedium, 59_999: LevelMedium, 60_000: LevelHigh, 84_999: LevelHigh, 85_000: LevelCritical, 100_000: LevelCritical} {
		if LevelOf(s) != want {
			t.Errorf("%d is %s, want %s", s, LevelOf(s), want)
		}
	}
}
