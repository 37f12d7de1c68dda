package ingest

import (
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/agentrisk/agentrisk/scoring"
)

// otlpJSON reads OpenTelemetry spans and log records in JSON, as a Collector's Kafka exporter writes them (otlp_json):
// an object with resourceSpans or resourceLogs. Names may be in the form of JSON (traceId) or of protobuf (trace_id);
// those that it does not know are passed over.
type otlpJSON struct{ otlp }

// Decode implements [Format].
func (o *otlpJSON) Decode(rec *Record, e *scoring.Event, yield func(int32, *scoring.Reject)) {
	o.begin(rec, e, yield)
	o.end(o.record())
}

// each calls f for every member of the object at this place, with its name. f must read the value. A name that the
// object says twice is refused when f knows it, as told by its bit; 0 is unknown and was passed over.
func (o *otlpJSON) each(what string, f func(o *otlpJSON, key string) (bit uint32, err error)) error {
	d, said := &o.d, uint32(0)
	for more, err := d.enter('{', what); ; more, err = d.more('}') {
		if err != nil || !more {
			return err
		}
		at := d.pos
		name, err := d.key()
		if err != nil {
			return err
		}
		if d.null() {
			continue
		}
		bit, err := f(o, asString(name))
		if err != nil {
			return err
		}
		if bit == 0 {
			d.leap()
		}
		if said&bit != 0 {
			return twice(asString(name), at)
		}
		said |= bit
	}
}

// list calls f for every value of the array at this place.
func (o *otlpJSON) list(what string, f func(o *otlpJSON) error) error {
	d := &o.d
	for more, err := d.enter('[', what); ; more, err = d.more(']') {
		if err != nil || !more {
			return err
		}
		if err := f(o); err != nil {
			return err
		}
	}
}

func (o *otlpJSON) record() error {
	if err := o.d.check(); err != nil {
		return err
	}
	return o.each("the record", (*otlpJSON).recordMember)
}

func (o *otlpJSON) recordMember(key string) (uint32, error) {
	switch key {
	case "resourceSpans", "resource_spans":
		o.leaf.log = false
		return 1, o.list(key, (*otlpJSON).resourceItems)
	case "resourceLogs", "resource_logs":
		o.leaf.log = true
		return 2, o.list(key, (*otlpJSON).resourceItems)
	case "resourceMetrics", "resource_metrics":
		return 4, reject(scoring.ReasonEnvelope, "metrics hold no events: want spans or log records")
	}
	return 0, nil
}

// resourceItems reads what one resource sent. Its attributes mostly stand before its spans; where they do not, the spans
// are passed over and read afterwards.
func (o *otlpJSON) resourceItems() error {
	o.leaveLevel(o.enterLevel(levelResource))
	return o.around("resource", levelResource, (*otlpJSON).resourceMember, (*otlpJSON).scopeItems)
}

func (o *otlpJSON) scopeItems() error {
	o.leaveLevel(o.enterLevel(levelScope))
	return o.around("scope", levelScope, (*otlpJSON).scopeMember, (*otlpJSON).leafItem)
}

// around reads an object that holds who sent something, and an array of what was sent.
func (o *otlpJSON) around(name string, level int, who func(*otlpJSON, string) (uint32, error), what func(*otlpJSON) error) error {
	d, later, known := &o.d, -1, false
	err := o.each("an element of the record", func(o *otlpJSON, key string) (uint32, error) {
		switch at := d.pos; key {
		case name:
			l := o.enterLevel(level)
			l.err = o.each(name, who)
			o.leaveLevel(l)
			if l.err != nil {
				d.pos = at
				d.leap()
			}
			known = true
			return 1, nil
		case "scopeSpans", "scope_spans", "scopeLogs", "scope_logs", "spans", "logRecords", "log_records":
			if !known {
				later = at
				d.leap()
				return 2, nil
			}
			return 2, o.list(key, what)
		}
		return 0, nil
	})
	if err != nil || later < 0 {
		return err
	}
	end := d.pos
	d.pos = later
	err = o.list(name, what)
	d.pos = end
	return err
}

