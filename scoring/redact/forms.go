package redact

import "strings"

// Classes of bytes.
const (
	alpha uint8 = 1 << iota
	digit
	word  // of names, addresses and numbers
	token // of keys
)

var classes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			t[c] = alpha | word | token
		case c >= '0' && c <= '9':
			t[c] = digit | word | token
		case c == '_' || c == '-':
			t[c] = word | token
		case c == '.' || c == '+':
			t[c] = word
		}
	}
	return t
}()

func is(c byte, class uint8) bool { return classes[c]&class != 0 }
func isSpace(c byte) bool         { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
func isQuote(c byte) bool         { return c == '"' || c == '\'' || c == '`' }

// prefix is how the keys of an issuer begin.
type prefix struct {
	text string
	tail int  // fewest bytes that follow
	dots bool // dots are part of it
	lone bool // an English word may end like this: what follows must hold a digit, and much must after a letter
}

// prefixes are the common forms of keys, by their first letter.
var prefixes = func() (t [256][]prefix) {
	for _, p := range []prefix{
		{text: "AKIA", tail: 12}, {text: "ASIA", tail: 12}, {text: "AROA", tail: 12}, {text: "AIDA", tail: 12}, {text: "ABIA", tail: 12}, {text: "ACCA", tail: 12}, // AWS
		{text: "LTAI", tail: 12}, {text: "STS.", tail: 16}, // Aliyun
		{text: "AKID", tail: 13},                                                                     // Tencent Cloud
		{text: "HPUA", tail: 16},                                                                     // Huawei Cloud
		{text: "AKLT", tail: 16},                                                                     // Volcengine
		{text: "AIza", tail: 30}, {text: "ya29.", tail: 16, dots: true}, {text: "GOCSPX-", tail: 16}, // Google
		{text: "sk-", tail: 16, lone: true}, {text: "sk_live_", tail: 10}, {text: "sk_test_", tail: 10}, {text: "rk_live_", tail: 10}, {text: "pk_live_", tail: 10},
		{text: "ghp_", tail: 20}, {text: "gho_", tail: 20}, {text: "ghu_", tail: 20}, {text: "ghs_", tail: 20}, {text: "ghr_", tail: 20}, {text: "github_pat_", tail: 20},
		{text: "glpat-", tail: 16}, {text: "xoxb-", tail: 10}, {text: "xoxa-", tail: 10}, {text: "xoxp-", tail: 10}, {text: "xoxr-", tail: 10}, {text: "xoxs-", tail: 10}, {text: "xapp-", tail: 10},
		{text: "hf_", tail: 24}, {text: "npm_", tail: 24}, {text: "pypi-", tail: 24}, {text: "gsk_", tail: 20}, {text: "r8_", tail: 24}, {text: "tvly-", tail: 16},
		{text: "SG.", tail: 20, dots: true}, {text: "shpat_", tail: 16}, {text: "whsec_", tail: 12}, {text: "dop_v1_", tail: 20}, {text: "PMAK-", tail: 20},
		{text: "AGE-SECRET-KEY-", tail: 16}, {text: "hvs.", tail: 16}, {text: "eyJ", tail: 17, dots: true}, // JWT: {" in base64
	} {
		t[p.text[0]] = append(t[p.text[0]], p)
	}
	return t
}()

// find returns where the finding that begins at p ends, and its mark; 0 when none begins there. With inner the text was
// itself encoded, and what is encoded in it is not looked into.
func find(s string, p int, inner bool) (to int, mark string) {
	c := s[p]
	var prev byte
	if p > 0 && !escape(s, p-1) {
		prev = s[p-1]
	}
	switch {
	case is(c, digit):
		if !is(prev, digit) {
			if to, mark = number(s, p); to > 0 {
				return to, mark
			}
		}
	case c == '-':
		if prev != '-' && strings.HasPrefix(s[p:], "-----BEGIN ") {
			return block(s, p)
		}
		return 0, ""
	case is(c, alpha):
		for i := range prefixes[c] {
			if p+1 == len(s) || s[p+1] != prefixes[c][i].text[1] {
				continue
			}
			if to := prefixes[c][i].match(s, p, prev); to > 0 {
				return to, markSecret
			}
		}
		if !is(prev, alpha|digit) {
			if to := passport(s, p); to > 0 {
				return to, markPassport
			}
		}
	}
	if !is(prev, token) {
		if to := opaque(s, p); to > 0 {
			return to, markSecret
		}
		if !inner && prev != '+' && prev != '/' {
			if to := encoded(s, p); to > 0 {
				return to, markSecret
			}
		}
	}
	return 0, ""
}

// escape reports whether s[p] is the letter of a line break or tab as JSON and shells write them: no part of a word.
func escape(s string, p int) bool {
	return p > 0 && s[p-1] == '\\' && (s[p] == 'n' || s[p] == 'r' || s[p] == 't')
}

func (x *prefix) match(s string, p int, prev byte) int {
	if len(s)-p < len(x.text)+x.tail || !strings.HasPrefix(s[p:], x.text) {
		return 0
	}
	from := p + len(x.text)
	end, digits, dots := from, 0, 0
	for ; end < len(s) && (is(s[end], token) || s[end] == '.' && x.dots); end++ {
		switch {
		case is(s[end], digit):
			digits++
		case s[end] == '.':
			dots++
		}
		if x.lone && digits == 0 && end-from >= 64 { // a chain of words
			return 0
		}
	}
	n := end - from
	switch {
	case n < x.tail, x.lone && (digits == 0 || is(prev, alpha) && n < 32):
		return 0
	case x.text == "eyJ" && dots == 0 && n < 40:
		return 0
	}
	return end
}

// block returns where a private key ends: behind its last line, or with the text when that was cut off.
func block(s string, p int) (int, string) {
	head := s[p+5 : min(len(s), p+64)]
	if i := strings.Index(head, "-----"); i >= 0 {
		head = head[:i]
	}
	if !strings.Contains(head, "PRIVATE KEY") {
		return 0, ""
	}
	i := strings.Index(s[p+5:], "-----END")
	if i < 0 {
		return len(s), markSecret
	}
	end := p + 5 + i + len("-----END")
	if i = strings.Index(s[end:], "-----"); i < 0 || i > 64 {
		return end, markSecret
	}
	end += i
	last := end
	for last < len(s) && s[last] == '-' {
		last++
	}
	if strings.HasPrefix(s[last:], "BEGIN ") { // the next key's
		return end, markSecret
	}
	return last, markSecret
}

// number finds mobile numbers, resident ids and bank cards, in groups or in one piece; the longest that begins at p.
func number(s string, p int) (to int, mark string) {
	var d [20]byte
	var joint byte // between groups, one and the same
	n, j := 0, p
	for {
		for j < len(s) && is(s[j], digit) {
			if n == len(d) {
				return to, mark
			}
			d[n] = s[j]
			n++
			j++
		}
		if n == 17 && j < len(s) && (s[j] == 'X' || s[j] == 'x') && resident(d[:17], 'X') {
			return j + 1, markID
		}
		if m := kindOf(d[:n]); m != "" {
			to, mark = j, m
		}
		if j+1 >= len(s) || s[j] != ' ' && s[j] != '-' || joint != 0 && s[j] != joint || !is(s[j+1], digit) {
			return to, mark
		}
		joint = s[j]
		j++
	}
}

// kindOf says what digits are.
func kindOf(d []byte) string {
	mobile := func(d []byte) bool { return d[0] == '1' && d[1] >= '3' }
	switch n := len(d); {
	case n == 11 && mobile(d), n == 12 && d[0] == '0' && mobile(d[1:]), n == 13 && string(d[:2]) == "86" && mobile(d[2:]),
		n == 15 && string(d[:4]) == "0086" && mobile(d[4:]):
		return markPhone
	case n == 18 && resident(d[:17], d[17]):
		return markID
	case n == 15 && d[0] == '3' && (d[1] == '4' || d[1] == '7') && luhn(d):
		return markCard
	case n >= 16 && n <= 19 && d[0] >= '2' && d[0] != '7' && luhn(d):
		return markCard
	}
	return ""
}

// resident checks the number of a Chinese resident identity card: the date of birth and the last character.
func resident(d []byte, last byte) bool {
	century, month, day := (d[6]-'0')*10+d[7]-'0', (d[10]-'0')*10+d[11]-'0', (d[12]-'0')*10+d[13]-'0'
	if d[0] == '0' || century < 18 || century > 20 || month < 1 || month > 12 || day < 1 || day > 31 {
		return false
	}
	sum := 0
	for i, w := range [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += w * int(d[i]-'0')
	}
	return "10X98765432"[sum%11] == last
}

func luhn(d []byte) bool {
	sum := 0
	for i := range d {
		v := int(d[len(d)-1-i] - '0')
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// passport returns where a passport's or travel permit's number ends: a letter, or E and another, and digits to nine.
func passport(s string, p int) int {
	if !strings.ContainsRune("DEGHKMPSCWdeghkmpscw", rune(s[p])) {
		return 0
	}
	j := p + 1
	if j < len(s) && (s[p] == 'E' || s[p] == 'e') && is(s[j], alpha) {
		j++
	}
	for j < len(s) && is(s[j], digit) {
		j++
	}
	permit := j-p == 11 && strings.ContainsRune("HMhm", rune(s[p]))
	if j-p != 9 && !permit || j < len(s) && is(s[j], alpha|digit) {
		return 0
	}
	return j
}

// opaque returns where a text ends that reads like a key: long, with digits and letters of both cases, and not a path;
// or as access keys of Huawei Cloud are written. Hashes in hexadecimal, which have one case, are none.
func opaque(s string, p int) int {
	const enough = 512 // bytes that decide
	j, digits, uppers, lowers, slashes, joints, pluses := p, 0, 0, 0, 0, 0, 0
	for ; j < len(s) && j < p+enough; j++ {
		switch c := s[j]; {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'A' && c <= 'Z':
			uppers++
		case c >= 'a' && c <= 'z':
			lowers++
		case c == '/':
			slashes++
		case c == '-' || c == '_':
			joints++
		case c == '+':
			pluses++
		default:
			goto decide
		}
		if n := j - p; slashes > n/8+4 || joints > n/8+4 || pluses > n/8+4 {
			return 0
		}
	}
decide:
	n := j - p
	mixed := digits >= 2 && uppers >= 3 && lowers >= 3
	plain := digits+uppers+lowers == n
	switch {
	case mixed && n >= 38 && slashes <= n/8 && joints <= n/10:
	case mixed && plain && (n == 30 || n == 32):
	case plain && n == 20 && lowers == 0 && digits >= 3 && uppers >= 6:
	default:
		return 0
	}
	for j < len(s) && (is(s[j], token) || s[j] == '/' || s[j] == '+' || s[j] == '=') {
		j++
	}
	return j
}
