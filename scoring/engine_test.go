package scoring

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// testPack has a feature of each kind, and a rule for each that matches on the feature's value. An event's tool.op says
// what it matches: "a" is step 0 of everything, "b" step 1, "x" resets.
func testPack(seen func(e *Event, feature int, value int64)) *Pack {
	p := &Pack{Name: "test", Digest: "test"}
	add := func(f Feature) {
		f.Name, f.ID = fmt.Sprintf("f%d", len(p.Features)), fmt.Sprintf("f%d", len(p.Features))
		if f.Kind != Sequence {
			f.Steps = 1
		}
		p.Rules = append(p.Rules, Rule{ID: fmt.Sprintf("AR-F%d-001", len(p.Features)), Family: fmt.Sprintf("F%d", len(p.Features)), Severity: High,
			Weight: 100 + 70*len(p.Features), Status: Stable, Alert: len(p.Features)%2 == 0, Features: []int{len(p.Features)}, NeedsAgent: f.Per == PerAgent, NeedsSession: f.Per == PerSession})
		p.Features = append(p.Features, f)
	}
	minute := int64(60_000)
	add(Feature{Kind: Count, Window: 10 * minute})
	add(Feature{Kind: Count, Window: 2 * minute, By: []FieldID{FieldToolName}})
	add(Feature{Kind: Sum, Window: 20 * minute})
	add(Feature{Kind: Max, Window: 10 * minute, By: []FieldID{FieldToolName}})
	add(Feature{Kind: Distinct, Window: 10 * minute, Distinct: FieldToolTarget})
	add(Feature{Kind: Since, HasReset: true})
	add(Feature{Kind: Sequence, Window: 5 * minute, Steps: 2, HasReset: true})
	add(Feature{Kind: Sequence, Window: 8 * minute, Steps: 2, Same: []FieldID{FieldToolName}, Differ: []FieldID{FieldToolTarget}})
	add(Feature{Kind: Count, Per: PerSession, Window: 10 * minute})
	p.NewEvaluator = func() Evaluator { return &testEvaluator{p: p, seen: seen, values: make([]int64, len(p.Features))} }
	return p
}

type testEvaluator struct {
	p      *Pack
	e      *Event
	values []int64
	seen   func(*Event, int, int64)
}

func (v *testEvaluator) Bind(e *Event) { v.e = e }
func (v *testEvaluator) SetFeature(i int, x int64) {
	v.values[i] = x
	if v.seen != nil {
		v.seen(v.e, i, x)
	}
}
func (v *testEvaluator) all(dst []int, n int) []int {
	for i := range n {
		dst = append(dst, i)
	}
	return dst
}
func (v *testEvaluator) Features(dst []int) []int { return v.all(dst, len(v.p.Features)) }
func (v *testEvaluator) Rules(dst []int) []int    { return v.all(dst, len(v.p.Rules)) }
func (v *testEvaluator) Step(_, n int) (bool, error) {
	return v.e.Str(FieldToolOp) == []string{"a", "b"}[n], nil
}
func (v *testEvaluator) Reset(int) (bool, error)  { return v.e.Str(FieldToolOp) == "x", nil }
func (v *testEvaluator) Value(int) (int64, error) { return v.e.Int(FieldAmount), nil }
func (v *testEvaluator) When(i int) (bool, error) {
	if v.e.Str(FieldKind) == "boom" {
		panic("boom")
	}
	return v.values[i] >= 3 || v.p.Features[i].Kind == Sequence && v.values[i] == 1, nil
}
func (v *testEvaluator) Why(i int) string { return fmt.Sprintf("f%d = %d", i, v.values[i]) }