func (o *otlpJSON) resourceMember(key string) (uint32, error) {
	if key == "attributes" {
		return 1, o.attributes(&o.level[levelResource].attrs)
	}
	return 0, nil
}

func (o *otlpJSON) scopeMember(key string) (_ uint32, err error) {
	l := &o.level[levelScope]
	switch key {
	case "name":
		return 1, o.scopeText(l, scopeName)
	case "version":
		return 2, o.scopeText(l, scopeVersion)
	case "attributes":
		return 4, o.attributes(&l.attrs)
	}
	return 0, nil
}

func (o *otlpJSON) scopeText(l *otlpLevel, name string) error {
	s, err := o.text(name)
	if err == nil {
		l.attrs, err = addAttr(l.attrs, name, o.filled(asBytes(s)))
	}
	return err
}

// leafItem reads a span or a log record. What is wrong with it is its own end alone.
func (o *otlpJSON) leafItem() error {
	d := &o.d
	if o.full {
		d.leap()
		return nil
	}
	d.space()
	at, log := d.pos, o.leaf.log
	l := o.enterLevel(levelOwn)
	o.leaf.reset()
	o.leaf.log = log
	member := (*otlpJSON).spanMember
	if log {
		member = (*otlpJSON).logMember
	}
	l.err = o.each("the item", member)
	o.leaveLevel(l)
	d.pos = at
	d.leap()
	end := d.pos
	o.items()
	d.pos = end
	o.leaf.log = log
	return nil
}

func (o *otlpJSON) spanMember(key string) (_ uint32, err error) {
	s := &o.leaf
	switch key {
	case "traceId", "trace_id":
		s.trace, err = o.id(32, key)
		return 1 << 0, err
	case "spanId", "span_id":
		s.span, err = o.id(16, key)
		return 1 << 1, err
	case "parentSpanId", "parent_span_id":
		s.parent, err = o.id(16, key)
		return 1 << 2, err
	case "name":
		s.name, err = o.text(key)
		return 1 << 3, err
	case "startTimeUnixNano", "start_time_unix_nano":
		s.start, err = o.nanoseconds(key)
		return 1 << 4, err
	case "endTimeUnixNano", "end_time_unix_nano":
		s.end, err = o.nanoseconds(key)
		return 1 << 5, err
	case "attributes":
		return 1 << 6, o.attributes(&o.level[levelOwn].attrs)
	case "events":
		return 1 << 7, o.list(key, (*otlpJSON).event)
	case "status":
		return 1 << 8, o.each(key, (*otlpJSON).statusMember)
	}
	return 0, nil
}

func (o *otlpJSON) statusMember(key string) (_ uint32, err error) {
	switch key {
	case "message":
		o.leaf.status, err = o.text(key)
		return 1, err
	case "code":
		d := &o.d
		if d.peek() == '"' { // the name of the enumeration
			s, err := o.text(key)
			o.leaf.failed = s == "STATUS_CODE_ERROR"
			return 2, err
		}
		n, err := o.integer(key)
		o.leaf.failed = n == statusError
		return 2, err
	}
	return 0, nil
}

func (o *otlpJSON) event() error {
	s := &o.leaf
	if len(s.events) == maxOTLPEvents {
		return reject(scoring.ReasonLimit, "more than %d events", maxOTLPEvents)
	}
	s.events = append(s.events, otlpEvent{from: len(s.eventAttrs)})
	err := o.each("an event", (*otlpJSON).eventMember)
	s.events[len(s.events)-1].to = len(s.eventAttrs)
	return err
}

func (o *otlpJSON) eventMember(key string) (_ uint32, err error) {
	s := &o.leaf
	ev := &s.events[len(s.events)-1]
	switch key {
	case "timeUnixNano", "time_unix_nano":
		ev.time, err = o.nanoseconds(key)
		return 1, err
	case "name":
		ev.name, err = o.text(key)
		return 2, err
	case "attributes":
		return 4, o.attributes(&s.eventAttrs)
	}
	return 0, nil
}

