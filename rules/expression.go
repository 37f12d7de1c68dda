package rules

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/agentrisk/agentrisk/scoring"
)

// expression is a compiled condition or value with what the engine must know of it.
type expression struct {
	program  *vm.Program
	source   string            // canonical, parameters and lists put in
	tree     ast.Node          // the same, parsed
	fields   []scoring.FieldID // that it reads, in source order
	features []int
	key      key   // what must hold for it to be true
	direct   value // what runs in place of the program, where it can
	steps    int64 // that it takes at most, see [Cost]
}

// builtins that an expression may call: bounded, pure, and without a clock.
var builtins = []string{"len", "any", "all", "none", "lower", "upper", "trim", "abs", "min", "max", "int", "float"}

// compiler compiles the expressions of one pack.
type compiler struct {
	env   *environment
	lists map[string][]string
}

func (c *compiler) options(t reflect.Type, kind expr.Option) []expr.Option {
	o := []expr.Option{expr.Env(reflect.New(t).Elem().Interface()), expr.MaxNodes(200), expr.DisableAllBuiltins(), kind}
	for _, b := range builtins {
		o = append(o, expr.EnableBuiltin(b))
	}
	return o
}

// compile compiles a condition (number false) or a whole number (true).
func (c *compiler) compile(src string, params map[string]any, number bool) (*expression, error) {
	if len(src) > MaxExpression {
		return nil, fmt.Errorf("expression of %d bytes, limit %d", len(src), MaxExpression)
	}
	kind := expr.AsBool()
	if number {
		kind = expr.AsInt()
	}
	// The first compilation is for its errors: it sees the text as it was written.
	if _, err := expr.Compile(src, c.options(c.env.withParams(params), kind)...); err != nil {
		return nil, c.explain(src, err)
	}
	tree, err := parser.Parse(src)
	if err != nil {
		return nil, err
	}
	put := &constants{lists: c.lists, params: params}
	ast.Walk(&tree.Node, put)
	look := &inspector{env: c.env}
	ast.Walk(&tree.Node, look)
	if err := errors.Join(append(put.errs, look.check(tree.Node)...)...); err != nil {
		return nil, err
	}
	x := &expression{source: canonical(&tree.Node), tree: tree.Node, fields: look.fields, features: look.features}
	if x.program, err = expr.Compile(x.source, c.options(c.env.typed, kind)...); err != nil {
		return nil, err
	}
	x.direct, _ = direct{c.env}.compile(tree.Node)
	x.steps = c.env.steps(tree.Node)
	if !number {
		x.key = c.env.keyOf(tree.Node)
	}
	return x, nil
}

// canonical is the text of a tree. expr prints 2.0 as 2, which would be another number: whole ones overflow.
func canonical(n *ast.Node) string {
	w := &wholeFloats{}
	ast.Walk(n, w)
	s := (*n).String()
	for i, at := range w.at {
		*at = w.was[i]
	}
	return s
}

type wholeFloats struct {
	at  []*ast.Node
	was []ast.Node
}

func (w *wholeFloats) Visit(n *ast.Node) {
	f, ok := (*n).(*ast.FloatNode)
	if !ok || strings.ContainsAny(f.String(), ".eIN") {
		return
	}
	w.at, w.was = append(w.at, n), append(w.was, *n)
	*n = &ast.IdentifierNode{Value: f.String() + ".0"} // is printed as it is
}

var (
	structType = regexp.MustCompile(`type struct \{.*\} has no field (\w+)`)
	anyStruct  = regexp.MustCompile(`struct \{.*\}`)
	unknown    = regexp.MustCompile(`unknown (?:name|field) (\w+)`)
)

// explain says in the words of packs what the checker says in those of Go, and what was probably meant.
func (c *compiler) explain(src string, err error) error {
	text := anyStruct.ReplaceAllString(structType.ReplaceAllString(err.Error(), "unknown field $1"), "a group of fields")
	m := unknown.FindStringSubmatch(text)
	if m == nil {
		return errors.New(text)
	}
	name := m[1]
	if dotted := regexp.MustCompile(`\w+\.` + regexp.QuoteMeta(name) + `\b`).FindString(src); dotted != "" {
		name = dotted
	}
	if near := c.env.nearest(name); near != "" {
		text += "\ndid you mean " + near + "?"
	}
	return errors.New(text)
}

