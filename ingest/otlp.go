package ingest

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/agentrisk/agentrisk/scoring"
)

// otlp is what the two forms of OpenTelemetry records (JSON and protobuf) share: the span or log record that is being
// read, with what its scope and resource say, and how events are made of it (otlp_events.go). The forms differ only in
// how they fill it, so that a message gives the same events in both.
//
// A record counts as a whole or not at all: its form is checked before its first item. Items are numbered as the record
// has them: spans and log records in order, and within a span its events before, of and after the call, then its span
// events.
type otlp struct {
	d     jsonDecoder // reads the record if that is JSON, and values that are JSON text; keeps repaired texts
	arena []byte      // texts that are put together; grows until the record is done
	rec   *Record
	e     *scoring.Event
	yield func(int32, *scoring.Reject)
	item  int32
	full  bool // more items than a record may have

	level [numLevels]otlpLevel
	leaf  otlpLeaf
	pick  otlpPick
}

// The levels at which attributes stand; the first one that has a name decides.
const (
	levelOwn = iota
	levelScope
	levelResource
	numLevels
)

// otlpLevel is what one level says.
type otlpLevel struct {
	attrs []otlpAttr
	bad   bool  // texts that are no UTF-8
	err   error // every item beneath is refused for it
}

func (l *otlpLevel) reset() { l.attrs, l.bad, l.err = l.attrs[:0], false, nil }

// otlpLeaf is a span or a log record without its attributes.
type otlpLeaf struct {
	log                 bool
	name                string // of the span, or of the log record's event
	trace, span, parent string // ids, hexadecimal; empty for none
	start, end          uint64 // nanoseconds since 1970; 0 for none
	failed              bool   // the span's status is an error
	status              string // what it says of it
	body                otlpValue
	severity            string
	events              []otlpEvent
	eventAttrs          []otlpAttr // of all events
}

// otlpEvent is an event on a span; its attributes are eventAttrs[from:to].
type otlpEvent struct {
	name     string
	time     uint64
	from, to int
}

func (l *otlpLeaf) reset() { *l = otlpLeaf{events: l.events[:0], eventAttrs: l.eventAttrs[:0]} }

// otlpAttr is an attribute; name is what it means here, nil for nothing.
type otlpAttr struct {
	key   string
	name  *otlpName
	value otlpValue
}

// otlpValue is an AnyValue.
type otlpValue struct {
	kind otlpKind
	text string // of a text; the JSON of an array or a map; base64 of bytes
	bits uint64 // of a number or a truth
}

type otlpKind uint8

const (
	valueNone otlpKind = iota
	valueText
	valueInt
	valueDouble
	valueBool
	valueJSON
)

// Bounds of one span or log record, looked after before memory is taken. An event may have MaxAttributes beside those
// that the table knows.
const (
	maxOTLPAttributes = 512
	maxOTLPEvents     = scoring.MaxItems
	keptArena         = 1 << 20 // a larger arena is given back after the record that needed it
)

func (o *otlp) begin(rec *Record, e *scoring.Event, yield func(int32, *scoring.Reject)) {
	o.d.reset(rec.Value)
	if cap(o.arena) > keptArena {
		o.arena = nil
	}
	o.arena = o.arena[:0]
	o.rec, o.e, o.yield, o.item, o.full = rec, e, yield, 0, false
}

// end gives a record without items the reason why.
func (o *otlp) end(err error) {
	switch {
	case err != nil:
		o.send(err)
	case o.item == 0:
		o.send(reject(scoring.ReasonEmpty, "the record holds no span and no log record"))
	}
	o.rec, o.e, o.yield = nil, nil, nil
}

// send ends an item.
func (o *otlp) send(err error) {
	if o.full {
		return
	}
	if o.item == scoring.MaxItems {
		o.full = true
		o.yield(o.item, tooManyItems())
		return
	}
	o.yield(o.item, asReject(err))
	o.item++
}

// add keeps an attribute of a level. Values that say nothing are not kept.
func addAttr(list []otlpAttr, key string, v otlpValue) ([]otlpAttr, error) {
	if v.kind == valueNone {
		return list, nil
	}
	if len(list) == maxOTLPAttributes {
		return list, reject(scoring.ReasonLimit, "more than %d attributes", maxOTLPAttributes)
	}
	return append(list, otlpAttr{key, otlpNames[key], v}), nil
}

