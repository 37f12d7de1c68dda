package producertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/kafkaexporter"
	"github.com/segmentio/kafka-go"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/scoring"
)

func TestMain(m *testing.M) { os.Exit(stacktest.Main(m)) }

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// topic makes a topic of one partition. A cluster that has just started may refuse for a moment.
func topic(t *testing.T, s *stacktest.Stack) string {
	t.Helper()
	name := s.Topic(t, "producers.")
	client := &kafka.Client{Addr: kafka.TCP(s.Brokers...)}
	ctx := deadline(t)
	for {
		res, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: name, NumPartitions: 1, ReplicationFactor: 1}}})
		if err == nil && res.Errors[name] == nil {
			return name
		}
		if ctx.Err() != nil {
			t.Fatalf("topic %s: %v %v", name, err, res)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// told is what the tests look at of an item.
type told struct{ kind, id, agent, tool, content, provider string }

// read takes n records from the topic and decodes them.
func read(t *testing.T, s *stacktest.Stack, topic, name string, n int) (list []told) {
	t.Helper()
	f, err := ingest.NewFormat(name)
	if err != nil {
		t.Fatal(err)
	}
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: s.Brokers, Topic: topic, MaxWait: 100 * time.Millisecond})
	defer r.Close()
	var e scoring.Event
	for range n {
		m, err := r.ReadMessage(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		rec := ingest.Record{Topic: m.Topic, Offset: m.Offset, Time: m.Time.UnixMilli(), Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			rec.Headers = append(rec.Headers, ingest.Header{Key: h.Key, Value: h.Value})
		}
		f.Decode(&rec, &e, func(item int32, reject *scoring.Reject) {
			if reject != nil {
				t.Fatalf("item %d: %v", item, reject)
			}
			e := e.Clone()
			list = append(list, told{e.Str(scoring.FieldKind), e.Str(scoring.FieldEventID), e.Str(scoring.FieldAgent), e.Str(scoring.FieldToolName), e.Str(scoring.FieldContent), e.Str(scoring.FieldProvider)})
		})
	}
	return list
}