// stream makes events of a few agents, out of order and with retries.
func stream(seed uint64, n, agents int) []*Event {
	r := rand.New(rand.NewPCG(seed, 9))
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	var list []*Event
	for i := range n {
		at += int64(r.IntN(20_000))
		if r.IntN(300) == 0 {
			at += 40 * 60_000
		}
		if i > 0 && r.IntN(25) == 0 { // a producer's retry
			list = append(list, list[len(list)-1].Clone())
			continue
		}
		e := &Event{Time: at - int64(r.IntN(3)*r.IntN(400_000)), KafkaTime: at}
		e.SetStr(FieldEventID, fmt.Sprint("e", i))
		e.SetStr(FieldKind, "tool_call")
		e.SetStr(FieldTenant, "t")
		e.SetStr(FieldProvider, "p")
		e.SetStr(FieldAgent, fmt.Sprint("a", r.IntN(agents)))
		e.SetStr(FieldSession, fmt.Sprint("s", r.IntN(3)))
		e.SetStr(FieldToolOp, []string{"a", "a", "b", "b", "c", "c", "c", "x"}[r.IntN(8)])
		e.SetStr(FieldToolName, []string{"n", "m"}[r.IntN(2)])
		e.SetStr(FieldToolTarget, fmt.Sprint(r.IntN(5)))
		e.SetInt(FieldAmount, int64(r.IntN(100))-20)
		list = append(list, e)
	}
	return list
}

func line(g *Engine, e *Event) string {
	var v Verdict
	e = e.Clone()
	g.Judge(e, &v)
	return string(AppendVerdict(nil, g.pack, e, &v))
}

// oracle keeps everything and computes a feature anew from its definition.
type oracle struct {
	events []*Event // of one agent, retries left out
	clock  int64
	clocks []int64
}

func (o *oracle) add(e *Event) {
	o.clock = max(o.clock, e.StateTime())
	o.events = append(o.events, e)
	o.clocks = append(o.clocks, o.clock)
}

func (o *oracle) value(p *Pack, i int) int64 {
	f, now := &p.Features[i], o.events[len(o.events)-1]
	sub := func(e *Event) string {
		s := ""
		for _, id := range f.By {
			s += e.Str(id) + "|"
		}
		return s
	}
	key := func(e *Event, ids []FieldID) (s string) {
		for _, id := range ids {
			s += e.Str(id) + "|"
		}
		return s
	}
	n := len(o.events)
	switch f.Kind {
	case Since:
		last := int64(-1)
		for j, e := range o.events {
			if e.Str(FieldToolOp) == "x" {
				last = -1
			}
			if j < n-1 && e.Str(FieldToolOp) == "a" {
				last = o.clocks[j]
			}
		}
		if last < 0 {
			return -1
		}
		return (o.clock - last) / 1000
	case Sequence:
		if now.Str(FieldToolOp) != "b" {
			return 0
		}
		for j := n - 2; j >= 0; j-- {
			e := o.events[j]
			if f.HasReset && e.Str(FieldToolOp) == "x" {
				return 0
			}
			if e.Str(FieldToolOp) == "a" && o.clock-o.clocks[j] <= f.Window && key(e, f.Same) == key(now, f.Same) && (len(f.Differ) == 0 || key(e, f.Differ) != key(now, f.Differ)) && !used(o, f, j, n-1, key) {
				return 1
			}
		}
		return 0
	}
	w := f.Window / buckets
	var v int64
	any := false
	values := map[string]bool{}
	for _, e := range o.events {
		b := e.StateTime() / w
		if e.Str(FieldToolOp) != "a" || sub(e) != sub(now) || b <= o.clock/w-buckets || f.Per == PerSession && e.Str(FieldSession) != now.Str(FieldSession) {
			continue
		}
		x := int64(1)
		if f.Kind == Sum || f.Kind == Max {
			x = e.Int(FieldAmount)
		}
		values[e.Str(FieldToolTarget)] = true
		if f.Kind == Max && any {
			v = max(v, x)
		} else {
			v += x
		}
		any = true
	}
	if f.Kind == Distinct {
		return int64(len(values))
	}
	return v
}

// used reports whether the run that began at j was taken to its end, or replaced by an equal younger one, before n.
func used(o *oracle, f *Feature, j, n int, key func(*Event, []FieldID) string) bool {
	for k := j + 1; k < n; k++ {
		e := o.events[k]
		same := key(e, f.Same) == key(o.events[j], f.Same)
		if e.Str(FieldToolOp) == "a" && same && key(e, f.Differ) == key(o.events[j], f.Differ) {
			return true
		}
		if e.Str(FieldToolOp) == "b" && same && o.clocks[k]-o.clocks[j] <= f.Window && (len(f.Differ) == 0 || key(e, f.Differ) != key(o.events[j], f.Differ)) {
			return true
		}
	}
	return false
}

