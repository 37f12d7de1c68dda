package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/compose"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// canaries are what must come out nowhere: how each stands in a text, and the part that must be gone. Made up, and put
// together here so that nobody takes them for real.
var canaries = []struct{ text, secret string }{
	{"139" + "71357246", "13971357246"},
	{"AKIA" + "CANARY7QWERTY42Z", "CANARY7QWERTY42Z"},
	{"canary.bird@example.com", "canary.bird"},
	{"E" + "73519846", "E73519846"},
	{"11010519491231002" + "X", "11010519491231002"},
	{"sk-" + "c4n4ryBird00Ab12Cd34Ef56", "c4n4ryBird00Ab12"},
	{"password: passport: Tweety1942", "Tweety1942"},
	{"Bearer c4naryT0kenAbcdef", "c4naryT0ken"},
	{"postgres://app:Sylvester99@db/x", "Sylvester99"},
	{"ghp_" + "c4naryBirdAb12Cd34Ef56Gh78Ij90Kl12", "c4naryBirdAb12"},
	{"密码：Granny1955", "Granny1955"},
	{"4111 1111 1111 1111", "4111 1111 1111"},
}

// canaryFor returns a canary that fits into n bytes.
func canaryFor(i, n int) string {
	for k := range canaries {
		if c := canaries[(i+k)%len(canaries)].text; len(c) <= n {
			return c
		}
	}
	return ""
}

// foreign names a member of records whose provider is a canary.
const foreign = "foreign.provider"

