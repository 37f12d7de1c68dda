package rules

import (
	"math/bits"
	"slices"

	"github.com/expr-lang/expr/ast"

	"github.com/agentrisk/agentrisk/scoring"
)

// key is a necessary condition of an expression: one of its terms must hold for the expression to be true. No terms:
// nothing is known, the expression is tried on every event.
type key []term

// term says that a field has a value, or (value nil) that it was sent or derived at all.
type term struct {
	field scoring.FieldID
	value *string
}

// rank orders fields by how few events share a value: the index asks the sharpest.
func (t term) rank() int {
	switch {
	case t.value == nil:
		return 3
	case t.field == scoring.FieldToolName:
		return 0
	case t.field == scoring.FieldKind:
		return 2
	}
	return 1
}

// better reports whether a is the sharper key.
func better(a, b key) bool {
	worst := func(k key) (n int) {
		for _, t := range k {
			n = max(n, t.rank())
		}
		return n*100 + len(k)
	}
	return len(a) > 0 && (len(b) == 0 || worst(a) < worst(b))
}

// keyOf takes the necessary condition from an expression.
func (e *environment) keyOf(n ast.Node) key {
	switch x := n.(type) {
	case *ast.BinaryNode:
		switch x.Operator {
		case "&&", "and":
			a, b := e.keyOf(x.Left), e.keyOf(x.Right)
			if better(b, a) {
				return b
			}
			return a
		case "||", "or":
			a, b := e.keyOf(x.Left), e.keyOf(x.Right)
			if len(a) == 0 || len(b) == 0 {
				return nil
			}
			return append(slices.Clone(a), b...)
		case "==":
			if k := e.equals(x.Left, x.Right); k != nil {
				return k
			}
			return e.equals(x.Right, x.Left)
		case "in":
			return e.within(x.Left, x.Right)
		case "!=":
			if s, ok := x.Right.(*ast.StringNode); ok && s.Value == "" {
				return e.present(x.Left)
			}
		case ">", ">=":
			if i, ok := x.Right.(*ast.IntegerNode); ok && (i.Value > 0 || i.Value == 0 && x.Operator == ">") {
				return e.present(x.Left)
			}
		case "matches", "contains", "startsWith", "endsWith":
			if s, ok := x.Right.(*ast.StringNode); ok && s.Value != "" && x.Operator != "matches" {
				return e.present(x.Left)
			}
		}
	case *ast.BuiltinNode:
		if x.Name == "any" && len(x.Arguments) > 0 {
			return e.present(x.Arguments[0])
		}
	case *ast.IdentifierNode, *ast.MemberNode:
		if id, ok := e.field(n); ok && scoring.Fields[id].Type == scoring.Bool {
			return e.present(n)
		}
	}
	return nil
}

func (e *environment) field(n ast.Node) (scoring.FieldID, bool) {
	name, ok := pathOf(n)
	if !ok {
		return 0, false
	}
	id, ok := e.fields[name]
	return id, ok
}

func (e *environment) equals(f, v ast.Node) key {
	id, ok := e.field(f)
	s, constant := v.(*ast.StringNode)
	if !ok || !constant || s.Value == "" || scoring.Fields[id].Type != scoring.String {
		return nil
	}
	return key{{id, &s.Value}}
}

// within is the key of `field in [constants]` and of `constant in field`.
func (e *environment) within(f, list ast.Node) key {
	if a, ok := list.(*ast.ArrayNode); ok {
		var k key
		for _, n := range a.Nodes {
			t := e.equals(f, n)
			if t == nil {
				return nil
			}
			k = append(k, t...)
		}
		return k
	}
	if _, constant := f.(*ast.StringNode); constant {
		return e.present(list)
	}
	return nil
}

// present is the key of a condition that is false while the field is absent. Fields whose absence does not read as
// zero have none.
func (e *environment) present(n ast.Node) key {
	if b, ok := n.(*ast.BuiltinNode); ok && b.Name == "len" && len(b.Arguments) == 1 {
		n = b.Arguments[0]
	}
	id, ok := e.field(n)
	if !ok || id == scoring.FieldRegistered || id == scoring.FieldIntentMatch {
		return nil
	}
	return key{{id, nil}}
}

// index finds the items whose key an event may meet, without trying them.
type index struct {
	always []uint64
	values []valueIndex
	sent   []sentIndex
}

type valueIndex struct {
	field scoring.FieldID
	items map[string][]uint64
}

type sentIndex struct {
	field scoring.FieldID
	items []uint64
}

func newIndex(keys []key) *index {
	words := (len(keys) + 63) / 64
	x := &index{always: make([]uint64, words)}
	for i, k := range keys {
		if len(k) == 0 {
			x.always[i/64] |= 1 << (i % 64)
		}
		for _, t := range k {
			set := x.set(t, words)
			set[i/64] |= 1 << (i % 64)
		}
	}
	return x
}

// set returns the items of a term, made if need be.
func (x *index) set(t term, words int) []uint64 {
	if t.value == nil {
		for i := range x.sent {
			if x.sent[i].field == t.field {
				return x.sent[i].items
			}
		}
		x.sent = append(x.sent, sentIndex{t.field, make([]uint64, words)})
		return x.sent[len(x.sent)-1].items
	}
	at := slices.IndexFunc(x.values, func(v valueIndex) bool { return v.field == t.field })
	if at < 0 {
		at = len(x.values)
		x.values = append(x.values, valueIndex{t.field, map[string][]uint64{}})
	}
	items := x.values[at].items
	if items[*t.value] == nil {
		items[*t.value] = make([]uint64, words)
	}
	return items[*t.value]
}

// find appends the items that e may match, in order. set is scratch of the index's size.
func (x *index) find(e *scoring.Event, set []uint64, dst []int) []int {
	copy(set, x.always)
	for i := range x.values {
		v := &x.values[i]
		if !e.Has(v.field) {
			continue
		}
		for w, m := range v.items[e.Str(v.field)] {
			set[w] |= m
		}
	}
	for i := range x.sent {
		if s := &x.sent[i]; e.Has(s.field) {
			for w, m := range s.items {
				set[w] |= m
			}
		}
	}
	for w, m := range set {
		for ; m != 0; m &= m - 1 {
			dst = append(dst, w*64+bits.TrailingZeros64(m))
		}
	}
	return dst
}
