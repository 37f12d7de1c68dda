package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentrisk/agentrisk/scoring"
)

// jsonDecoder reads one JSON object a record into an event, in one pass and without garbage. Names are those of
// [scoring.Fields], dotted ("tool.name") or nested ({"tool": {"name": ...}}), and their aliases at the top. What the
// table does not know becomes an attribute: nested objects are flattened, arrays kept as JSON text.
//
// It is stricter than encoding/json: names are matched to the letter, and a field that is said twice, by whatever
// spelling, rejects the event. It is laxer in one thing: bytes that are no UTF-8 become U+FFFD and are flagged.
type jsonDecoder struct {
	scanner
	e    *scoring.Event
	path []byte // dotted name of the value that is being read
	kept []byte // names of attributes and texts with escapes
	time bool   // time was said
	seen uint64 // objects of the top level that were said, by prefix
}

func newJSONDecoder() *jsonDecoder { return &jsonDecoder{} }

// names maps every name of a field, prefixes the objects that hold some.
var (
	names    = map[string]scoring.FieldID{}
	aliases  = map[string]scoring.FieldID{} // of the top level
	prefixes = map[string]uint{}
)

func init() {
	for id, f := range scoring.Fields {
		names[f.Name] = scoring.FieldID(id)
		for _, a := range f.Aliases {
			aliases[a] = scoring.FieldID(id)
		}
		if i := strings.LastIndexByte(f.Name, '.'); i > 0 {
			if _, ok := prefixes[f.Name[:i]]; !ok {
				prefixes[f.Name[:i]] = uint(len(prefixes))
			}
		}
	}
}

// Decode implements [Format].
func (d *jsonDecoder) Decode(rec *Record, e *scoring.Event, yield func(int32, *scoring.Reject)) {
	e.Reset()
	e.KafkaTime = rec.Time
	err := d.decode(rec.Value, e)
	if err == nil {
		yield(0, nil)
		return
	}
	var reject *scoring.Reject
	if !errors.As(err, &reject) {
		reject = &scoring.Reject{Reason: scoring.ReasonJSON, Detail: err.Error()}
	}
	yield(0, reject)
}

func (d *jsonDecoder) decode(b []byte, e *scoring.Event) error {
	d.scanner.reset(b)
	d.e, d.path, d.kept, d.time, d.seen = e, d.path[:0], d.kept[:0], false, 0
	if d.space(); d.done() {
		return &scoring.Reject{Reason: scoring.ReasonEmpty, Detail: "the record holds nothing"}
	}
	if err := d.object(1); err != nil {
		return err
	}
	if d.space(); !d.done() {
		return d.errorf("something follows the object")
	}
	return d.finish()
}

// finish checks what only the whole event shows.
func (d *jsonDecoder) finish() error {
	e := d.e
	if d.bad {
		e.Flags |= scoring.FlagBadUTF8
	}
	if !d.time {
		e.Flags |= scoring.FlagTimeMissing
	}
	switch e.Str(scoring.FieldKind) {
	case "":
		return reject(scoring.ReasonMissing, "kind is missing: it says what happened, for instance tool_call")
	case scoring.KindTimer, scoring.KindRollup:
		return reject(scoring.ReasonReserved, "kind %q is agentrisk's own", e.Str(scoring.FieldKind))
	}
	e.SettleTime()
	return nil
}