// canaryEvents are events with a canary in every field that is no identifier, and records that are no events.
func canaryEvents() (good, bad []string) {
	all := canaries[0].text
	for i, c := range canaries[1:] {
		all += []string{" ; ", "\n", "\t"}[i%3] + c.text
	}
	for i, kind := range []string{"tool_call", "tool_result", "net_connect", "data_read", "code_exec", "output", "message_out", canaryFor(0, 64)} {
		e := map[string]any{"id": fmt.Sprintf("e%d", i), "kind": kind, "time": "2026-06-01T00:00:00Z", "tenant.id": "t", "agent.id": "a", "conversation.id": "s",
			"content": all, "tool.args": map[string]any{"command": all, "password": "Tweety1942", "url": "https://app:Sylvester99@evil.example.net/x"},
			"note": all, "password": "Tweety1942", "nested": map[string]any{"api_key": "Tweety1942", "list": []string{all}}, canaries[5].text: "name"}
		for id, f := range scoring.Fields {
			id := scoring.FieldID(id)
			if redact.Identifiers[id] != "" || f.IsContent() || id == scoring.FieldKind {
				continue
			}
			switch f.Type {
			case scoring.String:
				if c := canaryFor(i+int(id), int(f.Max)); c != "" {
					e[f.Name] = c
				}
			case scoring.Strings:
				e[f.Name] = []string{"x", canaryFor(i+int(id), int(f.Max))}
			case scoring.Bool:
				e[f.Name] = true
			}
		}
		if kind == "tool_call" { // what rules look for, so that hits and a page speak of the fields beside it
			e["tool.op"], e["net.dst_class"], e["data.level"], e["net.bytes_out"], e["prov.trust"] = "send", "unlisted", "core", 1<<30, "untrusted"
		}
		b, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		good = append(good, string(b))
	}
	quoted := string(must(json.Marshal(all)))
	for i, c := range canaries {
		s := string(must(json.Marshal(c.text)))
		bad = append(bad,
			`{"kind":"tool_call","content":`+s+`,"x":`,
			`{"kind":"tool_call",`+s+`:1,`+s+`:2}`,
			`{"kind":"tool_call","provider.id":`+s+`,"`+foreign+`":1}`,
			`{"kind":`+s+`,"kind":`+s+`}`,
			`{"kind":"timer","tool.target":`+s+`}`,
			`{"kind":"tool_call","tool.name":[`+s+`]}`,
			`{"kind":"tool_call","net.dst_port":`+s+`}`,
			`{"kind":"tool_call","net.dst_port":70000,"pad":"`+strings.Repeat("x", 880+11*i)+`","content":`+quoted+`}`,
			`{"kind":"tool_call",`+strings.TrimSuffix(s, `"`)+" "+strings.Repeat("n", 300)+`":1}`,
			`{"kind":"tool_call","tool.target":"`+strings.Repeat("x", 600)+`","note":`+s+`}`,
			c.text,
		)
	}
	return good, bad
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// canaryRecords are records of every format, events and what is none.
func canaryRecords(t *testing.T) map[string][]ingest.Record {
	t.Helper()
	good, bad := canaryEvents()
	records := map[string][]ingest.Record{}
	add := func(format string, values ...string) {
		for _, v := range values {
			records[format] = append(records[format], ingest.Record{Value: []byte(v)})
		}
	}
	add("json", append(good, bad...)...)
	add("flat", bad...)
	read, err := ingest.NewFormat("json")
	if err != nil {
		t.Fatal(err)
	}
	for i := range compose.Forms {
		form := &compose.Forms[i]
		if form.Name == "json" {
			continue
		}
		for _, v := range good {
			var e scoring.Event
			read.Decode(&ingest.Record{Value: []byte(v)}, &e, func(_ int32, reject *scoring.Reject) {
				if reject != nil {
					t.Fatal(reject)
				}
				rec, err := form.Write(&e)
				if err != nil {
					t.Fatal(err)
				}
				records[form.Format] = append(records[form.Format], rec)
			})
		}
		whole := records[form.Format][len(records[form.Format])-1]
		for n := 1; n < 24; n++ { // cut off, in text between two members: half a canary is none
			part := whole.Value[:len(whole.Value)*n/24]
			if !wholeFile(form.Format) {
				part = part[:bytes.LastIndexByte(part, ',')+1]
			}
			records[form.Format] = append(records[form.Format], ingest.Record{Headers: whole.Headers, Value: part})
		}
		add(form.Format, `[`+good[0]+`]`, good[1])
	}
	for i, c := range canaries {
		add("cloudevents", cloudEventCanaries(c.text)...)
		for _, name := range []string{"ce_specversion", "ce_type", "ce_time", "ce_subject", "ce_traceparent", "ce_sequence", "ce_note", "ce_" + c.text, "content-type"} {
			records["cloudevents"] = append(records["cloudevents"], ingest.Record{Value: []byte(good[i%len(good)]), Headers: []ingest.Header{
				{Key: "ce_id", Value: []byte(fmt.Sprintf("e%d", i%len(good)))}, {Key: name, Value: []byte("a " + c.text)}}}) // not a number alone: that is one
		}
		for _, m := range otlpCanaries(c.text) {
			binary, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *tracepb.TracesData:
				add("otlp_json", string(compose.TracesJSON(m)))
			case *logspb.LogsData:
				add("otlp_json", string(compose.LogsJSON(m)))
			}
			add("otlp_proto", string(binary), string(bytes.ReplaceAll(binary, []byte("good.key"), []byte("\xff\xfe\xfd\xfcbad"))), string(append(binary, 0xff)), string(binary[1:]))
		}
		s := string(must(json.Marshal(c.text)))
		for _, form := range []string{`{"resourceSpans":%s}`, `{%s:1}`, `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":%s}]}]}]}`, `{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":%s}]}]}]}`,
			`{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":%s,"name":%[1]s}]}]}]}`, `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":%s}}]}]}]}`,
			`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[{"key":%s,"value":{"intValue":%[1]s}}]}]}]}]}`, `{"resourceMetrics":[{"scope":%s}]}`} {
			add("otlp_json", fmt.Sprintf(form, s))
		}
		add("otlp_proto", c.text, s)
	}
	return records
}

