package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/scoring"
)

func decodeJSON(t testing.TB, text string) (*scoring.Event, *scoring.Reject) {
	t.Helper()
	var e scoring.Event
	var got *scoring.Reject
	calls := 0
	newJSONDecoder().Decode(&Record{Value: []byte(text), Time: 1_780_000_000_000}, &e, func(_ int32, r *scoring.Reject) { calls++; got = r })
	if calls != 1 {
		t.Fatalf("%d items", calls)
	}
	return &e, got
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"dotted", `{"kind":"tool_call","tool.name":"x","net.dst_port":443,"data.pi":true,"data.classes":["a","b"],"approval.latency_s":2.5,"time":"2026-05-01T10:00:00.25Z"}`},
		{"nested", `{"kind":"tool_call","tool":{"name":"x"},"net":{"dst_port":443},"data":{"pi":true,"classes":["a","b"]},"approval":{"latency_s":2.5},"time":"2026-05-01T18:00:00.250+08:00"}`},
		{"flat names, odd numbers", ` {"type" : "tool_call" , "tool" : {"name":"\u0078"},"net.dst_port":4.43e2,"data.pi":true,"data.classes":["a","b"],"approval.latency_s":2.500, "time":1777629600250 } `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, reject := decodeJSON(t, tt.in)
			if reject != nil {
				t.Fatal(reject)
			}
			if e.Str(scoring.FieldKind) != "tool_call" || e.Str(scoring.FieldToolName) != "x" || e.Int(scoring.FieldDstPort) != 443 || !e.Bool(scoring.FieldPI) ||
				strings.Join(e.List(scoring.FieldClasses), ",") != "a,b" || e.Int(scoring.FieldApprovalLatency) != 2500 || e.Time != 1777629600250 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestDecodeRejects(t *testing.T) {
	for in, want := range map[string]scoring.Reason{
		``: scoring.ReasonEmpty, `  `: scoring.ReasonEmpty,
		`{`: scoring.ReasonJSON, `[]`: scoring.ReasonJSON, `{"kind":"a"} x`: scoring.ReasonJSON, `{"kind":NaN}`: scoring.ReasonJSON, `{"kind":"a",}`: scoring.ReasonJSON,
		`{"kind":"a","x":01}`: scoring.ReasonJSON, `{"kind":"a\`: scoring.ReasonJSON, "{\"kind\":\"a\nb\"}": scoring.ReasonJSON, `{"kind":"\x"}`: scoring.ReasonJSON,
		`{"kind":"a","kind":"a"}`: scoring.ReasonDuplicate, `{"kind":"a","type":"a"}`: scoring.ReasonDuplicate, `{"kind":"a","tool":{"name":"x"},"tool.name":"x"}`: scoring.ReasonDuplicate,
		`{"kind":"a","z":1,"z":2}`: scoring.ReasonDuplicate, `{"kind":"a","tool":{},"tool":{}}`: scoring.ReasonDuplicate,
		`{"kind":"a","net.dst_port":65536}`: scoring.ReasonRange, `{"kind":"a","net.dst_port":-1}`: scoring.ReasonRange, `{"kind":"a","tool.blast":1.5}`: scoring.ReasonRange,
		`{"kind":"a","seq":9223372036854775808}`: scoring.ReasonRange, `{"kind":"a","seq":1e400}`: scoring.ReasonRange, `{"kind":"a","guard.score":1.0001}`: scoring.ReasonRange, `{"kind":"a","guard.score":-1e-9}`: scoring.ReasonRange, `{"kind":"a","guard.score":1.001}`: scoring.ReasonRange,
		`{"kind":1}`: scoring.ReasonType, `{"kind":"a","data.pi":"yes"}`: scoring.ReasonType, `{"kind":"a","data.classes":[1]}`: scoring.ReasonType, `{"kind":"a","data.classes":"x"}`: scoring.ReasonType,
		`{}`: scoring.ReasonMissing, `{"kind":null}`: scoring.ReasonMissing,
		`{"kind":"timer"}`: scoring.ReasonReserved, `{"kind":"rollup"}`: scoring.ReasonReserved,
		`{"kind":"` + strings.Repeat("k", 65) + `"}`:                                                scoring.ReasonLimit,
		`{"kind":"a","content":"` + strings.Repeat("x", scoring.MaxContent+1) + `"}`:                scoring.ReasonLimit,
		`{"kind":"a","tool.args":{"a":"` + strings.Repeat("x", scoring.MaxArgs) + `"}}`:             scoring.ReasonLimit,
		`{"kind":"a","x":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + `}`:                scoring.ReasonLimit,
		`{"kind":"a","x":` + strings.Repeat(`{"x":`, 17) + `1` + strings.Repeat("}", 18):            scoring.ReasonLimit,
		`{"kind":"a","data.classes":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 65), ",") + `]}`: scoring.ReasonLimit,
	} {
		_, reject := decodeJSON(t, in)
		if reject == nil || reject.Reason != want {
			t.Errorf("%.60s: %v, want %s", in, reject, want)
		} else if len(reject.Detail) > 300 {
			t.Errorf("%.60s: a detail of %d bytes", in, len(reject.Detail))
		}
	}
}

func TestDecodeFlagsWhatIsOdd(t *testing.T) {
	for in, want := range map[string]scoring.Flags{
		`{"kind":"a","time":"2026-05-01T10:00:00Z"}`: 0,
		`{"kind":"a"}`:                                                  scoring.FlagTimeMissing,
		`{"kind":"a","time":"yesterday"}`:                               scoring.FlagTimeMissing,
		`{"kind":"a","time":"1999-01-01T00:00:00Z"}`:                    scoring.FlagTimeClamped,
		`{"kind":"a","time":"2030-01-01T00:00:00Z"}`:                    scoring.FlagTimeClamped,
		"{\"kind\":\"a\",\"time\":0,\"content\":\"\xff\"}":              scoring.FlagTimeClamped | scoring.FlagBadUTF8,
		`{"kind":"a","time":"2026-05-01T10:00:00Z","content":"\ud800"}`: scoring.FlagBadUTF8,
	} {
		e, reject := decodeJSON(t, in)
		if reject != nil || e.Flags != want {
			t.Errorf("%s: %v %v, want %v", in, reject, e.Flags.Names(), want.Names())
		}
	}
}

// The decoder does what the oracle says, whatever the record holds.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"kind":"a","tool":{"name":"b","args":{"x":[1,2.5e3,null,true]}},"z":{"y":"\u00e9"}}`, `{"kind":"a","seq":1e3,"time":"2026-05-01T10:00:00Z"}`,
		"{\"kind\":\"\xff\"}", `{"kind":"\ud83d\ude00","q":"\ud83d\ud83d\ude00"}`, `{"kind":"a","z":{"y":1},"z.y":2}`, `{"kind":"a","tool.args":"{\"a\":{\"b\":1}}"}`,
		`{"kind":"a","time":"2024-02-29t23:59:60.1239+08:00"}`, `{"kind":"a","time":{"at":1}}`, `{"provider":{"id":"p","region":"r"},"tenant_id":"t","model":{"a":1},"kind":"a","data.classes":["x",[]]}`,
	} {
		f.Add([]byte(s))
	}
	fl := fleet.New(fleet.Config{Events: 20})
	for e := (fleet.Event{}); fl.Next(&e); {
		f.Add(bytes.Clone(e.Line))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, reject := decodeJSON(t, string(b))
		o := newOracle(b)
		switch {
		case o.unsure:
		case reject == nil && len(o.reasons) > 0:
			t.Fatalf("taken, must be refused: %v", o.reasons)
		case reject == nil:
			if d := o.differ(e); d != "" {
				t.Fatal(d)
			}
			if bad := e.Flags&scoring.FlagBadUTF8 != 0; !bad && !utf8.Valid(b) || bad && utf8.Valid(b) && !bytes.Contains(bytes.ToLower(b), []byte(`\ud`)) {
				t.Fatalf("marked as bad UTF-8: %v", bad)
			}
		case o.reasons[scoring.ReasonJSON] || o.reasons[reject.Reason]: // broken JSON may break a bound before it ends
		default:
			t.Fatalf("refused: %v; the oracle has %v", reject, o.reasons)
		}
		if reject != nil && (len(reject.Detail) > 400 || strings.ContainsAny(reject.Detail, "\n\r")) {
			t.Fatalf("detail %q", reject.Detail)
		}
	})
}

