package rules

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/vm"

	"github.com/agentrisk/agentrisk/scoring"
)

// evaluator answers a pack's questions: directly, or on one virtual machine. For the machine it fills the twin with the
// fields that its expressions read and that the event has; the others keep the values of absence.
type evaluator struct {
	pack    *Pack
	vm      vm.VM
	event   *scoring.Event
	values  []int64 // of features
	element string  // of the list that a direct predicate looks at

	env     any // pointer to the twin
	slots   []slot
	stale   bool  // the twin does not hold the event yet
	filled  []int // slots that hold the event's values
	feature []reflect.Value

	ruleSet, featureSet []uint64
	boxes               map[string]any // short texts that came before, to make no garbage for them
}

// slot is the place of one field in the twin.
type slot struct {
	id     scoring.FieldID
	typ    scoring.Type
	leaf   reflect.Value // of interface type
	absent reflect.Value
}

const maxBoxes = 4096

func (p *Pack) newEvaluator() scoring.Evaluator {
	twin := reflect.New(p.env.twin)
	v := &evaluator{pack: p, env: twin.Interface(), values: make([]int64, len(p.Features)), boxes: map[string]any{},
		ruleSet: make([]uint64, len(p.rulesBy.always)), featureSet: make([]uint64, len(p.featureBy.always))}
	at := func(place []int) reflect.Value { return twin.Elem().FieldByIndex(place) }
	var none scoring.Event
	for _, id := range p.reads() {
		s := slot{id: id, typ: scoring.Fields[id].Type, leaf: at(p.env.at[id])}
		s.absent = reflect.ValueOf(v.box(s, &none))
		s.leaf.Set(s.absent)
		v.slots = append(v.slots, s)
	}
	for _, place := range p.env.featAt {
		v.feature = append(v.feature, at(place))
	}
	return v
}

