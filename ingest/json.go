package ingest

import (
	"errors"
	"fmt"

	"github.com/agentrisk/agentrisk/scoring"
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
}

func newJSONDecoder() *jsonDecoder { return &jsonDecoder{} }

// Decode implements [Format].
func (d *jsonDecoder) Decode(rec *Record, e *scoring.Event, yield func(int32, *scoring.Reject)) {
	e.Reset()
	e.KafkaTime = rec.Time
	err := d.decode(rec.Value, e)
	if err == nil {
		yield(0, nil)
		return
	}
	var r *scoring.Reject
	if !errors.As(err, &r) {
		r = &scoring.Reject{Reason: scoring.ReasonJSON, Detail: err.Error()}
	}
	yield(0, r)
}

func (d *jsonDecoder) decode(b []byte, e *scoring.Event) error {
	d.reset(b)
	d.e, d.said, d.path, d.kept, d.time = e, nameSet{}, d.path[:0], d.kept[:0], false
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

func twice(name []byte, at int) error {
	return reject(scoring.ReasonDuplicate, "%s is said twice, again at byte %d", head(name), at)
}

// head quotes the first bytes of a name that somebody else chose: enough to find it.
func head(name []byte) string { return fmt.Sprintf("%q", name[:min(len(name), 40)]) }

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
		at := d.pos
		key, err := d.text()
		if err != nil {
			return err
		}
		if n := len(key); n > scoring.MaxName || depth > 1 && base+1+n > scoring.MaxName {
			return reject(scoring.ReasonLimit, "the name %s at byte %d has more than %d bytes, with the names of the objects around it", head(key), at, scoring.MaxName)
		}
		if d.space(); !d.take(':') {
			return d.errorf("want a colon")
		}
		d.space()
		m := member{name: key, key: key, at: at, depth: depth, scope: scope}
		if depth > 1 {
			d.path = append(append(d.path[:base], '.'), key...)
			m.name = d.path
		}
		if err := d.member(&m); err != nil {
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

// member is a member of an object, its value still to be read.
type member struct {
	name  []byte // dotted, from the top
	key   []byte // as the object says it
	at    int    // where
	depth int    // of the object
	scope uint32 // number of the object
}

func (d *jsonDecoder) member(m *member) error {
	id, known := findName(m.name)
	if known && !d.said.add(id) || !known && !d.keys.add(m.scope, m.key) {
		return twice(m.name, m.at)
	}
	c := d.peek()
	if c == 'n' && d.null() {
		return nil
	}
	what := nameGroup
	if known {
		what = names[id].what
	}
	switch {
	case what == nameTime:
		return d.timestamp(m)
	case what == nameField, what == nameAlias && c != '{':
		if d.e.Has(names[id].field) {
			return twice(m.name, m.at)
		}
		return d.field(names[id].field, m.depth)
	case c == '{':
		if m.depth == 1 {
			d.path = append(d.path[:0], m.key...)
		}
		return d.object(m.depth + 1)
	}
	return d.attribute(m)
}
