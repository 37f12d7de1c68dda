package ingest

import (
	"errors"
	"fmt"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// jsonDecoder reads one JSON object a record into an event, in one pass and without garbage. Names are those of
// [scoring.Fields], dotted ("tool.name") or nested ({"tool": {"name": ...}}), and their aliases at the top. null is
// absent. What the table does not know becomes an attribute under its dotted name: nested objects are flattened,
// arrays, numbers and words kept as JSON text.
//
// It differs from encoding/json in this:
//   - names are matched to the letter;
//   - a name that an object says twice, at any depth, and a field or attribute that is said by two spellings
//     ("tool.name" and {"tool": {"name": ...}}) are refused, where encoding/json takes the last;
//   - the limits of design section 12 hold;
//   - "tool.args" is kept as JSON text: half surrogate pairs stay in it as escapes.
//
// As in encoding/json, each byte that is no UTF-8 and each half of a surrogate pair becomes U+FFFD; the event is
// flagged then.
type jsonDecoder struct {
	scanner
	e    *scoring.Event
	said nameSet
	path []byte // dotted name of the object that is being read, without the last part
	kept []byte // names of attributes that are in no one piece in the record
	time bool   // time was said and read
	at   int    // where the last name stands

	next [maxNames + 1]uint8 // for each name at the top, the one that followed it in an earlier record
	last uint8               // name at the top, for next
}

func newJSONDecoder() *jsonDecoder { return &jsonDecoder{} }

// Decode implements [Format].
func (d *jsonDecoder) Decode(rec *Record, e *scoring.Event, yield func(int32, *scoring.Reject)) {
	d.reset(rec.Value)
	d.begin(rec, e)
	yield(0, asReject(d.decode()))
}

// asReject is what a decoder's error says of the item; nil stays nil. What is no reject is a fault of the JSON.
func asReject(err error) *scoring.Reject {
	if err == nil {
		return nil
	}
	var r *scoring.Reject
	if !errors.As(err, &r) {
		r = &scoring.Reject{Reason: scoring.ReasonJSON, Detail: err.Error()}
	}
	return r
}

// begin makes e an event of which nothing is known yet.
func (d *jsonDecoder) begin(rec *Record, e *scoring.Event) {
	e.Reset()
	e.KafkaTime = rec.Time
	d.e, d.said, d.path, d.kept, d.time = e, nameSet{}, d.path[:0], d.kept[:0], false
	d.last = noName
}

func (d *jsonDecoder) decode() error {
	if d.space(); d.done() {
		return reject(scoring.ReasonEmpty, "the record holds nothing")
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
	switch kind := e.Str(scoring.FieldKind); kind {
	case "":
		return reject(scoring.ReasonMissing, "kind is missing: it says what happened, for instance tool_call")
	case scoring.KindTimer, scoring.KindRollup:
		return reject(scoring.ReasonReserved, "kind %q is agentrisk's own", kind)
	}
	e.SettleTime()
	return nil
}

func reject(r scoring.Reason, format string, args ...any) error {
	return &scoring.Reject{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

func twice(name string, at int) error {
	return reject(scoring.ReasonDuplicate, "%s is said twice, again at byte %d", head(name), at)
}

// head quotes the first bytes of a name that somebody else chose: enough to find it.
func head(name string) string { return fmt.Sprintf("%q", redact.Text(name, 40)) }

// topScope is the number of the outermost object: attributes have one name space, its.
const topScope = 1

// object reads an object whose members are named under the path.
func (d *jsonDecoder) object(depth int) error {
	if depth > scoring.MaxNesting {
		return tooDeep(d.pos)
	}
	if !d.take('{') {
		return d.errorf("want an object")
	}
	if d.space(); d.take('}') {
		return nil
	}
	d.scope++
	for base, scope := len(d.path), d.scope; ; {
		d.space()
		var err error
		if id, ok := d.guess(depth); ok {
			err = d.known(id, depth)
		} else {
			err = d.member(depth, base, scope)
		}
		if err != nil {
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

// guess passes over the name that followed the last one in an earlier record, if it is that again: a producer writes
// its fields in one order, and to compare is cheaper than to read and look up.
func (d *jsonDecoder) guess(depth int) (id uint8, ok bool) {
	if depth > 1 {
		return 0, false
	}
	id = d.next[d.last]
	q := names[id].quoted
	if len(d.b)-d.pos < len(q) || string(d.b[d.pos:d.pos+len(q)]) != q {
		return 0, false
	}
	d.at, d.last = d.pos, id
	d.pos += len(q)
	d.space()
	return id, true
}

// member reads a name, the path before it being known, and the value.
func (d *jsonDecoder) member(depth, base int, scope uint32) error {
	d.at = d.pos
	text, err := d.text()
	if err != nil {
		return err
	}
	key := asString(text)
	name := key
	if depth > 1 {
		d.path = append(append(d.path[:base], '.'), key...)
		name = asString(d.path)
	}
	if len(name) > scoring.MaxName {
		return reject(scoring.ReasonLimit, "the name %s at byte %d has more than %d bytes, with the names of the objects around it", head(key), d.at, scoring.MaxName)
	}
	if d.space(); !d.take(':') {
		return d.errorf("want a colon")
	}
	d.space()
	id, ok := findName(name)
	if ok {
		if depth == 1 {
			d.next[d.last], d.last = id, id
		}
		return d.known(id, depth)
	}
	if !d.keys.add(scope, key) {
		return twice(name, d.at)
	}
	return d.unknown(name, depth)
}

// known reads the value of a name of the table.
func (d *jsonDecoder) known(id uint8, depth int) error {
	n := &names[id]
	if !d.said.add(id) {
		return twice(n.text, d.at)
	}
	c := d.peek()
	if c == 'n' && d.null() {
		return nil
	}
	switch {
	case n.what == nameTime:
		return d.timestamp()
	case n.what == nameField, n.what == nameAlias && c != '{':
		if d.e.Has(n.field) {
			return twice(n.text, d.at)
		}
		return d.field(n.field, depth)
	}
	return d.unknown(n.text, depth)
}

// unknown reads what the table does not know: an object, whose members it may know, or an attribute.
func (d *jsonDecoder) unknown(name string, depth int) error {
	switch {
	case d.peek() == 'n' && d.null():
		return nil
	case d.peek() != '{':
		return d.attribute(name, depth)
	case depth == 1:
		d.path = append(d.path[:0], name...)
	}
	return d.object(depth + 1)
}
