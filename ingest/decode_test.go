package ingest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/scoring"
)

// A time is what RFC 3339 says, in any zone, cut to milliseconds; anything else is kept as it was sent.
func TestDecodeTime(t *testing.T) {
	at := time.Date(2026, 5, 1, 10, 0, 0, 123e6, time.UTC).UnixMilli()
	for _, tt := range []struct {
		in   string
		want int64
		kept string
	}{
		{`"2026-05-01T10:00:00.123Z"`, at, ""},
		{`"2026-05-01T10:00:00.1239999999999Z"`, at, ""},
		{`"2026-05-01t18:00:00.123+08:00"`, at, ""},
		{`"2026-05-01 04:30:00.123-05:30"`, at, ""},
		{`1777629600123`, at, ""},
		{`1.777629600123e12`, at, ""},
		{`"2024-02-29T23:59:60z"`, time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), ""},
		{`"2026-02-29T00:00:00Z"`, 0, "2026-02-29T00:00:00Z"},
		{`"2026-05-01T10:00:00"`, 0, "2026-05-01T10:00:00"},
		{`"2026-05-01"`, 0, "2026-05-01"},
		{`"yesterday"`, 0, "yesterday"},
		{`""`, 0, ""},
		{`"9999-12-31T23:59:59Z"`, 0, "9999-12-31T23:59:59Z"}, // the column ends in 2299
		{`1777629600123000000`, 0, "1777629600123000000"},
		{`1777629600.123`, 0, "1777629600.123"},
		{`true`, 0, "true"},
	} {
		e, reject := decodeJSON(t, `{"kind":"a","time":`+tt.in+`}`)
		if reject != nil {
			t.Errorf("%s: %v", tt.in, reject)
			continue
		}
		kept := ""
		for _, a := range e.Attributes {
			kept = a.Value
		}
		if missing := e.Flags&scoring.FlagTimeMissing != 0; e.Time != tt.want || missing != (tt.want == 0) || kept != tt.kept {
			t.Errorf("%s: time %d, missing %v, kept %q; want %d, kept %q", tt.in, e.Time, missing, kept, tt.want, tt.kept)
		}
	}
}

// parseTime and the standard library agree on every moment that fits, in every zone.
func TestParseTimeAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		zone := time.FixedZone("", 60*(r.IntN(2*18*60)-18*60))
		want := time.UnixMilli(minTime + 1000 + r.Int64N(maxTime-minTime-2000)).In(zone)
		text := want.Format("2006-01-02T15:04:05.999Z07:00")
		if got, ok := parseTime([]byte(text)); !ok || got != want.UnixMilli() {
			t.Fatalf("%s: %d %v, want %d", text, got, ok, want.UnixMilli())
		}
	}
}

