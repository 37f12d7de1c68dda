package rules

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// environment is the closed world of a pack's expressions: a struct type for the checker, and its twin of the same
// layout in which every leaf is an interface, which is what the machine runs on. Reading a field of the twin is a
// load without a conversion.
type environment struct {
	typed   reflect.Type
	twin    reflect.Type
	fields  map[string]scoring.FieldID // dotted name
	at      map[scoring.FieldID][]int  // place of a field in the twin
	feature map[string]int             // name -> index in the pack
	flag    []bool                     // of features: true or false, not a number
	featAt  [][]int
}

type leaf struct {
	name string // dotted
	typ  reflect.Type
}

var (
	stringType  = reflect.TypeFor[string]()
	intType     = reflect.TypeFor[int]()
	floatType   = reflect.TypeFor[float64]()
	boolType    = reflect.TypeFor[bool]()
	stringsType = reflect.TypeFor[[]string]()
	anyType     = reflect.TypeFor[any]()
)

var goTypes = map[scoring.Type]reflect.Type{scoring.String: stringType, scoring.Int: intType, scoring.Milli: floatType, scoring.Bool: boolType, scoring.Strings: stringsType}

// newEnvironment makes the world of a pack: the fields, its features and its lists.
func newEnvironment(features []scoring.Feature, lists map[string][]string) *environment {
	e := &environment{fields: map[string]scoring.FieldID{}, at: map[scoring.FieldID][]int{}, feature: map[string]int{}}
	var leaves []leaf
	for id, f := range scoring.Fields {
		leaves = append(leaves, leaf{f.Name, goTypes[f.Type]})
		e.fields[f.Name] = scoring.FieldID(id)
	}
	for i, f := range features {
		t := intType
		if f.Kind == scoring.Sequence {
			t = boolType
		}
		e.flag = append(e.flag, t == boolType)
		leaves = append(leaves, leaf{f.Name, t})
		e.feature[f.Name] = i
	}
	for _, name := range sortedKeys(lists) {
		leaves = append(leaves, leaf{name, stringsType})
	}
	places := map[string][]int{}
	e.typed = structOf(leaves, func(l leaf) reflect.Type { return l.typ }, places)
	e.twin = structOf(leaves, func(leaf) reflect.Type { return anyType }, places)
	for name, id := range e.fields {
		e.at[id] = places[name]
	}
	e.featAt = make([][]int, len(features))
	for name, i := range e.feature {
		e.featAt[i] = places[name]
	}
	return e
}

// structOf builds a struct with nested structs for dotted names, and notes the place of each leaf.
func structOf(leaves []leaf, typeOf func(leaf) reflect.Type, places map[string][]int) reflect.Type {
	var order []string
	groups := map[string][]leaf{}
	for _, l := range leaves {
		head, _, dotted := strings.Cut(l.name, ".")
		key := head
		if !dotted {
			key = "=" + head
		}
		if _, ok := groups[key]; !ok {
			order = append(order, key)
		}
		groups[key] = append(groups[key], l)
	}
	var top []reflect.StructField
	for i, key := range order {
		name, single := strings.CutPrefix(key, "=")
		field := reflect.StructField{Name: fmt.Sprintf("F%d", i), Tag: reflect.StructTag(fmt.Sprintf(`expr:"%s"`, name))}
		if single {
			field.Type = typeOf(groups[key][0])
			places[name] = []int{i}
		} else {
			var inner []reflect.StructField
			for j, l := range groups[key] {
				inner = append(inner, reflect.StructField{Name: fmt.Sprintf("F%d", j), Type: typeOf(l),
					Tag: reflect.StructTag(fmt.Sprintf(`expr:"%s"`, strings.TrimPrefix(l.name, name+".")))})
				places[l.name] = []int{i, j}
			}
			field.Type = reflect.StructOf(inner)
		}
		top = append(top, field)
	}
	return reflect.StructOf(top)
}

// withParams is the type with one more field at the end, so that places of the others stay.
func (e *environment) withParams(params map[string]any) reflect.Type {
	if len(params) == 0 {
		return e.typed
	}
	var inner []reflect.StructField
	for i, name := range sortedKeys(params) {
		inner = append(inner, reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: reflect.TypeOf(params[name]), Tag: reflect.StructTag(fmt.Sprintf(`expr:"%s"`, name))})
	}
	var all []reflect.StructField
	for i := range e.typed.NumField() {
		all = append(all, e.typed.Field(i))
	}
	return reflect.StructOf(append(all, reflect.StructField{Name: "Params", Type: reflect.StructOf(inner), Tag: `expr:"params"`}))
}
