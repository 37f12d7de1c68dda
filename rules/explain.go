package rules

import (
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"github.com/agentrisk/agentrisk/scoring"
)

// Explanation is everything that a pack says of one rule.
type Explanation struct {
	RuleInfo
	Family     string             `json:"family"`
	Parameters map[string]any     `json:"params,omitempty"`
	State      []ExplainedFeature `json:"state,omitempty"`
	Exceptions []ExceptionSource  `json:"exceptions,omitempty"`
	Fields     []ExplainedField   `json:"fields"` // that it reads, itself or through its features
	// Index is what must hold for the rule to be tried: one of these. Nothing: it is tried on every event.
	Index []string `json:"index,omitempty"`
	Tests []string `json:"tests,omitempty"`
	File  string   `json:"file"`
}

// ExplainedFeature is a feature that a rule reads.
type ExplainedFeature struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Text string `json:"text"` // as it was written
	Doc  string `json:"doc,omitempty"`
}

// ExplainedField is a field that a rule reads.
type ExplainedField struct {
	Name   string `json:"name"`
	Doc    string `json:"doc"`
	Stored bool   `json:"stored"` // false: content, which is judged and not kept
}

// Index returns the rule's place in the pack, -1 when the pack has none of that id.
func (p *Pack) Index(id string) int {
	return slices.IndexFunc(p.Rules, func(r RuleInfo) bool { return r.ID == id })
}

// Nearest is the id of the pack that differs least, "" when none is near.
func (p *Pack) Nearest(id string) string {
	best, least := "", 4
	for _, r := range p.Rules {
		if d := distance(strings.ToUpper(id), r.ID); d < least {
			best, least = r.ID, d
		}
	}
	return best
}

// Explain says everything about a rule.
func (p *Pack) Explain(rule int) Explanation {
	s := &p.source.rules[rule]
	x := Explanation{RuleInfo: p.Rules[rule], Family: p.Pack.Rules[rule].Family, Parameters: s.Params, Exceptions: s.Exceptions, File: s.file}
	for _, f := range p.Pack.Rules[rule].Features {
		src := &p.source.features[f]
		x.State = append(x.State, ExplainedFeature{src.Name, p.Features[f].Kind.String(), src.text(), strings.TrimSpace(src.Doc)})
	}
	for _, id := range p.Reads(rule) {
		f := &scoring.Fields[id]
		x.Fields = append(x.Fields, ExplainedField{f.Name, f.Doc, !f.IsContent()})
	}
	for _, t := range p.rules[rule].when.key {
		x.Index = append(x.Index, t.String())
	}
	for _, t := range s.Tests {
		word := "quiet: "
		if t.Fires {
			word = "fires: "
		}
		x.Tests = append(x.Tests, word+t.Name)
	}
	return x
}

func (t term) String() string {
	name := scoring.Fields[t.field].Name
	if t.value == nil {
		return name + " is there"
	}
	return name + " == " + quoted(*t.value)
}

func quoted(s string) string { return (&ast.StringNode{Value: s}).String() }

// Part is a part of a condition with what it came to on an event.
type Part struct {
	Text   string   `json:"text,omitempty"` // of a part that has none of its own
	Join   string   `json:"join,omitempty"` // all or any of the parts
	Parts  []Part   `json:"parts,omitempty"`
	Holds  bool     `json:"holds"`
	Error  string   `json:"error,omitempty"`
	Values string   `json:"values,omitempty"` // of what it reads
	Absent []string `json:"absent,omitempty"` // fields that it reads and the event has not

	x *expression
}

// Firing is why a rule fired on an event, or did not.
type Firing struct {
	Fires bool `json:"fires"`
	// Judged is false when the event lacks the agent or the session that the rule's state hangs on.
	Judged bool `json:"judged"`
	// Tried is false when the index knew that the condition cannot hold.
	Tried     bool   `json:"tried"`
	Condition Part   `json:"condition"`
	Exempt    string `json:"exempt,omitempty"` // exception that keeps the rule quiet
}

// Probe watches one rule while events are judged.
type Probe struct {
	pack *Pack
	rule int
	last Firing
}

