package ingest

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrisk/agentrisk/scoring"
)

// otlpProto reads OpenTelemetry spans and log records in protobuf, as a Collector's Kafka exporter writes them
// (otlp_proto): a TracesData or a LogsData, or the request of the same form. Which one it is shows in the fields of its
// spans or log records.
//
// It walks the bytes: a message of the library would hold memory for what a record only claims (1 MiB of empty spans
// are half a million of them), and each attribute would be garbage.
type otlpProto struct{ otlp }

// Decode implements [Format].
func (o *otlpProto) Decode(rec *Record, e *scoring.Event, yield func(int32, *scoring.Reject)) {
	o.begin(rec, e, yield)
	o.end(o.record(rec.Value))
}

func (o *otlpProto) record(b []byte) error {
	if len(b) == 0 {
		return reject(scoring.ReasonEmpty, "the record holds nothing")
	}
	if err := checkWire(b, &wireRecord, 0); err != nil {
		return err
	}
	for r := (wire{b: b}); r.next() && !o.full; {
		if r.is(1, protowire.BytesType) {
			o.resourceItems(r.val)
		}
	}
	return nil
}

// resourceItems reads what one resource sent. Its attributes may stand after its spans.
func (o *otlpProto) resourceItems(b []byte) {
	l := o.enterLevel(levelResource)
	for r := (wire{b: b}); r.next() && l.err == nil; {
		if r.is(1, protowire.BytesType) {
			l.attrs, l.err = o.attributes(l.attrs, r.val, 1)
		}
	}
	o.leaveLevel(l)
	for r := (wire{b: b}); r.next() && !o.full; {
		if r.is(2, protowire.BytesType) {
			o.scopeItems(r.val)
		}
	}
}

func (o *otlpProto) scopeItems(b []byte) {
	l := o.enterLevel(levelScope)
	for r := (wire{b: b}); r.next() && l.err == nil; {
		if r.is(1, protowire.BytesType) {
			l.err = o.scope(l, r.val)
		}
	}
	o.leaveLevel(l)
	for r := (wire{b: b}); r.next() && !o.full; {
		if r.is(2, protowire.BytesType) {
			o.leafItem(r.val)
		}
	}
}

// scope reads an InstrumentationScope.
func (o *otlpProto) scope(l *otlpLevel, b []byte) (err error) {
	for r := (wire{b: b}); r.next() && err == nil; {
		switch {
		case r.is(1, protowire.BytesType):
			l.attrs, err = addAttr(l.attrs, scopeName, o.filled(r.val))
		case r.is(2, protowire.BytesType):
			l.attrs, err = addAttr(l.attrs, scopeVersion, o.filled(r.val))
		}
	}
	if err == nil {
		l.attrs, err = o.attributes(l.attrs, b, 3)
	}
	return err
}

// filled is a text, or nothing when it is empty, as it is when it was left out.
func (o *otlp) filled(b []byte) otlpValue {
	if len(b) == 0 {
		return otlpValue{}
	}
	return textValue(o.d.valid(b))
}

// leafItem reads a span or a log record.
func (o *otlpProto) leafItem(b []byte) {
	l := o.enterLevel(levelOwn)
	o.leaf.reset()
	switch leafKind(b) {
	case leafSpan:
		l.err = o.span(l, b)
	case leafLog:
		o.leaf.log = true
		l.err = o.log(l, b)
	default:
		l.err = reject(scoring.ReasonEnvelope, "neither a span nor a log record: metrics and other messages hold no events")
	}
	o.leaveLevel(l)
	o.items()
}

func (o *otlpProto) span(l *otlpLevel, b []byte) (err error) {
	s := &o.leaf
	for r := (wire{b: b}); r.next() && err == nil; {
		switch {
		case r.is(1, protowire.BytesType):
			s.trace, err = o.hexID(r.val, 16, "trace_id")
		case r.is(2, protowire.BytesType):
			s.span, err = o.hexID(r.val, 8, "span_id")
		case r.is(4, protowire.BytesType):
			s.parent, err = o.hexID(r.val, 8, "parent_span_id")
		case r.is(5, protowire.BytesType):
			s.name = o.d.valid(r.val)
		case r.is(7, protowire.Fixed64Type):
			s.start = r.x
		case r.is(8, protowire.Fixed64Type):
			s.end = r.x
		case r.is(9, protowire.BytesType):
			l.attrs, err = o.attribute(l.attrs, r.val)
		case r.is(11, protowire.BytesType):
			err = o.event(r.val)
		case r.is(15, protowire.BytesType):
			for st := (wire{b: r.val}); st.next(); {
				switch {
				case st.is(2, protowire.BytesType):
					s.status = o.d.valid(st.val)
				case st.is(3, protowire.VarintType):
					s.failed = st.x == statusError
				}
			}
		}
	}
	return err
}

