package ingest

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// Eight bytes are looked at in one go. A byte stands out when its highest bit is set in the mask; bytes above the
// first that stands out may be marked by a borrow, so that only the first one counts.
const (
	ones    = 0x0101010101010101
	tops    = 0x8080808080808080
	quotes  = ones * '"'
	slashes = ones * '\\'
	spaces  = ones * ' '
)

// plain marks the bytes that a text may hold as they are: no quote, no backslash, no control, ASCII.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// plainEnd is the first place from i on that holds something else than plain ASCII.
func plainEnd(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		if m := (w | (w - spaces) | ((w ^ quotes) - ones) | ((w ^ slashes) - ones)) & tops; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && plain[b[i]] {
		i++
	}
	return i
}

// textEnd is the first quote, backslash or control character from i on; other bytes pass, whatever they are.
func textEnd(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		q, s := w^quotes, w^slashes
		if m := ((w-spaces)&^w | (q-ones)&^q | (s-ones)&^s) & tops; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && (plain[b[i]] || b[i] >= utf8.RuneSelf) {
		i++
	}
	return i
}

// text reads a JSON text and returns what it means.
func (s *scanner) text() ([]byte, error) {
	if !s.take('"') {
		return nil, s.errorf("want a text")
	}
	b, start := s.b, s.pos
	i := plainEnd(b, start)
	if i < len(b) && b[i] == '"' {
		s.pos = i + 1
		return b[start:i:i], nil
	}
	if i < len(b) && b[i] >= utf8.RuneSelf {
		if i = textEnd(b, i); i < len(b) && b[i] == '"' && utf8.Valid(b[start:i]) {
			s.pos = i + 1
			return b[start:i:i], nil
		}
	}
	return s.rewritten(start)
}

// rewritten reads the text that begins at start into the arena.
func (s *scanner) rewritten(start int) ([]byte, error) {
	b, from := s.b, len(s.arena)
	out := s.arena
	for i := start; ; {
		end := textEnd(b, i)
		// What stands between two of the bytes that end a stretch are whole characters or broken ones.
		if part := b[i:end]; utf8.Valid(part) {
			out = append(out, part...)
		} else {
			out = s.repair(out, part)
		}
		switch s.pos = end; {
		case end >= len(b):
			return nil, s.errorf("a text does not end")
		case b[end] == '"':
			s.pos, s.arena = end+1, out
			return out[from:len(out):len(out)], nil
		case b[end] < 0x20:
			return nil, s.errorf("control character %#02x in a text", b[end])
		}
		r, n := s.escape(end)
		if n == 0 {
			return nil, s.errorf("unknown escape in a text")
		}
		out = utf8.AppendRune(out, r)
		i = end + n
	}
}

// skipText passes over a text and checks its form.
func (s *scanner) skipText() error {
	for i := s.pos + 1; ; {
		i = textEnd(s.b, i)
		switch s.pos = i; {
		case i >= len(s.b):
			return s.errorf("a text does not end")
		case s.b[i] == '"':
			s.pos = i + 1
			return nil
		case s.b[i] < 0x20:
			return s.errorf("control character %#02x in a text", s.b[i])
		}
		_, n := s.escape(i)
		if n == 0 {
			return s.errorf("unknown escape in a text")
		}
		i += n
	}
}

// escapes are the characters that a backslash and one letter stand for.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads the escape at i and returns its length, 0 when there is no such escape. A surrogate without its
// partner is U+FFFD.
func (s *scanner) escape(i int) (rune, int) {
	if i+1 >= len(s.b) {
		return 0, 0
	}
	if c := escapes[s.b[i+1]]; c != 0 {
		return rune(c), 2
	}
	if s.b[i+1] != 'u' {
		return 0, 0
	}
	r := s.hex(i + 2)
	switch {
	case r < 0:
		return 0, 0
	case !utf16.IsSurrogate(r):
		return r, 6
	}
	if i+7 < len(s.b) && s.b[i+6] == '\\' && s.b[i+7] == 'u' {
		if pair := utf16.DecodeRune(r, s.hex(i+8)); pair != utf8.RuneError {
			return pair, 12
		}
	}
	s.bad = true
	return utf8.RuneError, 6
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
