package rules

import (
	"fmt"

	"github.com/expr-lang/expr/ast"

	"github.com/agentrisk/agentrisk/scoring"
)

// Cost is what a pack costs, counted and not timed, so that every machine comes to the same figures. A step is about what
// it takes to compare a field with a constant. Conditions are counted as if every part of them ran.
type Cost struct {
	Events    int   `json:"events"`     // that were judged to count
	TriesMean int64 `json:"tries_mean"` // rules whose condition ran on an event
	TriesMax  int64 `json:"tries_max"`
	StepsMean int64 `json:"steps_mean"` // of rules and features on an event
	StepsMax  int64 `json:"steps_max"`
	StateMean int64 `json:"state_mean"` // bytes of an agent with its open sessions, after these events
	StateMax  int64 `json:"state_max"`  // bytes that the features of an agent with one session can come to
}

// Limits of a pack's cost. The pack that ships stays far below each: `agentrisk rules cost` prints both.
var Limits = Cost{TriesMean: 200, TriesMax: 1000, StepsMean: 20_000, StepsMax: 200_000, StateMean: 64 << 10, StateMax: 1 << 20}

// Exceeds says in which ways the cost is above the limits.
func (c Cost) Exceeds() (why []string) {
	for _, x := range []struct {
		what      string
		is, limit int64
		way       string
	}{
		{"rules tried on an event, mean", c.TriesMean, Limits.TriesMean, "give conditions a field that must have a certain value: `agentrisk rules lint` names those that have none"},
		{"rules tried on an event, at most", c.TriesMax, Limits.TriesMax, "give conditions a field that must have a certain value: `agentrisk rules lint` names those that have none"},
		{"steps an event, mean", c.StepsMean, Limits.StepsMean, "shorten conditions that are tried often; matches and any cost most"},
		{"steps an event, at most", c.StepsMax, Limits.StepsMax, "shorten conditions that are tried often; matches and any cost most"},
		{"bytes an agent, mean", c.StateMean, Limits.StateMean, "declare fewer features, or without by"},
		{"bytes an agent, at most", c.StateMax, Limits.StateMax, "declare fewer features, or without by: a distinct with by costs most"},
	} {
		if x.is > x.limit {
			why = append(why, fmt.Sprintf("%s: %d, limit %d; %s", x.what, x.is, x.limit, x.way))
		}
	}
	return why
}

// Cost judges events, until next reports false, and counts what that takes.
func (p *Pack) Cost(next func(*scoring.Event) bool) (c Cost) {
	count := &counting{pack: p}
	counted := *p.Pack
	counted.NewEvaluator = func() scoring.Evaluator {
		count.Evaluator = p.NewEvaluator()
		return count
	}
	g := scoring.NewEngine(&counted, scoring.Options{})
	var e scoring.Event
	var v scoring.Verdict
	var tries, steps int64
	for next(&e) {
		count.tries, count.steps = 0, 0
		g.Judge(&e, &v)
		c.Events++
		tries, steps = tries+count.tries, steps+count.steps
		c.TriesMax, c.StepsMax = max(c.TriesMax, count.tries), max(c.StepsMax, count.steps)
	}
	if n := int64(c.Events); n > 0 {
		c.TriesMean, c.StepsMean = tries/n, steps/n
	}
	if s := g.Stats(); s.Agents > 0 {
		c.StateMean = s.Bytes / int64(s.Agents)
	}
	for i := range p.Features {
		c.StateMax += p.Features[i].MaxBytes()
	}
	return c
}

// counting counts what an engine asks of its evaluator.
type counting struct {
	scoring.Evaluator
	pack         *Pack
	tries, steps int64
}

func (c *counting) Features(dst []int) []int {
	before := len(dst)
	dst = c.Evaluator.Features(dst)
	for _, i := range dst[before:] {
		f := &c.pack.features[i]
		for _, x := range append([]*expression{f.reset, f.value}, f.steps...) {
			c.steps += x.cost()
		}
	}
	return dst
}

func (c *counting) Rules(dst []int) []int {
	before := len(dst)
	dst = c.Evaluator.Rules(dst)
	for _, i := range dst[before:] {
		r := &c.pack.rules[i]
		c.tries++
		c.steps += r.when.cost()
		for _, e := range r.exceptions {
			c.steps += e.where.cost()
		}
	}
	return dst
}

func (x *expression) cost() int64 {
	if x == nil {
		return 0
	}
	return x.steps
}

// What an operation takes, in steps.
const (
	stepsOfSearch  = 4   // contains, startsWith, lower: a walk over a short text
	stepsOfMatch   = 50  // a regular expression over a short text
	stepsOfContent = 100 // as many times more when the text is what an agent said or did
	stepsOfList    = 8   // elements that a list has
)

// steps bounds what an expression takes, were no part of it left out.
func (e *environment) steps(n ast.Node) int64 {
	sum := int64(1)
	add := func(list ...ast.Node) {
		for _, x := range list {
			sum += e.steps(x)
		}
	}
	search := func(cost int64, over ast.Node) {
		if id, ok := e.field(over); ok && scoring.Fields[id].IsContent() {
			cost *= stepsOfContent
		}
		sum += cost
	}
	switch x := n.(type) {
	case *ast.BinaryNode:
		switch x.Operator {
		case "matches":
			search(stepsOfMatch, x.Left)
		case "contains", "startsWith", "endsWith":
			search(stepsOfSearch, x.Left)
		}
		add(x.Left, x.Right)
	case *ast.UnaryNode:
		add(x.Node)
	case *ast.ConditionalNode:
		add(x.Cond, x.Exp1, x.Exp2)
	case *ast.PredicateNode:
		sum += stepsOfList * e.steps(x.Node)
	case *ast.BuiltinNode:
		switch x.Name {
		case "lower", "upper", "trim":
			search(stepsOfSearch, x.Arguments[0])
		}
		add(x.Arguments...)
	case *ast.ArrayNode:
		for _, y := range x.Nodes {
			switch y.(type) {
			case *ast.StringNode, *ast.IntegerNode: // of constants the compiler makes a set
			default:
				add(y)
			}
		}
	}
	return sum
}
