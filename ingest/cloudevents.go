package ingest

import (
	"encoding/base64"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// cloudEvents reads CloudEvents 1.0 whose data is our JSON: in structured mode (one JSON object a record), batched (a
// JSON array of them, one item each) or in binary mode (attributes in headers ce_*, data in the value). The header
// content-type tells which, then headers ce_*, then the first byte of the value.
//
// What data says of itself counts. Attributes fill what data leaves open:
//
//	id, source            id and source; where data has them too, both must be equal
//	type                  kind: the last part of the name that is no version; io.agentrisk.agent.tool_call.v1 is a tool_call
//	time                  time
//	subject               agent/<id> is agent.id, task/<id> is task.id
//	traceparent           trace.id
//	sequence              seq, where it is a number
//	correlationid, causationid  the fields of that name
//
// Other attributes and extensions, and those above that are not of that form, are kept as attributes named ce.<name>.
type cloudEvents struct {
	d     jsonDecoder
	said  uint32 // attributes that were said, bits by ceName
	value [numCE]string
	data  []byte // of data_base64
}

// ceName is an attribute of a CloudEvent that means something here.
type ceName uint8

const (
	ceSpecVersion ceName = iota
	ceID
	ceSource
	ceType
	ceContentType
	ceTime
	ceSubject
	ceTraceparent
	ceSequence
	ceCorrelation
	ceCausation
	numCE
	ceData // members that hold the data
	ceDataBase64
	ceExtension // anything else
)

var ceNames = map[string]ceName{
	"specversion": ceSpecVersion, "id": ceID, "source": ceSource, "type": ceType, "datacontenttype": ceContentType, "time": ceTime,
	"subject": ceSubject, "traceparent": ceTraceparent, "sequence": ceSequence, "correlationid": ceCorrelation, "causationid": ceCausation,
	"data": ceData, "data_base64": ceDataBase64,
}

func ceNameOf(s string) ceName {
	if n, ok := ceNames[s]; ok {
		return n
	}
	return ceExtension
}

// Decode implements [Format].
func (c *cloudEvents) Decode(rec *Record, e *scoring.Event, yield func(int32, *scoring.Reject)) {
	d := &c.d
	d.reset(rec.Value)
	c.begin(rec, e)
	var err error
	switch mode, detail := ceModeOf(rec); mode {
	case ceBatch:
		c.batch(rec, e, yield)
		return
	case ceBinary:
		err = c.binary(rec)
	case ceStructured:
		if d.space(); d.done() {
			err = reject(scoring.ReasonEmpty, "the record holds nothing")
			break
		}
		if err = c.structured(); err == nil {
			if d.space(); !d.done() {
				err = d.errorf("something follows the object")
			}
		}
	default:
		err = reject(scoring.ReasonEnvelope, "content-type %s: want application/cloudevents+json, application/cloudevents-batch+json, or headers ce_*", head(detail))
	}
	if err == nil {
		err = c.finish()
	}
	yield(0, asReject(err))
}

func (c *cloudEvents) begin(rec *Record, e *scoring.Event) {
	c.d.begin(rec, e)
	c.said, c.value = 0, [numCE]string{}
}

type ceMode uint8

const (
	ceStructured ceMode = iota
	ceBatch
	ceBinary
	ceUnknown
)

const cePrefix = "ce_"

// ceModeOf tells the mode; detail is the content type when it is none of ours.
func ceModeOf(rec *Record) (mode ceMode, detail string) {
	binary := false
	for i := range rec.Headers {
		h := &rec.Headers[i]
		if isContentType(h.Key) {
			switch media := mediaType(asString(h.Value)); {
			case strings.EqualFold(media, "application/cloudevents+json"):
				return ceStructured, ""
			case strings.EqualFold(media, "application/cloudevents-batch+json"):
				return ceBatch, ""
			case len(media) >= len(ceMedia) && strings.EqualFold(media[:len(ceMedia)], ceMedia):
				return ceUnknown, media
			}
		}
		binary = binary || strings.HasPrefix(h.Key, cePrefix)
	}
	if binary {
		return ceBinary, ""
	}
	for _, b := range rec.Value {
		switch b {
		case ' ', '\t', '\n', '\r':
			continue
		case '[':
			return ceBatch, ""
		}
		break
	}
	return ceStructured, ""
}

const ceMedia = "application/cloudevents"

func isContentType(key string) bool { return strings.EqualFold(key, "content-type") }

// mediaType cuts the parameters of a content type.
func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.TrimSpace(s)
}

