package ingest_test

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/scoring"
)

const (
	traceHex  = "0af7651916cd43dd8448eb211c80319c"
	spanHex   = "b7ad6b7169203331"
	parentHex = "00f067aa0ba902b7"
	startNano = 1_777_629_600_250_000_000
	endNano   = startNano + 100_999_999
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// value makes an AnyValue.
func value(v any) *commonpb.AnyValue {
	switch v := v.(type) {
	case string:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}
	case bool:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}}
	case int:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(v)}}
	case float64:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: v}}
	case []byte:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: v}}
	case []any:
		a := &commonpb.ArrayValue{}
		for _, x := range v {
			a.Values = append(a.Values, value(x))
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: a}}
	case []*commonpb.KeyValue:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: v}}}
	case nil:
		return &commonpb.AnyValue{}
	}
	panic("no such value")
}

// attrs makes attributes of names and values.
func attrs(list ...any) (kv []*commonpb.KeyValue) {
	for i := 0; i < len(list); i += 2 {
		kv = append(kv, &commonpb.KeyValue{Key: list[i].(string), Value: value(list[i+1])})
	}
	return kv
}

var resource = &resourcepb.Resource{Attributes: attrs("service.name", "travel", "service.version", "3.1", "service.instance.id", "travel-7",
	"cloud.provider", "alibaba_cloud", "cloud.region", "cn-hangzhou", "cloud.account.id", "tn_1", "zone", "of the resource")}

func span(list ...any) *tracepb.Span {
	return &tracepb.Span{TraceId: unhex(traceHex), SpanId: unhex(spanHex), ParentSpanId: unhex(parentHex), Name: "a span", Kind: tracepb.Span_SPAN_KIND_CLIENT,
		StartTimeUnixNano: startNano, EndTimeUnixNano: endNano, Attributes: attrs(list...)}
}

func failed(s *tracepb.Span) *tracepb.Span {
	s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "it failed"}
	return s
}

func withEvents(s *tracepb.Span, events ...*tracepb.Span_Event) *tracepb.Span {
	s.Events = events
	return s
}

func spanEvent(name string, list ...any) *tracepb.Span_Event {
	return &tracepb.Span_Event{Name: name, TimeUnixNano: startNano, Attributes: attrs(list...)}
}

func traces(spans ...*tracepb.Span) *tracepb.TracesData {
	return &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{Resource: resource, ScopeSpans: []*tracepb.ScopeSpans{{
		Scope: &commonpb.InstrumentationScope{Name: "lib", Version: "1.2", Attributes: attrs("zone", "of the scope")}, Spans: spans,
	}}}}}
}

func record(name string, body any, list ...any) *logspb.LogRecord {
	r := &logspb.LogRecord{TimeUnixNano: startNano, ObservedTimeUnixNano: endNano, SeverityNumber: 9, SeverityText: "INFO", EventName: name,
		TraceId: unhex(traceHex), SpanId: unhex(spanHex), Attributes: attrs(list...)}
	if body != nil {
		r.Body = value(body)
	}
	return r
}

func logs(records ...*logspb.LogRecord) *logspb.LogsData {
	return &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{Resource: resource, ScopeLogs: []*logspb.ScopeLogs{{LogRecords: records}}}}}
}

const (
	input  = `[{"role":"system","parts":[{"type":"text","content":"be kind"}]},{"role":"user","parts":[{"type":"text","content":"book a flight"},{"type":"blob","data":"xx"}]}]`
	answer = `[{"role":"assistant","parts":[{"type":"text","content":"done"},{"type":"tool_call","id":"c1","name":"book","arguments":{"to":"x"}}],"finish_reason":"stop"}]`
)

