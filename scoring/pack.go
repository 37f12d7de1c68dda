package scoring

// Pack is a compiled pack: what the engine needs to know of features and rules. It is immutable and shared;
// each engine takes an Evaluator of its own from it. Package rules makes packs from YAML and expressions.
type Pack struct {
	Name    string
	Version string
	Digest  string // hexadecimal SHA-256 over everything that shapes a verdict

	Features []Feature
	Rules    []Rule

	// NewEvaluator returns an evaluator for one engine.
	NewEvaluator func() Evaluator
}

// Severity of a rule.
type Severity uint8

const (
	Info Severity = iota
	Low
	Medium
	High
	Critical
)

var severityNames = []string{"info", "low", "medium", "high", "critical"}

func (s Severity) String() string { return severityNames[s] }

// Status of a rule on its way to production.
type Status uint8

const (
	Shadow Status = iota // recorded, never counted
	Test                 // counted, never pages
	Stable               // counted and may page
)

var statusNames = []string{"shadow", "test", "stable"}

func (s Status) String() string { return statusNames[s] }

// Rule is what the engine knows of a rule.
type Rule struct {
	ID       string // AR-PRIV-003
	Family   string // PRIV: the strongest hit of a family counts
	TitleEN  string
	TitleZH  string
	Severity Severity
	Weight   int // thousandths, 0..999
	Status   Status
	Alert    bool  // pages whatever the score
	Features []int // features that its condition reads, by index
	// NeedsAgent and NeedsSession tell whether a feature of that key is read: a binding that is keyed by
	// less leaves the rule unjudged, and the verdict says so.
	NeedsAgent, NeedsSession bool
}

// FeatureKind is what a feature computes.
type FeatureKind uint8

const (
	Count    FeatureKind = iota // events that match
	Sum                         // of a value
	Max                         // of a value
	Distinct                    // values of a field
	Since                       // seconds since the last match, -1 when there is none
	Sequence                    // 1 on the event that completes the steps in order, else 0
)

var featureKindNames = []string{"count", "sum", "max", "distinct", "since", "sequence"}

func (k FeatureKind) String() string { return featureKindNames[k] }

// Per is the key that a feature's state hangs on.
type Per uint8

const (
	PerAgent Per = iota
	PerSession
)

// Feature is a declared piece of state.
type Feature struct {
	Name     string
	ID       string // hash of the definition: state survives a new pack when it is equal
	Kind     FeatureKind
	Per      Per
	By       []FieldID // sub-key: String fields whose values select one of at most 32 cells; empty: one cell
	Window   int64     // milliseconds, at most 24 h; for sequences the time from first step to last
	Distinct FieldID   // the field whose values are counted (Distinct only): String or Int
	Steps    int       // of a sequence; 1 otherwise
	Same     []FieldID // values that every step of a sequence must share
	Differ   []FieldID // values of which at least one must differ between the first step and the last
	HasReset bool      // since and sequence: a condition that forgets (the `without` of a sequence)
}

// Evaluator answers a pack's questions about one event after the other. It is not safe for concurrent use.
// An error of one question says that this rule or feature does not match; it never ends the event.
type Evaluator interface {
	// Bind makes e the event that the questions are about. e must stay unchanged until the next Bind.
	Bind(e *Event)
	// SetFeature gives a feature's value as it stands with this event.
	SetFeature(feature int, value int64)
	// Features appends the features that may change with this event, in index order.
	Features(dst []int) []int
	// Step reports whether the event matches step n of the feature (0 for all but sequences).
	Step(feature, n int) (bool, error)
	// Reset reports whether the event matches the feature's reset condition.
	Reset(feature int) (bool, error)
	// Value is the number that Sum and Max take from the event.
	Value(feature int) (int64, error)
	// Rules appends the rules that may match this event, in index order.
	Rules(dst []int) []int
	// When reports whether the rule's condition holds and none of its exceptions does. Exceptions expire at
	// the event's state time.
	When(rule int) (bool, error)
	// Why says in words and numbers what made the rule match, without any content: "tool.op = send, ...".
	Why(rule int) string
}