// cloudEventCanaries are events in an envelope with a canary in one of its places.
func cloudEventCanaries(canary string) (list []string) {
	s := string(must(json.Marshal(canary)))
	data := func(of string) string { return base64.StdEncoding.EncodeToString([]byte(of)) }
	for _, x := range []struct{ head, data string }{
		{`"id":"x1","source":"s","type":"tool_call","specversion":` + s, `"data":{}`},
		{`"id":"x2","source":"s","specversion":"1.0","type":` + s, `"data":{}`},
		{`"id":"x3","source":"s","specversion":"1.0","type":"t","subject":` + s + `,"time":` + s + `,"traceparent":` + s + `,"sequence":"a ` + s[1:] + `,"note":` + s, `"data":{}`},
		{`"id":"x4","source":"s","specversion":"1.0","type":"t","datacontenttype":` + s, `"data":{}`},
		{`"id":"x5","source":"s","specversion":"1.0","type":"t"`, `"data":` + s},
		{`"id":"x6","source":"s","specversion":"1.0","type":"t"`, `"data":{"kind":"t","note":` + s + `},"data_base64":""`},
		{`"id":"x7","source":"s","specversion":"1.0","type":"t"`, `"data_base64":"` + data(`{"note":`+s+`}`) + `"`},
		{`"id":"x8","source":"s","specversion":"1.0","type":"t"`, `"data_base64":"` + data(canary) + `"`},
		{`"id":"x9","source":"s","specversion":"1.0","type":"t"`, `"data_base64":` + s},
		{`"id":"x10","source":"s","specversion":"1.0","type":"t"`, `"data_base64":"` + data(`{"net.dst_port":`+s+`}`) + `"`},
		{`"id":"x11","source":"s","specversion":"1.0","type":"t"`, `"bytes":"` + data(canary) + `","data":{}`},
		{s + `:1,` + s + `:2`, `"data":{}`},
	} {
		list = append(list, `{`+x.head+`,`+x.data+`}`)
	}
	return list
}

// otlpCanaries are messages with a canary in each place that compose.Forms leave alone.
func otlpCanaries(canary string) []proto.Message {
	text := func(s string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
	}
	several := []*commonpb.KeyValue{
		{Key: "good.key", Value: text(canary)},
		{Key: "password", Value: text("Tweety1942")},
		{Key: canary, Value: text("x")},
		{Key: "bytes", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: []byte(canary)}}},
		{Key: "list", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{text("a"), text(canary)}}}}},
		{Key: "map", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: []*commonpb.KeyValue{{Key: "api_key", Value: text("Tweety1942")}, {Key: "k", Value: text(canary)}}}}}},
	}
	scope := &commonpb.InstrumentationScope{Name: canary, Version: canary, Attributes: []*commonpb.KeyValue{{Key: "scoped", Value: text(canary)}}}
	traces := func(s *tracepb.Span) proto.Message {
		return &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Scope: scope, Spans: []*tracepb.Span{s}}}}}}
	}
	logs := func(r *logspb.LogRecord) proto.Message {
		return &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{ScopeLogs: []*logspb.ScopeLogs{{Scope: scope, LogRecords: []*logspb.LogRecord{r}}}}}}
	}
	return []proto.Message{
		traces(&tracepb.Span{Name: canary, Kind: 1, TraceState: canary, Attributes: several, Status: &tracepb.Status{Message: canary, Code: 2},
			Events: []*tracepb.Span_Event{{Name: "gen_ai.user.message", Attributes: []*commonpb.KeyValue{{Key: "content", Value: text(canary)}}}, {Name: canary, Attributes: several}}}),
		traces(&tracepb.Span{Name: canary, Kind: 1, TraceId: []byte(canary), Attributes: several}),
		traces(&tracepb.Span{Name: canary, Kind: 1, Attributes: append(several, several...)}),
		traces(&tracepb.Span{Name: "chat", Attributes: []*commonpb.KeyValue{{Key: "gen_ai.operation.name", Value: text("chat")},
			{Key: "gen_ai.input.messages", Value: text(`[{"role":"user","parts":[{"type":"text","content":` + string(must(json.Marshal(canary))) + `}]}]`)}, {Key: "gen_ai.output.messages", Value: text(canary)}}}),
		traces(&tracepb.Span{Name: "tool", Attributes: []*commonpb.KeyValue{{Key: "kind", Value: text("tool_call")}, {Key: "net.dst_port", Value: text(canary)}}}),
		logs(&logspb.LogRecord{Body: text(canary), SeverityText: canary, EventName: canary, Attributes: several}),
		logs(&logspb.LogRecord{Body: several[3].Value, Attributes: several[:1]}),
		logs(&logspb.LogRecord{Body: several[5].Value, SpanId: []byte(canary)}),
	}
}
