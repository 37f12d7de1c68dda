package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// oracle says what the decoder must make of a record, in the plainest way: encoding/json cuts it into members, maps
// and big numbers do the rest. It collects every reason to refuse; the decoder may give any of them.
type oracle struct {
	texts   map[scoring.FieldID]string
	numbers map[scoring.FieldID]int64
	words   map[scoring.FieldID]bool
	lists   map[scoring.FieldID][]string
	attrs   []scoring.Attribute
	time    *int64
	reasons map[scoring.Reason]bool
	said    map[string]bool // fields and attributes by name
	unsure  bool            // a number is too large for this oracle
	aliases map[string]scoring.FieldID
}

func newOracle(b []byte) *oracle {
	o := &oracle{
		texts: map[scoring.FieldID]string{}, numbers: map[scoring.FieldID]int64{}, words: map[scoring.FieldID]bool{}, lists: map[scoring.FieldID][]string{},
		reasons: map[scoring.Reason]bool{}, said: map[string]bool{}, aliases: map[string]scoring.FieldID{},
	}
	for id, f := range scoring.Fields {
		for _, a := range f.Aliases {
			o.aliases[a] = scoring.FieldID(id)
		}
	}
	if len(bytes.TrimLeft(b, " \t\r\n")) == 0 {
		o.refuse(scoring.ReasonEmpty)
		return o
	}
	if !json.Valid(b) || bytes.TrimLeft(b, " \t\r\n")[0] != '{' {
		o.refuse(scoring.ReasonJSON)
		return o
	}
	o.object("", b, 1)
	switch o.texts[scoring.FieldKind] {
	case "":
		o.refuse(scoring.ReasonMissing)
	case "timer", "rollup":
		o.refuse(scoring.ReasonReserved)
	}
	return o
}

func (o *oracle) refuse(r scoring.Reason) { o.reasons[r] = true }

func (o *oracle) limit(n, most int) {
	if n > most {
		o.refuse(scoring.ReasonLimit)
	}
}

// say remembers a name and refuses it the second time.
func (o *oracle) say(name string) {
	if o.said[name] {
		o.refuse(scoring.ReasonDuplicate)
	}
	o.said[name] = true
}

// members cuts an object; repeated keys are refused.
func (o *oracle) members(raw []byte, each func(key string, value []byte)) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token()
	keys := map[string]bool{}
	for dec.More() {
		t, _ := dec.Token()
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			panic(err) // the text is valid JSON
		}
		key := t.(string)
		if keys[key] {
			o.refuse(scoring.ReasonDuplicate)
		}
		keys[key] = true
		each(key, value)
	}
}

func (o *oracle) object(path string, raw []byte, depth int) {
	o.limit(depth, scoring.MaxNesting)
	o.members(raw, func(key string, value []byte) {
		name := key
		if depth > 1 {
			name = path + "." + key
		}
		o.limit(len(name), scoring.MaxName)
		id, known := scoring.LookupField(name)
		if alias, ok := o.aliases[name]; ok && depth == 1 && value[0] != '{' {
			id, known = alias, true
		}
		switch {
		case string(value) == "null":
		case known:
			o.say("field " + scoring.Fields[id].Name)
			o.field(id, value, depth)
		case name == "time" && depth == 1:
			o.timestamp(value)
		case value[0] == '{':
			o.object(name, value, depth+1)
		default:
			o.attribute(name, value, depth)
		}
	})
}

func (o *oracle) attribute(name string, raw []byte, depth int) {
	o.say("attribute " + name)
	text := string([]rune(string(raw)))
	if raw[0] == '"' {
		text = unquote(raw)
		o.limit(len(text), scoring.MaxAttribute)
	} else {
		o.limit(len(raw), scoring.MaxAttribute)
		o.limit(len(text), scoring.MaxAttribute)
		o.nested(raw, depth)
	}
	o.attrs = append(o.attrs, scoring.Attribute{Key: name, Value: text})
	o.limit(len(o.attrs), scoring.MaxAttributes)
}

// nested refuses what stands too deep or is said twice within a value that is kept as JSON.
func (o *oracle) nested(raw []byte, depth int) {
	switch raw[0] {
	case '{':
		o.limit(depth+1, scoring.MaxNesting)
		o.members(raw, func(_ string, value []byte) { o.nested(value, depth+1) })
	case '[':
		o.limit(depth+1, scoring.MaxNesting)
		var values []json.RawMessage
		_ = json.Unmarshal(raw, &values)
		for _, v := range values {
			o.nested(v, depth+1)
		}
	}
}

func unquote(raw []byte) (s string) {
	if err := json.Unmarshal(raw, &s); err != nil {
		panic(err)
	}
	return s
}