// Every feature has the value that its definition gives, over streams out of order and with retries.
func TestFeaturesAgainstTheirDefinition(t *testing.T) {
	for seed := range uint64(20) {
		agents := map[string]*oracle{}
		checked := 0
		var p *Pack
		p = testPack(func(e *Event, i int, got int64) {
			f := &p.Features[i]
			if f.Per == PerSession { // sessions close: compared by the determinism test alone
				return
			}
			checked++
			if want := agents[e.Str(FieldAgent)].value(p, i); got != want {
				t.Fatalf("seed %d, event %s, %s %d: %d, want %d", seed, e.Str(FieldEventID), f.Kind, i, got, want)
			}
		})
		g := NewEngine(p, Options{})
		var v Verdict
		last := map[string]string{}
		for _, e := range stream(seed, 600, 3) {
			a := e.Str(FieldAgent)
			if agents[a] == nil {
				agents[a] = &oracle{}
			}
			if last[a] != e.Str(FieldEventID) {
				agents[a].add(e)
			}
			last[a] = e.Str(FieldEventID)
			g.Judge(e.Clone(), &v)
		}
		if checked == 0 {
			t.Fatal("nothing was compared")
		}
	}
}

func chunks(t *testing.T, g *Engine) [][]byte {
	t.Helper()
	var list [][]byte
	if err := g.Save(func(c []byte) error { list = append(list, bytes.Clone(c)); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

func load(g *Engine, list [][]byte) error {
	return g.Load(func() ([]byte, error) {
		if len(list) == 0 {
			return nil, io.EOF
		}
		c := list[0]
		list = list[1:]
		return c, nil
	})
}

// One stream, judged in one go, by engines that are saved and loaded at random points under other keys, and spread
// over eight engines by agent, gives the same lines.
func TestDeterminism(t *testing.T) {
	for seed := range uint64(10) {
		events := stream(seed, 1500, 12)
		p := testPack(nil)
		var want []string
		g := NewEngine(p, Options{})
		for _, e := range events {
			want = append(want, line(g, e))
		}
		r := rand.New(rand.NewPCG(seed, 5))
		restored := NewEngine(p, Options{})
		var spread [8]*Engine
		for i := range spread {
			spread[i] = NewEngine(p, Options{Key: [16]byte{byte(i + 1)}})
		}
		hits := 0
		for i, e := range events {
			if r.IntN(40) == 0 {
				saved := chunks(t, restored)
				restored = NewEngine(p, Options{})
				if err := load(restored, saved); err != nil {
					t.Fatal(err)
				}
				if again := chunks(t, restored); !bytes.Equal(bytes.Join(saved, nil), bytes.Join(again, nil)) {
					t.Fatal("a snapshot of the restored state is another one")
				}
			}
			if got := line(restored, e); got != want[i] {
				t.Fatalf("seed %d, event %d, restored:\n got %s\nwant %s", seed, i, got, want[i])
			}
			n := int(e.Str(FieldAgent)[1]) % 8
			if got := line(spread[n], e); got != want[i] {
				t.Fatalf("seed %d, event %d, spread:\n got %s\nwant %s", seed, i, got, want[i])
			}
			hits += strings.Count(want[i], `"rule":`)
		}
		if hits == 0 {
			t.Fatal("no rule ever matched")
		}
	}
}

// What had to be evicted can only change verdicts that say so.
func TestEvictionIsMarked(t *testing.T) {
	events := stream(1, 4000, 60)
	p := testPack(nil)
	free, tight := NewEngine(p, Options{}), NewEngine(p, Options{MaxBytes: 60_000})
	differ := 0
	for i, e := range events {
		want, got := line(free, e), line(tight, e)
		if want != got {
			if differ++; !strings.Contains(got, `"cold"`) {
				t.Fatalf("event %d differs and is not marked:\n got %s\nwant %s", i, got, want)
			}
		}
	}
	if s := tight.Stats(); s.Evictions == 0 || s.Bytes > 60_000 || differ == 0 {
		t.Errorf("%+v, %d verdicts differ: nothing was tried", s, differ)
	}
}

func event(id, agent, session, op string, at int64) *Event {
	e := &Event{Time: 1_780_000_000_000 + at*1000, KafkaTime: 1_780_000_000_000 + at*1000}
	e.SetStr(FieldEventID, id)
	e.SetStr(FieldKind, "tool_call")
	e.SetStr(FieldAgent, agent)
	e.SetStr(FieldSession, session)
	e.SetStr(FieldToolOp, op)
	return e
}

func TestRetriesAndReusedIDs(t *testing.T) {
	g := NewEngine(testPack(nil), Options{})
	var v Verdict
	for i, tt := range []struct {
		e    *Event
		want Flags
	}{
		{event("1", "a", "s", "a", 0), 0},
		{event("1", "a", "s", "a", 0), FlagDuplicate},
		{event("1", "a", "s", "b", 0), FlagIDReused},
		{event("1", "b", "s", "a", 0), 0}, // another agent's
		{event("", "a", "s", "a", 0), 0},
		{event("", "a", "s", "a", 0), 0}, // without an id nothing is a retry
	} {
		g.Judge(tt.e, &v)
		if v.Flags != tt.want || tt.e.Bool(FieldIDReused) != (tt.want == FlagIDReused) {
			t.Errorf("event %d: flags %v, want %v", i, v.Flags.Names(), tt.want.Names())
		}
		if tt.want == FlagDuplicate && (v.Score != 0 || len(v.Hits) != 0) {
			t.Errorf("a retry scores %s", v.Score)
		}
	}
}

// A panic leaves the state as it was.
func TestPanicLeavesStateAsItWas(t *testing.T) {
	g := NewEngine(testPack(nil), Options{})
	var v Verdict
	g.Judge(event("1", "a", "s", "a", 0), &v)
	before := chunks(t, g)
	e := event("2", "a", "s", "a", 1)
	e.SetStr(FieldKind, "boom")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("did not panic")
			}
		}()
		g.Judge(e, &v)
	}()
	if !bytes.Equal(bytes.Join(before, nil), bytes.Join(chunks(t, g), nil)) {
		t.Error("the state changed")
	}
}

