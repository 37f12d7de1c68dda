package ingest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/compose"
	"github.com/agentrisk/agentrisk/scoring"
)

// sound decodes a record twice, with a decoder that has seen another record before and with a new one, and checks what
// holds of any record: there are items, in order, and they are the same both times.
func sound(t *testing.T, format string, rec ingest.Record) []item {
	t.Helper()
	used, err := ingest.NewFormat(format)
	if err != nil {
		t.Fatal(err)
	}
	items := decodeWith(used, rec)
	if again := decodeWith(used, rec); !reflect.DeepEqual(items, again) {
		t.Fatalf("twice by one decoder: -first +second\n%s", cmp.Diff(items, again))
	}
	if fresh := decode(t, format, rec); !reflect.DeepEqual(items, fresh) {
		t.Fatalf("by another decoder: -first +second\n%s", cmp.Diff(items, fresh))
	}
	if len(items) == 0 || len(items) > scoring.MaxItems+1 {
		t.Fatalf("%d items", len(items))
	}
	for i, it := range items {
		if it.N != int32(i) {
			t.Fatalf("item %d is number %d", i, it.N)
		}
		if (it.Event == nil) == (it.Reason == "") {
			t.Fatalf("item %d is both or neither: %+v", i, it)
		}
	}
	return items
}

// headersOf makes headers of lines "name: value".
func headersOf(text string) (list []ingest.Header) {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
			list = append(list, ingest.Header{Key: name, Value: []byte(value)})
		}
	}
	return list
}

// linesOf is the reverse.
func linesOf(list []ingest.Header) string {
	var b strings.Builder
	for _, h := range list {
		b.WriteString(h.Key + ": " + string(h.Value) + "\n")
	}
	return b.String()
}

// FuzzCloudEvents: no bytes and no headers make the decoder panic, lose an item or change its mind.
func FuzzCloudEvents(f *testing.F) {
	events := sample(f, 5)
	for _, name := range []string{"cloudevents", "cloudevents_batch", "cloudevents_binary"} {
		form, err := compose.Find(name)
		if err != nil {
			f.Fatal(err)
		}
		rec, err := form.Write(events[0])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(linesOf(rec.Headers), rec.Value)
	}
	for _, c := range cloudEventCases {
		f.Add(c.headers, []byte(c.value))
	}
	f.Fuzz(func(t *testing.T, headers string, value []byte) {
		sound(t, "cloudevents", ingest.Record{Headers: headersOf(headers), Value: value})
	})
}

// FuzzOTLP: no bytes make the decoders panic, lose an item or change their mind, and a message that the library can read
// gives the same events in JSON and in protobuf.
func FuzzOTLP(f *testing.F) {
	events := sample(f, 5)
	for _, name := range []string{"otlp_json", "otlp_json_logs", "otlp_proto", "otlp_proto_logs"} {
		form, err := compose.Find(name)
		if err != nil {
			f.Fatal(err)
		}
		rec, err := form.Write(events[:3]...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(rec.Value)
	}
	for _, m := range genAIMessages() {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(messageJSON(m))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		sound(t, "otlp_json", ingest.Record{Value: value})
		sound(t, "otlp_proto", ingest.Record{Value: value})
		for _, m := range []proto.Message{&tracepb.TracesData{}, &logspb.LogsData{}} {
			if proto.Unmarshal(value, m) == nil {
				agree(t, m)
			}
		}
	})
}

// agree checks that a message gives the same events in both forms. What depends on the form alone is made definite: a
// span or log record that could be either, and what the library could not read.
func agree(t *testing.T, m proto.Message) {
	t.Helper()
	definite(m)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil || len(b) == 0 || len(b) > scoring.MaxRecord/8 {
		return
	}
	want := sound(t, "otlp_proto", ingest.Record{Value: b})
	if want[0].Reason == scoring.ReasonProtobuf { // a group among what the library does not know: OTLP has none, and ours refuses it
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m); err != nil {
			t.Fatal(err)
		}
		if b, err = proto.Marshal(m); err != nil || len(b) == 0 {
			return
		}
		want = sound(t, "otlp_proto", ingest.Record{Value: b})
	}
	got := sound(t, "otlp_json", ingest.Record{Value: messageJSON(m)})
	for i := range want {
		if strings.Contains(want[i].Detail, "nested deeper") {
			return // JSON may refuse the whole record for it
		}
		want[i].Detail = ""
	}
	for i := range got {
		got[i].Detail = "" // tells of places
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("-protobuf +JSON\n%s\n%s", cmp.Diff(want, got), messageJSON(m))
	}
}

func messageJSON(m proto.Message) []byte {
	switch m := m.(type) {
	case *tracepb.TracesData:
		return compose.TracesJSON(m)
	case *logspb.LogsData:
		return compose.LogsJSON(m)
	}
	panic("neither spans nor log records")
}

func definite(m proto.Message) {
	switch m := m.(type) {
	case *tracepb.TracesData:
		for _, r := range m.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, x := range s.Spans {
					x.ProtoReflect().SetUnknown(nil)
					x.Kind = tracepb.Span_SPAN_KIND_CLIENT
				}
			}
		}
	case *logspb.LogsData:
		for _, r := range m.ResourceLogs {
			for _, s := range r.ScopeLogs {
				for _, x := range s.LogRecords {
					x.ProtoReflect().SetUnknown(nil)
					x.SeverityNumber = logspb.SeverityNumber_SEVERITY_NUMBER_INFO
				}
			}
		}
	}
}