// reads lists the fields that an expression of the pack reads on the machine.
func (p *Pack) reads() (ids []scoring.FieldID) {
	var seen [256]bool
	add := func(x *expression) {
		if x == nil || x.direct.truth != nil || x.direct.whole != nil {
			return
		}
		for _, id := range x.fields {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	for _, f := range p.features {
		for _, x := range f.steps {
			add(x)
		}
		add(f.reset)
		add(f.value)
	}
	for _, r := range p.rules {
		add(r.when)
		for _, e := range r.exceptions {
			add(e.where)
		}
	}
	return ids
}

// box returns the field's value as expressions see it.
func (v *evaluator) box(s slot, e *scoring.Event) any {
	switch s.typ {
	case scoring.String:
		return v.text(e.Str(s.id))
	case scoring.Int:
		return int(e.Int(s.id))
	case scoring.Milli:
		return float64(e.Int(s.id)) / 1000
	case scoring.Bool:
		return e.Bool(s.id)
	}
	return e.List(s.id)
}

func (v *evaluator) text(s string) any {
	if len(s) > 32 {
		return s
	}
	if b, ok := v.boxes[s]; ok {
		return b
	}
	own := strings.Clone(s)
	if len(v.boxes) < maxBoxes {
		v.boxes[own] = own
	}
	return own
}

// Bind implements [scoring.Evaluator].
func (v *evaluator) Bind(e *scoring.Event) { v.event, v.stale = e, true }

// SetFeature implements [scoring.Evaluator].
func (v *evaluator) SetFeature(i int, value int64) { v.values[i] = value }

// run asks the machine.
func (v *evaluator) run(x *expression) (any, error) {
	if v.stale {
		v.fill()
	}
	for _, i := range x.features {
		if v.pack.env.flag[i] {
			v.feature[i].Set(reflect.ValueOf(v.values[i] != 0))
		} else {
			v.feature[i].Set(reflect.ValueOf(int(v.values[i])))
		}
	}
	return v.vm.Run(x.program, v.env)
}

// fill gives the twin the event's values.
func (v *evaluator) fill() {
	for _, i := range v.filled {
		v.slots[i].leaf.Set(v.slots[i].absent)
	}
	v.stale, v.filled = false, v.filled[:0]
	for i := range v.slots {
		if s := &v.slots[i]; v.event.Has(s.id) {
			s.leaf.Set(reflect.ValueOf(v.box(*s, v.event)))
			v.filled = append(v.filled, i)
		}
	}
}

// Features implements [scoring.Evaluator].
func (v *evaluator) Features(dst []int) []int {
	return v.pack.featureBy.find(v.event, v.featureSet, dst)
}

// Rules implements [scoring.Evaluator].
func (v *evaluator) Rules(dst []int) []int { return v.pack.rulesBy.find(v.event, v.ruleSet, dst) }

// Step implements [scoring.Evaluator]. A feature without a condition counts every event.
func (v *evaluator) Step(feature, n int) (bool, error) {
	return v.ask(v.pack.features[feature].steps[n])
}

// Reset implements [scoring.Evaluator].
func (v *evaluator) Reset(feature int) (bool, error) { return v.ask(v.pack.features[feature].reset) }

// Value implements [scoring.Evaluator].
func (v *evaluator) Value(feature int) (int64, error) {
	x := v.pack.features[feature].value
	if f := x.direct.whole; f != nil {
		return f(v), nil
	}
	out, err := v.run(x)
	if err != nil {
		return 0, err
	}
	n, ok := out.(int)
	if !ok {
		return 0, fmt.Errorf("value of %s is no whole number", v.pack.Features[feature].Name)
	}
	return int64(n), nil
}

// When implements [scoring.Evaluator].
func (v *evaluator) When(rule int) (bool, error) {
	r := &v.pack.rules[rule]
	hit, err := v.ask(r.when)
	if !hit || err != nil {
		return false, err
	}
	for _, e := range r.exceptions {
		if v.event.StateTime() >= e.expires {
			continue
		}
		if exempt, err := v.ask(e.where); exempt || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (v *evaluator) ask(x *expression) (bool, error) {
	if x == nil {
		return true, nil
	}
	if f := x.direct.truth; f != nil {
		return f(v), nil
	}
	out, err := v.run(x)
	if err != nil {
		return false, err
	}
	b, ok := out.(bool)
	return ok && b, nil
}

// maxWhy bounds what a hit says of itself.
const maxWhy = 256

// Why implements [scoring.Evaluator]: the values of what the condition reads, in its order. Of content it says only
// how long it is.
func (v *evaluator) Why(rule int) string { return v.why(v.pack.rules[rule].when) }

func (v *evaluator) why(x *expression) string {
	b := make([]byte, 0, 96)
	add := func(name string) {
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, name...), " = "...)
	}
	for _, id := range x.fields {
		f := &scoring.Fields[id]
		if id == scoring.FieldKind || !v.event.Has(id) {
			continue
		}
		add(f.Name)
		switch {
		case f.IsContent():
			b = append(strconv.AppendInt(append(b, '('), int64(len(v.event.Str(id))), 10), " bytes)"...)
		case f.Type == scoring.String:
			b = append(b, cut(v.event.Str(id), 64)...)
		case f.Type == scoring.Strings:
			b = append(append(append(b, '['), cut(strings.Join(v.event.List(id), " "), 64)...), ']')
		case f.Type == scoring.Milli:
			b = strconv.AppendFloat(b, float64(v.event.Int(id))/1000, 'f', -1, 64)
		case f.Type == scoring.Bool:
			b = strconv.AppendBool(b, v.event.Bool(id))
		default:
			b = strconv.AppendInt(b, v.event.Int(id), 10)
		}
	}
	for _, f := range x.features {
		add(v.pack.Features[f].Name)
		if v.pack.Features[f].Kind == scoring.Sequence {
			b = strconv.AppendBool(b, v.values[f] != 0)
		} else {
			b = strconv.AppendInt(b, v.values[f], 10)
		}
	}
	return cut(string(b), maxWhy)
}

// cut shortens a text to n bytes at most, on the border of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n -= 3; n > 0 && s[n]&0xc0 == 0x80; n-- {
	}
	return s[:n] + "..."
}
