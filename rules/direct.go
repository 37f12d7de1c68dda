package rules

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"github.com/agentrisk/agentrisk/scoring"
)

// Most conditions compare fields with constants. Those are compiled to closures over the event's own memory: no value
// is boxed, which is what expr's machine spends its time on. What is not covered here (arithmetic that can fail,
// conversions) runs on the machine, whose answers are the law: a test compares both over random expressions.
type (
	truth  func(*evaluator) bool
	whole  func(*evaluator) int64
	number func(*evaluator) float64
	text   func(*evaluator) string
	texts  func(*evaluator) []string
)

// value is an expression of one of the five types; the other closures are nil.
type value struct {
	truth  truth
	whole  whole
	number number
	text   text
	texts  texts
}

// asNumber is the value as a number, nil when it is none.
func (v value) asNumber() number {
	if w := v.whole; w != nil {
		return func(e *evaluator) float64 { return float64(w(e)) }
	}
	return v.number
}

// direct compiles what it can; ok is false where the machine must run.
type direct struct{ env *environment }

func (d direct) compile(n ast.Node) (v value, ok bool) {
	switch x := n.(type) {
	case *ast.BoolNode:
		return value{truth: func(*evaluator) bool { return x.Value }}, true
	case *ast.StringNode:
		return value{text: func(*evaluator) string { return x.Value }}, true
	case *ast.IntegerNode:
		return value{whole: func(*evaluator) int64 { return int64(x.Value) }}, true
	case *ast.FloatNode:
		return value{number: func(*evaluator) float64 { return x.Value }}, true
	case *ast.PointerNode:
		if x.Name != "" {
			return value{}, false
		}
		return value{text: func(e *evaluator) string { return e.element }}, true
	case *ast.IdentifierNode, *ast.MemberNode:
		return d.name(n)
	case *ast.UnaryNode:
		return d.unary(x)
	case *ast.BuiltinNode:
		return d.builtin(x)
	case *ast.BinaryNode:
		return d.binary(x)
	}
	return value{}, false
}

// name reads a field or a feature.
func (d direct) name(n ast.Node) (value, bool) {
	name, ok := pathOf(n)
	if !ok {
		return value{}, false
	}
	if f, ok := d.env.feature[name]; ok {
		if d.env.flag[f] {
			return value{truth: func(e *evaluator) bool { return e.values[f] != 0 }}, true
		}
		return value{whole: func(e *evaluator) int64 { return e.values[f] }}, true
	}
	id, ok := d.env.fields[name]
	if !ok {
		return value{}, false
	}
	switch scoring.Fields[id].Type {
	case scoring.String:
		return value{text: func(e *evaluator) string { return e.event.Str(id) }}, true
	case scoring.Int:
		return value{whole: func(e *evaluator) int64 { return e.event.Int(id) }}, true
	case scoring.Milli:
		return value{number: func(e *evaluator) float64 { return float64(e.event.Int(id)) / 1000 }}, true
	case scoring.Bool:
		return value{truth: func(e *evaluator) bool { return e.event.Bool(id) }}, true
	}
	return value{texts: func(e *evaluator) []string { return e.event.List(id) }}, true
}

func (d direct) unary(x *ast.UnaryNode) (value, bool) {
	v, ok := d.compile(x.Node)
	switch {
	case !ok:
	case (x.Operator == "!" || x.Operator == "not") && v.truth != nil:
		return value{truth: func(e *evaluator) bool { return !v.truth(e) }}, true
	case x.Operator == "-" && v.whole != nil:
		return value{whole: func(e *evaluator) int64 { return -v.whole(e) }}, true
	case x.Operator == "-" && v.number != nil:
		return value{number: func(e *evaluator) float64 { return -v.number(e) }}, true
	}
	return value{}, false
}

func (d direct) builtin(x *ast.BuiltinNode) (value, bool) {
	if len(x.Arguments) == 0 {
		return value{}, false
	}
	v, ok := d.compile(x.Arguments[0])
	if !ok {
		return value{}, false
	}
	switch {
	case x.Name == "len" && v.text != nil:
		return value{whole: func(e *evaluator) int64 { return int64(utf8.RuneCountInString(v.text(e))) }}, true
	case x.Name == "len" && v.texts != nil:
		return value{whole: func(e *evaluator) int64 { return int64(len(v.texts(e))) }}, true
	case v.texts == nil || len(x.Arguments) != 2:
		return value{}, false
	}
	p, ok := x.Arguments[1].(*ast.PredicateNode)
	if !ok {
		return value{}, false
	}
	is, ok := d.compile(p.Node)
	if !ok || is.truth == nil {
		return value{}, false
	}
	// want ends the search: any and none look for an element that is, all for one that is not.
	search := func(want, found bool) (value, bool) {
		return value{truth: func(e *evaluator) bool {
			for _, e.element = range v.texts(e) {
				if is.truth(e) == want {
					return found
				}
			}
			return !found
		}}, true
	}
	switch x.Name {
	case "any":
		return search(true, true)
	case "none":
		return search(true, false)
	case "all":
		return search(false, false)
	}
	return value{}, false
}

