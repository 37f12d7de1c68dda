package rules

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/scoring"
)

// What is compiled to closures says what expr's machine says: random expressions over random events.
func TestDirectAgreesWithTheMachine(t *testing.T) {
	features := []scoring.Feature{{Name: "sent_1h", Kind: scoring.Count}, {Name: "read_then_send", Kind: scoring.Sequence}}
	env := newEnvironment(features, nil)
	c := &compiler{env: env}
	g := &grammar{rand.New(rand.NewPCG(7, 9))}
	direct := 0
	for n := range 3000 {
		src, number := g.truth(3), n%7 == 0
		if number {
			src = g.whole(3)
		}
		x, err := c.compile(src, nil, number)
		if err != nil {
			if strings.Contains(err.Error(), "nested") || strings.Contains(err.Error(), "exceeds maximum") {
				continue
			}
			t.Fatalf("%s: %v", src, err)
		}
		p := &Pack{Pack: &scoring.Pack{Features: features}, env: env, rulesBy: newIndex(nil), featureBy: newIndex(nil)}
		if x.direct.truth == nil && x.direct.whole == nil {
			continue
		}
		direct++
		onMachine := *x
		onMachine.direct = value{}
		p.rules = []compiledRule{{when: &onMachine}} // the twin holds what the machine reads
		v := p.newEvaluator().(*evaluator)
		for range 20 {
			e := g.event()
			v.Bind(e)
			v.SetFeature(0, g.r.Int64N(4))
			v.SetFeature(1, g.r.Int64N(2))
			want, err := v.run(&onMachine)
			if err != nil {
				t.Fatalf("%s: the machine: %v", src, err)
			}
			var got any
			if number {
				got = int(x.direct.whole(v))
			} else {
				got = x.direct.truth(v)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: %v directly, %v on the machine, for %+v", src, got, want, e)
			}
		}
	}
	if direct < 2000 {
		t.Errorf("%d of 3000 expressions are compiled to closures: the test hardly looks", direct)
	}
}

// Every expression of the built-in pack is compiled to closures: the machine, and the twin that it reads, stay idle.
func TestBuiltinPackRunsWithoutTheMachine(t *testing.T) {
	p, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if ids := p.reads(); len(ids) > 0 {
		var names []string
		for _, id := range ids {
			names = append(names, scoring.Fields[id].Name)
		}
		t.Errorf("expressions that run on the machine read %v", names)
	}
}

// grammar makes random expressions of the language's common part.
type grammar struct{ r *rand.Rand }

func (g *grammar) pick(of ...string) string { return of[g.r.IntN(len(of))] }

func (g *grammar) truth(depth int) string {
	if depth == 0 {
		return g.pick("true", "false", "agent.registered", "data.spi", "read_then_send")
	}
	switch g.r.IntN(9) {
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", g.truth(depth-1), g.pick("&&", "||", "and", "or", "==", "!="), g.truth(depth-1))
	case 2:
		return fmt.Sprintf("%s(%s)", g.pick("!", "not "), g.truth(depth-1))
	case 3:
		return fmt.Sprintf("(%s %s %s)", g.text(), g.pick("==", "!=", "<", "<=", ">", ">=", "contains", "startsWith", "endsWith"), g.text())
	case 4:
		return fmt.Sprintf("(%s %s %s)", g.whole(depth-1), g.pick("==", "!=", "<", "<=", ">", ">="), g.whole(depth-1))
	case 5:
		return fmt.Sprintf("(%s %s %s)", g.number(depth-1), g.pick("==", "!=", "<", "<=", ">", ">="), g.pick(g.number(depth-1), g.whole(depth-1)))
	case 6:
		return fmt.Sprintf("(%s %s %s)", g.text(), g.pick("in", "not in"), g.pick("data.classes", "identity.scopes", `["a", "send", ""]`, `["a","b","c","d","e","f","g","h","send","ä"]`))
	case 7:
		return fmt.Sprintf("(%s matches %s)", g.text(), g.pick(`"^s.*d$"`, `"[ab]"`, `"(?i)SEND"`, `""`))
	default:
		return fmt.Sprintf("%s(%s, %s)", g.pick("any", "all", "none"), g.pick("data.classes", "identity.scopes"), g.pick(`# in ["a", "ä"]`, `# == tool.op`, `len(# ) > 1`, `# contains "b" || data.spi`, `sent_1h > 1 && # != ""`))
	}
}

func (g *grammar) whole(depth int) string {
	if depth == 0 {
		return g.pick("0", "1", "-3", "9007199254740993", "net.bytes_out", "sent_1h", "prov.intent_match", "llm.tokens_in")
	}
	switch g.r.IntN(4) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", g.whole(depth-1), g.pick("+", "-", "*"), g.whole(depth-1))
	case 1:
		return fmt.Sprintf("-(%s)", g.whole(depth-1))
	case 2:
		return fmt.Sprintf("len(%s)", g.pick(g.text(), "data.classes"))
	}
	return g.whole(0)
}

func (g *grammar) number(depth int) string {
	if depth == 0 {
		return g.pick("0.5", "1.25", "guard.score", "tool.amount", "0.1")
	}
	if g.r.IntN(3) == 0 {
		return fmt.Sprintf("(%s %s %s)", g.number(depth-1), g.pick("+", "-", "*"), g.pick(g.number(depth-1), g.whole(depth-1)))
	}
	return g.number(0)
}

func (g *grammar) text() string {
	return g.pick("tool.op", "kind", "tool.name", "agent.id", `"send"`, `""`, `"ä"`)
}

func (g *grammar) event() *scoring.Event {
	var e scoring.Event
	for id, f := range scoring.Fields {
		id := scoring.FieldID(id)
		if g.r.IntN(2) == 0 {
			continue
		}
		switch f.Type {
		case scoring.String:
			e.SetStr(id, g.pick("send", "a", "ä", "", "b/ä\xff", "SEND"))
		case scoring.Int, scoring.Milli:
			e.SetInt(id, []int64{0, 1, -1, 500, 4097, 1 << 53, -1 << 63, 1<<63 - 1}[g.r.IntN(8)])
		case scoring.Bool:
			e.SetBool(id, g.r.IntN(2) == 0)
		case scoring.Strings:
			e.SetList(id)
			for range g.r.IntN(3) {
				e.Append(id, g.pick("a", "ä", "send", "ab"))
			}
		}
	}
	return &e
}