// A real Collector's Kafka exporter, in both of its encodings, for spans and for log records.
func TestCollector(t *testing.T) {
	s := stacktest.Start(t)
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "travel")
	rs.Resource().Attributes().PutStr("cloud.provider", "example_cloud")
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	for i, op := range []string{"chat", "execute_tool"} {
		sp := spans.AppendEmpty()
		sp.SetTraceID(pcommon.TraceID{1, 2, 3})
		sp.SetSpanID(pcommon.SpanID{byte(i + 1)})
		sp.SetName(op)
		sp.SetStartTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		sp.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		sp.Attributes().PutStr("gen_ai.operation.name", op)
		sp.Attributes().PutStr("gen_ai.agent.id", "ag_1")
		if op == "execute_tool" {
			sp.Attributes().PutStr("gen_ai.tool.name", "send_mail")
			sp.Attributes().PutEmptyMap("gen_ai.tool.call.arguments").PutStr("to", "a@b.example")
			sp.Attributes().PutStr("gen_ai.tool.call.result", "sent")
		}
	}
	logs := plog.NewLogs()
	rl := logs.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "travel")
	rl.Resource().Attributes().PutStr("cloud.provider", "example_cloud")
	record := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	record.SetEventName("gen_ai.user.message")
	record.Body().SetEmptyMap().PutStr("content", "book a flight")

	for _, encoding := range []string{"otlp_proto", "otlp_json"} {
		t.Run(encoding, func(t *testing.T) {
			ctx := deadline(t)
			factory := kafkaexporter.NewFactory()
			cfg := factory.CreateDefaultConfig().(*kafkaexporter.Config)
			cfg.ClientConfig.Brokers = s.Brokers
			cfg.Traces.Topic, cfg.Traces.Encoding = topic(t, s), encoding
			cfg.Logs.Topic, cfg.Logs.Encoding = topic(t, s), encoding
			set := exportertest.NewNopSettings(factory.Type())
			te, err := factory.CreateTraces(ctx, set, cfg)
			if err != nil {
				t.Fatal(err)
			}
			le, err := factory.CreateLogs(ctx, set, cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range []interface {
				Start(context.Context) error
				Shutdown(context.Context) error
			}{starter{te.Start, te.Shutdown}, starter{le.Start, le.Shutdown}} {
				if err := x.Start(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if err := te.ConsumeTraces(ctx, traces); err != nil {
				t.Fatal(err)
			}
			if err := le.ConsumeLogs(ctx, logs); err != nil {
				t.Fatal(err)
			}
			if err := te.Shutdown(ctx); err != nil { // sends what waits
				t.Fatal(err)
			}
			if err := le.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			same(t, read(t, s, cfg.Traces.Topic, encoding, 1), []told{
				{"model_call", "0100000000000000", "ag_1", "", "", "example_cloud"},
				{"tool_call", "0200000000000000", "ag_1", "send_mail", "", "example_cloud"},
				{"tool_result", "0200000000000000/result", "ag_1", "send_mail", "sent", "example_cloud"},
			})
			same(t, read(t, s, cfg.Logs.Topic, encoding, 1), []told{{"user_message", "", "travel", "", "book a flight", "example_cloud"}})
		})
	}
}

type starter struct {
	start func(context.Context, component.Host) error
	stop  func(context.Context) error
}

func (s starter) Start(ctx context.Context) error    { return s.start(ctx, componenttest.NewNopHost()) }
func (s starter) Shutdown(ctx context.Context) error { return s.stop(ctx) }

func same(t *testing.T, got, want []told) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// The CloudEvents SDK for Go encodes the events, in structured and in binary mode; its Kafka protocols need other clients
// than this project has, so that the writers for messages of kafka-go are here.
func TestCloudEventsSDK(t *testing.T) {
	s := stacktest.Start(t)
	ev := event.New()
	ev.SetID("e1")
	ev.SetSource("urn:cloud:example")
	ev.SetType("io.agentrisk.agent.tool_call.v1")
	ev.SetTime(time.Now())
	ev.SetExtension("partitionkey", "tn_1/ag_1")
	if err := ev.SetData(event.ApplicationJSON, map[string]any{"provider.id": "example_cloud", "agent.id": "ag_1", "tool.name": "send_mail", "tool.args": map[string]any{"to": "a@b.example"}}); err != nil {
		t.Fatal(err)
	}
	name := topic(t, s)
	w := &kafka.Writer{Addr: kafka.TCP(s.Brokers...), Topic: name, RequiredAcks: kafka.RequireAll, BatchTimeout: 10 * time.Millisecond}
	defer w.Close()
	for _, force := range []func(context.Context) context.Context{binding.WithForceStructured, binding.WithForceBinary} {
		var m message
		if _, err := binding.Write(force(deadline(t)), (*binding.EventMessage)(&ev), &m, &m); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteMessages(deadline(t), m.Message); err != nil {
			t.Fatal(err)
		}
	}
	want := told{"tool_call", "e1", "ag_1", "send_mail", "", "example_cloud"}
	same(t, read(t, s, name, "cloudevents", 2), []told{want, want})
	batch, err := format.JSONBatch.Marshal(&ev)
	if err == nil { // where the SDK writes batches at all
		if err := w.WriteMessages(deadline(t), kafka.Message{Value: batch, Headers: []kafka.Header{{Key: "content-type", Value: []byte(event.ApplicationCloudEventsBatchJSON)}}}); err != nil {
			t.Fatal(err)
		}
		same(t, read(t, s, name, "cloudevents", 3), []told{want, want, want})
	}
}

// message is a Kafka message that the SDK writes, as the Kafka protocol binding of CloudEvents says.
type message struct{ kafka.Message }

func (m *message) header(name, value string) {
	m.Headers = append(m.Headers, kafka.Header{Key: name, Value: []byte(value)})
}

func (m *message) SetStructuredEvent(_ context.Context, f format.Format, event io.Reader) (err error) {
	m.header("content-type", f.MediaType())
	m.Value, err = io.ReadAll(event)
	return err
}

func (m *message) Start(context.Context) error { return nil }
func (m *message) End(context.Context) error   { return nil }

func (m *message) SetData(data io.Reader) (err error) {
	var b bytes.Buffer
	_, err = b.ReadFrom(data)
	m.Value = b.Bytes()
	return err
}

func (m *message) SetAttribute(a spec.Attribute, value any) error {
	text, err := types.Format(value)
	if err != nil || value == nil {
		return err
	}
	if a.Kind() == spec.DataContentType {
		m.header("content-type", text)
	} else {
		m.header("ce_"+a.Name(), text)
	}
	return nil
}

func (m *message) SetExtension(name string, value any) error {
	text, err := types.Format(value)
	if err == nil && value != nil {
		m.header("ce_"+name, text)
	}
	return err
}
