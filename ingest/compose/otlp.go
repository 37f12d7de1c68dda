package compose

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/scoring"
)

// genAI are the names that the conventions of OpenTelemetry have for fields; the others go under our own.
var genAI = map[scoring.FieldID]string{
	scoring.FieldAgent: "gen_ai.agent.id", scoring.FieldAgentName: "gen_ai.agent.name", scoring.FieldAgentVersion: "gen_ai.agent.version",
	scoring.FieldSession: "gen_ai.conversation.id", scoring.FieldLLMProvider: "gen_ai.provider.name",
	scoring.FieldModelRequested: "gen_ai.request.model", scoring.FieldModelServed: "gen_ai.response.model",
	scoring.FieldToolName: "gen_ai.tool.name", scoring.FieldToolKind: "gen_ai.tool.type", scoring.FieldToolCall: "gen_ai.tool.call.id",
	scoring.FieldToolArgs: "gen_ai.tool.call.arguments", scoring.FieldResource: "gen_ai.data_source.id",
}

// onResource are fields of the resource: who runs the agent, and where.
var onResource = map[scoring.FieldID]string{
	scoring.FieldProvider: "cloud.provider", scoring.FieldRegion: "cloud.region", scoring.FieldTenant: "cloud.account.id",
	scoring.FieldAgentInstance: "service.instance.id",
}

func text(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

func value(e *scoring.Event, id scoring.FieldID) *commonpb.AnyValue {
	switch scoring.Fields[id].Type {
	case scoring.String:
		return text(e.Str(id))
	case scoring.Int:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: e.Int(id)}}
	case scoring.Milli:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: float64(e.Int(id)) / 1000}}
	case scoring.Bool:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: e.Bool(id)}}
	}
	list := &commonpb.ArrayValue{}
	for _, s := range e.List(id) {
		list.Values = append(list.Values, text(s))
	}
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}
}

// split makes the attributes of an event: those of its resource and its own.
func split(e *scoring.Event) (resource, own []*commonpb.KeyValue) {
	for id := range scoring.Fields {
		id := scoring.FieldID(id)
		if !e.Has(id) {
			continue
		}
		if name, ok := onResource[id]; ok {
			resource = append(resource, &commonpb.KeyValue{Key: name, Value: value(e, id)})
			continue
		}
		name, ok := genAI[id]
		if !ok {
			name = scoring.Fields[id].Name
		}
		own = append(own, &commonpb.KeyValue{Key: name, Value: value(e, id)})
	}
	for _, a := range e.Attributes {
		own = append(own, &commonpb.KeyValue{Key: a.Key, Value: text(a.Value)})
	}
	return resource, own
}

func nanos(e *scoring.Event) uint64 {
	if e.Flags&scoring.FlagTimeMissing != 0 || e.Time < 0 {
		return 0
	}
	return uint64(e.Time) * uint64(time.Millisecond)
}

// trace is the event's trace id in bytes, nil when it is none of 16 bytes, or when there is no conversation: a trace
// would then stand in for it.
func trace(e *scoring.Event) []byte {
	if b, err := hex.DecodeString(e.Str(scoring.FieldTrace)); err == nil && len(b) == 16 && e.Has(scoring.FieldSession) {
		return b
	}
	return nil
}

// message is what the two forms share: a resource for each event.
type message struct {
	spans []*tracepb.ResourceSpans
	logs  []*logspb.ResourceLogs
}

// spans makes each event a span.
func spans(events []*scoring.Event) message {
	var m message
	for _, e := range events {
		resource, own := split(e)
		s := &tracepb.Span{Name: e.Str(scoring.FieldKind), TraceId: trace(e), StartTimeUnixNano: nanos(e), EndTimeUnixNano: nanos(e), Attributes: own, Kind: tracepb.Span_SPAN_KIND_INTERNAL}
		if e.Str(scoring.FieldToolStatus) == "error" {
			s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
		}
		m.spans = append(m.spans, &tracepb.ResourceSpans{
			Resource:   &resourcepb.Resource{Attributes: resource},
			ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{s}}},
		})
	}
	return m
}