// batch reads an array of events, an item each. It counts as a whole or not at all: what is no JSON has no items.
func (c *cloudEvents) batch(rec *Record, e *scoring.Event, yield func(int32, *scoring.Reject)) {
	d := &c.d
	err := d.check()
	if err != nil {
		yield(0, asReject(err))
		return
	}
	more, err := d.enter('[', "the batch")
	if err == nil && !more {
		err = reject(scoring.ReasonEmpty, "the batch holds nothing")
	}
	for item := int32(0); err == nil && more; item++ {
		if item == scoring.MaxItems {
			yield(item, tooManyItems())
			return
		}
		d.keys.reset()
		d.scope, d.bad = 0, false
		c.begin(rec, e)
		d.space()
		at := d.pos
		bad := c.structured()
		if bad == nil {
			bad = c.finish()
		}
		yield(item, asReject(bad))
		d.pos = at
		d.leap()
		more, err = d.more(']')
	}
	if err != nil {
		yield(0, asReject(err))
	}
}

func tooManyItems() *scoring.Reject {
	return &scoring.Reject{Reason: scoring.ReasonLimit, Detail: "the record holds more than 1000 items: those from here on are not read"}
}

// structured reads one event in JSON.
func (c *cloudEvents) structured() error {
	d := &c.d
	for more, err := d.enter('{', "the event"); ; more, err = d.more('}') {
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
		at := d.pos
		name, err := d.key()
		if err != nil {
			return err
		}
		d.at = at
		if err := c.member(asString(name)); err != nil {
			return err
		}
	}
}

func (c *cloudEvents) member(key string) error {
	d := &c.d
	name := ceNameOf(key)
	if name == ceExtension {
		if !d.keys.add(0, key) { // the data's own object is number 1
			return twice(key, d.at)
		}
		return c.extension(key)
	}
	bit := uint32(1) << name
	if c.said&bit != 0 {
		return twice(key, d.at)
	}
	c.said |= bit
	switch {
	case d.null():
		c.said &^= bit
		return nil
	case name == ceData:
		return c.object()
	case name == ceDataBase64:
		return c.base64()
	case d.peek() != '"':
		return reject(scoring.ReasonType, "attribute %s at byte %d: want a text", key, d.at)
	}
	text, err := d.text()
	c.value[name] = asString(text)
	return err
}

// object reads the data.
func (c *cloudEvents) object() error {
	d := &c.d
	if d.peek() != '{' {
		return reject(scoring.ReasonType, "data at byte %d: want an object, the event in agentrisk's JSON", d.pos)
	}
	d.scope = 0
	err := d.object(1)
	d.path = d.path[:0]
	return err
}

// base64 reads data that was written as base64 and holds our JSON.
func (c *cloudEvents) base64() error {
	d, at := &c.d, c.d.pos
	if d.peek() != '"' {
		return reject(scoring.ReasonType, "data_base64 at byte %d: want a text", at)
	}
	text, err := d.text()
	if err != nil {
		return err
	}
	c.data, err = base64.StdEncoding.AppendDecode(c.data[:0], text)
	if err != nil {
		return reject(scoring.ReasonEnvelope, "data_base64 at byte %d: %s", at, err)
	}
	outer, end := d.b, d.pos
	d.b, d.pos = c.data, 0
	if err = c.document(); err != nil {
		r := asReject(err)
		err = reject(r.Reason, "within data_base64 at byte %d: %s", at, r.Detail)
	}
	d.b, d.pos = outer, end
	return err
}

// document reads bytes that are the data and nothing else.
func (c *cloudEvents) document() error {
	d := &c.d
	d.space()
	if err := c.object(); err != nil {
		return err
	}
	if d.space(); !d.done() {
		return d.errorf("something follows the object")
	}
	return nil
}

