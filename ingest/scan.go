package ingest

import (
	"fmt"
	"math"
	"unicode/utf16"
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
	bad   bool // bytes that are no UTF-8 were replaced
}

func (s *scanner) reset(b []byte) { s.b, s.pos, s.arena, s.bad = b, 0, s.arena[:0], false }

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

func (s *scanner) space() {
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

// plain marks the bytes that a text may hold as they are: no quote, no backslash, no control, ASCII.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// text reads a JSON text and returns what it means.
func (s *scanner) text() ([]byte, error) {
	if !s.take('"') {
		return nil, s.errorf("want a text")
	}
	b, i := s.b, s.pos
	for start := i; ; {
		for i < len(b) && plain[b[i]] {
			i++
		}
		switch {
		case i >= len(b):
			s.pos = i
			return nil, s.errorf("a text does not end")
		case b[i] == '"':
			s.pos = i + 1
			return b[start:i:i], nil
		case b[i] >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return s.rewritten(start, i)
			}
			i += n
		default: // an escape, or a control character
			return s.rewritten(start, i)
		}
	}
}

// rewritten reads the rest of a text that begins at start and is fine up to i into the arena.
func (s *scanner) rewritten(start, i int) ([]byte, error) {
	from := len(s.arena)
	out := append(s.arena, s.b[start:i]...)
	b := s.b
	for i < len(b) {
		c := b[i]
		switch {
		case c == '"':
			s.pos, s.arena = i+1, out
			return out[from:len(out):len(out)], nil
		case c < 0x20:
			s.pos = i
			return nil, s.errorf("control character %#02x in a text", c)
		case c == '\\':
			var n int
			if out, n = s.escape(out, i); n == 0 {
				s.pos = i
				return nil, s.errorf("unknown escape in a text")
			}
			i += n
		case c < utf8.RuneSelf:
			out = append(out, c)
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				s.bad = true
			}
			out = utf8.AppendRune(out, r)
			i += n
		}
	}
	s.pos = i
	return nil, s.errorf("a text does not end")
}

// escape reads the escape at i and returns its length, 0 when there is no such escape. A surrogate without its
// partner becomes U+FFFD.
func (s *scanner) escape(out []byte, i int) ([]byte, int) {
	if i+1 >= len(s.b) {
		return out, 0
	}
	switch c := s.b[i+1]; c {
	case '"', '\\', '/':
		return append(out, c), 2
	case 'b':
		return append(out, '\b'), 2
	case 'f':
		return append(out, '\f'), 2
	case 'n':
		return append(out, '\n'), 2
	case 'r':
		return append(out, '\r'), 2
	case 't':
		return append(out, '\t'), 2
	case 'u':
		r := s.hex(i + 2)
		switch {
		case r < 0:
			return out, 0
		case utf16.IsSurrogate(r):
			if i+7 < len(s.b) && s.b[i+6] == '\\' && s.b[i+7] == 'u' {
				if pair := utf16.DecodeRune(r, s.hex(i+8)); pair != utf8.RuneError {
					return utf8.AppendRune(out, pair), 12
				}
			}
			s.bad = true
			return utf8.AppendRune(out, utf8.RuneError), 6
		}
		return utf8.AppendRune(out, r), 6
	}
	return out, 0
}

