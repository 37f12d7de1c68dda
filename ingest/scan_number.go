package ingest

import (
	"fmt"
	"math"

	"github.com/agentrisk/agentrisk/scoring"
)

// decimal is a JSON number: mantissa * 10^exponent, and a little more when dust is set: the mantissa had no room for
// its last digits.
type decimal struct {
	mantissa uint64
	exponent int
	negative bool
	dust     bool
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// decimal reads a number.
func (s *scanner) decimal(d *decimal) error {
	d.negative = s.take('-')
	switch c := s.peek(); {
	case c == '0':
		s.pos++
	case digit(c):
		for ; digit(s.peek()); s.pos++ {
			d.add(uint64(s.b[s.pos]-'0'), 0)
		}
	default:
		return s.errorf("want a number")
	}
	if s.take('.') {
		if !digit(s.peek()) {
			return s.errorf("want a digit")
		}
		for ; digit(s.peek()); s.pos++ {
			d.add(uint64(s.b[s.pos]-'0'), -1)
		}
	}
	if c := s.peek(); c != 'e' && c != 'E' {
		return nil
	}
	s.pos++
	down := s.take('-')
	if !down {
		s.take('+')
	}
	if !digit(s.peek()) {
		return s.errorf("want a digit")
	}
	n := 0
	for ; digit(s.peek()); s.pos++ {
		n = min(n*10+int(s.b[s.pos]-'0'), 4*scoring.MaxRecord) // beyond what the digits of a record can undo
	}
	if down {
		n = -n
	}
	d.exponent += n
	return nil
}

// add appends a digit that moves the exponent by step.
func (d *decimal) add(c uint64, step int) {
	if d.mantissa > (math.MaxUint64-9)/10 {
		d.dust = d.dust || c != 0
		d.exponent += 1 + step
		return
	}
	d.mantissa, d.exponent = d.mantissa*10+c, d.exponent+step
}

// whole cuts the number towards zero to a multiple of 10^-places and returns it in that unit. rest is the first digit
// that was cut off, more tells of others; ok is false when the number is beyond an int64.
func (d *decimal) whole(places int) (v int64, rest uint64, more, ok bool) {
	m, exp := d.mantissa, d.exponent+places
	more = d.dust
	if m == 0 {
		return 0, 0, false, true
	}
	for ; exp > 0; exp-- {
		if m > math.MaxInt64/10 || d.dust {
			return 0, 0, false, false
		}
		m *= 10
	}
	for ; exp < 0 && (m != 0 || rest != 0); exp++ {
		more = more || rest != 0
		m, rest = m/10, m%10
	}
	switch {
	case d.negative && m == 1<<63:
		return math.MinInt64, rest, more, true
	case m > math.MaxInt64:
		return 0, 0, false, false
	case d.negative:
		return -int64(m), rest, more, true
	}
	return int64(m), rest, more, true
}

// number reads a JSON number as a whole number, or as thousandths, within the field's bounds. 5.0 and 1e3 are whole;
// 1.5 is refused where a whole number is wanted. Decimals beyond thousandths are rounded, halves away from zero: a
// confidence of 0.93467 is no error. The bounds hold for the number as sent: 1.0001 is not within 0 to 1.
func (s *scanner) number(f *scoring.Field) (int64, error) {
	at := s.pos
	if v, ok := s.short(); ok && f.Type == scoring.Int && v >= f.Min && v <= f.Max {
		return v, nil
	}
	s.pos = at
	var d decimal
	if err := s.decimal(&d); err != nil {
		return 0, err
	}
	places := 0
	if f.Type == scoring.Milli {
		places = 3
	}
	v, rest, more, ok := d.whole(places)
	exact := rest == 0 && !more
	outside := v > f.Max || v < f.Min || !exact && (!d.negative && v == f.Max || d.negative && v == f.Min)
	if !ok || outside || !exact && f.Type == scoring.Int {
		return 0, reject(scoring.ReasonRange, "%s at byte %d: %.40s is out of range: want %s", f.Name, at, s.b[at:s.pos], bounds(f))
	}
	switch {
	case rest >= 5 && d.negative:
		v--
	case rest >= 5:
		v++
	}
	return v, nil
}

// short reads a number of at most eighteen digits and nothing else, as most are.
func (s *scanner) short() (v int64, ok bool) {
	b, i := s.b, s.pos
	for ; i < len(b) && digit(b[i]) && i-s.pos < 18; i++ {
		v = v*10 + int64(b[i]-'0')
	}
	if i == s.pos || i >= len(b) || b[i] != ',' && b[i] != '}' || b[s.pos] == '0' && i-s.pos > 1 {
		return 0, false
	}
	s.pos = i
	return v, true
}

func bounds(f *scoring.Field) string {
	if f.Type == scoring.Milli {
		return fmt.Sprintf("%g to %g", float64(f.Min)/1000, float64(f.Max)/1000)
	}
	return fmt.Sprintf("a whole number from %d to %d", f.Min, f.Max)
}