// extension keeps a value under the name ce.<key>.
func (c *cloudEvents) extension(key string) error {
	d := &c.d
	if d.null() {
		return nil
	}
	if len(cePrefix)+len(key) > scoring.MaxName {
		return reject(scoring.ReasonLimit, "the name %s at byte %d has more than %d bytes", head(key), d.at, scoring.MaxName-len(cePrefix))
	}
	d.path = append(append(d.path[:0], "ce."...), key...)
	err := d.attribute(asString(d.path), 2)
	d.path = d.path[:0]
	return err
}

// binary reads attributes from headers and data from the value.
func (c *cloudEvents) binary(rec *Record) error {
	d := &c.d
	for i := range rec.Headers {
		h := &rec.Headers[i]
		key, ok := strings.CutPrefix(h.Key, cePrefix)
		if isContentType(h.Key) {
			key, ok = "datacontenttype", true
		}
		if !ok || h.Value == nil {
			continue // a header of somebody else, or none
		}
		name := ceNameOf(key)
		if name >= numCE {
			if !d.keys.add(0, key) {
				return reject(scoring.ReasonDuplicate, "the header %s is there twice", head(h.Key))
			}
			if err := c.keep(key, d.valid(h.Value)); err != nil {
				return err
			}
			continue
		}
		bit := uint32(1) << name
		if c.said&bit != 0 {
			return reject(scoring.ReasonDuplicate, "the header %s is there twice", head(h.Key))
		}
		c.said |= bit
		c.value[name] = d.valid(h.Value)
	}
	if d.space(); d.done() {
		return nil // an event may be nothing but its attributes
	}
	d.pos = 0
	if c.value[ceContentType] != "" && !isJSON(c.value[ceContentType]) {
		return nil // finish says so
	}
	return c.document()
}

// keep makes an attribute ce.<key> of a text.
func (c *cloudEvents) keep(key, value string) error {
	d := &c.d
	from := len(d.kept)
	d.kept = append(append(d.kept, "ce."...), key...)
	name := asString(d.kept[from:len(d.kept):len(d.kept)])
	switch {
	case len(name) > scoring.MaxName:
		return reject(scoring.ReasonLimit, "the attribute %s has a name of more than %d bytes", head(key), scoring.MaxName)
	case !d.keys.add(topScope, name):
		return reject(scoring.ReasonDuplicate, "%s is said twice", head(name))
	case len(value) > scoring.MaxAttribute:
		return reject(scoring.ReasonLimit, "%s has %d bytes, limit %d", head(name), len(value), scoring.MaxAttribute)
	case len(d.e.Attributes) == scoring.MaxAttributes:
		return reject(scoring.ReasonLimit, "%s: more than %d fields that are not known", head(name), scoring.MaxAttributes)
	}
	d.e.Attributes = append(d.e.Attributes, scoring.Attribute{Key: name, Value: value})
	return nil
}

func isJSON(contentType string) bool {
	media := mediaType(contentType)
	return strings.EqualFold(media, "application/json") || strings.EqualFold(media, "text/json") ||
		len(media) > 5 && strings.EqualFold(media[len(media)-5:], "+json")
}

// finish checks the attributes and fills what data left open.
func (c *cloudEvents) finish() error {
	v := &c.value
	switch {
	case v[ceSpecVersion] == "":
		return reject(scoring.ReasonMissing, "specversion is missing: this is no CloudEvent; for events without an envelope the binding's format is json")
	case v[ceSpecVersion] != "1.0":
		return reject(scoring.ReasonEnvelope, "specversion %s: want 1.0", head(v[ceSpecVersion]))
	case v[ceID] == "":
		return reject(scoring.ReasonMissing, "the attribute id is missing")
	case v[ceSource] == "":
		return reject(scoring.ReasonMissing, "the attribute source is missing")
	case v[ceType] == "":
		return reject(scoring.ReasonMissing, "the attribute type is missing")
	case v[ceContentType] != "" && !isJSON(v[ceContentType]):
		return reject(scoring.ReasonEnvelope, "datacontenttype %s: want application/json, the event in agentrisk's JSON", head(v[ceContentType]))
	case c.said&(1<<ceData) != 0 && c.said&(1<<ceDataBase64) != 0:
		return reject(scoring.ReasonEnvelope, "data and data_base64 are both there: want one")
	}
	for name := ceName(0); name < numCE; name++ {
		if v[name] == "" {
			continue
		}
		if err := c.fill(name, v[name]); err != nil {
			return err
		}
	}
	return c.d.finish()
}

