package ingest

import (
	"errors"
	"fmt"
	"unicode/utf8"
	"unsafe"

	"github.com/agentrisk/agentrisk/scoring"
)

// scanner reads JSON tokens from a record. Texts without escapes are parts of the record; the others are written
// into arena, which is used again for the next record.
type scanner struct {
	b     []byte
	pos   int
	arena []byte
	bad   bool // bytes that are no UTF-8, or half a surrogate pair
	keys  keySet
	scope uint32 // objects begun so far; the number of the last one
	stop  int    // where a value that is passed over must have ended
	loose bool   // names within values that are passed over are not compared
}

func (s *scanner) reset(b []byte) {
	s.b, s.pos, s.arena, s.bad, s.scope = b, 0, s.arena[:0], false, 0
	s.keys.reset()
}

func (s *scanner) done() bool { return s.pos >= len(s.b) }

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.b) {
		return s.b[s.pos]
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.pos < len(s.b) && s.b[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// space passes over white space; machines seldom write any, so that the first look is all there is.
func (s *scanner) space() {
	if s.pos < len(s.b) && s.b[s.pos] <= ' ' {
		s.spaces()
	}
}

func (s *scanner) spaces() {
	for s.pos < len(s.b) {
		switch s.b[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) errorf(format string, args ...any) error {
	if s.done() {
		return fmt.Errorf("the record ends at byte %d: %s", s.pos, fmt.Sprintf(format, args...))
	}
	return fmt.Errorf("%s at byte %d", fmt.Sprintf(format, args...), s.pos)
}

// asString makes a text of bytes that do not change while the event lives.
func asString(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// asBytes is the reverse, for reading alone.
func asBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func (s *scanner) word(w string) bool {
	if len(s.b)-s.pos >= len(w) && string(s.b[s.pos:s.pos+len(w)]) == w {
		s.pos += len(w)
		return true
	}
	return false
}

func (s *scanner) null() bool { return s.peek() == 'n' && s.word("null") }

func (s *scanner) boolean() (bool, error) {
	switch {
	case s.word("true"):
		return true, nil
	case s.word("false"):
		return false, nil
	}
	return false, s.errorf("want true or false")
}

// errLong says that a value is longer than raw was told to allow.
var errLong = errors.New("too long")

// raw passes over any value of at most limit bytes, checks it and returns it as it stands. depth is how many objects
// and arrays may stand within one another. Longer values are errLong, whatever follows.
func (s *scanner) raw(depth, limit int) ([]byte, error) {
	start := s.pos
	s.stop = start + limit
	if err := s.skip(depth); err != nil {
		return nil, err
	}
	if s.pos > s.stop {
		return nil, errLong
	}
	return s.b[start:s.pos:s.pos], nil
}

func (s *scanner) skip(depth int) error {
	switch c := s.peek(); {
	case c == '"':
		return s.skipText()
	case c == '{', c == '[':
		if depth <= 0 {
			return tooDeep(s.pos)
		}
		return s.skipGroup(c, depth)
	case c == '-', c >= '0' && c <= '9':
		var d decimal
		return s.decimal(&d)
	case c == 't', c == 'f':
		_, err := s.boolean()
		return err
	case s.null():
		return nil
	}
	return s.errorf("want a value")
}

func tooDeep(at int) error {
	return reject(scoring.ReasonLimit, "nested deeper than %d at byte %d", scoring.MaxNesting, at)
}

// skipGroup passes over an object or an array. A key that an object says twice is refused here too: whoever reads the
// arguments of a call would otherwise take one value, and whoever performs it the other.
func (s *scanner) skipGroup(open byte, depth int) error {
	end := open + 2 // in ASCII, '}' and ']' are two after '{' and '['
	s.pos++
	if s.space(); s.take(end) {
		return nil
	}
	s.scope++
	for scope := s.scope; ; {
		s.space()
		if open == '{' {
			if err := s.skipKey(scope); err != nil {
				return err
			}
		}
		if err := s.skip(depth - 1); err != nil {
			return err
		}
		if s.pos > s.stop {
			return errLong
		}
		if s.space(); s.take(end) {
			return nil
		}
		if !s.take(',') {
			return s.errorf("want a comma or the end of a group")
		}
	}
}

// skipKey passes over the name of a member and the colon.
func (s *scanner) skipKey(scope uint32) error {
	at := s.pos
	if s.loose {
		if s.peek() != '"' {
			return s.errorf("want a text")
		}
		if err := s.skipText(); err != nil {
			return err
		}
	} else {
		key, err := s.text()
		if err != nil {
			return err
		}
		if !s.keys.add(scope, asString(key)) {
			return twice(asString(key), at)
		}
	}
	if s.space(); !s.take(':') {
		return s.errorf("want a colon")
	}
	s.space()
	return nil
}

// valid returns b as UTF-8: each byte that belongs to none becomes U+FFFD, and the record is marked.
func (s *scanner) valid(b []byte) string {
	if utf8.Valid(b) {
		return asString(b)
	}
	from := len(s.arena)
	s.arena = s.repair(s.arena, b)
	return asString(s.arena[from:len(s.arena):len(s.arena)])
}

func (s *scanner) repair(out, b []byte) []byte {
	s.bad = true
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		out = utf8.AppendRune(out, r)
		b = b[n:]
	}
	return out
}