func reject(r scoring.Reason, format string, args ...any) error {
	return &scoring.Reject{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

// object reads an object whose members are named under the path.
func (d *jsonDecoder) object(depth int) error {
	if depth > scoring.MaxNesting {
		return reject(scoring.ReasonLimit, "nested deeper than %d at byte %d", scoring.MaxNesting, d.pos)
	}
	if !d.take('{') {
		return d.errorf("want an object")
	}
	if d.space(); d.take('}') {
		return nil
	}
	for base := len(d.path); ; {
		d.space()
		key, err := d.text()
		if err != nil {
			return err
		}
		if d.path = d.path[:base]; base > 0 {
			d.path = append(d.path, '.')
		}
		if len(d.path)+len(key) > scoring.MaxName {
			return reject(scoring.ReasonLimit, "a name is longer than %d bytes at byte %d", scoring.MaxName, d.pos)
		}
		d.path = append(d.path, key...)
		if d.space(); !d.take(':') {
			return d.errorf("want a colon")
		}
		d.space()
		if err := d.member(depth, base == 0); err != nil {
			return err
		}
		d.path = d.path[:base]
		d.space()
		if d.take('}') {
			return nil
		}
		if !d.take(',') {
			return d.errorf("want a comma or the end of an object")
		}
	}
}

// member reads the value that the path names.
func (d *jsonDecoder) member(depth int, top bool) error {
	if d.null() {
		return nil
	}
	c := d.peek()
	if top && string(d.path) == "time" {
		return d.timestamp()
	}
	id, known := names[string(d.path)]
	if !known && top && c != '{' {
		id, known = aliases[string(d.path)]
	}
	if known {
		return d.field(id)
	}
	if c == '{' {
		if n, ok := prefixes[string(d.path)]; ok && top {
			if d.seen&(1<<n) != 0 {
				return reject(scoring.ReasonDuplicate, "%.64q is said twice", d.path)
			}
			d.seen |= 1 << n
		}
		return d.object(depth + 1)
	}
	return d.attribute(c, depth)
}

// field reads the value of a field by its type.
func (d *jsonDecoder) field(id scoring.FieldID) error {
	f, e := &scoring.Fields[id], d.e
	if e.Has(id) {
		return reject(scoring.ReasonDuplicate, "%s is said twice", f.Name)
	}
	at, c := d.pos, d.peek()
	switch {
	case id == scoring.FieldToolArgs:
		raw, err := d.raw(scoring.MaxNesting)
		if err != nil {
			return err
		}
		if int64(len(raw)) > f.Max {
			return tooLong(f, len(raw), at)
		}
		e.SetStr(id, d.valid(raw))
	case f.Type == scoring.String && c == '"':
		s, err := d.text()
		if err != nil {
			return err
		}
		if int64(len(s)) > f.Max {
			return tooLong(f, len(s), at)
		}
		e.SetStr(id, asString(s))
	case (f.Type == scoring.Int || f.Type == scoring.Milli) && (c == '-' || c >= '0' && c <= '9'):
		v, err := d.number(f)
		if err != nil {
			return err
		}
		e.SetInt(id, v)
	case f.Type == scoring.Bool && (c == 't' || c == 'f'):
		v, err := d.boolean()
		if err != nil {
			return err
		}
		e.SetBool(id, v)
	case f.Type == scoring.Strings && c == '[':
		return d.list(id, f)
	default:
		if _, err := d.raw(scoring.MaxNesting); err != nil {
			return err
		}
		return reject(scoring.ReasonType, "%s at byte %d: want %s", f.Name, at, typeNames[f.Type])
	}
	return nil
}

var typeNames = []string{scoring.String: "a text", scoring.Int: "a whole number", scoring.Milli: "a number", scoring.Bool: "true or false", scoring.Strings: "an array of texts"}

func tooLong(f *scoring.Field, n, at int) error {
	return reject(scoring.ReasonLimit, "%s at byte %d has %d bytes, limit %d", f.Name, at, n, f.Max)
}

func (d *jsonDecoder) list(id scoring.FieldID, f *scoring.Field) error {
	d.take('[')
	d.e.SetList(id)
	if d.space(); d.take(']') {
		return nil
	}
	for n := 0; ; n++ {
		d.space()
		at := d.pos
		if n == scoring.MaxList {
			return reject(scoring.ReasonLimit, "%s at byte %d has more than %d values", f.Name, at, scoring.MaxList)
		}
		if d.peek() != '"' {
			return reject(scoring.ReasonType, "%s at byte %d: want %s", f.Name, at, typeNames[f.Type])
		}
		s, err := d.text()
		if err != nil {
			return err
		}
		if int64(len(s)) > f.Max {
			return tooLong(f, len(s), at)
		}
		d.e.Append(id, asString(s))
		if d.space(); d.take(']') {
			return nil
		}
		if !d.take(',') {
			return d.errorf("want a comma or the end of an array")
		}
	}
}

// timestamp reads RFC 3339, or unix milliseconds as a whole number. What cannot be read is kept as an attribute.
func (d *jsonDecoder) timestamp() error {
	if d.time {
		return reject(scoring.ReasonDuplicate, "time is said twice")
	}
	if c := d.peek(); c != '"' {
		if c != '-' && (c < '0' || c > '9') {
			return d.attribute(c, 1)
		}
		v, err := d.number(&scoring.Field{Name: "time", Type: scoring.Int, Min: minTime, Max: maxTime})
		if err != nil {
			return err
		}
		d.e.Time, d.time = v, true
		return nil
	}
	s, err := d.text()
	if err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339, asString(s))
	if ms := t.UnixMilli(); err == nil && ms >= minTime && ms <= maxTime {
		d.e.Time, d.time = ms, true
		return nil
	}
	return d.keep(s)
}

// The times that a DateTime64(3) column holds: 1900 to 2299.
const (
	minTime = -2208988800000
	maxTime = 10413791999999
)

// attribute keeps a value that the table does not know.
func (d *jsonDecoder) attribute(c byte, depth int) error {
	if c == '"' {
		s, err := d.text()
		if err != nil {
			return err
		}
		return d.keep(s)
	}
	raw, err := d.raw(scoring.MaxNesting - depth)
	if err != nil {
		return err
	}
	return d.keep([]byte(d.valid(raw)))
}

func (d *jsonDecoder) keep(value []byte) error {
	e := d.e
	if len(e.Attributes) == scoring.MaxAttributes {
		return reject(scoring.ReasonLimit, "more than %d fields that are not known", scoring.MaxAttributes)
	}
	if len(value) > scoring.MaxAttribute {
		return reject(scoring.ReasonLimit, "%.64s has %d bytes, limit %d", d.path, len(value), scoring.MaxAttribute)
	}
	for _, a := range e.Attributes {
		if a.Key == string(d.path) {
			return reject(scoring.ReasonDuplicate, "%.64q is said twice", d.path)
		}
	}
	at := len(d.kept)
	d.kept = append(d.kept, d.path...)
	e.Attributes = append(e.Attributes, scoring.Attribute{Key: asString(d.kept[at:]), Value: asString(value)})
	return nil
}

// valid returns b as UTF-8; what is none is replaced and flagged.
func (d *jsonDecoder) valid(b []byte) string {
	if utf8.Valid(b) {
		return asString(b)
	}
	d.bad = true
	return asString(bytes.ToValidUTF8(b, []byte("\uFFFD")))
}