// fill makes a field of an attribute.
func (c *cloudEvents) fill(name ceName, v string) error {
	d := &c.d
	switch name {
	case ceID:
		return c.same(scoring.FieldEventID, "id", v)
	case ceSource:
		return c.same(scoring.FieldSource, "source", v)
	case ceType:
		if kind := kindOf(v); kind != "" {
			return c.text(scoring.FieldKind, "type", kind)
		}
	case ceTime:
		if d.time {
			return nil
		}
		if ms, ok := parseTime([]byte(v)); ok {
			d.e.Time, d.time = ms, true
			return nil
		}
		return c.keep("time", v)
	case ceSubject:
		if id, ok := strings.CutPrefix(v, "agent/"); ok && !d.e.Has(scoring.FieldAgent) {
			return c.text(scoring.FieldAgent, "subject", id)
		}
		if id, ok := strings.CutPrefix(v, "task/"); ok && !d.e.Has(scoring.FieldTask) {
			return c.text(scoring.FieldTask, "subject", id)
		}
		return c.keep("subject", v)
	case ceTraceparent:
		if id := traceOf(v); id != "" {
			return c.text(scoring.FieldTrace, "traceparent", id)
		}
		return c.keep("traceparent", v)
	case ceSequence:
		if n, ok := digits([]byte(v), 0, 1<<62); ok && len(v) <= 18 {
			if !d.e.Has(scoring.FieldSeq) {
				d.e.SetInt(scoring.FieldSeq, n)
			}
			return nil
		}
		return c.keep("sequence", v)
	case ceCorrelation:
		return c.text(scoring.FieldCorrelation, "correlationid", v)
	case ceCausation:
		return c.text(scoring.FieldCausation, "causationid", v)
	}
	return nil
}

// same sets a field that data may say too, if in the same words.
func (c *cloudEvents) same(id scoring.FieldID, attribute, v string) error {
	if e := c.d.e; e.Has(id) && e.Str(id) != v {
		return reject(scoring.ReasonDuplicate, "%s is %s in the envelope and %s in data: want one, or the same", attribute, head(v), head(e.Str(id)))
	}
	return c.text(id, attribute, v)
}

// text sets a field that data left open.
func (c *cloudEvents) text(id scoring.FieldID, attribute, v string) error {
	f := &scoring.Fields[id]
	switch {
	case c.d.e.Has(id):
		return nil
	case int64(len(v)) > f.Max:
		return reject(scoring.ReasonLimit, "%s from the attribute %s has %d bytes, limit %d", f.Name, attribute, len(v), f.Max)
	}
	c.d.e.SetStr(id, v)
	return nil
}

// kindOf is the kind in a reverse-DNS type: its last part that is no version (v1, 1, v2beta1).
func kindOf(ceType string) string {
	for s := ceType; s != ""; {
		i := strings.LastIndexByte(s, '.')
		part := s[i+1:]
		if part != "" && !isVersion(part) {
			return part
		}
		s = s[:max(i, 0)]
	}
	return ""
}

func isVersion(s string) bool {
	if s[0] == 'v' {
		s = s[1:]
	}
	return s != "" && digit(s[0])
}

// traceOf is the trace id of a W3C traceparent, "" when it is none.
func traceOf(s string) string {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return ""
	}
	id := s[3:35]
	if !isHex(id) || strings.Count(id, "0") == len(id) {
		return ""
	}
	return id
}

// isHex reports whether s is nothing but small hexadecimal digits.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; !digit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
