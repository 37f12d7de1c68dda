// Package compose writes events in every form that package ingest reads. It is what `agentrisk simulate --format`
// publishes, and what the conformance suite and the benchmarks of the formats read back: the same event in each form
// must give the same fields and the same score.
package compose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/scoring"
)

// Form is one way to write events.
type Form struct {
	Name   string
	Format string // of the binding that reads it
	Many   bool   // a record may hold several events
	write  func(events []*scoring.Event) (ingest.Record, error)
}

// Forms are all of them.
var Forms = []Form{
	{"json", "json", false, one(func(e *scoring.Event) ingest.Record { return ingest.Record{Value: appendJSON(nil, e, false)} })},
	{"flat", "flat", false, one(func(e *scoring.Event) ingest.Record { return ingest.Record{Value: appendJSON(nil, e, true)} })},
	{"cloudevents", "cloudevents", false, one(structured)},
	{"cloudevents_batch", "cloudevents", true, batch},
	{"cloudevents_binary", "cloudevents", false, one(binary)},
	{"otlp_json", "otlp_json", true, otlpJSON(spans)},
	{"otlp_json_logs", "otlp_json", true, otlpJSON(logs)},
	{"otlp_proto", "otlp_proto", true, otlpProto(spans)},
	{"otlp_proto_logs", "otlp_proto", true, otlpProto(logs)},
}

// Find returns the form of a name.
func Find(name string) (*Form, error) {
	var names []string
	for i := range Forms {
		if Forms[i].Name == name {
			return &Forms[i], nil
		}
		names = append(names, Forms[i].Name)
	}
	return nil, fmt.Errorf("unknown format %q: want one of %s", name, strings.Join(names, ", "))
}

// Write makes a record of events: its value and headers. The events are not kept.
func (f *Form) Write(events ...*scoring.Event) (ingest.Record, error) {
	if !f.Many && len(events) != 1 {
		return ingest.Record{}, fmt.Errorf("a record of %s holds one event, not %d", f.Name, len(events))
	}
	return f.write(events)
}

func one(f func(*scoring.Event) ingest.Record) func([]*scoring.Event) (ingest.Record, error) {
	return func(events []*scoring.Event) (ingest.Record, error) { return f(events[0]), nil }
}

// timeOf is the event's time in RFC 3339, "" for none.
func timeOf(e *scoring.Event) string {
	if e.Flags&scoring.FlagTimeMissing != 0 {
		return ""
	}
	return time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05.000Z")
}

// appendJSON appends the event as our JSON; flat uses the other names where a field has them.
func appendJSON(dst []byte, e *scoring.Event, flat bool) []byte {
	dst = append(dst, '{')
	comma := func(name string) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(scoring.AppendText(dst, name), ':')
	}
	if t := timeOf(e); t != "" {
		comma("time")
		dst = scoring.AppendText(dst, t)
	}
	for id := range scoring.Fields {
		f, id := &scoring.Fields[id], scoring.FieldID(id)
		if !e.Has(id) {
			continue
		}
		name := f.Name
		if flat && len(f.Aliases) > 0 {
			name = f.Aliases[0]
		}
		comma(name)
		dst = appendValue(dst, e, id, f)
	}
	for _, a := range e.Attributes {
		comma(a.Key)
		dst = scoring.AppendText(dst, a.Value)
	}
	return append(dst, '}')
}

func appendValue(dst []byte, e *scoring.Event, id scoring.FieldID, f *scoring.Field) []byte {
	switch f.Type {
	case scoring.String:
		if id == scoring.FieldToolArgs {
			return append(dst, e.Str(id)...) // is JSON
		}
		return scoring.AppendText(dst, e.Str(id))
	case scoring.Int:
		return fmt.Append(dst, e.Int(id))
	case scoring.Milli:
		return fmt.Append(dst, float64(e.Int(id))/1000)
	case scoring.Bool:
		return fmt.Append(dst, e.Bool(id))
	}
	dst = append(dst, '[')
	for i, s := range e.List(id) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = scoring.AppendText(dst, s)
	}
	return append(dst, ']')
}

// attribute is an attribute of the envelope of a CloudEvent.
type attribute struct{ name, value string }

// attributes are the envelope's, made from the event.
func attributes(e *scoring.Event) []attribute {
	list := []attribute{
		{"specversion", "1.0"}, {"id", e.Str(scoring.FieldEventID)}, {"source", e.Str(scoring.FieldSource)},
		{"type", "io.agentrisk.agent." + e.Str(scoring.FieldKind) + ".v1"}, {"time", timeOf(e)},
	}
	return slices.DeleteFunc(list, func(a attribute) bool { return a.value == "" })
}

// structured writes an event within its envelope.
func structured(e *scoring.Event) ingest.Record {
	return ingest.Record{Headers: []ingest.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}}, Value: enveloped(nil, e)}
}

func enveloped(dst []byte, e *scoring.Event) []byte {
	dst = append(dst, '{')
	for _, a := range attributes(e) {
		dst = append(append(append(append(dst, '"'), a.name...), '"', ':'), scoring.AppendText(nil, a.value)...)
		dst = append(dst, ',')
	}
	dst = append(dst, `"datacontenttype":"application/json","data":`...)
	return append(appendJSON(dst, e, false), '}')
}

func batch(events []*scoring.Event) (ingest.Record, error) {
	value := []byte{'['}
	for i, e := range events {
		if i > 0 {
			value = append(value, ',')
		}
		value = enveloped(value, e)
	}
	return ingest.Record{Headers: []ingest.Header{{Key: "content-type", Value: []byte("application/cloudevents-batch+json")}}, Value: append(value, ']')}, nil
}

// binary writes the envelope as headers.
func binary(e *scoring.Event) ingest.Record {
	rec := ingest.Record{Headers: []ingest.Header{{Key: "content-type", Value: []byte("application/json")}}, Value: appendJSON(nil, e, false)}
	for _, a := range attributes(e) {
		rec.Headers = append(rec.Headers, ingest.Header{Key: "ce_" + a.name, Value: []byte(a.value)})
	}
	return rec
}