// hex reads four hexadecimal digits, -1 when there are none.
func (s *scanner) hex(i int) (r rune) {
	if i+4 > len(s.b) {
		return -1
	}
	for _, c := range s.b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

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

// number reads a JSON number as a whole number, or as thousandths, within the field's bounds. Decimals beyond what
// the type holds are refused, not rounded: 5.0 and 1e3 are whole, 1.5 is not.
func (s *scanner) number(f *scoring.Field) (int64, error) {
	at := s.pos
	mantissa, exponent, negative, exact, err := s.decimal()
	if err != nil {
		return 0, err
	}
	if f.Type == scoring.Milli {
		exponent += 3
	}
	for ; exponent < 0 && mantissa%10 == 0 && mantissa != 0; exponent++ {
		mantissa /= 10
	}
	for ; exponent > 0 && mantissa != 0 && exact; exponent-- {
		if mantissa > math.MaxInt64/10 {
			exact = false
			break
		}
		mantissa *= 10
	}
	v := int64(mantissa)
	if negative {
		v = -v
	}
	if !exact || mantissa > math.MaxInt64 || exponent < 0 && mantissa != 0 || v < f.Min || v > f.Max {
		return 0, reject(scoring.ReasonRange, "%s at byte %d: %.40s is out of range: want %s", f.Name, at, s.b[at:s.pos], bounds(f))
	}
	return v, nil
}

func bounds(f *scoring.Field) string {
	if f.Type == scoring.Milli {
		return fmt.Sprintf("%g to %g with at most three decimals", float64(f.Min)/1000, float64(f.Max)/1000)
	}
	return fmt.Sprintf("a whole number from %d to %d", f.Min, f.Max)
}

// decimal reads a number as mantissa * 10^exponent; exact is false when the mantissa does not fit.
func (s *scanner) decimal() (mantissa uint64, exponent int, negative, exact bool, err error) {
	exact = true
	negative = s.take('-')
	digit := func() bool { return s.pos < len(s.b) && s.b[s.pos] >= '0' && s.b[s.pos] <= '9' }
	add := func(step int) {
		c := uint64(s.b[s.pos] - '0')
		s.pos++
		if mantissa > (math.MaxUint64-9)/10 {
			exact = exact && c == 0 // zeros at the end still fit into the exponent
			exponent += 1 + step
			return
		}
		mantissa, exponent = mantissa*10+c, exponent+step
	}
	if !digit() {
		return 0, 0, false, false, s.errorf("want a number")
	}
	if s.b[s.pos] == '0' {
		s.pos++
	} else {
		for digit() {
			add(0)
		}
	}
	if s.take('.') {
		if !digit() {
			return 0, 0, false, false, s.errorf("want a digit")
		}
		for digit() {
			add(-1)
		}
	}
	if s.take('e') || s.take('E') {
		down := s.take('-')
		if !down {
			s.take('+')
		}
		if !digit() {
			return 0, 0, false, false, s.errorf("want a digit")
		}
		n := 0
		for digit() {
			n = min(n*10+int(s.b[s.pos]-'0'), 100_000)
			s.pos++
		}
		if down {
			n = -n
		}
		exponent += n
	}
	return mantissa, exponent, negative, exact, nil
}

// raw passes over any value, checks it and returns its bytes. depth is how many objects and arrays may stand within
// one another.
func (s *scanner) raw(depth int) ([]byte, error) {
	start := s.pos
	if err := s.skip(depth); err != nil {
		return nil, err
	}
	return s.b[start:s.pos:s.pos], nil
}

func (s *scanner) skip(depth int) error {
	switch c := s.peek(); {
	case c == '"':
		return s.skipText()
	case c == '{', c == '[':
		if depth <= 0 {
			return reject(scoring.ReasonLimit, "nested deeper than %d at byte %d", scoring.MaxNesting, s.pos)
		}
		return s.skipGroup(c, depth)
	case c == '-', c >= '0' && c <= '9':
		_, _, _, _, err := s.decimal()
		return err
	case c == 't', c == 'f':
		_, err := s.boolean()
		return err
	case s.null():
		return nil
	}
	return s.errorf("want a value")
}

func (s *scanner) skipText() error {
	s.pos++
	for s.pos < len(s.b) {
		switch c := s.b[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c < 0x20:
			return s.errorf("control character %#02x in a text", c)
		case c == '\\':
			n := 2
			if s.pos+1 < len(s.b) && s.b[s.pos+1] == 'u' {
				n = 6
			}
			var buf [8]byte
			if _, ok := s.escape(buf[:0], s.pos); ok == 0 {
				return s.errorf("unknown escape in a text")
			}
			s.pos += n
		default:
			s.pos++
		}
	}
	return s.errorf("a text does not end")
}

func (s *scanner) skipGroup(open byte, depth int) error {
	end := open + 2 // in ASCII, '}' and ']' are two after '{' and '['
	s.pos++
	if s.space(); s.take(end) {
		return nil
	}
	for {
		s.space()
		if open == '{' {
			if s.peek() != '"' {
				return s.errorf("want a text")
			}
			if err := s.skipText(); err != nil {
				return err
			}
			if s.space(); !s.take(':') {
				return s.errorf("want a colon")
			}
			s.space()
		}
		if err := s.skip(depth - 1); err != nil {
			return err
		}
		if s.space(); s.take(end) {
			return nil
		}
		if !s.take(',') {
			return s.errorf("want a comma or the end of a group")
		}
	}
}
