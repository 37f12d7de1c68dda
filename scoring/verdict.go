package scoring

import "slices"

// Score is a risk in thousandths of a point, 0..100,000, shown as 0..100.
type Score int32

// Level of a score.
type Level uint8

// Bounds in points: info < 10, low < 30, medium < 60, high < 85, critical.
const (
	LevelInfo Level = iota
	LevelLow
	LevelMedium
	LevelHigh
	LevelCritical
)

func (l Level) String() string { return severityNames[l] }

// Hit is a rule that matched.
type Hit struct {
	Rule         int   // index in the pack
	Contribution Score // its share of the verdict's score; the shares add up to it
	Why          string
}

// Verdict is the judgement of one event.
type Verdict struct {
	Score        Score
	Level        Level
	SessionScore Score // strongest hit of each family in the session so far, this event included
	AgentScore   Score // the same for the agent, weights halving every 6 h
	Hits         []Hit // strongest contribution first, ties by rule id
	Flags        Flags // of the event and of the judgement
	Lacks        []int // rules left unjudged because the binding's key does not carry their features
	Failed       []int // rules that could not be evaluated
	Alert        AlertCause
	StateTime    int64 // the agent's clock after this event, unix milliseconds
}

// AlertCause says why someone must hear of a verdict.
type AlertCause uint8

const (
	NoAlert     AlertCause = iota
	AlertRose              // the session rose to high or above for the first time
	AlertByRule            // a rule with alert: true matched
)

// Reset empties v and keeps the capacity of its slices.
func (v *Verdict) Reset() {
	*v = Verdict{Hits: v.Hits[:0], Lacks: v.Lacks[:0], Failed: v.Failed[:0]}
}

// ParseSeverity reads a severity's name; what is none is Info.
func ParseSeverity(s string) Severity { return Severity(max(slices.Index(severityNames, s), 0)) }

// ParseAlertCause reads a cause's stored name; what is none is NoAlert.
func ParseAlertCause(s string) AlertCause { return AlertCause(max(slices.Index(causeNames, s), 0)) }

// ParseFlags reads the stored names of flags and passes over what it does not know.
func ParseFlags(names []string) (f Flags) {
	for _, n := range names {
		if i := slices.Index(FlagNames, n); i >= 0 {
			f |= 1 << i
		}
	}
	return f
}
