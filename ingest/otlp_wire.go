package ingest

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrisk/agentrisk/scoring"
)

// wire walks the fields of a protobuf message whose form was checked.
type wire struct {
	b   []byte
	num protowire.Number
	typ protowire.Type
	val []byte // of a field of bytes
	x   uint64 // of a number
	bad bool   // a field could not be read
}

// next goes to the next field and reports whether there is one.
func (w *wire) next() bool {
	if len(w.b) == 0 {
		return false
	}
	num, typ, n := protowire.ConsumeTag(w.b)
	if n < 0 {
		w.bad = true
		return false
	}
	w.num, w.typ, w.val, w.x = num, typ, nil, 0
	w.b = w.b[n:]
	switch typ {
	case protowire.VarintType:
		w.x, n = protowire.ConsumeVarint(w.b)
	case protowire.Fixed64Type:
		w.x, n = protowire.ConsumeFixed64(w.b)
	case protowire.Fixed32Type:
		var x uint32
		x, n = protowire.ConsumeFixed32(w.b)
		w.x = uint64(x)
	case protowire.BytesType:
		w.val, n = protowire.ConsumeBytes(w.b)
	default:
		n = -1 // groups, which OTLP does not have
	}
	if w.bad = n < 0; w.bad {
		return false
	}
	w.b = w.b[n:]
	return true
}

func (w *wire) is(num protowire.Number, typ protowire.Type) bool { return w.num == num && w.typ == typ }

// wireForm says which fields of a message are messages.
type wireForm struct {
	fields [16]*wireForm
	leaf   bool // a span or a log record: its fields tell
	value  bool // an AnyValue, which may nest
}

var (
	wireAny      = wireForm{value: true}
	wireKeyValue = wireForm{fields: [16]*wireForm{2: &wireAny}}
	wireArray    = wireForm{fields: [16]*wireForm{1: &wireAny}}
	wireMap      = wireForm{fields: [16]*wireForm{1: &wireKeyValue}}
	wireStatus   = wireForm{}
	wireEvent    = wireForm{fields: [16]*wireForm{3: &wireKeyValue}}
	wireSpan     = wireForm{fields: [16]*wireForm{9: &wireKeyValue, 11: &wireEvent, 15: &wireStatus}}
	wireLog      = wireForm{fields: [16]*wireForm{5: &wireAny, 6: &wireKeyValue}}
	wireNothing  = wireForm{}
	wireResource = wireForm{fields: [16]*wireForm{1: &wireKeyValue}}
	wireScope    = wireForm{fields: [16]*wireForm{3: &wireKeyValue}}
	wireScopes   = wireForm{fields: [16]*wireForm{1: &wireScope, 2: {leaf: true}}}
	wireSources  = wireForm{fields: [16]*wireForm{1: &wireResource, 2: &wireScopes}}
	wireRecord   = wireForm{fields: [16]*wireForm{1: &wireSources}}
)

func init() { wireAny.fields[5], wireAny.fields[6] = &wireArray, &wireMap }

// checkWire reports what is wrong with the form of a message and of the messages in it. Values that nest deeper than an
// event may are not looked into: their item is refused.
func checkWire(b []byte, form *wireForm, depth int) error {
	if form.value {
		if depth++; depth > scoring.MaxNesting {
			return nil
		}
	}
	if form.leaf {
		switch leafKind(b) {
		case leafSpan:
			form = &wireSpan
		case leafLog:
			form = &wireLog
		default:
			form = &wireNothing
		}
	}
	r := wire{b: b}
	for r.next() {
		if r.typ == protowire.BytesType && int(r.num) < len(form.fields) && form.fields[r.num] != nil {
			if err := checkWire(r.val, form.fields[r.num], depth); err != nil {
				return err
			}
		}
	}
	if r.bad {
		return reject(scoring.ReasonProtobuf, "no OTLP message: a field cannot be read, %d bytes before the end of its message: is the binding's format right?", len(r.b))
	}
	return nil
}

type leafKinds uint8

const (
	leafSpan leafKinds = 1 << iota
	leafLog
)

// leafForms says, for each field and wire type, which of the two may have it; a field that is not listed tells nothing.
var leafForms = [17][6]leafKinds{
	1:  {protowire.BytesType: leafSpan, protowire.Fixed64Type: leafLog},                                            // trace_id; time_unix_nano
	2:  {protowire.BytesType: leafSpan, protowire.VarintType: leafLog},                                             // span_id; severity_number
	3:  {protowire.BytesType: leafSpan | leafLog},                                                                  // trace_state; severity_text
	4:  {protowire.BytesType: leafSpan},                                                                            // parent_span_id
	5:  {protowire.BytesType: leafSpan | leafLog},                                                                  // name; body
	6:  {protowire.VarintType: leafSpan, protowire.BytesType: leafLog},                                             // kind; attributes
	7:  {protowire.Fixed64Type: leafSpan, protowire.VarintType: leafLog},                                           // start; dropped_attributes_count
	8:  {protowire.Fixed64Type: leafSpan, protowire.Fixed32Type: leafLog},                                          // end; flags
	9:  {protowire.BytesType: leafSpan | leafLog},                                                                  // attributes; trace_id
	10: {protowire.VarintType: leafSpan, protowire.BytesType: leafLog},                                             // dropped_attributes_count; span_id
	11: {protowire.BytesType: leafSpan, protowire.Fixed64Type: leafLog},                                            // events; observed_time_unix_nano
	12: {protowire.VarintType: leafSpan, protowire.BytesType: leafLog},                                             // dropped_events_count; event_name
	13: {protowire.BytesType: leafSpan}, 14: {protowire.VarintType: leafSpan}, 15: {protowire.BytesType: leafSpan}, // links, their count, status
	16: {protowire.Fixed32Type: leafSpan}, // flags
}

// leafKind tells what a message is by its fields; what fits both is a log record, since a span has a trace. 0 is
// neither.
func leafKind(b []byte) leafKinds {
	may := leafSpan | leafLog
	for r := (wire{b: b}); r.next(); {
		if int(r.num) < len(leafForms) {
			may &= leafForms[r.num][r.typ]
		}
	}
	if may == leafSpan|leafLog {
		return leafLog
	}
	return may
}
