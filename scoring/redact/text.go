// Package redact decides what of an event may be kept. It masks secrets and personal data in texts, and applies the
// policy of a binding to an event that has been judged.
//
// It is pure: no clock, no state that shows, no memory for a text in which nothing is found. It prefers to mask too
// much: a mask costs an analyst a word, a leak costs its owner the secret.
package redact

import (
	"strings"
	"unicode/utf8"
)

// Version of the masks. It stands in every policy, so that a row says by which masks it was kept.
const Version = "1"

// The marks that stand for what was found.
const (
	markSecret   = "[secret]"
	markPersonal = "[personal]"
	markEmail    = "[email]"
	markPhone    = "[phone]"
	markID       = "[id]"
	markCard     = "[card]"
	markPassport = "[passport]"

	// markAll stands for a text that does not come to rest.
	markAll = "[redacted]"
)

// maxPasses is how often a text is looked at: what a mask or the cut leaves side by side may be a finding of its own.
const maxPasses = 6

// Text returns s with secrets and personal data masked, cut to max bytes on the border of a character. It masks before
// it cuts, so the bound leaves no half of a secret; of what it masks before the bound it reads all, and nothing behind.
// Text of its own result is that result. A text without findings that fits is returned as it is, without allocation.
func Text(s string, max int) string {
	if max <= 0 || s == "" {
		return ""
	}
	t := pass(s, max)
	if len(t) == len(s) && t == s {
		return s
	}
	for range maxPasses {
		u := pass(t, max)
		if u == t {
			return t
		}
		t = u
	}
	return cut(markAll, max)
}

// Value is Text for the value of a name: what is called a password is one, whatever it looks like.
func Value(name, value string, max int) string {
	if mark, _ := named(name); mark != "" && value != "" {
		return cut(mark, max)
	}
	return Text(value, max)
}

// cut shortens a text to max bytes at most, on the border of a character.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && s[max]&0xc0 == 0x80 {
		max--
	}
	return s[:max]
}

// scan is one pass over a text. Everything before i is decided; out holds it up to from, where what is kept as it
// stands begins.
type scan struct {
	s    string
	max  int
	out  []byte
	from int
	full bool // the bound is reached

	inner bool // the text was encoded in another
}

// pass masks once.
func pass(s string, max int) string {
	if len(s) < shortest {
		return cut(s, max)
	}
	m := scan{s: s, max: max}
	m.run()
	if m.from == 0 && m.out == nil {
		return cut(s, max)
	}
	if !m.full {
		room := max - len(m.out) + utf8.UTFMax // enough to find the border of a character
		m.out = append(m.out, s[m.from:min(len(s), m.from+room)]...)
	}
	return cut(string(m.out), max)
}

// run masks until the bound is reached.
func (m *scan) run() {
	s := m.s
	for i := 0; i < len(s) && m.room(i); {
		switch c := s[i]; {
		case is(c, word):
			i = m.word(i)
		case c >= 0x80:
			i = m.wide(i)
		default:
			i++
		}
	}
}

// shortest text that can hold a finding: ak=x.
const shortest = 4

// room reports whether what is kept up to i leaves room below the bound.
func (m *scan) room(i int) bool {
	return !m.full && len(m.out)+i-m.from < m.max
}

// mask replaces s[from:to] and returns to. A mark that does not fit ends the text.
func (m *scan) mask(from, to int, mark string) int {
	m.out = append(m.out, m.s[m.from:from]...)
	if m.full = len(m.out)+len(mark) > m.max; !m.full {
		m.out = append(m.out, mark...)
	}
	m.from = to
	return to
}

// word decides over the word that begins at start and over what belongs to it, and returns where to go on.
func (m *scan) word(start int) int {
	s := m.s
	end := start + 1
	for end < len(s) && is(s[end], word) {
		end++
	}
	if end < len(s) && s[end] == '@' {
		if to := domain(s, end+1); to > 0 {
			return m.mask(start, to, markEmail)
		}
		if strings.HasPrefix(s[end:], "@tcp(") || strings.HasPrefix(s[end:], "@unix(") {
			return m.mask(start, end, markSecret)
		}
	}
	for p := start; p < end; {
		if !m.room(p) {
			return p
		}
		to, mark := find(s, p, m.inner)
		if to == 0 {
			p++
			continue
		}
		if p = m.mask(p, to, mark); p > end {
			return p
		}
	}
	if strings.HasPrefix(s[end:], "://") {
		if to := userinfo(s, end+3); to > 0 {
			return m.mask(end+3, to, markSecret)
		}
		return end + 3
	}
	if to := credentials(s, start, end, m.inner); to > 0 {
		from := end
		for isSpace(s[from]) {
			from++
		}
		return m.mask(from, to, markSecret)
	}
	at := separator(s, start, end)
	if at == 0 {
		return end
	}
	mark, line := named(s[start:end])
	if mark == "" && escape(s, start) {
		mark, line = named(s[start+1 : end])
	}
	if mark != "" {
		return m.value(at, mark, line)
	}
	return end
}