func (o *otlpJSON) logMember(key string) (_ uint32, err error) {
	s := &o.leaf
	switch key {
	case "timeUnixNano", "time_unix_nano":
		s.start, err = o.nanoseconds(key)
		return 1 << 0, err
	case "observedTimeUnixNano", "observed_time_unix_nano":
		s.end, err = o.nanoseconds(key) // when it was seen, for lack of a time
		return 1 << 1, err
	case "severityText", "severity_text":
		s.severity, err = o.text(key)
		return 1 << 2, err
	case "body":
		s.body, err = o.any(1)
		return 1 << 3, err
	case "attributes":
		return 1 << 4, o.attributes(&o.level[levelOwn].attrs)
	case "traceId", "trace_id":
		s.trace, err = o.id(32, key)
		return 1 << 5, err
	case "spanId", "span_id":
		s.span, err = o.id(16, key)
		return 1 << 6, err
	case "eventName", "event_name":
		s.name, err = o.text(key)
		return 1 << 7, err
	}
	return 0, nil
}

// text reads a text.
func (o *otlpJSON) text(what string) (string, error) {
	d := &o.d
	if d.peek() != '"' {
		return "", reject(scoring.ReasonType, "%s at byte %d: want a text", head(what), d.pos)
	}
	b, err := d.text()
	return asString(b), err
}

// id reads an id of so many hexadecimal digits; none, or nothing but zeros, is "".
func (o *otlpJSON) id(n int, what string) (string, error) {
	at := o.d.pos
	s, err := o.text(what)
	if err != nil || s == "" {
		return "", err
	}
	from := len(o.arena)
	zeros := true
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'F' {
			c += 'a' - 'A'
		}
		zeros = zeros && c == '0'
		o.arena = append(o.arena, c)
	}
	id := o.cut(from)
	if len(id) != n || !isHex(id) {
		return "", reject(scoring.ReasonType, "%s at byte %d: want %d hexadecimal digits", what, at, n)
	}
	if zeros {
		return "", nil
	}
	return id, nil
}

// digitsText is a number's text, which may stand as a number or as a text.
func (o *otlpJSON) digitsText(what string) (string, error) {
	d := &o.d
	switch c := d.peek(); {
	case c == '"':
		return o.text(what)
	case c == '-' || digit(c):
		raw, err := d.raw(0, len(d.b))
		return asString(raw), err
	}
	return "", reject(scoring.ReasonType, "%s at byte %d: want a number, or a text that holds one", head(what), d.pos)
}

func (o *otlpJSON) nanoseconds(what string) (uint64, error) {
	at := o.d.pos
	s, err := o.digitsText(what)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, reject(scoring.ReasonRange, "%s at byte %d: want nanoseconds since 1970", head(what), at)
	}
	return n, nil
}

func (o *otlpJSON) integer(what string) (int64, error) {
	at := o.d.pos
	s, err := o.digitsText(what)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, reject(scoring.ReasonRange, "%s at byte %d: want a whole number of 64 bits", head(what), at)
	}
	return n, nil
}

func (o *otlpJSON) double(what string) (float64, error) {
	at := o.d.pos
	s, err := o.digitsText(what)
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errNotFinite
	case err != nil:
		return 0, reject(scoring.ReasonType, "%s at byte %d: want a number", head(what), at)
	}
	return f, nil
}

// attributes reads an array of KeyValues.
func (o *otlpJSON) attributes(list *[]otlpAttr) error {
	return o.list("attributes", func(o *otlpJSON) (err error) {
		var key string
		var v otlpValue
		err = o.keyValue(&key, func(o *otlpJSON) (err error) {
			v, err = o.any(1)
			return err
		})
		if err != nil {
			return about(key, err)
		}
		*list, err = addAttr(*list, key, v)
		return err
	})
}

