package scoring

import (
	"encoding/json"
	"slices"
	"strings"
)

// args is a JSON value as a list of tokens, for what Derive wants to know of arguments. The decoder has checked the
// text; this parser only cuts it, without recursion.
type args struct {
	raw     string
	members []member
	ends    []int
}

// member is a value within an object, by the way that leads to it.
type member struct {
	key        string // between the quotes, as written
	value      string // as written
	start, end int    // of the value in raw
	depth      int
}

const maxMembers = 4096

// parse cuts the text into members. It reports false when there are too many or the text is not what it must be.
func (a *args) parse(raw string) bool {
	a.raw, a.members, a.ends = raw, a.members[:0], a.ends[:0]
	if len(raw) > MaxArgs {
		return false
	}
	key, have := "", false
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case ' ', '\t', '\n', '\r', ',', ':':
			i++
		case '{', '[':
			if len(a.ends) >= MaxNesting+1 {
				return false
			}
			a.ends = append(a.ends, -1)
			if have {
				a.ends[len(a.ends)-1] = len(a.members)
				a.members = append(a.members, member{key: key, start: i, depth: len(a.ends)})
				have = false
			}
			i++
		case '}', ']':
			if len(a.ends) == 0 {
				return false
			}
			if m := a.ends[len(a.ends)-1]; m >= 0 {
				a.members[m].end = i + 1
				a.members[m].value = raw[a.members[m].start : i+1]
			}
			a.ends = a.ends[:len(a.ends)-1]
			i++
		default:
			end := token(raw, i)
			if end < 0 || len(a.members) >= maxMembers {
				return false
			}
			next := end
			for next < len(raw) && (raw[next] == ' ' || raw[next] == '\t' || raw[next] == '\n' || raw[next] == '\r') {
				next++
			}
			switch {
			case c == '"' && next < len(raw) && raw[next] == ':':
				key, have = raw[i+1:end-1], true
				end = next + 1
			case have:
				a.members = append(a.members, member{key: key, value: raw[i:end], start: i, end: end, depth: len(a.ends) + 1})
				have = false
			}
			i = end
		}
	}
	return len(a.ends) == 0
}

// token returns the end of the text, number or word at i, -1 when it has none.
func token(s string, i int) int {
	if s[i] != '"' {
		j := i
		for j < len(s) && !strings.ContainsRune(" \t\n\r,:{}[]\"", rune(s[j])) {
			j++
		}
		if j == i {
			return -1
		}
		return j
	}
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case '"':
			return j + 1
		}
	}
	return -1
}

// first returns the text of the first argument of one of these names, in the order of the names.
func (a *args) first(names []string) string {
	for _, name := range names {
		for i := range a.members {
			m := &a.members[i]
			if len(m.value) > 2 && m.value[0] == '"' && strings.EqualFold(unescape(m.key), name) {
				return unescape(m.value[1 : len(m.value)-1])
			}
		}
	}
	return ""
}

// unescape is the text that stands between quotes. Every escape counts: rules must see the command that a tool sees,
// however it was spelled.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var text string
	if json.Unmarshal([]byte(`"`+s+`"`), &text) != nil {
		return s
	}
	return text
}

// canonical appends a form of the value that neither white space nor the order of keys changes: every member by the
// way to it, sorted. Within arrays the order of keys counts.
func (a *args) canonical(dst []byte) []byte {
	if len(a.members) == 0 {
		return append(dst, squeeze(a.raw)...)
	}
	lines := make([]string, 0, len(a.members))
	var path [MaxNesting + 2]string
	for i := range a.members {
		m := &a.members[i]
		depth := min(m.depth, len(path)-1)
		path[depth] = m.key
		value := squeeze(m.value)
		if value[0] == '{' && value != "{}" {
			continue // its members speak for it
		}
		lines = append(lines, strings.Join(path[:depth+1], "\x00")+"\x01"+value)
	}
	slices.Sort(lines)
	for _, l := range lines {
		dst = append(append(dst, l...), '\n')
	}
	return dst
}

// squeeze drops white space outside of texts.
func squeeze(s string) string {
	if s == "" || s[0] == '"' || !strings.ContainsAny(s, " \t\n\r") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case ' ', '\t', '\n', '\r':
			i++
		case '"':
			end := token(s, i)
			if end < 0 {
				end = len(s)
			}
			b.WriteString(s[i:end])
			i = end
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}