// Probe returns a watch over the rule, and the pack to judge events by. Its verdicts are those of p.
func (p *Pack) Probe(rule int) (*Probe, *scoring.Pack) {
	b := &Probe{pack: p, rule: rule}
	watched := *p.Pack
	watched.NewEvaluator = func() scoring.Evaluator {
		return &probing{evaluator: p.newEvaluator().(*evaluator), probe: b, condition: p.parts(rule)}
	}
	return b, &watched
}

// Last says what became of the rule on the last event.
func (b *Probe) Last() Firing { return b.last }

// probing is an evaluator that tries the watched rule on every event, so that its features are known.
type probing struct {
	*evaluator
	probe     *Probe
	condition Part
}

func (v *probing) Bind(e *scoring.Event) {
	v.evaluator.Bind(e)
	v.probe.last = Firing{Condition: v.condition}
}

func (v *probing) Rules(dst []int) []int {
	dst = v.evaluator.Rules(dst)
	at, tried := slices.BinarySearch(dst, v.probe.rule)
	if v.probe.last.Tried = tried; !tried {
		dst = slices.Insert(dst, at, v.probe.rule)
	}
	return dst
}

func (v *probing) When(rule int) (bool, error) {
	hit, err := v.evaluator.When(rule)
	if rule == v.probe.rule {
		f := &v.probe.last
		f.Judged, f.Fires = true, hit && err == nil
		f.Condition = v.look(v.condition)
		for i, e := range v.pack.rules[rule].exceptions {
			if exempt, _ := v.ask(e.where); exempt && v.event.StateTime() < e.expires {
				s := &v.pack.source.rules[rule].Exceptions[i]
				f.Exempt = s.Where + " until " + s.Expires + " (" + s.Owner + ": " + s.Why + ")"
			}
		}
	}
	return hit, err
}

// look evaluates every part, whatever the others came to.
func (v *probing) look(p Part) Part {
	if p.x != nil {
		ok, err := v.ask(p.x)
		if p.Holds = ok && err == nil; err != nil {
			p.Error = err.Error()
		}
		if p.Values = v.why(p.x); slices.Contains(p.x.fields, scoring.FieldKind) {
			p.Values = strings.TrimSuffix("kind = "+v.event.Str(scoring.FieldKind)+", "+p.Values, ", ")
		}
		for _, id := range p.x.fields {
			if !v.event.Has(id) {
				p.Absent = append(p.Absent, scoring.Fields[id].Name)
			}
		}
		return p
	}
	parts := make([]Part, len(p.Parts))
	p.Holds = p.Join == "all"
	for i := range p.Parts {
		parts[i] = v.look(p.Parts[i])
		if parts[i].Holds != (p.Join == "all") {
			p.Holds = p.Join != "all"
		}
	}
	p.Parts = parts
	return p
}

// parts cuts a rule's condition at its && and ||.
func (p *Pack) parts(rule int) Part {
	s := &p.source.rules[rule]
	tree, err := parser.Parse(s.When)
	if err != nil { // it was compiled before
		return Part{Text: s.When, x: p.rules[rule].when}
	}
	params := (&builder{src: p.source}).params(s)
	c := &compiler{env: p.env, lists: p.source.pack.Lists}
	var cut func(n ast.Node) Part
	cut = func(n ast.Node) Part {
		if b, ok := n.(*ast.BinaryNode); ok {
			join := map[string]string{"&&": "all", "and": "all", "||": "any", "or": "any"}[b.Operator]
			if join != "" {
				out := Part{Join: join}
				for _, side := range []ast.Node{b.Left, b.Right} {
					if part := cut(side); part.Join == join {
						out.Parts = append(out.Parts, part.Parts...)
					} else {
						out.Parts = append(out.Parts, part)
					}
				}
				return out
			}
		}
		text := n.String()
		x, err := c.compile(text, params, false)
		if err != nil {
			return Part{Text: text, Error: err.Error()}
		}
		return Part{Text: text, x: x}
	}
	return cut(tree.Node)
}