// Arguments are JSON text, in whatever way they were sent.
func TestDecodeArguments(t *testing.T) {
	for in, want := range map[string]string{
		`{"to": "a", "n": [1, 2]}`:     `{"to": "a", "n": [1, 2]}`,
		`[1,2]`:                        `[1,2]`,
		`"{\"to\":\"a\\n\"}"`:          `{"to":"a\n"}`,
		`" [1] "`:                      ` [1] `,
		`"ls -la"`:                     `"ls -la"`,
		`"{not json"`:                  `"{not json"`,
		`"{} and more"`:                `"{} and more"`,
		`""`:                           `""`,
		`{"a":"\ud83d\ude00"}`:         `{"a":"\ud83d\ude00"}`,
		"{\"a\":\"\xff\"}":             "{\"a\":\"\uFFFD\"}",
		`{"a":` + nest(14, "1") + `}`:  `{"a":` + nest(14, "1") + `}`,
		`"` + nest(15, "1") + `"`:      nest(15, "1"),
		`{"a":{"b":1},"c":{"b":1}}`:    `{"a":{"b":1},"c":{"b":1}}`,
		`[{"b":1},{"b":1}]`:            `[{"b":1},{"b":1}]`,
		`{"type":"x","time":"y","":0}`: `{"type":"x","time":"y","":0}`,
	} {
		e, reject := decodeJSON(t, `{"kind":"a","tool.args":`+in+`}`)
		if reject != nil || e.Str(scoring.FieldToolArgs) != want {
			t.Errorf("%s: %q %v, want %q", in, e.Str(scoring.FieldToolArgs), reject, want)
		}
	}
	for in, want := range map[string]scoring.Reason{
		`7`: scoring.ReasonType, `true`: scoring.ReasonType,
		`{"to":"a","to":"b"}`:                            scoring.ReasonDuplicate,
		`{"x":[{"to":1,"t\u006f":2}]}`:                   scoring.ReasonDuplicate,
		`"{\"to\":1,\"to\":2}"`:                          scoring.ReasonDuplicate,
		nest(16, "1"):                                    scoring.ReasonLimit,
		`"` + nest(16, "1") + `"`:                        scoring.ReasonLimit,
		`"` + strings.Repeat("x", scoring.MaxArgs) + `"`: scoring.ReasonLimit,
		`[` + strings.Repeat("1,", scoring.MaxArgs):      scoring.ReasonLimit, // refused before its end is looked for
		`{"a":tru}`:                                      scoring.ReasonJSON,
	} {
		if _, reject := decodeJSON(t, `{"kind":"a","tool.args":`+in+`}`); reject == nil || reject.Reason != want {
			t.Errorf("%.60s: %v, want %s", in, reject, want)
		}
	}
}

func nest(depth int, s string) string {
	return strings.Repeat("[", depth) + s + strings.Repeat("]", depth)
}

// What the table does not know is kept under its dotted name.
func TestDecodeAttributes(t *testing.T) {
	for in, want := range map[string]string{
		`"a":"x","b":1.50,"c":[1, {"d":2}],"e":true,"f":null`:        `a=x b=1.50 c=[1, {"d":2}] e=true`,
		`"a":{"b":{"c":"x"},"d.e":1},"f":{}`:                         `a.b.c=x a.d.e=1`,
		`"tool":{"name":"n","colour":"red"},"tool.shape":"round"`:    `tool.colour=red tool.shape=round`,
		`"provider":{"id":"p","zone":"z"},"model":{"size":7}`:        `provider.zone=z model.size=7`,
		`"":"x","n":{"":"y"}`:                                        `=x n.=y`,
		`"Kind":"x","AGENT.ID":"y"`:                                  `Kind=x AGENT.ID=y`,
		`"x":{"kind":"b","time":"t","tool.name":"n","agent_id":"i"}`: `x.kind=b x.time=t x.tool.name=n x.agent_id=i`,
		`"\u540d":"\u503c","名字":"值"`:                                 `名=值 名字=值`,
		`"a":"` + strings.Repeat("x", 4096) + `"`:                    `a=` + strings.Repeat("x", 4096),
		`"` + strings.Repeat("n", 256) + `":1`:                       strings.Repeat("n", 256) + `=1`,
		`"n":{"` + strings.Repeat("n", 254) + `":1}`:                 `n.` + strings.Repeat("n", 254) + `=1`,
	} {
		e, reject := decodeJSON(t, `{"kind":"a",`+in+`}`)
		var got []string
		for _, a := range e.Attributes {
			got = append(got, a.Key+"="+a.Value)
		}
		if s := strings.Join(got, " "); reject != nil || s != want {
			t.Errorf("%.60s: %.100q %v, want %.100q", in, s, reject, want)
		}
	}
	var many strings.Builder
	for i := range scoring.MaxAttributes + 1 {
		fmt.Fprintf(&many, `,"a%d":1`, i)
	}
	for in, want := range map[string]scoring.Reason{
		`"z":{"y":1},"z.y":2`: scoring.ReasonDuplicate, `"z":1,"z":{"y":1}`: scoring.ReasonDuplicate, `"type":{"x":1},"type":{"y":1}`: scoring.ReasonDuplicate,
		`"a":"` + strings.Repeat("x", 4097) + `"`:    scoring.ReasonLimit,
		`"a":[` + strings.Repeat("1,", 4097) + `1]`:  scoring.ReasonLimit,
		`"` + strings.Repeat("n", 257) + `":1`:       scoring.ReasonLimit,
		`"n":{"` + strings.Repeat("n", 255) + `":1}`: scoring.ReasonLimit,
		many.String()[1:]:                            scoring.ReasonLimit,
	} {
		if _, reject := decodeJSON(t, `{"kind":"a",`+in+`}`); reject == nil || reject.Reason != want {
			t.Errorf("%.60s: %v, want %s", in, reject, want)
		}
	}
}