func textValue(s string) otlpValue    { return otlpValue{kind: valueText, text: s} }
func intValue(n int64) otlpValue      { return otlpValue{kind: valueInt, bits: uint64(n)} }
func doubleValue(f float64) otlpValue { return otlpValue{kind: valueDouble, bits: math.Float64bits(f)} }
func boolValue(b bool) otlpValue {
	v := otlpValue{kind: valueBool}
	if b {
		v.bits = 1
	}
	return v
}

var errNotFinite = reject(scoring.ReasonRange, "a number that is NaN or infinite")

func (v *otlpValue) finite() bool {
	if v.kind != valueDouble {
		return true
	}
	f := math.Float64frombits(v.bits)
	return !math.IsNaN(f) && !math.IsInf(f, 0)
}

// appendJSON appends the value as JSON.
func (v *otlpValue) appendJSON(dst []byte) []byte {
	switch v.kind {
	case valueText:
		return scoring.AppendText(dst, v.text)
	case valueInt:
		return strconv.AppendInt(dst, int64(v.bits), 10)
	case valueDouble:
		return strconv.AppendFloat(dst, math.Float64frombits(v.bits), 'g', -1, 64)
	case valueBool:
		return strconv.AppendBool(dst, v.bits != 0)
	case valueJSON:
		return append(dst, v.text...)
	}
	return append(dst, "null"...)
}

// json is the value as JSON, in the arena.
func (o *otlp) json(v *otlpValue) string {
	if v.kind == valueJSON {
		return v.text
	}
	from := len(o.arena)
	o.arena = v.appendJSON(o.arena)
	return o.cut(from)
}

// cut is what the arena holds from a place on.
func (o *otlp) cut(from int) string { return asString(o.arena[from:len(o.arena):len(o.arena)]) }

// read lets f read a text that is JSON with the decoder's scanner.
func (o *otlp) read(text string, f func(*jsonDecoder) error) error {
	d := &o.d
	outer, pos := d.b, d.pos
	d.b, d.pos, d.at = asBytes(text), 0, 0
	err := f(d)
	d.b, d.pos = outer, pos
	return err
}

// set gives a field the value of an attribute, by the rules of our JSON.
func (o *otlp) set(id scoring.FieldID, v *otlpValue) error {
	f, e := &scoring.Fields[id], o.e
	switch {
	case !v.finite():
		return errNotFinite
	case id == scoring.FieldToolArgs:
		return o.arguments(v)
	case f.Type == scoring.String && v.kind == valueText:
		if int64(len(v.text)) > f.Max {
			return reject(scoring.ReasonLimit, "%d bytes, limit %d", len(v.text), f.Max)
		}
		e.SetStr(id, v.text)
	case f.IsContent() && v.kind != valueNone:
		text := o.json(v)
		if int64(len(text)) > f.Max {
			return reject(scoring.ReasonLimit, "%d bytes, limit %d", len(text), f.Max)
		}
		e.SetStr(id, text)
	case (f.Type == scoring.Int || f.Type == scoring.Milli) && (v.kind == valueInt || v.kind == valueDouble):
		if n := int64(v.bits); f.Type == scoring.Int && v.kind == valueInt && n >= f.Min && n <= f.Max {
			e.SetInt(id, n)
			return nil
		}
		return o.number(id, f, v)
	case f.Type == scoring.Bool && v.kind == valueBool:
		e.SetBool(id, v.bits != 0)
	case f.Type == scoring.Strings && v.kind == valueJSON && v.text[0] == '[':
		return o.read(v.text, func(d *jsonDecoder) error { return d.list(id, f) })
	default:
		return reject(scoring.ReasonType, "want %s", typeNames[f.Type])
	}
	return nil
}

// number reads a number as our JSON does: by its digits.
func (o *otlp) number(id scoring.FieldID, f *scoring.Field, v *otlpValue) error {
	return o.read(o.json(v), func(d *jsonDecoder) error {
		n, err := d.number(f)
		if err == nil {
			o.e.SetInt(id, n)
		}
		return err
	})
}