// keyValue reads a KeyValue: its key, and its value by f.
func (o *otlpJSON) keyValue(key *string, f func(*otlpJSON) error) error {
	return o.each("an attribute", func(o *otlpJSON, name string) (_ uint32, err error) {
		switch name {
		case "key":
			*key, err = o.text(name)
			return 1, err
		case "value":
			return 2, f(o)
		}
		return 0, nil
	})
}

// any reads an AnyValue at a depth of nesting. An array or a map is then what the arena ends with.
func (o *otlpJSON) any(depth int) (v otlpValue, err error) {
	d := &o.d
	err = o.each("a value", func(o *otlpJSON, name string) (uint32, error) {
		switch name {
		case "stringValue", "string_value":
			s, err := o.text(name)
			v = textValue(s)
			return 1, err
		case "boolValue", "bool_value":
			if c := d.peek(); c != 't' && c != 'f' {
				return 1, reject(scoring.ReasonType, "%s at byte %d: want true or false", name, d.pos)
			}
			b, err := d.boolean()
			v = boolValue(b)
			return 1, err
		case "intValue", "int_value":
			n, err := o.integer(name)
			v = intValue(n)
			return 1, err
		case "doubleValue", "double_value":
			f, err := o.double(name)
			v = doubleValue(f)
			return 1, err
		case "arrayValue", "array_value":
			v, err = o.group('[', depth)
			return 1, err
		case "kvlistValue", "kvlist_value":
			v, err = o.group('{', depth)
			return 1, err
		case "bytesValue", "bytes_value":
			v, err = o.bytes(name)
			return 1, err
		}
		return 0, nil
	})
	if err == nil && !v.finite() {
		err = errNotFinite
	}
	return v, err
}

func (o *otlpJSON) bytes(what string) (otlpValue, error) {
	at := o.d.pos
	s, err := o.text(what)
	if err != nil {
		return otlpValue{}, err
	}
	from := len(o.d.arena)
	o.d.arena, err = base64.StdEncoding.AppendDecode(o.d.arena, asBytes(s))
	if err != nil {
		return otlpValue{}, reject(scoring.ReasonType, "%s at byte %d: want base64", what, at)
	}
	return textValue(o.base64(o.d.arena[from:])), nil
}

// group reads an ArrayValue or a KeyValueList and writes it as JSON into the arena.
func (o *otlpJSON) group(open byte, depth int) (otlpValue, error) {
	if depth >= scoring.MaxNesting {
		return otlpValue{}, reject(scoring.ReasonLimit, "nested deeper than %d", scoring.MaxNesting)
	}
	from := len(o.arena)
	o.arena = append(o.arena, open)
	first := true
	value := func(o *otlpJSON) error {
		at := len(o.arena)
		v, err := o.any(depth + 1)
		o.written(at, &v)
		return err
	}
	err := o.each("values", func(o *otlpJSON, name string) (uint32, error) {
		if name != "values" {
			return 0, nil
		}
		return 1, o.list(name, func(o *otlpJSON) error {
			if !first {
				o.arena = append(o.arena, ',')
			}
			first = false
			if open == '[' {
				return value(o)
			}
			return o.member(value)
		})
	})
	o.arena = append(o.arena, open+2)
	return otlpValue{kind: valueJSON, text: o.cut(from)}, err
}

// member writes a KeyValue as a member of an object. Its key may stand after its value, which is then read later.
func (o *otlpJSON) member(value func(*otlpJSON) error) error {
	d := &o.d
	var key string
	at := -1
	err := o.keyValue(&key, func(*otlpJSON) error {
		at = d.pos
		d.leap()
		return nil
	})
	if err != nil {
		return err
	}
	o.arena = append(scoring.AppendText(o.arena, key), ':')
	if at < 0 {
		o.arena = append(o.arena, "null"...)
		return nil
	}
	end := d.pos
	d.pos = at
	err = value(o)
	d.pos = end
	return err
}
