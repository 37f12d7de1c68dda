package ingest

import (
	"strconv"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// otlpPick is what the attributes of a span or log record come to.
type otlpPick struct {
	kind    string
	op      string                         // the operation that gave the kind
	best    [len(scoring.Fields)]*otlpAttr // what fills each field
	score   [len(scoring.Fields)]uint8     // level and rank of it; the lowest wins
	fields  []scoring.FieldID              // that are filled
	slots   [numUses]*otlpAttr             // the same for what is no field
	order   [numUses]uint8
	rest    []*otlpAttr // what stays an attribute
	depends []pending   // what depends on the kind
	prompt  numbered    // gen_ai.prompt.<n>.content of the older form
	answer  numbered
}

type pending struct {
	attr  *otlpAttr
	level int
}

// numbered is the last of the messages that stand in one attribute each, as gen_ai.prompt.3.content does.
type numbered struct {
	n             int
	role, content *otlpValue
}

// items makes the events of the span or log record that was read.
func (o *otlp) items() {
	for i := levelResource; i >= levelOwn; i-- {
		if err := o.level[i].err; err != nil {
			o.send(err)
			return
		}
	}
	l, p := &o.leaf, &o.pick
	if l.log {
		if l.start == 0 {
			l.start = l.end
		}
		l.end = l.start
	}
	if err := o.resolve(); err != nil {
		o.send(err)
		return
	}
	switch p.kind {
	case kindModel:
		o.said(kindSystem, l.start, "/system", p.slots[useSystem], false)
		o.said(kindUser, l.start, "/user", p.slots[useInput], false)
		o.main()
		o.said(kindAgent, l.end, "/agent", p.slots[useOutput], true)
	case kindTool:
		o.main()
		if r := p.slots[useResult]; r != nil && !l.log {
			o.derived(kindResult, l.end, "/result", o.whole(&r.value))
		}
	case kindBegin:
		o.main()
		if p.op != "" && !l.log && l.end != 0 {
			o.derived(kindEnd, l.end, "/end", o.heard(p.slots[useOutput], true))
		}
	default:
		o.main()
	}
	for i := range l.events {
		o.event(i)
	}
}

// resolve chooses what fills each field.
func (o *otlp) resolve() error {
	p := &o.pick
	for _, id := range p.fields {
		p.best[id] = nil
	}
	*p = otlpPick{best: p.best, score: p.score, fields: p.fields[:0], rest: p.rest[:0], depends: p.depends[:0], prompt: numbered{n: -1}, answer: numbered{n: -1}}
	o.d.keys.reset()
	for level := range o.level {
		attrs := o.level[level].attrs
		for i := range attrs {
			if err := o.attr(&attrs[i], level); err != nil {
				return about(attrs[i].key, err)
			}
		}
	}
	o.decideKind()
	for _, w := range p.depends {
		if err := o.depending(w.attr, w.level); err != nil {
			return about(w.attr.key, err)
		}
	}
	return nil
}

// attr places one attribute.
func (o *otlp) attr(a *otlpAttr, level int) error {
	p, n := &o.pick, a.name
	switch {
	case n == nil:
		if strings.HasPrefix(a.key, "gen_ai.prompt.") && p.prompt.take(a, "gen_ai.prompt.") ||
			strings.HasPrefix(a.key, "gen_ai.completion.") && p.answer.take(a, "gen_ai.completion.") {
			return nil
		}
		return o.stays(a, level)
	case n.use != useField:
		if n.use != useDropped {
			score := uint8(level)<<4 | n.rank
			switch old := p.slots[n.use]; {
			case old == nil || score < p.order[n.use]:
				p.slots[n.use], p.order[n.use] = a, score
			case score == p.order[n.use]:
				return reject(scoring.ReasonDuplicate, "it is said twice")
			}
		}
	case n.when != always:
		p.depends = append(p.depends, pending{a, level})
		return nil
	default:
		if err := o.fills(a, n.field, level, n.rank); err != nil {
			return err
		}
	}
	if n.kept {
		return o.stays(a, level)
	}
	return nil
}

// depending places an attribute whose meaning depends on the kind.
func (o *otlp) depending(a *otlpAttr, level int) error {
	switch n := a.name; {
	case n.when.applies(o.pick.kind):
		return o.fills(a, n.field, level, n.rank)
	case n.other != 0:
		return o.fills(a, n.other, level, n.rank)
	case n.when == forModels:
		return nil // the sum of what the calls beneath say themselves
	}
	return o.stays(a, level)
}

// fills makes an attribute the one that fills a field, unless a better one does.
func (o *otlp) fills(a *otlpAttr, id scoring.FieldID, level int, rank uint8) error {
	p, score := &o.pick, uint8(level)<<4|rank
	switch old := p.best[id]; {
	case old == nil:
		p.fields = append(p.fields, id)
	case score == p.score[id]:
		return reject(scoring.ReasonDuplicate, "it is said twice")
	case score > p.score[id]:
		return nil
	}
	p.best[id], p.score[id] = a, score
	return nil
}

// stays keeps an attribute, unless a level nearer to the event has one of that name.
func (o *otlp) stays(a *otlpAttr, level int) error {
	if !o.d.keys.add(uint32(level), a.key) {
		return reject(scoring.ReasonDuplicate, "it is said twice")
	}
	if o.d.keys.add(numLevels, a.key) {
		o.pick.rest = append(o.pick.rest, a)
	}
	return nil
}

// take remembers the last message of the older form, and reports whether the attribute is part of one.
func (n *numbered) take(a *otlpAttr, prefix string) bool {
	number, part, ok := strings.Cut(a.key[len(prefix):], ".")
	i, err := strconv.Atoi(number)
	if !ok || err != nil {
		return false
	}
	if i > n.n {
		*n = numbered{n: i}
	}
	if i == n.n {
		switch part {
		case "role":
			n.role = &a.value
		case "content":
			n.content = &a.value
		}
	}
	return true
}

// decideKind tells what happened: by our own name, the operation, the method, the name of the event, or what the
// attributes are about.
func (o *otlp) decideKind() {
	p, l := &o.pick, &o.leaf
	if a := p.best[scoring.FieldKind]; a != nil {
		p.kind = a.value.text // a value of another type is refused when the field is set
		return
	}
	if s := slotText(p.slots[useOperation]); s != "" {
		p.kind, p.op = known(s), s
		return
	}
	if s := slotText(p.slots[useMethod]); s != "" {
		p.kind = known(s)
		return
	}
	name := ""
	if l.log {
		if name = l.name; name == "" {
			name = slotText(p.slots[useEvent])
		}
	}
	switch {
	case name != "":
		p.kind = known(name)
	case p.best[scoring.FieldToolName] != nil:
		p.kind = kindTool
	case p.best[scoring.FieldLLMProvider] != nil, p.best[scoring.FieldModelRequested] != nil, p.best[scoring.FieldModelServed] != nil:
		p.kind = kindModel
	case l.log:
		p.kind = kindLog
	default:
		p.kind = kindSpan
	}
}

func known(s string) string {
	if kind, ok := otlpKinds[s]; ok {
		return kind
	}
	return s
}

func slotText(a *otlpAttr) string {
	if a == nil || a.value.kind != valueText {
		return ""
	}
	return a.value.text
}

// main sends the event that the span or log record itself is.
func (o *otlp) main() { o.send(o.fill()) }

func (o *otlp) fill() error {
	p, l := &o.pick, &o.leaf
	if err := o.start(p.kind, l.start, ""); err != nil {
		return err
	}
	for _, id := range p.fields {
		if id != scoring.FieldKind {
			if err := o.set(id, &p.best[id].value); err != nil {
				return about(p.best[id].key, err)
			}
		} else if p.best[id].value.kind != valueText {
			return about(p.best[id].key, reject(scoring.ReasonType, "want a text"))
		}
	}
	if err := o.lacking(p.kind); err != nil {
		return err
	}
	if err := o.content(p.kind); err != nil {
		return err
	}
	for _, a := range p.rest {
		if err := o.keep(a.key, &a.value); err != nil {
			return about(a.key, err)
		}
	}
	for _, a := range [...]struct{ key, value string }{{"otel.status_description", l.status}, {"severity_text", l.severity}} {
		if a.value != "" {
			v := textValue(a.value)
			if err := o.keep(a.key, &v); err != nil {
				return about(a.key, err)
			}
		}
	}
	if p.kind == kindSpan && l.name != "" {
		v := textValue(l.name)
		if err := o.keep("span.name", &v); err != nil {
			return about("span.name", err)
		}
	}
	return o.d.finish()
}

// start begins an event: kind, time and id.
func (o *otlp) start(kind string, ns uint64, suffix string) error {
	d, e := &o.d, o.e
	d.begin(o.rec, e)
	d.bad = o.level[levelOwn].bad || o.level[levelScope].bad || o.level[levelResource].bad
	kindOf := textValue(kind)
	if err := o.set(scoring.FieldKind, &kindOf); err != nil {
		return about("kind", err)
	}
	if ms := ns / 1e6; ns != 0 && ms <= maxTime {
		e.Time, d.time = int64(ms), true
	} else if ns != 0 {
		from := len(o.arena)
		o.arena = strconv.AppendUint(o.arena, ns, 10)
		v := textValue(o.cut(from))
		if err := o.keep("time", &v); err != nil {
			return err
		}
	}
	if suffix == "" {
		return nil
	}
	base := o.leaf.span
	if a := o.pick.best[scoring.FieldEventID]; a != nil && a.value.kind == valueText {
		base = a.value.text
	}
	if base == "" {
		return nil
	}
	from := len(o.arena)
	o.arena = append(append(o.arena, base...), suffix...)
	v := textValue(o.cut(from))
	return about("id", o.set(scoring.FieldEventID, &v))
}

// lacking fills what no attribute filled from what the span or log record says itself.
func (o *otlp) lacking(kind string) error {
	e, l := o.e, &o.leaf
	text := func(id scoring.FieldID, s string) {
		if s != "" && !e.Has(id) {
			e.SetStr(id, s)
		}
	}
	text(scoring.FieldTrace, l.trace)
	text(scoring.FieldSession, l.trace)
	if !l.log {
		text(scoring.FieldEventID, l.span)
		text(scoring.FieldCausation, l.parent)
	} else {
		text(scoring.FieldCausation, l.span)
	}
	if !e.Has(scoring.FieldAgent) {
		for _, s := range standIns {
			if a := o.find(s.key); a != nil && a.value.kind == valueText && a.value.text != "" {
				if err := o.set(s.field, &a.value); err != nil {
					return about(s.key, err)
				}
				break
			}
		}
	}
	if op := o.pick.op; strings.HasSuffix(op, "_memory") || strings.HasSuffix(op, "_memory_store") {
		name, _, _ := strings.Cut(op, "_")
		text(scoring.FieldMemOp, name)
	}
	if l.log {
		return nil
	}
	outcome := "ok"
	if l.failed {
		outcome = "error"
	}
	switch kind {
	case kindTool:
		text(scoring.FieldToolStatus, outcome)
	case kindResult:
		text(scoring.FieldToolStatus, outcome)
		text(scoring.FieldOutcome, outcome)
	}
	return nil
}

// find is the attribute of a name at the nearest level.
func (o *otlp) find(key string) *otlpAttr {
	for level := range o.level {
		attrs := o.level[level].attrs
		for i := range attrs {
			if attrs[i].key == key {
				return &attrs[i]
			}
		}
	}
	return nil
}

// content fills what was said, where the span or log record is itself about that.
func (o *otlp) content(kind string) error {
	p, l := &o.pick, &o.leaf
	if o.e.Has(scoring.FieldContent) {
		return nil
	}
	var text string
	switch {
	case kind == kindModel, kind == kindTool: // events of their own tell
	case l.body.kind != valueNone && (kind == kindSystem || kind == kindUser || kind == kindAgent || kind == kindResult):
		var m message
		text = o.gather(&l.body, true, &m)
		if m.id != "" && !o.e.Has(scoring.FieldToolCall) && kind == kindResult {
			v := textValue(m.id)
			if err := o.set(scoring.FieldToolCall, &v); err != nil {
				return about("id", err)
			}
		}
	case l.body.kind == valueText:
		text = l.body.text
	case l.body.kind != valueNone:
		text = o.json(&l.body)
	case kind == kindSystem:
		text = o.heard(p.slots[useSystem], true)
	case kind == kindUser, kind == kindBegin:
		text = o.heard(p.slots[useInput], false)
	case kind == kindAgent, kind == kindEnd:
		text = o.heard(p.slots[useOutput], true)
	case kind == kindResult:
		if a := p.slots[useResult]; a != nil {
			text = o.whole(&a.value)
		}
	}
	return o.setContent(text)
}

func (o *otlp) setContent(text string) error {
	if text == "" {
		return nil
	}
	v := textValue(text)
	return about("content", o.set(scoring.FieldContent, &v))
}

// heard is the text of messages in an attribute.
func (o *otlp) heard(a *otlpAttr, all bool) string {
	if a == nil {
		return ""
	}
	var m message
	return o.gather(&a.value, all, &m)
}

// whole is a value as a text: as it is, or as JSON.
func (o *otlp) whole(v *otlpValue) string {
	if v.kind == valueText {
		return v.text
	}
	return o.json(v)
}

// said sends what was said to or by a model, if anything was: all messages, or the last one if it is the user's.
func (o *otlp) said(kind string, ns uint64, suffix string, a *otlpAttr, all bool) {
	var text string
	var m message
	old := &o.pick.prompt
	if kind == kindAgent {
		old = &o.pick.answer
	}
	switch {
	case a != nil:
		text = o.gather(&a.value, all || kind == kindSystem, &m)
	case kind != kindSystem && old.content != nil:
		text = o.gather(old.content, true, &m)
		if old.role != nil {
			m.role = old.role.text
		}
	}
	if text == "" || kind == kindUser && m.role != "" && m.role != "user" {
		return
	}
	o.derived(kind, ns, suffix, text)
}

// derived sends an event that the span tells of beside itself. It carries who and where, and what was said.
func (o *otlp) derived(kind string, ns uint64, suffix, text string) {
	o.send(o.fillDerived(kind, ns, suffix, text, nil))
}

func (o *otlp) fillDerived(kind string, ns uint64, suffix, text string, call *otlpValue) error {
	if err := o.start(kind, ns, suffix); err != nil {
		return err
	}
	p := &o.pick
	for _, id := range p.fields {
		if shared(id) {
			if err := o.set(id, &p.best[id].value); err != nil {
				return about(p.best[id].key, err)
			}
		}
	}
	if call != nil && call.kind == valueText {
		if err := o.set(scoring.FieldToolCall, call); err != nil {
			return about("id", err)
		}
	}
	if err := o.lacking(kind); err != nil {
		return err
	}
	if err := o.setContent(text); err != nil {
		return err
	}
	return o.d.finish()
}

// shared reports whether a field is about who and where: amounts and arguments belong to one event alone.
func shared(id scoring.FieldID) bool {
	switch id {
	case scoring.FieldEventID, scoring.FieldKind:
		return false
	case scoring.FieldToolName, scoring.FieldToolKind, scoring.FieldToolCall, scoring.FieldToolServer, scoring.FieldToolErrorType,
		scoring.FieldLLMProvider, scoring.FieldModelRequested, scoring.FieldModelServed, scoring.FieldTenantCII, scoring.FieldRegistered:
		return true
	}
	return id <= scoring.FieldTask
}

// event sends an event of a span that tells what was said, as older instrumentations write it; others are not about what
// agents do.
func (o *otlp) event(i int) {
	ev := &o.leaf.events[i]
	kind, ok := otlpKinds[ev.name]
	if !ok || !strings.HasPrefix(ev.name, "gen_ai.") {
		return
	}
	var text string
	var call *otlpValue
	attrs := o.leaf.eventAttrs[ev.from:ev.to]
	for i := range attrs {
		switch v := &attrs[i].value; attrs[i].key {
		case "content", "message", "gen_ai.event.content", "gen_ai.prompt", "gen_ai.completion", "gen_ai.input.messages", "gen_ai.output.messages":
			if text == "" {
				var m message
				text = o.gather(v, kind != kindUser, &m)
			}
		case "id":
			call = v
		}
	}
	if kind != kindResult {
		call = nil
	}
	from := len(o.arena)
	o.arena = strconv.AppendInt(append(o.arena, "/event/"...), int64(i), 10)
	o.send(o.fillDerived(kind, ev.time, o.cut(from), text, call))
}
