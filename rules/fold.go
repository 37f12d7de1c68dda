package rules

import (
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"

	"github.com/agentrisk/agentrisk/scoring"
)

// world is a feed as conditions see it: fields that it never sends have the values of absence, the others may be
// anything. It tells what cannot be true there.
type world struct {
	pack   *Pack
	fields scoring.FieldSet
	kinds  []string // nil: any
	wanted []string // kinds that a condition asked for in vain

	distinct int // what a count of distinct values is that never sees one: 0 or 1
}

// canFire reports whether the rule may fire in this world.
func (w *world) canFire(rule int) bool {
	r := &w.pack.Pack.Rules[rule]
	if (r.NeedsAgent || r.NeedsSession) && !w.fields.Has(scoring.FieldAgent) || r.NeedsSession && !w.fields.Has(scoring.FieldSession) {
		return false // the engine leaves the rule unjudged
	}
	for w.distinct = range 2 {
		if w.possible(w.pack.rules[rule].when) {
			return true
		}
	}
	return false
}

// possible reports whether the condition may be true.
func (w *world) possible(x *expression) bool {
	v, known := w.value(x)
	return !known || v == true
}

func (w *world) value(x *expression) (v any, known bool) { return w.fold(x.tree) }

// fold computes a node of which everything is known, and as much as can be of logic.
func (w *world) fold(n ast.Node) (v any, known bool) {
	if name, ok := pathOf(n); ok {
		if id, ok := w.pack.env.fields[name]; ok {
			return absent(id), !w.fields.Has(id)
		}
		if f, ok := w.pack.env.feature[name]; ok {
			return w.feature(f)
		}
		return nil, false
	}
	switch x := n.(type) {
	case *ast.IntegerNode:
		return x.Value, true
	case *ast.FloatNode:
		return x.Value, true
	case *ast.StringNode:
		return x.Value, true
	case *ast.BoolNode:
		return x.Value, true
	case *ast.ConstantNode:
		return x.Value, true
	case *ast.ArrayNode:
		list := make([]any, len(x.Nodes))
		for i, e := range x.Nodes {
			if list[i], known = w.fold(e); !known {
				return nil, false
			}
		}
		return list, true
	case *ast.UnaryNode:
		if v, known = w.fold(x.Node); known {
			return evaluate(x.Operator+" a", v, nil)
		}
	case *ast.ConditionalNode:
		if v, known = w.fold(x.Cond); known {
			if v == true {
				return w.fold(x.Exp1)
			}
			return w.fold(x.Exp2)
		}
	case *ast.BinaryNode:
		return w.binary(x)
	case *ast.BuiltinNode:
		return w.builtin(x)
	}
	return nil, false
}

func (w *world) binary(x *ast.BinaryNode) (v any, known bool) {
	a, knowA := w.fold(x.Left)
	b, knowB := w.fold(x.Right)
	switch x.Operator {
	case "&&", "and":
		if knowA && a == false || knowB && b == false {
			return false, true
		}
		return true, knowA && knowB
	case "||", "or":
		if knowA && a == true || knowB && b == true {
			return true, true
		}
		return false, knowA && knowB
	case "==":
		if w.neverOfKind(x.Left, b, knowB) || w.neverOfKind(x.Right, a, knowA) {
			return false, true
		}
	case "in":
		if list, ok := b.([]any); knowB && ok {
			never := true
			for _, k := range list {
				never = never && w.neverOfKind(x.Left, k, true)
			}
			if never {
				return false, true
			}
		}
		if list, ok := b.([]string); knowB && ok && len(list) == 0 {
			return false, true
		}
	}
	if knowA && knowB {
		return evaluate("a "+x.Operator+" b", a, b)
	}
	return nil, false
}

// neverOfKind reports whether the node is the event's kind and the value none that occurs.
func (w *world) neverOfKind(n ast.Node, value any, known bool) bool {
	name, _ := pathOf(n)
	kind, ok := value.(string)
	if w.kinds == nil || !known || !ok || name != scoring.Fields[scoring.FieldKind].Name {
		return false
	}
	for _, k := range w.kinds {
		if k == kind {
			return false
		}
	}
	w.wanted = append(w.wanted, kind)
	return true
}

func (w *world) builtin(x *ast.BuiltinNode) (v any, known bool) {
	args := map[string]any{}
	call := x.Name + "("
	for i, a := range x.Arguments {
		if _, predicate := a.(*ast.PredicateNode); predicate {
			list, _ := args["a"].([]string)
			return x.Name != "any", len(list) == 0 // of an empty list: none and all hold
		}
		if v, known = w.fold(a); !known {
			return nil, false
		}
		name := string(rune('a' + i))
		args[name] = v
		if i > 0 {
			call += ", "
		}
		call += name
	}
	v, err := expr.Eval(call+")", args)
	return v, err == nil
}

func evaluate(src string, a, b any) (any, bool) {
	v, err := expr.Eval(src, map[string]any{"a": a, "b": b})
	return v, err == nil
}

// feature is the value of a feature where it is known: that of one that nothing ever reaches.
func (w *world) feature(i int) (v any, known bool) {
	f, c := &w.pack.Features[i], &w.pack.features[i]
	reached := true
	for _, step := range c.steps {
		if step != nil {
			reached = reached && w.possible(step)
		}
	}
	switch f.Kind {
	case scoring.Since:
		return -1, !reached
	case scoring.Sequence:
		if len(f.Differ) > 0 {
			any := false
			for _, id := range f.Differ {
				any = any || w.fields.Has(id)
			}
			reached = reached && any
		}
		return false, !reached
	case scoring.Distinct:
		if reached && !w.fields.Has(f.Distinct) {
			return w.distinct, true // absence is one value
		}
	case scoring.Sum, scoring.Max:
		if v, known := w.value(c.value); reached && known {
			return v, v == 0
		}
	}
	return 0, !reached
}

// absent is the value that expressions read where the field was not sent.
func absent(id scoring.FieldID) any {
	var none scoring.Event
	switch scoring.Fields[id].Type {
	case scoring.String:
		return ""
	case scoring.Int:
		return int(none.Int(id))
	case scoring.Milli:
		return float64(none.Int(id)) / 1000
	case scoring.Bool:
		return none.Bool(id)
	}
	return []string{}
}
