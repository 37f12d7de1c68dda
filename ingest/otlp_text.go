package ingest

import (
	"github.com/agentrisk/agentrisk/scoring"
)

// message is what a message says beside its text.
type message struct{ role, id string }

// gather is the text of a message, or of several: what stands under content, text, parts and message, joined by line
// breaks. Calls of tools and their answers are told by events of their own. With all false it is the last message alone.
// A text that is no JSON is itself the message.
func (o *otlp) gather(v *otlpValue, all bool, m *message) string {
	text := v.text
	switch v.kind {
	case valueText:
		if !isGroup(text) || !o.wellFormed(text) {
			return text
		}
	case valueJSON:
	default:
		return o.json(v)
	}
	from := len(o.arena)
	_ = o.read(text, func(d *jsonDecoder) error {
		if d.space(); d.peek() != '[' {
			return o.part(from, m, 0)
		}
		for more, err := d.enter('[', "messages"); more; more, err = d.more(']') {
			if err != nil {
				return err
			}
			if !all {
				o.arena, *m = o.arena[:from], message{}
			}
			if err := o.part(from, m, 0); err != nil {
				return err
			}
		}
		return nil
	})
	return o.cut(from)
}

// isGroup reports whether a text begins as a JSON object or array does.
func isGroup(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case ' ', '\t', '\n', '\r':
			continue
		case '{', '[':
			return true
		}
		break
	}
	return false
}

func (o *otlp) wellFormed(text string) bool {
	return o.read(text, func(d *jsonDecoder) error { return d.check() }) == nil
}

// part appends the text of a value whose form was checked.
func (o *otlp) part(from int, m *message, depth int) error {
	d := &o.d
	d.space()
	if depth > scoring.MaxNesting {
		d.leap()
		return nil
	}
	switch d.peek() {
	case '"':
		b, err := d.text()
		if err != nil || len(b) == 0 {
			return err
		}
		if len(o.arena) > from {
			o.arena = append(o.arena, '\n')
		}
		o.arena = append(o.arena, b...)
		return nil
	case '[':
		more, err := d.enter('[', "parts")
		for ; more && err == nil; more, err = d.more(']') {
			if err := o.part(from, m, depth+1); err != nil {
				return err
			}
		}
		return err
	case '{':
		more, err := d.enter('{', "a message")
		for ; more && err == nil; more, err = d.more('}') {
			if err := o.memberPart(from, m, depth); err != nil {
				return err
			}
		}
		return err
	}
	d.leap()
	return nil
}

func (o *otlp) memberPart(from int, m *message, depth int) error {
	d := &o.d
	name, err := d.key()
	if err != nil {
		return err
	}
	switch asString(name) {
	case "content", "text", "parts", "message":
		return o.part(from, m, depth+1)
	case "role", "id":
		if d.peek() == '"' {
			b, err := d.text()
			if depth <= 1 && asString(name) == "role" {
				m.role = asString(b)
			} else if depth == 0 {
				m.id = asString(b)
			}
			return err
		}
	}
	d.leap()
	return nil
}