// arguments sets tool.args: JSON as it stands, also where a text holds it; any other text as the JSON text that it is.
func (o *otlp) arguments(v *otlpValue) error {
	switch v.kind {
	case valueText:
		ok, err := o.d.holds(asBytes(v.text), 0, 1)
		switch {
		case err != nil:
			return err
		case ok:
			if len(v.text) > scoring.MaxArgs {
				return reject(scoring.ReasonLimit, "%d bytes, limit %d", len(v.text), scoring.MaxArgs)
			}
			o.e.SetStr(scoring.FieldToolArgs, v.text)
			return nil
		}
	case valueJSON:
	default:
		return reject(scoring.ReasonType, "want an object, an array or a text")
	}
	text := o.json(v)
	if len(text) > scoring.MaxArgs {
		return reject(scoring.ReasonLimit, "%d bytes, limit %d", len(text), scoring.MaxArgs)
	}
	if v.kind == valueJSON {
		if err := o.checked(text, scoring.MaxArgs); err != nil {
			return err
		}
	}
	o.e.SetStr(scoring.FieldToolArgs, text)
	return nil
}

// checked refuses what our JSON refuses in a value: names that are said twice, nesting, length.
func (o *otlp) checked(text string, limit int) error {
	err := o.read(text, func(d *jsonDecoder) error {
		_, err := d.raw(scoring.MaxNesting-1, limit)
		return err
	})
	if errors.Is(err, errLong) {
		err = reject(scoring.ReasonLimit, "more than %d bytes", limit)
	}
	return err
}

// keep makes an attribute of the event.
func (o *otlp) keep(key string, v *otlpValue) error {
	e := o.e
	switch {
	case !v.finite():
		return errNotFinite
	case len(key) > scoring.MaxName:
		return reject(scoring.ReasonLimit, "the name has %d bytes, limit %d", len(key), scoring.MaxName)
	case len(e.Attributes) == scoring.MaxAttributes:
		return reject(scoring.ReasonLimit, "more than %d fields that are not known", scoring.MaxAttributes)
	}
	text := v.text
	if v.kind != valueText {
		text = o.json(v)
	}
	if len(text) > scoring.MaxAttribute {
		return reject(scoring.ReasonLimit, "%d bytes, limit %d", len(text), scoring.MaxAttribute)
	}
	if v.kind == valueJSON {
		if err := o.checked(text, scoring.MaxAttribute); err != nil {
			return err
		}
	}
	e.Attributes = append(e.Attributes, scoring.Attribute{Key: key, Value: text})
	return nil
}

// about says which attribute a reject is about.
func about(key string, err error) error {
	r := asReject(err)
	if r == nil {
		return nil
	}
	return reject(r.Reason, "attribute %s: %s", head(key), r.Detail)
}

const hexDigits = "0123456789abcdef"

// hexID is an id of n bytes in hexadecimal; none, or nothing but zeros, is "".
func (o *otlp) hexID(b []byte, n int, what string) (string, error) {
	if len(b) != n && len(b) != 0 {
		return "", reject(scoring.ReasonType, "%s has %d bytes, want %d (metrics hold no events)", what, len(b), n)
	}
	if zero(b) {
		return "", nil
	}
	from := len(o.arena)
	for _, c := range b {
		o.arena = append(o.arena, hexDigits[c>>4], hexDigits[c&15])
	}
	return o.cut(from), nil
}

func zero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// base64 is bytes as a text.
func (o *otlp) base64(b []byte) string {
	from := len(o.d.arena)
	o.d.arena = base64.StdEncoding.AppendEncode(o.d.arena, b)
	return asString(o.d.arena[from:len(o.d.arena):len(o.d.arena)])
}

// written makes the arena, which had this length before the value was read, end with the value's JSON.
func (o *otlp) written(from int, v *otlpValue) {
	if v.kind != valueJSON { // that stands there already
		o.arena = v.appendJSON(o.arena[:from])
	}
}

// enterLevel begins what one level says, leaveLevel ends it.
func (o *otlp) enterLevel(n int) *otlpLevel {
	l := &o.level[n]
	l.reset()
	o.d.bad = false
	return l
}

func (o *otlp) leaveLevel(l *otlpLevel) { l.bad, o.d.bad = o.d.bad, false }