// nearest finds the name that differs least, as a whole or in its last part.
func (e *environment) nearest(name string) string {
	best, least := "", 4
	for _, full := range append(sortedKeys(e.fields), sortedKeys(e.feature)...) {
		d := distance(name, full)
		if !strings.Contains(name, ".") {
			d = min(d, distance(name, full[strings.LastIndexByte(full, '.')+1:])+1)
		}
		if d < least {
			best, least = full, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			last, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, last+cost)
		}
	}
	return row[len(b)]
}

// constants puts lists and parameters in as constants, so that the compiler can make sets of them.
type constants struct {
	lists  map[string][]string
	params map[string]any
	errs   []error
}

func (v *constants) Visit(n *ast.Node) {
	switch x := (*n).(type) {
	case *ast.IdentifierNode:
		if list, ok := v.lists[x.Value]; ok {
			nodes := make([]ast.Node, len(list))
			for i, s := range list {
				nodes[i] = &ast.StringNode{Value: s}
			}
			*n = &ast.ArrayNode{Nodes: nodes}
		}
	case *ast.MemberNode:
		if id, ok := x.Node.(*ast.IdentifierNode); !ok || id.Value != "params" {
			return
		}
		name, _ := x.Property.(*ast.StringNode)
		if name == nil {
			v.errs = append(v.errs, errors.New("params are named as params.x"))
			return
		}
		switch p := v.params[name.Value].(type) {
		case int:
			*n = &ast.IntegerNode{Value: p}
		case float64:
			*n = &ast.FloatNode{Value: p}
		case string:
			*n = &ast.StringNode{Value: p}
		case bool:
			*n = &ast.BoolNode{Value: p}
		}
	}
}

// inspector notes what an expression reads and refuses what is not bounded.
type inspector struct {
	env      *environment
	fields   []scoring.FieldID
	features []int
	errs     []error
}

func (v *inspector) Visit(n *ast.Node) {
	if name, ok := pathOf(*n); ok {
		if id, ok := v.env.fields[name]; ok && !slices.Contains(v.fields, id) {
			v.fields = append(v.fields, id)
		}
		if f, ok := v.env.feature[name]; ok && !slices.Contains(v.features, f) {
			v.features = append(v.features, f)
		}
	}
	switch x := (*n).(type) {
	case *ast.BinaryNode:
		if x.Operator == ".." {
			v.errs = append(v.errs, errors.New("ranges are not allowed: they have no bound"))
		}
		if _, constant := x.Right.(*ast.StringNode); x.Operator == "matches" && !constant {
			v.errs = append(v.errs, errors.New("the right side of matches must be a constant"))
		}
	case *ast.PredicateNode:
		inner := &predicates{}
		ast.Walk(&x.Node, inner)
		if inner.n > 0 {
			v.errs = append(v.errs, errors.New("predicates must not be nested: their cost has no bound"))
		}
	case *ast.SliceNode, *ast.MapNode, *ast.VariableDeclaratorNode, *ast.SequenceNode, *ast.CallNode, *ast.ChainNode:
		v.errs = append(v.errs, fmt.Errorf("%s is not allowed in a condition", (*n).String()))
	}
}

func (v *inspector) check(ast.Node) []error { return v.errs }

type predicates struct{ n int }

func (p *predicates) Visit(n *ast.Node) {
	if _, ok := (*n).(*ast.PredicateNode); ok {
		p.n++
	}
}

// pathOf is the dotted name of a node that is one.
func pathOf(n ast.Node) (string, bool) {
	switch x := n.(type) {
	case *ast.IdentifierNode:
		return x.Value, true
	case *ast.MemberNode:
		head, ok := pathOf(x.Node)
		name, constant := x.Property.(*ast.StringNode)
		if ok && constant {
			return head + "." + name.Value, true
		}
	}
	return "", false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