// logs makes each event a log record.
func logs(events []*scoring.Event) message {
	var m message
	for _, e := range events {
		resource, own := split(e)
		r := &logspb.LogRecord{TimeUnixNano: nanos(e), TraceId: trace(e), Attributes: own}
		m.logs = append(m.logs, &logspb.ResourceLogs{
			Resource:  &resourcepb.Resource{Attributes: resource},
			ScopeLogs: []*logspb.ScopeLogs{{LogRecords: []*logspb.LogRecord{r}}},
		})
	}
	return m
}

func otlpProto(of func([]*scoring.Event) message) func([]*scoring.Event) (ingest.Record, error) {
	return func(events []*scoring.Event) (rec ingest.Record, err error) {
		m := of(events)
		if m.spans != nil {
			rec.Value, err = proto.MarshalOptions{Deterministic: true}.Marshal(&tracepb.TracesData{ResourceSpans: m.spans})
		} else {
			rec.Value, err = proto.MarshalOptions{Deterministic: true}.Marshal(&logspb.LogsData{ResourceLogs: m.logs})
		}
		return rec, err
	}
}

func otlpJSON(of func([]*scoring.Event) message) func([]*scoring.Event) (ingest.Record, error) {
	return func(events []*scoring.Event) (ingest.Record, error) {
		m := of(events)
		if m.spans != nil {
			return ingest.Record{Value: TracesJSON(&tracepb.TracesData{ResourceSpans: m.spans})}, nil
		}
		return ingest.Record{Value: LogsJSON(&logspb.LogsData{ResourceLogs: m.logs})}, nil
	}
}

// TracesJSON is a message in OTLP's JSON: ids are hexadecimal, 64-bit numbers are texts, enumerations are numbers.
func TracesJSON(m *tracepb.TracesData) []byte {
	w := &jsonWriter{}
	w.object(func() {
		list(w, "resourceSpans", m.ResourceSpans, func(r *tracepb.ResourceSpans) {
			w.resource(r.Resource)
			list(w, "scopeSpans", r.ScopeSpans, func(s *tracepb.ScopeSpans) {
				w.scope(s.Scope)
				list(w, "spans", s.Spans, w.span)
			})
		})
	})
	return w.b
}

// LogsJSON is the same for log records.
func LogsJSON(m *logspb.LogsData) []byte {
	w := &jsonWriter{}
	w.object(func() {
		list(w, "resourceLogs", m.ResourceLogs, func(r *logspb.ResourceLogs) {
			w.resource(r.Resource)
			list(w, "scopeLogs", r.ScopeLogs, func(s *logspb.ScopeLogs) {
				w.scope(s.Scope)
				list(w, "logRecords", s.LogRecords, w.log)
			})
		})
	})
	return w.b
}

type jsonWriter struct{ b []byte }

func (w *jsonWriter) object(members func()) {
	w.b = append(w.b, '{')
	members()
	w.b = append(w.b, '}')
}

func (w *jsonWriter) comma() {
	if c := w.b[len(w.b)-1]; c != '{' && c != '[' {
		w.b = append(w.b, ',')
	}
}

func (w *jsonWriter) name(s string) {
	w.comma()
	w.b = append(scoring.AppendText(w.b, s), ':')
}

func (w *jsonWriter) text(name, s string) {
	if s != "" {
		w.name(name)
		w.b = scoring.AppendText(w.b, s)
	}
}

func (w *jsonWriter) id(name string, b []byte) { w.text(name, hex.EncodeToString(b)) }

func (w *jsonWriter) fixed(name string, n uint64) {
	if n != 0 {
		w.text(name, strconv.FormatUint(n, 10))
	}
}

func (w *jsonWriter) number(name string, n int32) {
	if n != 0 {
		w.name(name)
		w.b = fmt.Append(w.b, n)
	}
}

func list[T any](w *jsonWriter, name string, values []T, f func(T)) {
	w.name(name)
	w.b = append(w.b, '[')
	for _, v := range values {
		w.comma()
		w.object(func() { f(v) })
	}
	w.b = append(w.b, ']')
}

func (w *jsonWriter) attributes(list []*commonpb.KeyValue) { w.keyValues("attributes", list) }

