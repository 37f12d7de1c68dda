package ingest_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/compose"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

var update = flag.Bool("update", false, "write testdata/formats and the tables of deploy/FORMATS.md")

const samples = "../testdata/formats"

// storyEvents are what the samples tell: somebody asks, a tool is called and answers, a log is destroyed.
var storyEvents = []string{
	`{"id":"e1","source":"urn:cloud:example","kind":"user_message","time":"2026-05-01T10:00:00.000Z","tenant.id":"tn_1","agent.id":"ag_1","conversation.id":"conv_1","trace.id":"0af7651916cd43dd8448eb211c80319c","content":"What is the weather in Hangzhou? 杭州天气如何？"}`,
	`{"id":"e2","source":"urn:cloud:example","kind":"tool_call","time":"2026-05-01T10:00:01.000Z","tenant.id":"tn_1","agent.id":"ag_1","conversation.id":"conv_1","trace.id":"0af7651916cd43dd8448eb211c80319c","tool.name":"get_weather","tool.call_id":"c1","tool.status":"ok","tool.args":{"city":"Hangzhou"},"task.declared_tools":["get_weather"]}`,
	`{"id":"e3","source":"urn:cloud:example","kind":"tool_result","time":"2026-05-01T10:00:02.250Z","tenant.id":"tn_1","agent.id":"ag_1","conversation.id":"conv_1","trace.id":"0af7651916cd43dd8448eb211c80319c","tool.name":"get_weather","tool.call_id":"c1","tool.status":"ok","outcome":"ok","content":"21 degrees"}`,
	`{"id":"e4","source":"urn:cloud:example","kind":"code_exec","time":"2026-05-01T10:00:03.000Z","tenant.id":"tn_1","agent.id":"ag_1","conversation.id":"conv_1","trace.id":"0af7651916cd43dd8448eb211c80319c","exec.cmd":"rm -f /var/log/agent/audit.log","guard.score":0.5,"runtime.privileged":true}`,
}

// sampleFile is where a form's sample stands. A form of one event a record has a record a line; binary mode has its
// headers before its value; protobuf fills the file.
func sampleFile(form *compose.Form) string {
	switch {
	case form.Format == "otlp_proto":
		return filepath.Join(samples, form.Name+".pb")
	case form.Name == "cloudevents_binary":
		return filepath.Join(samples, form.Name+".txt")
	}
	return filepath.Join(samples, form.Name+".ndjson")
}