// event reads an event of a span.
func (o *otlpProto) event(b []byte) (err error) {
	s := &o.leaf
	if len(s.events) == maxOTLPEvents {
		return reject(scoring.ReasonLimit, "more than %d events", maxOTLPEvents)
	}
	ev := otlpEvent{from: len(s.eventAttrs)}
	for r := (wire{b: b}); r.next() && err == nil; {
		switch {
		case r.is(1, protowire.Fixed64Type):
			ev.time = r.x
		case r.is(2, protowire.BytesType):
			ev.name = o.d.valid(r.val)
		case r.is(3, protowire.BytesType):
			s.eventAttrs, err = o.attribute(s.eventAttrs, r.val)
		}
	}
	ev.to = len(s.eventAttrs)
	s.events = append(s.events, ev)
	return err
}

func (o *otlpProto) log(l *otlpLevel, b []byte) (err error) {
	s := &o.leaf
	for r := (wire{b: b}); r.next() && err == nil; {
		switch {
		case r.is(1, protowire.Fixed64Type):
			s.start = r.x
		case r.is(3, protowire.BytesType):
			s.severity = o.d.valid(r.val)
		case r.is(5, protowire.BytesType):
			s.body, err = o.any(r.val, 1)
		case r.is(6, protowire.BytesType):
			l.attrs, err = o.attribute(l.attrs, r.val)
		case r.is(9, protowire.BytesType):
			s.trace, err = o.hexID(r.val, 16, "trace_id")
		case r.is(10, protowire.BytesType):
			s.span, err = o.hexID(r.val, 8, "span_id")
		case r.is(11, protowire.Fixed64Type):
			s.end = r.x // when it was seen, for lack of a time
		case r.is(12, protowire.BytesType):
			s.name = o.d.valid(r.val)
		}
	}
	return err
}

// attributes reads those fields of a message that are KeyValues.
func (o *otlpProto) attributes(list []otlpAttr, b []byte, field protowire.Number) (_ []otlpAttr, err error) {
	for r := (wire{b: b}); r.next() && err == nil; {
		if r.is(field, protowire.BytesType) {
			list, err = o.attribute(list, r.val)
		}
	}
	return list, err
}

// attribute reads a KeyValue.
func (o *otlpProto) attribute(list []otlpAttr, b []byte) (_ []otlpAttr, err error) {
	var key []byte
	var v otlpValue
	for r := (wire{b: b}); r.next() && err == nil; {
		switch {
		case r.is(1, protowire.BytesType):
			key = r.val
		case r.is(2, protowire.BytesType):
			v, err = o.any(r.val, 1)
		}
	}
	if err != nil {
		return list, about(asString(key), err)
	}
	return addAttr(list, o.d.valid(key), v)
}

// any reads an AnyValue at a depth of nesting. An array or a map is then what the arena ends with.
func (o *otlpProto) any(b []byte, depth int) (v otlpValue, err error) {
	from := len(o.arena)
	for r := (wire{b: b}); r.next(); {
		switch {
		case r.is(1, protowire.BytesType):
			v = textValue(o.d.valid(r.val))
		case r.is(2, protowire.VarintType):
			v = boolValue(r.x != 0)
		case r.is(3, protowire.VarintType):
			v = intValue(int64(r.x))
		case r.is(4, protowire.Fixed64Type):
			v = doubleValue(math.Float64frombits(r.x))
		case r.is(5, protowire.BytesType), r.is(6, protowire.BytesType):
			o.arena = o.arena[:from] // the last of several counts
			if err = o.group(r.val, r.num == 6, depth); err != nil {
				return v, err
			}
			v = otlpValue{kind: valueJSON, text: o.cut(from)}
		case r.is(7, protowire.BytesType):
			v = textValue(o.base64(r.val))
		}
	}
	if !v.finite() {
		return v, errNotFinite
	}
	return v, nil
}

// group writes an ArrayValue or a KeyValueList as JSON into the arena.
func (o *otlpProto) group(b []byte, named bool, depth int) (err error) {
	if depth >= scoring.MaxNesting {
		return reject(scoring.ReasonLimit, "nested deeper than %d", scoring.MaxNesting)
	}
	open := byte('[')
	if named {
		open = '{'
	}
	o.arena = append(o.arena, open)
	first := true
	for r := (wire{b: b}); r.next() && err == nil; {
		if !r.is(1, protowire.BytesType) {
			continue
		}
		if !first {
			o.arena = append(o.arena, ',')
		}
		first = false
		if named {
			err = o.member(r.val, depth)
		} else {
			err = o.write(r.val, depth)
		}
	}
	o.arena = append(o.arena, open+2)
	return err
}

// member writes a KeyValue as a member of an object.
func (o *otlpProto) member(b []byte, depth int) error {
	var key, value []byte
	for r := (wire{b: b}); r.next(); {
		switch {
		case r.is(1, protowire.BytesType):
			key = r.val
		case r.is(2, protowire.BytesType):
			value = r.val
		}
	}
	o.arena = append(scoring.AppendText(o.arena, o.d.valid(key)), ':')
	return o.write(value, depth)
}

// write writes an AnyValue as JSON into the arena.
func (o *otlpProto) write(b []byte, depth int) error {
	from := len(o.arena)
	v, err := o.any(b, depth+1)
	o.written(from, &v)
	return err
}
