package redact

import "unicode/utf8"

// Bounds of an encoded text, in digits: shorter ones hold nothing, and of longer ones the beginning decides.
const (
	fewestEncoded = 12
	mostEncoded   = 512
)

// encoded returns where a word in base64 or hexadecimal ends that stands for a text with findings, else 0. Bytes stand
// like that in JSON, whoever made it.
func encoded(s string, p int) int {
	j, hexadecimal := p, true
	for ; j < len(s) && (sextet(s[j]) >= 0); j++ {
		hexadecimal = hexadecimal && nibble(s[j]) >= 0
	}
	if j-p < fewestEncoded {
		return 0
	}
	end := j
	for end < len(s) && end < j+2 && s[end] == '=' {
		end++
	}
	digits := s[p:min(j, p+mostEncoded)]
	if hexadecimal && decodes(digits, 2, 4, nibble) || decodes(digits, 4, 6, sextet) {
		return end
	}
	return 0
}

// decodes reports whether digits of so many bits, which come in groups, are a text with findings.
func decodes(digits string, group, bits int, value func(byte) int) bool {
	var room [mostEncoded * 3 / 4]byte
	text, held, n := room[:0], 0, 0
	for i := range len(digits) {
		held, n = held<<bits|value(digits[i]), n+bits
		if n < 8 {
			continue
		}
		n -= 8
		c := byte(held >> n)
		if held &= 1<<n - 1; c < 0x20 && !isSpace(c) || c == 0x7f {
			return false
		}
		text = append(text, c)
	}
	if len(text) < shortest || len(digits)%group == 1 || len(digits) < mostEncoded && !utf8.Valid(text) {
		return false
	}
	m := scan{s: string(text), max: 2 * len(room), inner: true}
	m.run()
	return m.out != nil || m.from > 0
}

// sextet is the value of a digit of base64, of either alphabet; -1 for what is none.
func sextet(c byte) int { return int(sextets[c]) }

// nibble is the same for hexadecimal.
func nibble(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

var sextets = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = int8(i)
	}
	t['-'], t['_'] = 62, 63
	return t
}()