// A binding that carries less leaves rules unjudged, and the verdict names them.
func TestWhatABindingCannotCarry(t *testing.T) {
	p := testPack(nil)
	for _, tt := range []struct {
		keyed KeyedBy
		lacks int
	}{{KeyedByAgent, 0}, {KeyedBySession, 8}, {KeyedByNone, 9}} {
		g := NewEngine(p, Options{})
		var v Verdict
		for i := range 5 {
			e := event(fmt.Sprint(i), "a", "s", "a", int64(i))
			e.KeyedBy = tt.keyed
			g.Judge(e, &v)
		}
		if len(v.Lacks) != tt.lacks {
			t.Errorf("keyed %d: lacks %d rules, want %d", tt.keyed, len(v.Lacks), tt.lacks)
		}
		if tt.keyed != KeyedByNone && len(v.Hits) == 0 {
			t.Errorf("keyed %d: no rule matched", tt.keyed)
		}
	}
}

// A session pages once for each rule that pages, and once when it rises; an agent's score halves in six hours; a
// session closes after half an hour.
func TestAlertsAndTime(t *testing.T) {
	g := NewEngine(testPack(nil), Options{})
	alerts := map[AlertCause]int{}
	var v Verdict
	for i := range 60 {
		g.Judge(event(fmt.Sprint(i), "a", "s", "a", int64(i)), &v)
		alerts[v.Alert]++
	}
	if alerts[AlertRose] != 1 || alerts[AlertByRule] > 5 {
		t.Errorf("alerts %v", alerts)
	}
	high := v.AgentScore
	g.Judge(event("later", "a", "s2", "c", 6*3600), &v)
	own := v.SessionScore // of the event itself: it came long after the last match
	if v.AgentScore >= high || v.AgentScore <= own {
		t.Errorf("six hours later: session %s, agent %s of %s", v.SessionScore, v.AgentScore, high)
	}
	g.Judge(event("much later", "a", "s", "c", 5*24*3600), &v)
	if v.SessionScore != own || v.AgentScore != own {
		t.Errorf("five days later: session %s, agent %s", v.SessionScore, v.AgentScore)
	}
}

func BenchmarkJudge(b *testing.B) {
	g := NewEngine(testPack(nil), Options{})
	events := stream(1, 10_000, 500)
	var v Verdict
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := events[i%len(events)]
		g.Judge(e, &v)
	}
	b.ReportMetric(float64(g.Stats().Bytes)/float64(g.Stats().Agents), "B/agent")
}