func TestMatchTopic(t *testing.T) {
	for _, tt := range []struct {
		pattern, topic string
		want           bool
	}{
		{"agent.events.*", "agent.events.a", true}, {"agent.events.*", "agent.events.", true}, {"agent.events.*", "agent.event", false},
		{"a*c*e", "abcde", true}, {"a*c*e", "ace", true}, {"a*c*e", "aec", false}, {"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"aa*aa", "aaa", false},
	} {
		if MatchTopic(tt.pattern, tt.topic) != tt.want {
			t.Errorf("%s on %s: want %v", tt.pattern, tt.topic, tt.want)
		}
	}
}

func TestPlanRoundTrip(t *testing.T) {
	p := plan{Version: planVersion, To: 7, Epoch: 2, Cluster: "c", Incarnation: "i", LastOffset: 6, LastHash: 1<<63 + 5, Clock: 9}
	got, err := parsePlan(p.encode())
	if err != nil || got != p || len(p.encode()) > 4096 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, foreign := range []string{"", "{}", `{"v":99}`, "some other program", `{"to":150}`} {
		if _, err := parsePlan(foreign); err == nil {
			t.Errorf("%q is taken for ours", foreign)
		}
	}
}

// Reconcile finds each kind of damage, and nothing where there is none.
func TestReconcile(t *testing.T) {
	for name, damage := range map[string]func(*memoryStore){
		"": func(*memoryStore) {},
		FindMissing: func(s *memoryStore) {
			for o := range s.rows {
				delete(s.rows, o)
				return
			}
		},
		FindDoubled: func(s *memoryStore) {
			for o := range s.rows {
				s.rows[o] = append(s.rows[o], "again")
				return
			}
		},
		FindGap: func(s *memoryStore) {
			for i, l := range s.lines {
				if l.To > l.From {
					s.lines[i].From += 5
					return
				}
			}
		},
	} {
		t.Run("damage "+name, func(t *testing.T) { reconcileWith(t, name, damage) })
	}
}

// The labelled feed: what a fleet sends, of all kinds, about 1 KB an event.
func BenchmarkDecode(b *testing.B) {
	var lines [][]byte
	fl := fleet.New(fleet.Config{Events: 4096})
	for e := (fleet.Event{}); fl.Next(&e); {
		lines = append(lines, bytes.Clone(e.Line))
	}
	benchmarkDecode(b, lines)
}

// Content with line breaks and Chinese in the flat form: the slow ways of a text.
func BenchmarkDecodeContent(b *testing.B) {
	content, err := json.Marshal(strings.Repeat("The invoice is attached.\n请在周五之前付款，谢谢。\n", 16))
	if err != nil {
		b.Fatal(err)
	}
	benchmarkDecode(b, [][]byte{fmt.Appendf(nil, `{"id":"e_de7839f7eede3dfc","time":"2025-06-02T03:28:59.553Z","seq":7,"provider":"p","tenant_id":"tn_3f9e8893","agent_id":"ag_942c64dd6c","session_id":"s_2f08f8179cf52dff394d","model":"model-l","type":"tool_result","tool":{"name":"read_mail","call_id":"c_1"},"content":%s}`, content)})
}

func benchmarkDecode(b *testing.B, lines [][]byte) {
	d, size := newJSONDecoder(), 0
	var e scoring.Event
	var rec Record
	yield := func(_ int32, r *scoring.Reject) {
		if r != nil {
			b.Fatal(r)
		}
	}
	for _, l := range lines {
		size += len(l)
	}
	b.SetBytes(int64(size / len(lines)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		rec = Record{Value: lines[i%len(lines)], Time: 1_780_000_000_000}
		d.Decode(&rec, &e, yield)
	}
}