// writeSample makes a form's sample.
func writeSample(t *testing.T, form *compose.Form, events []*scoring.Event) []byte {
	t.Helper()
	many := 1
	if form.Many {
		many = len(events)
	}
	var out bytes.Buffer
	for part := range slices.Chunk(events, many) {
		rec, err := form.Write(part...)
		if err != nil {
			t.Fatal(err)
		}
		if form.Name == "cloudevents_binary" {
			out.WriteString(linesOf(rec.Headers) + "\n")
		}
		out.Write(rec.Value)
		if form.Format != "otlp_proto" {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// readSample cuts a sample into records.
func readSample(t *testing.T, form *compose.Form) (list []ingest.Record) {
	t.Helper()
	b, err := os.ReadFile(sampleFile(form))
	if err != nil {
		t.Fatalf("%v: write it with go test ./ingest -run TestSamples -update", err)
	}
	switch {
	case form.Format == "otlp_proto":
		return []ingest.Record{{Value: b}}
	case form.Name == "cloudevents_binary":
		rec := ingest.Record{}
		for line := range strings.Lines(string(b)) {
			switch line = strings.TrimSuffix(line, "\n"); {
			case strings.HasPrefix(line, "{"):
				rec.Value = []byte(line)
				list = append(list, rec)
				rec = ingest.Record{}
			default:
				rec.Headers = append(rec.Headers, headersOf(line)...)
			}
		}
		return list
	}
	for line := range bytes.Lines(b) {
		list = append(list, ingest.Record{Value: bytes.TrimSuffix(line, []byte("\n"))})
	}
	return list
}

// The samples of testdata/formats tell one story, and every one of them has the same verdicts.
func TestSamples(t *testing.T) {
	var events []*scoring.Event
	var e scoring.Event
	f, err := ingest.NewFormat("json")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range storyEvents {
		f.Decode(&ingest.Record{Value: []byte(line)}, &e, func(_ int32, r *scoring.Reject) {
			if r != nil {
				t.Fatal(r)
			}
			events = append(events, e.Clone())
		})
	}
	pack, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range compose.Forms {
		form := &compose.Forms[i]
		if *update {
			if err := os.WriteFile(sampleFile(form), writeSample(t, form, events), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		judge, err := ingest.NewJudge(scoring.NewEngine(pack.Pack, scoring.Options{}), form.Format, scoring.KeyedByAgent, "")
		if err != nil {
			t.Fatal(err)
		}
		out := &verdicts{pack: pack.Pack}
		for _, rec := range readSample(t, form) {
			judge.Record(&rec, out)
		}
		for i, line := range out.lines {
			_, out.lines[i], _ = strings.Cut(line, " ") // the number of the item
		}
		if want == nil {
			want = out.lines
			if len(want) != len(storyEvents) || !strings.Contains(want[3], `"score":91,"level":"critical"`) {
				t.Fatalf("the story is judged differently: %q", want)
			}
		}
		if !slices.Equal(out.lines, want) {
			t.Errorf("%s:\n%s\nwant\n%s", form.Name, strings.Join(out.lines, "\n"), strings.Join(want, "\n"))
		}
	}
}

// Samples of what agents' instrumentations write under the names of the conventions: made by us, one trace and its log
// events.
func TestGenAISamples(t *testing.T) {
	call := span("gen_ai.operation.name", "execute_tool", "gen_ai.tool.name", "bash", "gen_ai.tool.call.id", "c1", "gen_ai.agent.id", "ag_1", "gen_ai.conversation.id", "conv_1", "gen_ai.tool.call.arguments", `{"command":"rm -f /var/log/agent/audit.log"}`, "gen_ai.tool.call.result", "removed")
	call.SpanId = unhex("00f067aa0ba902b8")
	for name, m := range map[string]proto.Message{
		"genai_spans": traces(
			span("gen_ai.operation.name", "chat", "gen_ai.provider.name", "deepseek", "gen_ai.request.model", "m", "gen_ai.agent.id", "ag_1", "gen_ai.conversation.id", "conv_1", "gen_ai.usage.input_tokens", 55, "gen_ai.usage.output_tokens", 7, "gen_ai.input.messages", input, "gen_ai.output.messages", answer),
			call,
		),
		"genai_logs": logs(record("gen_ai.user.message", attrs("content", "book a flight"), "gen_ai.agent.id", "ag_1"), record("gen_ai.choice", attrs("message", attrs("role", "assistant", "content", "done")), "gen_ai.agent.id", "ag_1")),
	} {
		path := filepath.Join(samples, name+".ndjson")
		want := append(messageJSON(m), '\n')
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what this test makes: run it with -update", path)
		}
	}
}

func BenchmarkFormats(b *testing.B) {
	events := sample(b, 256)
	for i := range compose.Forms {
		form := &compose.Forms[i]
		b.Run(form.Name, func(b *testing.B) {
			many, size := 1, 0
			if form.Many {
				many = 10
			}
			var records []ingest.Record
			for part := range slices.Chunk(events[:250], many) {
				rec, err := form.Write(part...)
				if err != nil {
					b.Fatal(err)
				}
				rec.Time = kafkaTime
				size += len(rec.Value)
				records = append(records, rec)
			}
			f, err := ingest.NewFormat(form.Format)
			if err != nil {
				b.Fatal(err)
			}
			var e scoring.Event
			items := 0
			yield := func(_ int32, r *scoring.Reject) {
				if items++; r != nil {
					b.Fatal(r)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f.Decode(&records[i%len(records)], &e, yield)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(items), "ns/event")
			b.ReportMetric(float64(size)/250, "B/event")
		})
	}
}