// The detail of a reject names field, limit and place, stays on one line and echoes no more than the beginning of what
// was sent.
func TestDecodeDetails(t *testing.T) {
	secret := strings.Repeat("secret", 40)
	for in, want := range map[string]string{
		`{"kind":"` + secret + `"}`:                          "kind at byte 8 has 240 bytes, limit 64",
		`{"kind":"a","net.dst_port":65536}`:                  "net.dst_port at byte 27: 65536 is out of range: want a whole number from 0 to 65535",
		`{"kind":"a","tool.name":["` + secret + `"]}`:        "tool.name at byte 24: want a text",
		`{"kind":"a","` + secret + `":1,"` + secret + `":2}`: `"` + secret[:40] + `" is said twice, again at byte 257`,
		`{"kind":"a","x":"` + secret:                         "the record ends at byte 257: a text does not end",
		`{"kind":"a","data.pi":tru` + secret:                 "want true or false at byte 22",
		`{"kind":"timer"}`:                                   `kind "timer" is agentrisk's own`,
		"{\"kind\":\"a\",\"a\\nb\":1,\"a\\nb\":1}":           `"a\nb" is said twice, again at byte 21`,
	} {
		if _, reject := decodeJSON(t, in); reject == nil || reject.Detail != want {
			t.Errorf("%.60s: %v, want %q", in, reject, want)
		}
	}
}

// One decoder reads a stream as fresh ones read each of its records: nothing of one record shows in the next.
func TestDecoderKeepsNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var records []string
	fl := fleet.New(fleet.Config{Events: 300})
	for e := (fleet.Event{}); fl.Next(&e); {
		line := string(e.Line)
		records = append(records, line, line[:r.IntN(len(line))], strings.Replace(line, ",", `,"x":{"y":["\u00e9"]},`, 1))
	}
	r.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	used := newJSONDecoder()
	var e scoring.Event
	for _, rec := range records {
		fresh, want := decodeJSON(t, rec)
		used.Decode(&Record{Value: []byte(rec), Time: 1_780_000_000_000}, &e, func(_ int32, got *scoring.Reject) {
			if (got == nil) != (want == nil) || got != nil && *got != *want {
				t.Fatalf("%s: %v, want %v", rec, got, want)
			}
			if a, b := fmt.Sprintf("%+v", e), fmt.Sprintf("%+v", *fresh); got == nil && a != b {
				t.Fatalf("%s:\n%s\n%s", rec, a, b)
			}
		})
	}
}

// Steady state makes no garbage, with escapes, nesting and attributes too.
func TestDecodeMakesNoGarbage(t *testing.T) {
	rec := &Record{Value: []byte(`{"type":"a","tool":{"name":"\u00e9","args":{"a":1,"b":[{"c":"\n"}]}},"x":{"y":"z\t","w":[1,2]},"data.classes":["a","b"],"content":"\ud800 \n","guard.score":0.93451}`)}
	d := newJSONDecoder()
	var e scoring.Event
	yield := func(_ int32, reject *scoring.Reject) {
		if reject != nil {
			t.Fatal(reject)
		}
	}
	if n := testing.AllocsPerRun(100, func() { d.Decode(rec, &e, yield) }); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}