func (d direct) binary(x *ast.BinaryNode) (value, bool) {
	if x.Operator == "in" {
		return d.within(x)
	}
	a, ok := d.compile(x.Left)
	if !ok {
		return value{}, false
	}
	b, ok := d.compile(x.Right)
	if !ok {
		return value{}, false
	}
	switch {
	case a.truth != nil && b.truth != nil:
		return ofTruths(x.Operator, a.truth, b.truth)
	case a.text != nil && b.text != nil:
		if x.Operator == "matches" {
			return matching(a.text, x.Right)
		}
		return ofTexts(x.Operator, a.text, b.text)
	case a.whole != nil && b.whole != nil:
		return ofWholes(x.Operator, a.whole, b.whole)
	case a.asNumber() != nil && b.asNumber() != nil:
		return ofNumbers(x.Operator, a.asNumber(), b.asNumber())
	}
	return value{}, false
}

// within is `text in [constants]` and `text in list`.
func (d direct) within(x *ast.BinaryNode) (value, bool) {
	a, ok := d.compile(x.Left)
	if !ok || a.text == nil {
		return value{}, false
	}
	if array, constant := x.Right.(*ast.ArrayNode); constant {
		set := make(map[string]bool, len(array.Nodes))
		for _, n := range array.Nodes {
			s, ok := n.(*ast.StringNode)
			if !ok {
				return value{}, false
			}
			set[s.Value] = true
		}
		if len(set) > 8 {
			return value{truth: func(e *evaluator) bool { return set[a.text(e)] }}, true
		}
		list := sortedKeys(set)
		return value{truth: func(e *evaluator) bool { return slices.Contains(list, a.text(e)) }}, true
	}
	list, ok := d.compile(x.Right)
	if !ok || list.texts == nil {
		return value{}, false
	}
	return value{truth: func(e *evaluator) bool { return slices.Contains(list.texts(e), a.text(e)) }}, true
}

func matching(a text, pattern ast.Node) (value, bool) {
	s, ok := pattern.(*ast.StringNode)
	if !ok {
		return value{}, false
	}
	re, err := regexp.Compile(s.Value)
	if err != nil {
		return value{}, false
	}
	return value{truth: func(e *evaluator) bool { return re.MatchString(a(e)) }}, true
}

func ofTruths(op string, a, b truth) (value, bool) {
	var f truth
	switch op {
	case "&&", "and":
		f = func(e *evaluator) bool { return a(e) && b(e) }
	case "||", "or":
		f = func(e *evaluator) bool { return a(e) || b(e) }
	case "==":
		f = func(e *evaluator) bool { return a(e) == b(e) }
	case "!=":
		f = func(e *evaluator) bool { return a(e) != b(e) }
	}
	return value{truth: f}, f != nil
}

func ofTexts(op string, a, b text) (value, bool) {
	var f truth
	switch op {
	case "==":
		f = func(e *evaluator) bool { return a(e) == b(e) }
	case "!=":
		f = func(e *evaluator) bool { return a(e) != b(e) }
	case "<":
		f = func(e *evaluator) bool { return a(e) < b(e) }
	case "<=":
		f = func(e *evaluator) bool { return a(e) <= b(e) }
	case ">":
		f = func(e *evaluator) bool { return a(e) > b(e) }
	case ">=":
		f = func(e *evaluator) bool { return a(e) >= b(e) }
	case "contains":
		f = func(e *evaluator) bool { return strings.Contains(a(e), b(e)) }
	case "startsWith":
		f = func(e *evaluator) bool { return strings.HasPrefix(a(e), b(e)) }
	case "endsWith":
		f = func(e *evaluator) bool { return strings.HasSuffix(a(e), b(e)) }
	}
	return value{truth: f}, f != nil
}

func ofWholes(op string, a, b whole) (value, bool) {
	switch op {
	case "+":
		return value{whole: func(e *evaluator) int64 { return a(e) + b(e) }}, true
	case "-":
		return value{whole: func(e *evaluator) int64 { return a(e) - b(e) }}, true
	case "*":
		return value{whole: func(e *evaluator) int64 { return a(e) * b(e) }}, true
	}
	f := compared[int64](op, a, b)
	return value{truth: f}, f != nil
}

func ofNumbers(op string, a, b number) (value, bool) {
	switch op {
	case "+":
		return value{number: func(e *evaluator) float64 { return a(e) + b(e) }}, true
	case "-":
		return value{number: func(e *evaluator) float64 { return a(e) - b(e) }}, true
	case "*":
		return value{number: func(e *evaluator) float64 { return a(e) * b(e) }}, true
	}
	f := compared[float64](op, a, b)
	return value{truth: f}, f != nil
}

// compared compares two numbers of one type; nil for an operator that is no comparison.
func compared[T int64 | float64](op string, a, b func(*evaluator) T) truth {
	switch op {
	case "==":
		return func(e *evaluator) bool { return a(e) == b(e) }
	case "!=":
		return func(e *evaluator) bool { return a(e) != b(e) }
	case "<":
		return func(e *evaluator) bool { return a(e) < b(e) }
	case "<=":
		return func(e *evaluator) bool { return a(e) <= b(e) }
	case ">":
		return func(e *evaluator) bool { return a(e) > b(e) }
	case ">=":
		return func(e *evaluator) bool { return a(e) >= b(e) }
	}
	return nil
}