func (w *jsonWriter) keyValues(name string, values []*commonpb.KeyValue) {
	list(w, name, values, func(kv *commonpb.KeyValue) {
		w.name("key")
		w.b = scoring.AppendText(w.b, kv.GetKey())
		if kv.GetValue() != nil {
			w.name("value")
			w.any(kv.Value)
		}
	})
}

func (w *jsonWriter) any(v *commonpb.AnyValue) {
	w.object(func() {
		switch v := v.GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			w.name("stringValue")
			w.b = scoring.AppendText(w.b, v.StringValue)
		case *commonpb.AnyValue_BoolValue:
			w.name("boolValue")
			w.b = fmt.Append(w.b, v.BoolValue)
		case *commonpb.AnyValue_IntValue:
			w.name("intValue")
			w.b = fmt.Appendf(w.b, `"%d"`, v.IntValue)
		case *commonpb.AnyValue_DoubleValue:
			w.double(v.DoubleValue)
		case *commonpb.AnyValue_ArrayValue:
			w.name("arrayValue")
			w.object(func() {
				w.name("values")
				w.b = append(w.b, '[')
				for _, x := range v.ArrayValue.GetValues() {
					w.comma()
					w.any(x)
				}
				w.b = append(w.b, ']')
			})
		case *commonpb.AnyValue_KvlistValue:
			w.name("kvlistValue")
			w.object(func() { w.keyValues("values", v.KvlistValue.GetValues()) })
		case *commonpb.AnyValue_BytesValue:
			w.name("bytesValue")
			w.b = scoring.AppendText(w.b, base64.StdEncoding.EncodeToString(v.BytesValue))
		}
	})
}

func (w *jsonWriter) double(f float64) {
	w.name("doubleValue")
	switch s := strconv.FormatFloat(f, 'g', -1, 64); s {
	case "NaN":
		w.b = append(w.b, `"NaN"`...)
	case "+Inf", "-Inf":
		w.b = append(w.b, map[string]string{"+Inf": `"Infinity"`, "-Inf": `"-Infinity"`}[s]...)
	default:
		w.b = append(w.b, s...)
	}
}

func (w *jsonWriter) resource(r *resourcepb.Resource) {
	if r != nil {
		w.name("resource")
		w.object(func() { w.attributes(r.Attributes) })
	}
}

func (w *jsonWriter) scope(s *commonpb.InstrumentationScope) {
	if s != nil {
		w.name("scope")
		w.object(func() {
			w.text("name", s.Name)
			w.text("version", s.Version)
			w.attributes(s.Attributes)
		})
	}
}

func (w *jsonWriter) span(s *tracepb.Span) {
	w.id("traceId", s.GetTraceId())
	w.id("spanId", s.GetSpanId())
	w.id("parentSpanId", s.GetParentSpanId())
	w.text("name", s.GetName())
	w.number("kind", int32(s.GetKind()))
	w.fixed("startTimeUnixNano", s.GetStartTimeUnixNano())
	w.fixed("endTimeUnixNano", s.GetEndTimeUnixNano())
	w.attributes(s.GetAttributes())
	list(w, "events", s.GetEvents(), func(e *tracepb.Span_Event) {
		w.fixed("timeUnixNano", e.GetTimeUnixNano())
		w.text("name", e.GetName())
		w.attributes(e.GetAttributes())
	})
	if st := s.GetStatus(); st != nil {
		w.name("status")
		w.object(func() {
			w.text("message", st.Message)
			w.number("code", int32(st.Code))
		})
	}
}

func (w *jsonWriter) log(r *logspb.LogRecord) {
	w.fixed("timeUnixNano", r.GetTimeUnixNano())
	w.fixed("observedTimeUnixNano", r.GetObservedTimeUnixNano())
	w.number("severityNumber", int32(r.GetSeverityNumber()))
	w.text("severityText", r.GetSeverityText())
	if r.GetBody() != nil {
		w.name("body")
		w.any(r.Body)
	}
	w.attributes(r.GetAttributes())
	w.id("traceId", r.GetTraceId())
	w.id("spanId", r.GetSpanId())
	w.text("eventName", r.GetEventName())
}
