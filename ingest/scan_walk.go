package ingest

import "github.com/agentrisk/agentrisk/scoring"

// enter begins an object or an array, by its first byte, and reports whether it holds anything.
func (s *scanner) enter(open byte, what string) (more bool, err error) {
	if s.space(); !s.take(open) {
		return false, reject(scoring.ReasonType, "%s at byte %d: want %s", what, s.pos, map[byte]string{'{': "an object", '[': "an array"}[open])
	}
	s.space()
	return !s.take(open + 2), nil // in ASCII, '}' and ']' are two after '{' and '['
}

// more passes over a comma, and reports whether there was one or the end.
func (s *scanner) more(end byte) (bool, error) {
	if s.space(); s.take(end) {
		return false, nil
	}
	if !s.take(',') {
		return false, s.errorf("want a comma or the end of a group")
	}
	s.space()
	return true, nil
}

// key reads the name of a member and the colon.
func (s *scanner) key() ([]byte, error) {
	s.space()
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	if s.space(); !s.take(':') {
		return nil, s.errorf("want a colon")
	}
	s.space()
	return text, nil
}

// looseNesting is how deep a value may nest that is only passed over: it bounds the recursion, and the limit of events
// is looked after where they are read.
const looseNesting = 512

// check passes over one value that fills the record and reports what is wrong with its form: a record of many items
// counts as a whole or not at all.
func (s *scanner) check() error {
	if s.space(); s.done() {
		return reject(scoring.ReasonEmpty, "the record holds nothing")
	}
	if err := s.ignore(); err != nil {
		return err
	}
	if s.space(); !s.done() {
		return s.errorf("something follows the value")
	}
	s.pos = 0
	return nil
}

// ignore passes over a value of any size and checks its form alone.
func (s *scanner) ignore() error {
	s.loose, s.stop = true, len(s.b)
	err := s.skip(looseNesting)
	s.loose = false
	return err
}

// leap passes over a value whose form was checked before.
func (s *scanner) leap() {
	s.space()
	for depth := 0; s.pos < len(s.b); s.pos++ {
		switch s.b[s.pos] {
		case '"':
			_ = s.skipText()
			s.pos--
		case '{', '[':
			depth++
			continue
		case '}', ']', ',':
			if depth == 0 {
				return // the end of what is around a number or a word
			}
			if s.b[s.pos] == ',' {
				continue
			}
			depth--
		default:
			continue
		}
		if depth == 0 {
			s.pos++
			return
		}
	}
}
