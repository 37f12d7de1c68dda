package ingest

import (
	"errors"

	"github.com/agentrisk/agentrisk/scoring"
)

// field reads the value of a field by its type, within an object of this depth.
func (d *jsonDecoder) field(id scoring.FieldID, depth int) error {
	f, at := &scoring.Fields[id], d.pos
	switch c := d.peek(); {
	case id == scoring.FieldToolArgs:
		return d.arguments(depth)
	case f.Type == scoring.String && c == '"':
		s, err := d.text()
		if err != nil {
			return err
		}
		if int64(len(s)) > f.Max {
			return tooLong(f, len(s), at)
		}
		d.e.SetStr(id, asString(s))
	case (f.Type == scoring.Int || f.Type == scoring.Milli) && (c == '-' || digit(c)):
		v, err := d.number(f)
		if err != nil {
			return err
		}
		d.e.SetInt(id, v)
	case f.Type == scoring.Bool && (c == 't' || c == 'f'):
		v, err := d.boolean()
		if err != nil {
			return err
		}
		d.e.SetBool(id, v)
	case f.Type == scoring.Strings && c == '[':
		return d.list(id, f)
	default:
		return d.wrongType(f, typeNames[f.Type], depth)
	}
	return nil
}

var typeNames = []string{scoring.String: "a text", scoring.Int: "a whole number", scoring.Milli: "a number", scoring.Bool: "true or false", scoring.Strings: "an array of texts"}

// wrongType refuses a value; what is no JSON is refused as that.
func (d *jsonDecoder) wrongType(f *scoring.Field, want string, depth int) error {
	at := d.pos
	if _, err := d.raw(scoring.MaxNesting-depth, scoring.MaxRecord); err != nil {
		return err
	}
	return reject(scoring.ReasonType, "%s at byte %d: want %s", f.Name, at, want)
}

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
		if c := d.peek(); c != '"' {
			if c == ']' {
				return d.errorf("want a value")
			}
			return d.wrongType(f, typeNames[f.Type], 1)
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

// arguments keeps tool.args as JSON text: an object or array as it stands, and a text that holds one, as some models
// write it, as what it holds. Any other text stays the JSON text that it is.
func (d *jsonDecoder) arguments(depth int) error {
	f, at := &scoring.Fields[scoring.FieldToolArgs], d.pos
	c := d.peek()
	if c != '{' && c != '[' && c != '"' {
		return d.wrongType(f, "an object, an array or a text", depth)
	}
	raw, err := d.raw(scoring.MaxNesting-depth, scoring.MaxArgs)
	if errors.Is(err, errLong) {
		return reject(scoring.ReasonLimit, "%s at byte %d has more than %d bytes", f.Name, at, scoring.MaxArgs)
	}
	if err != nil {
		return err
	}
	if c == '"' {
		held, err := d.held(at, depth)
		if err != nil {
			return err
		}
		if held != nil {
			d.e.SetStr(scoring.FieldToolArgs, asString(held))
			return nil
		}
	}
	d.e.SetStr(scoring.FieldToolArgs, d.valid(raw))
	return nil
}

// held returns the object or array that the text at this place holds, nil when it holds none.
func (d *jsonDecoder) held(at, depth int) ([]byte, error) {
	end := d.pos
	d.pos = at
	inner, err := d.text()
	if err != nil {
		return nil, err
	}
	d.pos = end
	ok, err := d.holds(inner, at, depth)
	if err != nil || !ok {
		return nil, err
	}
	return inner, nil
}

// holds reports whether inner, the text of tool.args at this place, is an object or an array. Nesting and keys that are
// said twice are refused as they are outside of a text, so that a text hides nothing.
func (d *jsonDecoder) holds(inner []byte, at, depth int) (bool, error) {
	outer, end := d.b, d.pos
	d.b, d.pos = inner, 0
	defer func() { d.b, d.pos = outer, end }()
	d.space()
	if c := d.peek(); c != '{' && c != '[' {
		return false, nil
	}
	_, err := d.raw(scoring.MaxNesting-depth, scoring.MaxArgs)
	if err == nil {
		d.space()
		return d.done(), nil // otherwise something follows
	}
	var r *scoring.Reject
	if errors.As(err, &r) {
		return false, reject(r.Reason, "tool.args at byte %d, within the text: %s", at, r.Detail)
	}
	return false, nil
}

// attribute keeps a value that the table does not know.
func (d *jsonDecoder) attribute(name string, depth int) error {
	at := d.at
	if depth > 1 { // the name is in pieces
		from := len(d.kept)
		d.kept = append(d.kept, name...)
		name = asString(d.kept[from:len(d.kept):len(d.kept)])
		if !d.keys.add(topScope, name) {
			return twice(name, at)
		}
	}
	var value string
	if d.peek() == '"' {
		s, err := d.text()
		if err != nil {
			return err
		}
		value = asString(s)
	} else {
		raw, err := d.raw(scoring.MaxNesting-depth, scoring.MaxAttribute)
		if err != nil && !errors.Is(err, errLong) {
			return err
		}
		if value = d.valid(raw); err != nil {
			return reject(scoring.ReasonLimit, "%s at byte %d has more than %d bytes", head(name), at, scoring.MaxAttribute)
		}
	}
	e := d.e
	switch {
	case len(value) > scoring.MaxAttribute:
		return reject(scoring.ReasonLimit, "%s at byte %d has %d bytes, limit %d", head(name), at, len(value), scoring.MaxAttribute)
	case len(e.Attributes) == scoring.MaxAttributes:
		return reject(scoring.ReasonLimit, "%s at byte %d: more than %d fields that are not known", head(name), at, scoring.MaxAttributes)
	}
	e.Attributes = append(e.Attributes, scoring.Attribute{Key: name, Value: value})
	return nil
}
