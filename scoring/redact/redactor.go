package redact

import (
	"hash/maphash"
	"slices"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// Redactor applies one policy under one key. It holds buffers: one lane, one Redactor. Not safe for concurrent use.
type Redactor struct {
	plan    plan
	row     Row
	key     Key
	ids     bool                // a column is fingerprinted or dropped that would stand in a record's text as well
	masked  []scoring.FieldID   // texts that are masked
	lists   []scoring.FieldID   // lists that are not kept
	acts    []scoring.FieldID   // texts that are fingerprinted or dropped
	actions [numFields]Action   // of each
	clean   [numFields + 2]memo // texts in which nothing was found; the last two are of attributes
}

const (
	numFields    = len(scoring.Fields)
	cleanKeys    = numFields
	cleanValues  = numFields + 1
	letterDetail = 512     // bytes
	letterKey    = 256     // bytes
	letterHead   = 1 << 10 // bytes
)

// Row is what the sink of rows must know of the policy: what becomes of content, which the event holds as it was sent.
type Row struct {
	Policy             string // the policy in one line
	KeyID              string // of the fingerprints
	Content, Arguments Action // Fingerprint, Excerpt or Drop
	Excerpt            int    // bytes
}

// New returns a Redactor, or says what is wrong with the policy.
func New(p Policy, key Key) (*Redactor, error) {
	c, err := p.plan()
	if err != nil {
		return nil, err
	}
	r := &Redactor{plan: c, key: key, row: Row{Policy: c.String(), KeyID: key.ID(), Content: c.content, Arguments: c.arguments, Excerpt: c.excerpt}}
	for id, f := range scoring.Fields {
		id := scoring.FieldID(id)
		if f.Column == "" || f.Type != scoring.String && f.Type != scoring.Strings {
			continue
		}
		a, ok := c.columns[id]
		if !ok {
			a = defaultAction(id)
		}
		r.actions[id] = a
		r.ids = r.ids || a == Fingerprint || a == Drop
		switch {
		case a == Keep:
		case f.Type == scoring.Strings:
			r.lists = append(r.lists, id)
		case a == Mask:
			r.masked = append(r.masked, id)
		default:
			r.acts = append(r.acts, id)
		}
	}
	return r, nil
}

// Default applies the default policy without a key.
func Default() *Redactor {
	r, err := New(Policy{}, Key{})
	if err != nil {
		panic(err) // the zero policy is checked by a test
	}
	return r
}

// Row is what stands on each row, and what the sink does with content.
func (r *Redactor) Row() Row { return r.row }

// Event redacts an event that has been judged, all but its content, and reports whether a field of the table changed.
// What is kept is not copied: it still points into the record.
func (r *Redactor) Event(e *scoring.Event) (changed bool) {
	for _, id := range r.masked {
		s := e.Str(id)
		if len(s) < shortest {
			continue
		}
		hash, clean := r.clean[id].knows(s)
		if clean {
			continue
		}
		if t := Text(s, int(scoring.Fields[id].Max)); t != s {
			e.SetStr(id, t)
			changed = true
		} else {
			r.clean[id].learn(hash)
		}
	}
	for _, id := range r.acts {
		if s := e.Str(id); s != "" {
			e.SetStr(id, r.text(r.actions[id], s, 0))
			changed = true
		}
	}
	for _, id := range r.lists {
		l := e.List(id)
		for i, s := range l {
			var hash uint64
			if r.actions[id] == Mask {
				var clean bool
				if hash, clean = r.clean[id].knows(s); clean || len(s) < shortest {
					continue
				}
			}
			if t := r.text(r.actions[id], s, int(scoring.Fields[id].Max)); t != s {
				l[i] = t
				changed = true
			} else {
				r.clean[id].learn(hash)
			}
		}
	}
	if len(e.Attributes) > 0 {
		r.attributes(e)
	}
	return changed
}

func (r *Redactor) attributes(e *scoring.Event) {
	if r.plan.attributes == Drop {
		e.Attributes = e.Attributes[:0]
		return
	}
	for i := range e.Attributes {
		a := &e.Attributes[i]
		keyHash, known := r.clean[cleanKeys].knows(a.Key)
		asked := !known
		switch {
		case r.plan.attributes == Fingerprint:
			a.Value = r.text(Fingerprint, a.Value, 0)
		case asked:
			a.Value = Value(a.Key, a.Value, scoring.MaxAttribute)
		case len(a.Value) >= shortest:
			hash, clean := r.clean[cleanValues].knows(a.Value)
			if clean {
				break
			}
			if t := Text(a.Value, scoring.MaxAttribute); t != a.Value {
				a.Value = t
			} else {
				r.clean[cleanValues].learn(hash)
			}
		}
		if asked {
			key := Text(a.Key, scoring.MaxName)
			if mark, _ := named(a.Key); key == a.Key && mark == "" {
				r.clean[cleanKeys].learn(keyHash)
			}
			a.Key = key
		}
	}
}

// text does to one value what the action says.
func (r *Redactor) text(a Action, s string, max int) string {
	switch {
	case a == Drop || s == "":
		return ""
	case a == Fingerprint:
		return r.key.Text(s)
	}
	return Text(s, max)
}

// Letter redacts a dead letter; value is the whole record, of which the letter keeps the beginning if it is a text. A record that is no
// event has no fields that a policy could name, so what would fingerprint or drop a column leaves none of its text.
// The origin stays: by it the record is found in the log, where it stands whole.
func (r *Redactor) Letter(d *scoring.DeadLetter, key, value []byte) {
	d.Detail = Text(d.Detail, letterDetail)
	d.Key, d.Head = nil, nil
	switch {
	case len(key) == 0:
	case r.ids:
		d.Key = []byte(r.text(Fingerprint, string(key), 0))
	default:
		d.Key = []byte(Text(string(key), letterKey))
	}
	if r.plan.letters == Excerpt && !r.ids && !isBinary(value) {
		d.Head = []byte(Text(unescape(string(value)), letterHead))
	}
}

// isBinary reports whether a record is no text, as protobuf is none. Beside the bytes of lengths and tags, which may be
// letters and digits, no form can be told, so nothing of it is kept.
func isBinary(value []byte) bool {
	if len(value) == 0 || value[0] == '{' || value[0] == '[' {
		return false
	}
	for _, c := range value {
		if c < 0x20 && !isSpace(c) || c == 0x7f {
			return true
		}
	}
	return false
}

// unescape replaces the \uXXXX of JSON by what they mean, so that no mask is led astray by them.
func unescape(s string) string {
	if !strings.Contains(s, `\u`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if c, ok := escaped(s[i:]); ok {
			b = append(b, string(c)...)
			i += 5
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// escaped reads \uXXXX; control characters stay escaped.
func escaped(s string) (c rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, h := range []byte(s[2:6]) {
		switch {
		case h >= '0' && h <= '9':
			c = c<<4 | rune(h-'0')
		case h|0x20 >= 'a' && h|0x20 <= 'f':
			c = c<<4 | rune(h|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return c, c >= 0x20
}

// memo remembers texts in which nothing was found, by their hashes: most columns say the same words again and again.
// The hash is keyed by chance, so nobody can make a secret that passes for another text.
type memo [64]uint64

var memoSeed = maphash.MakeSeed()

// knows reports whether nothing is found in a text, and its hash for learn.
func (m *memo) knows(s string) (hash uint64, ok bool) {
	hash = maphash.String(memoSeed, s) | 1 // 0 is an empty place
	return hash, m[hash>>1%uint64(len(m))] == hash
}

func (m *memo) learn(hash uint64) { m[hash>>1%uint64(len(m))] = hash }

// Columns lists the columns that are kept as they were sent, sorted.
func (r *Redactor) Columns() (kept []string) {
	for id, f := range scoring.Fields {
		if f.Column != "" && (f.Type == scoring.String || f.Type == scoring.Strings) && r.actions[id] == Keep {
			kept = append(kept, f.Column)
		}
	}
	slices.Sort(kept)
	return kept
}