// wide decides over a name in Chinese.
func (m *scan) wide(i int) int {
	for _, n := range wideNames {
		if n.name[0] != m.s[i] || !strings.HasPrefix(m.s[i:], n.name) {
			continue
		}
		end := i + len(n.name)
		for _, more := range []string{"号码", "号"} {
			if strings.HasPrefix(m.s[end:], more) {
				end += len(more)
				break
			}
		}
		if at := separator(m.s, i, end); at > 0 {
			return m.value(at, n.mark, false)
		}
		return end
	}
	return i + 1
}

// value masks the value that begins after a separator, and what follows it as long as that is a value of a value:
// password: passport: X leaves nothing. With line the value goes to the end of its line.
func (m *scan) value(at int, mark string, line bool) int {
	s := m.s
	from, to := -1, at
	for {
		for at < len(s) && isSpace(s[at]) {
			at++
		}
		begin, end, next := extent(s, at, line, m.inner)
		if begin < 0 {
			break
		}
		if from < 0 {
			from = begin
		}
		if end > to {
			to = end
		}
		more := chained(s, begin, end, next)
		if more == 0 || more <= at {
			break
		}
		at, to = more, max(to, more)
	}
	if from < 0 || from >= to {
		return at
	}
	return m.mask(from, to, mark)
}

// extent returns where the value at a place begins and ends, without its quotes, and what follows it; begin is -1 when
// there is none. What has no end goes to the end of the text.
func extent(s string, at int, line, inner bool) (begin, end, next int) {
	if at >= len(s) {
		return -1, 0, 0
	}
	slashes := at
	for slashes < len(s) && s[slashes] == '\\' {
		slashes++
	}
	if slashes < len(s) && isQuote(s[slashes]) {
		end, next := closing(s, slashes, slashes-at)
		return slashes + 1, end, next
	}
	if s[at] == '{' || s[at] == '[' {
		depth, run := 0, 0
		for j := at; j < len(s); j++ {
			switch s[j] {
			case '\\':
				run++
				continue
			case '"':
				_, next := closing(s, j, run)
				j = next - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return at, j + 1, j + 1
				}
			}
			run = 0
		}
		return at, len(s), len(s)
	}
	j := at
	for j < len(s) && !stops(s, j, line) {
		if is(s[j], word) { // a finding that holds spaces goes as a whole
			if to, _ := find(s, j, inner); to > j {
				j = to
				continue
			}
		}
		j++
	}
	if j == at {
		return -1, 0, 0
	}
	return at, j, j
}

// closing returns where the text in quotes that begins at a quote ends, and what follows; the quote stands behind that many
// backslashes, and the one that ends it behind no more.
func closing(s string, at, slashes int) (end, next int) {
	run := 0
	for j := at + 1; j < len(s); j++ {
		switch {
		case s[j] == '\\':
			run++
			continue
		case s[j] == s[at] && run <= slashes:
			return j - run, j + 1
		}
		run = 0
	}
	return len(s), len(s)
}

// stops reports whether a value without quotes ends before j.
func stops(s string, j int, line bool) bool {
	switch c := s[j]; c {
	case '\n', '\r':
		return true
	case ' ', '\t':
		return !line
	case '"', '`':
		return true
	case '\'':
		return j+1 == len(s) || !is(s[j+1], alpha|digit)
	case 0xef, 0xe3: // 。，；！？ end a sentence
		return strings.HasPrefix(s[j:], "。") || strings.HasPrefix(s[j:], "，") || strings.HasPrefix(s[j:], "；") ||
			strings.HasPrefix(s[j:], "！") || strings.HasPrefix(s[j:], "？")
	default:
		return c < 0x20
	}
}

// chained returns where the next value begins when what stands in s[begin:end] was itself a name or a scheme, else 0.
func chained(s string, begin, end, next int) int {
	if end > begin {
		if c := s[end-1]; next == end && (c == ':' || c == '=') || next == end && strings.HasSuffix(s[begin:end], "：") {
			return next
		}
		for _, scheme := range schemes {
			if strings.EqualFold(s[begin:end], scheme) {
				return next
			}
		}
	}
	for t := next; t < len(s) && t < next+16; t++ {
		switch c := s[t]; {
		case c == ' ' || c == '\t' || c == '\\' || isQuote(c):
		case c == ':' || c == '=':
			return t + 1
		case strings.HasPrefix(s[t:], "："), strings.HasPrefix(s[t:], "＝"):
			return t + len("：")
		default:
			return 0
		}
	}
	return 0
}