func (o *oracle) field(id scoring.FieldID, raw []byte, depth int) {
	f, c := scoring.Fields[id], raw[0]
	switch {
	case id == scoring.FieldToolArgs:
		o.arguments(raw, depth)
	case f.Type == scoring.String && c == '"':
		o.texts[id] = unquote(raw)
		o.limit(len(o.texts[id]), int(f.Max))
	case (f.Type == scoring.Int || f.Type == scoring.Milli) && (c == '-' || c >= '0' && c <= '9'):
		o.number(id, string(raw))
	case f.Type == scoring.Bool && (c == 't' || c == 'f'):
		o.words[id] = c == 't'
	case f.Type == scoring.Strings && c == '[':
		var values []json.RawMessage
		_ = json.Unmarshal(raw, &values)
		o.lists[id] = []string{}
		o.limit(len(values), scoring.MaxList)
		for _, v := range values {
			if v[0] != '"' {
				o.refuse(scoring.ReasonType)
				o.nested(v, 1)
				continue
			}
			o.lists[id] = append(o.lists[id], unquote(v))
			o.limit(len(unquote(v)), int(f.Max))
		}
	default:
		o.refuse(scoring.ReasonType)
		o.nested(raw, depth)
	}
}

func (o *oracle) arguments(raw []byte, depth int) {
	o.limit(len(raw), scoring.MaxArgs)
	text := string([]rune(string(raw)))
	switch raw[0] {
	case '{', '[':
		o.nested(raw, depth)
	case '"':
		held := unquote(raw)
		trimmed := strings.Trim(held, " \t\r\n")
		if trimmed != "" && (trimmed[0] == '{' || trimmed[0] == '[') {
			if json.Valid([]byte(held)) {
				o.nested([]byte(trimmed), depth)
				text = held
			} else {
				o.unsure = true // refused, or kept as text: it depends on what is seen first
			}
		}
	default:
		o.refuse(scoring.ReasonType)
	}
	o.texts[scoring.FieldToolArgs] = text
}

// number rounds halves away from zero, in exact arithmetic.
func (o *oracle) number(id scoring.FieldID, text string) {
	r := o.rat(text)
	if r == nil {
		return
	}
	f := scoring.Fields[id]
	if f.Type == scoring.Milli {
		r.Mul(r, big.NewRat(1000, 1))
	}
	if r.Cmp(new(big.Rat).SetInt64(f.Min)) < 0 || r.Cmp(new(big.Rat).SetInt64(f.Max)) > 0 || f.Type == scoring.Int && !r.IsInt() {
		o.refuse(scoring.ReasonRange)
		return
	}
	half := big.NewRat(int64(r.Sign()), 2)
	r.Add(r, half)
	o.numbers[id] = new(big.Int).Quo(r.Num(), r.Denom()).Int64()
}

func (o *oracle) rat(text string) *big.Rat {
	if _, exp, ok := strings.Cut(strings.ToLower(text), "e"); ok && len(exp) > 4 || len(text) > 400 {
		o.unsure = true
		return nil
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic(text)
	}
	return r
}

// rfc3339 is stricter than time.Parse, which takes 1:00:00, a comma before the fraction and offsets of a day.
var rfc3339 = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-9]{2})$`)

func (o *oracle) timestamp(raw []byte) {
	keep := func(ms int64, ok bool) {
		if ok && ms >= minTime && ms <= maxTime {
			o.time = &ms
		} else {
			o.attribute("time", raw, 1)
		}
	}
	switch c := raw[0]; {
	case c == '"':
		s := unquote(raw)
		if len(s) > 10 && (s[10] == 't' || s[10] == ' ') {
			s = s[:10] + "T" + s[11:]
		}
		s = strings.Replace(s, "z", "Z", 1)
		leap := len(s) > 19 && s[16:19] == ":60"
		if leap {
			s = s[:16] + ":59" + s[19:]
		}
		t, err := time.Parse(time.RFC3339, s)
		if leap {
			t = t.Add(time.Second)
		}
		keep(t.UnixMilli(), err == nil && rfc3339.MatchString(s))
	case c == '-' || c >= '0' && c <= '9':
		if r := o.rat(string(raw)); r != nil {
			keep(r.Num().Int64(), r.IsInt() && r.Num().IsInt64())
		}
	default:
		o.attribute("time", raw, 1)
	}
}

// differ compares an event with the oracle's; "" when they are the same.
func (o *oracle) differ(e *scoring.Event) string {
	for i, f := range scoring.Fields {
		id := scoring.FieldID(i)
		var got, want any
		switch f.Type {
		case scoring.String:
			got, want = e.Str(id), o.texts[id]
		case scoring.Int, scoring.Milli:
			if v, ok := o.numbers[id]; ok {
				got, want = e.Int(id), v
			}
		case scoring.Bool:
			if v, ok := o.words[id]; ok {
				got, want = e.Bool(id), v
			}
		case scoring.Strings:
			got, want = fmt.Sprintf("%q", e.List(id)), fmt.Sprintf("%q", o.lists[id])
		}
		if got != want {
			return fmt.Sprintf("%s is %q, want %q", f.Name, got, want)
		}
		if e.Has(id) != o.said["field "+f.Name] {
			return fmt.Sprintf("%s is there: %v", f.Name, e.Has(id))
		}
	}
	if got, want := fmt.Sprintf("%q", e.Attributes), fmt.Sprintf("%q", o.attrs); len(e.Attributes) != len(o.attrs) || got != want {
		return fmt.Sprintf("attributes are %s, want %s", got, want)
	}
	if missing := e.Flags&scoring.FlagTimeMissing != 0; missing != (o.time == nil) {
		return fmt.Sprintf("time is missing: %v", missing)
	}
	if o.time != nil && e.Time != *o.time {
		return fmt.Sprintf("time is %d, want %d", e.Time, *o.time)
	}
	return ""
}