// otlpCases are spans and log records, and for each item what must become of it: a reason, or name=value.
var otlpCases = []struct {
	name    string
	message proto.Message
	want    [][]string
}{
	{"a tool is called", traces(span("gen_ai.operation.name", "execute_tool", "gen_ai.tool.name", "send_mail", "gen_ai.tool.type", "function", "gen_ai.tool.call.id", "c1",
		"gen_ai.tool.call.arguments", `{"to":"a@b.example"}`, "gen_ai.tool.call.result", `{"sent":true}`, "gen_ai.agent.id", "ag_1", "gen_ai.conversation.id", "conv_1", "server.address", "tools.example", "tool.amount", 5)),
		[][]string{
			{"kind=tool_call", "id=" + spanHex, "time=1777629600250", "tool.name=send_mail", "tool.kind=function", "tool.call_id=c1", `tool.args={"to":"a@b.example"}`, "tool.status=ok",
				"agent.id=ag_1", "agent.version=3.1", "agent.instance=travel-7", "conversation.id=conv_1", "trace.id=" + traceHex, "causationid=" + parentHex, "provider.id=alibaba_cloud",
				"provider.region=cn-hangzhou", "tenant.id=tn_1", "tool.server=tools.example", "tool.amount=5", "content=<nil>", "net.dst_host=<nil>",
				"attribute zone=of the scope", "attribute otel.scope.name=lib", "attribute service.name=travel"},
			{"kind=tool_result", "id=" + spanHex + "/result", "time=1777629600350", "tool.name=send_mail", "tool.call_id=c1", `content={"sent":true}`, "outcome=ok", "agent.id=ag_1",
				"tool.args=<nil>", "tool.amount=<nil>", "conversation.id=conv_1", "provider.id=alibaba_cloud"},
		}},
	{"arguments and result as maps", traces(span("gen_ai.operation.name", "execute_tool", "gen_ai.tool.name", "x",
		"gen_ai.tool.call.arguments", attrs("a", 1, "b", []any{"x", 2.5, true, nil, []byte{1, 2}}), "gen_ai.tool.call.result", attrs("n", 1e21))),
		[][]string{{`tool.args={"a":1,"b":["x",2.5,true,null,"AQI="]}`}, {`content={"n":1e+21}`}}},
	{"arguments that are a text", traces(span("gen_ai.tool.name", "x", "gen_ai.tool.call.arguments", "ls -la")), [][]string{{"kind=tool_call", `tool.args="ls -la"`}}},
	{"arguments that say a name twice", traces(span("gen_ai.tool.name", "x", "gen_ai.tool.call.arguments", `{"to":1,"to":2}`)), [][]string{{"duplicate_key"}}},
	{"a tool fails", traces(failed(span("gen_ai.operation.name", "execute_tool", "gen_ai.tool.name", "x", "error.type", "timeout"))),
		[][]string{{"tool.status=error", "tool.error_type=timeout", "attribute otel.status_description=it failed"}}},
	{"a model is asked", traces(span("gen_ai.operation.name", "chat", "gen_ai.provider.name", "deepseek", "gen_ai.request.model", "m", "gen_ai.response.model", "m-1", "gen_ai.usage.input_tokens", 55,
		"gen_ai.usage.output_tokens", 7, "gen_ai.system_instructions", `[{"type":"text","content":"be kind"}]`, "gen_ai.input.messages", input, "gen_ai.output.messages", answer, "server.address", "llm.example", "server.port", 443)),
		[][]string{
			{"kind=system_prompt", "content=be kind", "id=" + spanHex + "/system", "llm.tokens_in=<nil>"},
			{"kind=user_message", "content=book a flight", "id=" + spanHex + "/user"},
			{"kind=model_call", "llm.provider=deepseek", "llm.model_requested=m", "llm.model_served=m-1", "llm.tokens_in=55", "llm.tokens_out=7", "net.dst_host=llm.example", "net.dst_port=443", "content=<nil>",
				"agent.id=travel", "conversation.id=" + traceHex, "attribute gen_ai.operation.name=chat"},
			{"kind=agent_message", "content=done", "time=1777629600350"},
		}},
	{"the answer of a tool is told to a model", traces(span("gen_ai.operation.name", "chat", "gen_ai.input.messages", `[{"role":"user","parts":[{"type":"text","content":"x"}]},{"role":"tool","parts":[{"type":"tool_call_response","response":"y"}]}]`)),
		[][]string{{"kind=model_call"}}},
	{"older names", traces(span("gen_ai.system", "openai", "gen_ai.usage.prompt_tokens", 3, "gen_ai.usage.completion_tokens", 4, "gen_ai.prompt", "hello", "gen_ai.completion", "hi", "session.id", "s1")),
		[][]string{{"kind=user_message", "content=hello"}, {"kind=model_call", "llm.provider=openai", "llm.tokens_in=3", "llm.tokens_out=4", "conversation.id=s1"}, {"kind=agent_message", "content=hi"}}},
	{"older names, numbered", traces(span("gen_ai.system", "openai", "gen_ai.prompt.0.role", "system", "gen_ai.prompt.0.content", "be kind", "gen_ai.prompt.1.content", "hello", "gen_ai.prompt.1.role", "user",
		"gen_ai.completion.0.content", "hi", "gen_ai.completion.0.finish_reason", "stop")),
		[][]string{{"kind=user_message", "content=hello"}, {"kind=model_call"}, {"kind=agent_message", "content=hi"}}},
	{"the current name before the older one", traces(span("gen_ai.system", "old", "gen_ai.provider.name", "new")), [][]string{{"llm.provider=new"}}},
	{"our name before any", traces(span("gen_ai.provider.name", "theirs", "llm.provider", "ours", "gen_ai.tool.name", "t", "kind", "data_read", "id", "e1", "guard.score", 0.93467, "data.classes", []any{"phone"}, "data.pi", true)),
		[][]string{{"kind=data_read", "llm.provider=ours", "id=e1", "guard.score=935", "data.classes=[phone]", "data.pi=true", "tool.name=t"}}},
	{"the nearest level first", traces(span("cloud.region", "of the span")), [][]string{{"provider.region=of the span", "kind=span", "attribute span.name=a span"}}},
	{"an agent is invoked", traces(span("gen_ai.operation.name", "invoke_agent", "gen_ai.agent.name", "planner", "gen_ai.usage.input_tokens", 900, "gen_ai.input.messages", input, "gen_ai.output.messages", answer)),
		[][]string{{"kind=task_start", "agent.id=planner", "agent.name=planner", "content=book a flight", "llm.tokens_in=<nil>"}, {"kind=task_end", "content=done", "id=" + spanHex + "/end"}}},
	{"an agent is made", traces(span("gen_ai.operation.name", "create_agent", "gen_ai.agent.id", "a")), [][]string{{"kind=agent_start", "agent.id=a"}}},
	{"data is looked up", traces(span("gen_ai.operation.name", "retrieval", "gen_ai.data_source.id", "kb", "gen_ai.retrieval.documents", `[{"id":"1"}]`)), [][]string{{"kind=data_read", "resource.id=kb", `content=[{"id":"1"}]`}}},
	{"memory", traces(span("gen_ai.operation.name", "upsert_memory", "gen_ai.memory.store.id", "m1", "gen_ai.memory.records", []any{"r"})), [][]string{{"kind=memory_write", "mem.op=upsert", "mem.store=m1", `content=["r"]`}}},
	{"an operation nobody knows", traces(span("gen_ai.operation.name", "dream")), [][]string{{"kind=dream"}}},
	{"MCP tool", traces(span("mcp.method.name", "tools/call", "gen_ai.tool.name", "x", "mcp.session.id", "m", "server.address", "mcp.example")),
		[][]string{{"kind=tool_call", "tool.server=mcp.example", "attribute mcp.session.id=m", "conversation.id=" + traceHex}}},
	{"MCP list", traces(span("mcp.method.name", "tools/list")), [][]string{{"kind=tool_list"}}},
	{"MCP resource", traces(span("mcp.method.name", "resources/read", "mcp.resource.uri", "file:///x")), [][]string{{"kind=data_read", "resource.id=file:///x"}}},
	{"events on a span", traces(withEvents(span("gen_ai.operation.name", "chat"), spanEvent("gen_ai.user.message", "content", "hello", "role", "user"), spanEvent("exception", "exception.stacktrace", strings.Repeat("x", 5000)),
		spanEvent("gen_ai.content.completion", "gen_ai.completion", `[{"role":"assistant","content":"hi"}]`), spanEvent("gen_ai.tool.message", "id", "c9", "content", "42"))),
		[][]string{{"kind=model_call"}, {"kind=user_message", "content=hello", "id=" + spanHex + "/event/0"}, {"kind=agent_message", "content=hi"}, {"kind=tool_result", "content=42", "tool.call_id=c9", "id=" + spanHex + "/event/3"}}},
	{"several spans", traces(span("gen_ai.tool.name", "a", "tool.args", `{"x":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`}`), span("gen_ai.tool.name", "b")), [][]string{{"over_limit"}, {"tool.name=b"}}},
	{"a number that is none", traces(span("x", math.NaN())), [][]string{{"out_of_range"}}},
	{"endless in an array", traces(span("x", []any{math.Inf(-1)})), [][]string{{"out_of_range"}}},
	{"number out of range", traces(span("net.dst_port", 70000)), [][]string{{"out_of_range"}}},
	{"whole number with a fraction", traces(span("net.dst_port", 1.5)), [][]string{{"out_of_range"}}},
	{"whole number as a double", traces(span("net.dst_port", 443.0)), [][]string{{"net.dst_port=443"}}},
	{"wrong type", traces(span("data.pi", "yes")), [][]string{{"wrong_type"}}},
	{"kind that is a number", traces(span("kind", 1)), [][]string{{"wrong_type"}}},
	{"reserved kind", traces(span("kind", "timer")), [][]string{{"reserved_kind"}}},
	{"attribute twice", traces(span("x", 1, "x", 2)), [][]string{{"duplicate_key"}}},
	{"field twice", traces(span("gen_ai.tool.name", "x", "gen_ai.tool.name", "y")), [][]string{{"duplicate_key"}}},
	{"long attribute", traces(span("x", strings.Repeat("x", 5000))), [][]string{{"over_limit"}}},
	{"too many attributes", traces(span(many(200)...)), [][]string{{"over_limit"}}},
	{"far too many attributes", traces(span(many(2000)...)), [][]string{{"over_limit"}}},
	{"long trace id", traces(&tracepb.Span{TraceId: make([]byte, 17), Kind: 1}), [][]string{{"wrong_type"}}},
	{"time beyond the column", traces(&tracepb.Span{StartTimeUnixNano: math.MaxUint64}), [][]string{{"flags=time_missing", "attribute time=18446744073709551615"}}},

	{"what a user said", logs(record("gen_ai.user.message", attrs("content", "hello", "role", "user"))), [][]string{{"kind=user_message", "content=hello", "id=<nil>", "time=1777629600250", "trace.id=" + traceHex,
		"causationid=" + spanHex, "agent.id=travel", "attribute severity_text=INFO"}}},
	{"what a system said, in parts", logs(record("gen_ai.system.message", attrs("content", []any{attrs("type", "text", "text", "be"), attrs("type", "text", "text", "kind")}))), [][]string{{"kind=system_prompt", "content=be\nkind"}}},
	{"what a model answered", logs(record("gen_ai.choice", attrs("index", 0, "finish_reason", "stop", "message", attrs("role", "assistant", "content", "hi")))), [][]string{{"kind=agent_message", "content=hi"}}},
	{"what a tool returned", logs(record("gen_ai.tool.message", attrs("id", "c1", "content", "42"), "gen_ai.tool.name", "x")), [][]string{{"kind=tool_result", "content=42", "tool.call_id=c1"}}},
	{"details of an inference", logs(record("gen_ai.client.inference.operation.details", nil, "gen_ai.operation.name", "chat", "gen_ai.input.messages", []any{attrs("role", "user", "parts", []any{attrs("type", "text", "content", "hello")})}, "gen_ai.usage.input_tokens", 5)),
		[][]string{{"kind=user_message", "content=hello"}, {"kind=model_call", "llm.tokens_in=5"}}},
	{"name in an attribute", logs(record("", "hello", "event.name", "gen_ai.user.message", "log.record.uid", "u1")), [][]string{{"kind=user_message", "content=hello", "id=u1"}}},
	{"our names on a log record", logs(record("", nil, "kind", "code_exec", "exec.cmd", "rm -rf /", "id", "e9", "agent.id", "a")), [][]string{{"kind=code_exec", "exec.cmd=rm -rf /", "id=e9", "agent.id=a"}}},
	{"a log record of something else", logs(record("", "started", "code.line", 7)), [][]string{{"kind=log", "content=started", "attribute code.line=7"}}},
	{"a log record without a time", logs(&logspb.LogRecord{ObservedTimeUnixNano: endNano, Attributes: attrs("kind", "a")}), [][]string{{"time=1777629600350"}}},
	{"an event nobody knows", logs(record("gen_ai.evaluation.result", nil)), [][]string{{"kind=gen_ai.evaluation.result"}}},
	{"nothing", &tracepb.TracesData{}, [][]string{{"empty_record"}}},
	{"no span", traces(), [][]string{{"empty_record"}}},
}

func many(n int) (list []any) {
	for i := range n {
		list = append(list, "name."+strings.Repeat("x", i%17)+string(rune('a'+i%26))+hex.EncodeToString([]byte{byte(i >> 8), byte(i)}), i)
	}
	return list
}

func genAIMessages() (list []proto.Message) {
	for _, c := range otlpCases {
		list = append(list, c.message)
	}
	return list
}

// Spans and log records become the events that the conventions of OpenTelemetry say, in both forms.
func TestOTLP(t *testing.T) {
	for _, tt := range otlpCases {
		t.Run(tt.name, func(t *testing.T) {
			m := proto.Clone(tt.message)
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			for format, value := range map[string][]byte{"otlp_proto": b, "otlp_json": messageJSON(m)} {
				items := sound(t, format, ingest.Record{Value: value})
				if len(items) != len(tt.want) {
					t.Fatalf("%s: %d items, want %d: %+v", format, len(items), len(tt.want), items)
				}
				for i, want := range tt.want {
					for _, w := range want {
						check(t, items[i], w)
					}
				}
			}
			agree(t, m)
		})
	}
}

// Messages that a writer may order as it likes mean the same; names may be those of protobuf.
func TestOTLPJSONInAnyOrder(t *testing.T) {
	for _, value := range []string{
		`{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"value":{"stringValue":"x"},"key":"gen_ai.tool.name"},{"key":"tool.args","value":{"kvlistValue":{"values":[{"value":{"intValue":5},"key":"n"}]}}}],"startTimeUnixNano":1777629600250000000,"later":{"a":[1,"}"]}}],"scope":{"name":"lib"}}],"resource":{"attributes":[{"key":"cloud.region","value":{"stringValue":"r"}}]}}]}`,
		` { "resource_spans" : [ { "schema_url":"x" , "resource" : { "attributes" : [ { "key":"cloud.region", "value":{"string_value":"r"} } ] } , "scope_spans" : [ { "scope":{"name":"lib","version":null} , "spans":[ { "start_time_unix_nano":"1777629600250000000","attributes":[{"key":"gen_ai.tool.name","value":{"string_value":"\u0078"}},{"key":"tool.args","value":{"string_value":"{\"n\":5}"}},{"key":"none","value":{}},{"key":"absent"}] } ] } ] } ] } `,
	} {
		items := sound(t, "otlp_json", ingest.Record{Value: []byte(value)})
		if len(items) != 1 {
			t.Fatalf("%d items", len(items))
		}
		for _, w := range []string{"kind=tool_call", "tool.name=x", `tool.args={"n":5}`, "provider.region=r", "time=1777629600250", "attribute otel.scope.name=lib", "attribute none=<nil>"} {
			check(t, items[0], w)
		}
	}
}

// A record that is no message is one dead letter, however far it could be read.
func TestOTLPRefusesTheWholeRecord(t *testing.T) {
	good, err := proto.Marshal(traces(span("gen_ai.tool.name", "x"), span("gen_ai.tool.name", "y")))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"cut off":             string(good[:len(good)-1]),
		"a length that lies":  "\x0a\xff\xff\xff\xff\x0f",
		"a tag that is none":  "\x00",
		"a group":             "\x0b\x0c",
		"cut within a number": string(good) + "\x10",
		"text":                `{"resourceSpans":[]}`,
	} {
		if items := sound(t, "otlp_proto", ingest.Record{Value: []byte(value)}); len(items) != 1 || items[0].Reason != scoring.ReasonProtobuf {
			t.Errorf("%s: %+v", name, items)
		}
	}
	text := string(messageJSON(traces(span("gen_ai.tool.name", "x"))))
	for value, want := range map[string]scoring.Reason{
		text[:len(text)-1]: scoring.ReasonJSON, text + "x": scoring.ReasonJSON, `[]`: scoring.ReasonType, `7`: scoring.ReasonType, ``: scoring.ReasonEmpty, ` `: scoring.ReasonEmpty, `{}`: scoring.ReasonEmpty,
		`{"resourceSpans":{}}`: scoring.ReasonType, `{"resourceSpans":[7]}`: scoring.ReasonType, `{"resourceSpans":[],"resourceSpans":[]}`: scoring.ReasonDuplicate,
		`{"resourceMetrics":[]}`: scoring.ReasonEnvelope, strings.Repeat(`{"a":`, 100_000): scoring.ReasonLimit, "\x0a\x00": scoring.ReasonJSON,
	} {
		if items := sound(t, "otlp_json", ingest.Record{Value: []byte(value)}); len(items) != 1 || items[0].Reason != want {
			t.Errorf("%.60s: %+v, want %s", value, items, want)
		}
	}
	metrics := "\x0a\x18\x12\x16\x12\x14\x0a\x04cpu.\x12\x00\x1a\x01s\x2a\x07\x0a\x05hello" // a gauge
	if items := sound(t, "otlp_proto", ingest.Record{Value: []byte(metrics)}); len(items) != 1 || !strings.Contains(items[0].Detail, "metrics hold no events") {
		t.Errorf("metrics: %+v", items)
	}
}

// Texts that are no UTF-8 are repaired and flagged, on the items that they touch.
func TestOTLPBadUTF8(t *testing.T) {
	b, err := proto.Marshal(traces(span("gen_ai.tool.name", "x?"), span("gen_ai.tool.name", "y", "l", []any{"z!"})))
	if err != nil {
		t.Fatal(err)
	}
	value := strings.NewReplacer("x?", "x\xff", "z!", "z\xfe").Replace(string(b))
	items := sound(t, "otlp_proto", ingest.Record{Value: []byte(value)})
	check(t, items[0], "tool.name=x\uFFFD")
	check(t, items[0], "flags=bad_utf8")
	check(t, items[1], "attribute l=[\"z\uFFFD\"]")
	text := strings.NewReplacer("x?", "x\xff", "z!", "z\xfe").Replace(string(messageJSON(traces(span("gen_ai.tool.name", "x?"), span("gen_ai.tool.name", "y")))))
	items = sound(t, "otlp_json", ingest.Record{Value: []byte(text)})
	check(t, items[0], "tool.name=x\uFFFD")
	check(t, items[0], "flags=bad_utf8")
	check(t, items[1], "flags=")
}