// separator returns where the value of a name that ends at end begins, 0 when no value follows. A flag's value may
// follow a space.
func separator(s string, start, end int) int {
	k := end
	for k < len(s) && k < end+16 && (s[k] == ' ' || s[k] == '\t' || s[k] == '\\' || s[k] == ']' || s[k] == ')' || isQuote(s[k])) {
		k++
	}
	if k > end && k < len(s) && (s[k] == 'n' || s[k] == 'N' || s[k] == '#') { // passport no: X
		for _, more := range []string{"number", "no.", "no", "nr", "#"} {
			if n := k + len(more); n < len(s) && strings.EqualFold(s[k:n], more) && !is(s[n], alpha|digit) {
				for k = n; k < len(s) && s[k] == ' '; k++ {
				}
				break
			}
		}
	}
	if k == len(s) {
		return 0
	}
	n := 0
	switch c := s[k]; c {
	case ':', '=', '>':
		n = 1
	case ',':
		return member(s, end, k)
	case '%':
		if k+3 <= len(s) && s[k+1] == '3' && strings.IndexByte("dDaA", s[k+2]) >= 0 { // = and : in a query
			n = 3
		}
	case "是"[0], "为"[0], "："[0]:
		for _, sep := range []string{"：", "＝", "是", "为"} {
			if strings.HasPrefix(s[k:], sep) {
				n = len(sep)
			}
		}
	case 'i', 'I', 'a', 'A', 'w', 'W':
		for _, verb := range []string{"is ", "are ", "was "} {
			if m := k + len(verb); k > end && s[end] == ' ' && m < len(s) && strings.EqualFold(s[k:m], verb) {
				return m
			}
		}
	}
	if n == 0 {
		if k > end && s[start] == '-' && isSpace(s[end]) {
			return k
		}
		return 0
	}
	for k += n; k < len(s) && (s[k] == '=' || s[k] == '>' || s[k] == ':'); k++ {
	}
	return k
}

// member returns where the value begins that stands beside its name, as in {"key": "password", "value": X}; 0 when none
// does. The name ends at end, its quotes at comma.
func member(s string, end, comma int) int {
	if comma == end {
		return 0
	}
	skip := func(k int) int {
		for k < len(s) && (s[k] == ' ' || s[k] == '\t' || s[k] == '\n' || s[k] == '\r' || s[k] == '\\' || isQuote(s[k])) && k < comma+64 {
			k++
		}
		return k
	}
	k := skip(comma + 1)
	if len(s)-k < len("value") || !strings.EqualFold(s[k:k+len("value")], "value") {
		return 0
	}
	if k = skip(k + len("value")); k == len(s) || s[k] != ':' {
		return 0
	}
	return k + 1
}

// credentials returns where the credentials after an HTTP scheme in s[start:end] end, with a finding that begins in them; 0
// when they are none.
func credentials(s string, start, end int, inner bool) int {
	name := s[start:end]
	basic := strings.EqualFold(name, "basic")
	if !basic && !strings.EqualFold(name, "bearer") || end >= len(s) || !isSpace(s[end]) {
		return 0
	}
	k := end
	for k < len(s) && k < end+8 && isSpace(s[k]) {
		k++
	}
	n, digits, uppers := k, 0, 0
	for n < len(s) && (is(s[n], word) || s[n] == '/' || s[n] == '~' || s[n] == '=') {
		if is(s[n], digit) || s[n] == '=' {
			digits++
		}
		if s[n] >= 'A' && s[n] <= 'Z' {
			uppers++
		}
		n++
	}
	if n-k < 8 || digits == 0 && uppers < 2 && n-k < 20 {
		return 0
	}
	last := n
	for p := k; p < n; p++ {
		if to, _ := find(s, p, inner); to > last {
			last = to
		}
	}
	return last
}

// maxAuthority bounds how far behind a scheme the end of user and password is looked for.
const maxAuthority = 512

// userinfo returns where user and password of an address end, which begin after its scheme; 0 when there are none. A
// password may hold a slash although it should not.
func userinfo(s string, at int) int {
	end, slash, port := at, -1, true
	last, colon := -1, false
	for ; end < len(s) && end < at+maxAuthority && !isSpace(s[end]) && s[end] != '"' && s[end] != '<' && s[end] != '>'; end++ {
		switch c := s[end]; {
		case c == '@':
			if slash < 0 || colon && !port {
				last = end
			}
		case c == '/' || c == '?' || c == '#':
			if slash < 0 {
				slash = end
			}
		case c == ':' && slash < 0:
			colon, port = true, true
		case slash < 0 && colon && !is(c, digit):
			port = false
		}
	}
	if last <= at {
		return 0
	}
	return last
}

// domain returns where the host of a mail address ends, 0 when it is none.
func domain(s string, at int) int {
	end := at
	for end < len(s) && end < at+255 && (is(s[end], alpha|digit) || s[end] == '-' || s[end] == '.') {
		end++
	}
	for end > at && (s[end-1] == '.' || s[end-1] == '-') {
		end--
	}
	dot := strings.LastIndexByte(s[at:end], '.')
	if dot <= 0 || end-at-dot-1 < 2 {
		return 0
	}
	for _, c := range []byte(s[at+dot+1 : end]) {
		if !is(c, alpha) {
			return 0
		}
	}
	return end
}
