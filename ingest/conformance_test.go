package ingest_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/compose"
	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

// kafkaTime is when the records of these tests arrived.
const kafkaTime = 1_790_000_000_000

// view is all that an event says, by name.
func view(e *scoring.Event) map[string]any {
	m := map[string]any{}
	if e.Flags&scoring.FlagTimeMissing == 0 {
		m["time"] = e.Time
	}
	m["flags"] = strings.Join(e.Flags.Names(), " ")
	for id := range scoring.Fields {
		f, id := &scoring.Fields[id], scoring.FieldID(id)
		if !e.Has(id) {
			continue
		}
		switch f.Type {
		case scoring.String:
			m[f.Name] = e.Str(id)
		case scoring.Int, scoring.Milli:
			m[f.Name] = e.Int(id)
		case scoring.Bool:
			m[f.Name] = e.Bool(id)
		case scoring.Strings:
			m[f.Name] = append([]string{}, e.List(id)...)
		}
	}
	for _, a := range e.Attributes {
		m["attribute "+a.Key] = a.Value
	}
	return m
}

// item is what became of an item.
type item struct {
	N      int32
	Reason scoring.Reason
	Detail string
	Event  map[string]any
}

// decode reads a record with a decoder of its own.
func decode(t testing.TB, format string, rec ingest.Record) (items []item) {
	t.Helper()
	f, err := ingest.NewFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	return decodeWith(f, rec)
}

func decodeWith(f ingest.Format, rec ingest.Record) (items []item) {
	rec.Time = kafkaTime
	var e scoring.Event
	f.Decode(&rec, &e, func(n int32, r *scoring.Reject) {
		it := item{N: n}
		if r != nil {
			it.Reason, it.Detail = r.Reason, r.Detail
		} else {
			it.Event = view(&e)
		}
		items = append(items, it)
	})
	return items
}

// sample is a fleet's events, with some of those fields that it never sends.
func sample(t testing.TB, n int) (events []*scoring.Event) {
	t.Helper()
	f, err := ingest.NewFormat("json")
	if err != nil {
		t.Fatal(err)
	}
	var e scoring.Event
	add := func(line []byte) {
		f.Decode(&ingest.Record{Value: line, Time: kafkaTime}, &e, func(_ int32, r *scoring.Reject) {
			if r != nil {
				t.Fatalf("%s: %v", line, r)
			}
			events = append(events, e.Clone())
		})
	}
	fl := fleet.New(fleet.Config{Seed: 7, Events: n, Agents: 20, Misbehave: 3})
	for ev := (fleet.Event{}); fl.Next(&ev); {
		add(ev.Line)
	}
	for _, line := range []string{
		`{"id":"x1","source":"s","kind":"tool_call","tool.status":"ok","agent.id":"a","conversation.id":"c","guard.score":0.93467,"prov.intent_match":-1,"approval.latency_s":0.001,"tool.args":{"a":[1,2,{"b":"é\u0001\"\\"}]}}`,
		`{"id":"x2","source":"s","kind":"tool_result","outcome":"ok","tool.status":"ok","agent.id":"a","time":"2026-05-01T10:00:00.001Z","content":"line\n行","conversation.id":"c","truncated":true}`,
		`{"id":"x3","source":"s","kind":"user_message","content":"[1] is no message but a text","agent.id":"a","time":"1999-05-01T10:00:00Z","task.declared_tools":[],"seq":9223372036854775807,"tool.amount":-9223372036854775808}`,
		`{"id":"x4","source":"s","kind":"never_heard_of","colour":"red","agent.id":"a","time":"2026-05-01T10:00:00Z","data.pi":false,"agent.registered":false}`,
	} {
		add([]byte(line))
	}
	return events
}

// The same event in each form has the same fields.
func TestEveryFormSaysTheSame(t *testing.T) {
	events := sample(t, 250)
	for i := range compose.Forms {
		form := &compose.Forms[i]
		t.Run(form.Name, func(t *testing.T) {
			f, err := ingest.NewFormat(form.Format)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				rec, err := form.Write(e)
				if err != nil {
					t.Fatal(err)
				}
				got := decodeWith(f, rec)
				if want := []item{{Event: view(e)}}; !reflect.DeepEqual(got, want) {
					t.Fatalf("%s: want -, got +:\n%s\n%.2000s", e.Str(scoring.FieldEventID), cmp.Diff(want, got), rec.Value)
				}
			}
		})
	}
}

// verdicts collects what a judge makes of records.
type verdicts struct {
	pack  *scoring.Pack
	lines []string
}

func (v *verdicts) Row(e *scoring.Event, verdict *scoring.Verdict) {
	v.lines = append(v.lines, fmt.Sprintf("%d %s", e.Origin.Item, scoring.AppendVerdict(nil, v.pack, e, verdict)))
}

func (v *verdicts) Dead(d *scoring.DeadLetter) { v.lines = append(v.lines, "dead: "+d.Detail) }

// The same story in each form has the same verdicts: scores, hits and reasons. Where a record can hold many events it
// holds seven, and the items come in order.
func TestEveryFormScoresTheSame(t *testing.T) {
	events := sample(t, 1200)
	pack, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	judged := func(form *compose.Form, many int) []string {
		t.Helper()
		judge, err := ingest.NewJudge(scoring.NewEngine(pack.Pack, scoring.Options{}), form.Format, scoring.KeyedByAgent, "")
		if err != nil {
			t.Fatal(err)
		}
		out := &verdicts{pack: pack.Pack}
		for part := range slices.Chunk(events, many) {
			rec, err := form.Write(part...)
			if err != nil {
				t.Fatal(err)
			}
			rec.Time = kafkaTime
			judge.Record(&rec, out)
		}
		for i, line := range out.lines {
			n, rest, _ := strings.Cut(line, " ")
			if n != fmt.Sprint(i%many) {
				t.Fatalf("verdict %d is that of item %s", i, n)
			}
			out.lines[i] = rest
		}
		return out.lines
	}
	want := judged(&compose.Forms[0], 1)
	hits := 0
	for _, line := range want {
		if !strings.Contains(line, `"hits":[]`) {
			hits++
		}
	}
	if hits < 20 {
		t.Fatalf("only %d of %d events hit a rule: the story tells nothing", hits, len(want))
	}
	for i := range compose.Forms[1:] {
		form := &compose.Forms[i+1]
		t.Run(form.Name, func(t *testing.T) {
			many := 1
			if form.Many {
				many = 7
			}
			if got := judged(form, many); !slices.Equal(got, want) {
				t.Errorf("want -, got +:\n%.3000s", cmp.Diff(want, got))
			}
		})
	}
}
