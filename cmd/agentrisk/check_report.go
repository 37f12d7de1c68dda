package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/compose"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

// newFeedReport says what an inspection means for the provider.
func newFeedReport(feed string, b ingest.Binding, pack *rules.Pack, seen *ingest.Inspection) *feedReport {
	r := &feedReport{Feed: feed, Format: b.Format, KeyedBy: b.KeyedBy, Pack: pack.Name, PackDigest: pack.Digest, Inspection: seen,
		Problems: []remark{}, Advice: []remark{}, Missing: []missingField{}}
	present := seen.Present()
	present.Derive() // what these records do not happen to imply, others may
	r.Rules = pack.Coverage(rules.Feed{KeyedBy: b.Keyed(), Fields: &present, Kinds: seen.KindsSeen()})
	for _, c := range r.Rules {
		if c.State == rules.CoveredYes {
			r.CanFire++
		}
	}
	if seen.Records == 0 {
		r.problem("feed", 0, "", "there is nothing to look at", "publish a few events and check again; `agentrisk schema event` says what they may say")
	}
	for _, d := range seen.DeadLetters {
		r.problem("dead letters: "+string(d.Reason), d.Count, d.First, d.Detail, scoring.ReasonDocs[d.Reason])
	}
	r.keys(b, pack)
	r.odd(b)
	for _, name := range slices.Sorted(maps.Keys(seen.Spellings)) {
		r.problem("spelling", seen.Attributes[name], "", fmt.Sprintf("%q is no field: it is kept as an attribute, and no rule reads it", name), "send it as "+seen.Spellings[name])
	}
	if seen.Events > 0 {
		r.missing(pack, present)
	}
	r.sample(b, pack, seen)
	return r
}

// keys holds the records' keys against the promise of the binding.
func (r *feedReport) keys(b ingest.Binding, pack *rules.Pack) {
	k, n := r.Keys, r.Records
	keyedLike := func(count int64) bool { return n > 0 && count*10 >= n*9 }
	agents, sessions := r.Odd[ingest.OddAgentSplit], r.Odd[ingest.OddSessionSplit]
	byKey := func(keyed scoring.KeyedBy) (judged int) {
		for _, c := range pack.Coverage(rules.Feed{KeyedBy: keyed}) {
			if c.State == rules.CoveredYes {
				judged++
			}
		}
		return judged
	}
	switch b.Keyed() {
	case scoring.KeyedByAgent:
		if agents.Count == 0 {
			return
		}
		what := fmt.Sprintf("%d of %d agents have events in more than one partition: %s", agents.Count, k.Agents, agents.What)
		switch {
		case keyedLike(k.None):
			what += "; the records have no key"
		case keyedLike(k.Session), keyedLike(k.Trace):
			what += "; the keys are sessions or traces"
		}
		do := fmt.Sprintf("key each record by tenant/agent, or say keyed_by: session (%d of %d rules are judged then) or none (%d)", byKey(scoring.KeyedBySession), len(pack.Rules), byKey(scoring.KeyedByNone))
		r.problem("key", agents.Count, agents.First, what, do)
	case scoring.KeyedBySession:
		if sessions.Count > 0 {
			r.problem("key", sessions.Count, sessions.First, fmt.Sprintf("%d of %d sessions have events in more than one partition: %s", sessions.Count, k.Sessions, sessions.What),
				fmt.Sprintf("key each record by its conversation or trace, or say keyed_by: none (%d of %d rules are judged then)", byKey(scoring.KeyedByNone), len(pack.Rules)))
			return
		}
		fallthrough
	case scoring.KeyedByNone:
		if r.Partitions > 1 && k.Agents > 2*r.Partitions && agents.Count == 0 {
			r.advise("key", fmt.Sprintf("each of %d agents stands in one partition: the feed seems to be keyed by agent", k.Agents),
				fmt.Sprintf("if that is a promise, say keyed_by: agent: %d of %d rules are judged then", byKey(scoring.KeyedByAgent), len(pack.Rules)))
		}
	}
}

// odd says what is wrong with times and ids.
func (r *feedReport) odd(b ingest.Binding) {
	stateful := b.Keyed() != scoring.KeyedByNone
	for _, o := range []struct {
		name    string
		problem bool
		about   string
		do      string
	}{
		{ingest.OddTimeMissing, true, "time", "send time as RFC 3339 or unix milliseconds: without it state uses the time at which Kafka got the record"},
		{ingest.OddTimeClamped, true, "time", "send the time at which it happened: unix milliseconds and not seconds, and a clock that is right"},
		{ingest.OddTimeOld, false, "time", "events come more than an hour late: pages do, too"},
		{ingest.OddTimeAhead, false, "time", "the clock of the source runs ahead of the broker's"},
		{ingest.OddAgentMissing, stateful, "agent.id", "send the agent's stable id: without it there are no features, no sessions and no agent score"},
		{ingest.OddTenantMissing, false, "tenant.id", "send the customer's pseudonym: agents of different tenants with equal ids are one agent otherwise"},
		{ingest.OddSession, false, "conversation.id", "send the conversation or run: without it there are no features per session"},
		{ingest.OddIDMissing, false, "id", "send an id: a producer's retry counts twice otherwise"},
		{ingest.OddIDTwice, false, "id", "an id is unique for its agent; a retry of the producer repeats id and content and is recognised, other content under the same id is suspicious"},
	} {
		seen, ok := r.Odd[o.name]
		if !ok {
			continue
		}
		what := fmt.Sprintf("%d of %d events: %s", seen.Count, r.Events, seen.What)
		if o.problem {
			r.problem(o.about, seen.Count, seen.First, what, o.do)
			continue
		}
		r.Advice = append(r.Advice, remark{o.about, seen.Count, what, seen.First, o.do})
	}
}

// missing lists the fields that are never sent, by how many rules read them.
func (r *feedReport) missing(pack *rules.Pack, present scoring.FieldSet) {
	readers := map[scoring.FieldID][]string{}
	for i := range pack.Rules {
		for _, f := range pack.Reads(i) {
			if !present.Has(f) {
				readers[f] = append(readers[f], pack.Rules[i].ID)
			}
		}
	}
	for f, ids := range readers {
		r.Missing = append(r.Missing, missingField{scoring.Fields[f].Name, scoring.Fields[f].Doc, ids})
	}
	slices.SortFunc(r.Missing, func(a, b missingField) int {
		return cmp.Or(cmp.Compare(len(b.Rules), len(a.Rules)), strings.Compare(a.Field, b.Field))
	})
}

// sampleFields are in every sample.
var sampleFields = []scoring.FieldID{scoring.FieldEventID, scoring.FieldKind, scoring.FieldProvider, scoring.FieldTenant, scoring.FieldAgent, scoring.FieldSession}

// sample makes an event as it should look like: what the feed sends, and what its rules lack, with values of the feed
// or of the pack's tests. Content is left out.
func (r *feedReport) sample(b ingest.Binding, pack *rules.Pack, seen *ingest.Inspection) {
	var set scoring.FieldSet
	for _, f := range sampleFields {
		set.Add(f)
	}
	if b.Format == "cloudevents" { // whose envelope wants it
		set.Add(scoring.FieldSource)
	}
	for _, c := range r.Rules {
		for _, name := range c.Needs {
			if f, ok := scoring.LookupField(name); ok && !scoring.Fields[f].IsContent() {
				set.Add(f)
			}
		}
	}
	present := seen.Present()
	out := []byte("{\n  \"time\": \"2026-05-01T10:00:00.250+08:00\"")
	for i := range scoring.Fields {
		f := scoring.FieldID(i)
		value := seen.Example(f)
		if f == scoring.FieldKind && len(seen.Kinds) > 0 {
			value = seen.KindsSeen()[0]
		}
		if f == scoring.FieldIDReused || !set.Has(f) && (!present.Has(f) || value == nil) {
			continue
		}
		if value == nil || value == "" {
			value = pack.Example(scoring.Fields[f].Name)
		}
		if value == nil {
			value = anyValue(f)
		}
		text, err := json.Marshal(value)
		if err != nil {
			continue
		}
		out = append(fmt.Appendf(out, ",\n  %q: ", scoring.Fields[f].Name), text...)
	}
	r.Sample = inFormat(b.Format, append(out, "\n}"...))
}

// inFormat writes an event of our JSON as the binding's format has it; protobuf as the JSON that says the same. An event
// that cannot be written so stays as it is.
func inFormat(format string, sample []byte) []byte {
	if format == "otlp_proto" {
		format = "otlp_json"
	}
	form, err := compose.Find(format)
	if err != nil || format == "json" || format == "flat" {
		return sample
	}
	decoder, err := ingest.NewFormat("json")
	if err != nil {
		return sample
	}
	var e scoring.Event
	decoder.Decode(&ingest.Record{Value: sample}, &e, func(_ int32, reject *scoring.Reject) {
		if reject != nil {
			return
		}
		var pretty bytes.Buffer
		if rec, err := form.Write(&e); err == nil && json.Indent(&pretty, rec.Value, "", "  ") == nil {
			sample = pretty.Bytes()
		}
	})
	return sample
}

// anyValue is a value of the field's type.
func anyValue(f scoring.FieldID) any {
	if f == scoring.FieldSource {
		return "//provider.example/agents"
	}
	switch field := &scoring.Fields[f]; field.Type {
	case scoring.String:
		return "text"[:min(4, field.Max)]
	case scoring.Int:
		return max(1, field.Min)
	case scoring.Milli:
		return 0.5
	case scoring.Bool:
		return false
	}
	return []string{}
}

// write prints the report for people.
func (r *feedReport) write(w io.Writer) error {
	p := &printer{w: w}
	p.line("%s: format %s, keyed by %s, pack %s %.12s", r.Feed, r.Format, r.KeyedBy, r.Pack, r.PackDigest)
	where := ""
	if r.Partitions > 0 {
		where = fmt.Sprintf(" in %d partitions", r.Partitions)
	}
	p.line("%d records%s, %.1f MiB: %d events, %d dead letters", r.Records, where, float64(r.Bytes)/(1<<20), r.Events, r.dead())
	for i, k := range r.KindsSeen() {
		if i == 12 {
			p.line("  ... and %d kinds more", len(r.Kinds)-i)
			break
		}
		p.line("  %8d %s", r.Kinds[k], k)
	}
	p.remarks("To change", r.Problems)
	p.remarks("Advice", r.Advice)
	p.line("\nRules: %d of %d can fire; in these records %d did", r.CanFire, len(r.Rules), len(r.Hits))
	p.coverage(r.Rules)
	if len(r.Missing) > 0 {
		p.line("\nFields that are never sent and that rules read")
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for i, m := range r.Missing {
			if i == shownMissing {
				fmt.Fprintf(t, "  ... and %d more: --output json lists them\t\t\n", len(r.Missing)-i)
				break
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\n", m.Field, plural(len(m.Rules), "rule"), m.Doc)
		}
		_ = t.Flush() // the printer sees the same writer's error
	}
	as := ""
	if r.Format == "otlp_proto" {
		as = " (here as OTLP JSON)"
	}
	p.line("\nAn event could look like this%s\n%s", as, r.Sample)
	return p.err
}

// shownMissing is how many missing fields people are shown.
const shownMissing = 20

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (r *feedReport) dead() (n int64) {
	for _, d := range r.DeadLetters {
		n += d.Count
	}
	return n
}

// printer prints lines and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) remarks(title string, list []remark) {
	if len(list) == 0 {
		return
	}
	p.line("\n%s", title)
	for _, r := range list {
		if r.Count > 0 && !strings.HasPrefix(r.What, fmt.Sprint(r.Count)) {
			p.line("  %s: %d: %s", r.About, r.Count, r.What)
		} else {
			p.line("  %s: %s", r.About, r.What)
		}
		if r.First != "" {
			p.line("    first: %s", r.First)
		}
		p.line("    %s", r.Do)
	}
}

// coverage prints the rules that cannot fire, and why.
func (p *printer) coverage(list []rules.Coverage) {
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	for _, c := range list {
		if c.State != rules.CoveredYes {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", c.Rule, c.State, whyNot(c), c.Title.EN)
		}
	}
	if err := t.Flush(); p.err == nil {
		p.err = err
	}
}

// whyNot says what keeps a rule from firing.
func whyNot(c rules.Coverage) string {
	switch c.State {
	case rules.CoveredNotByKey:
		return "the key does not carry " + strings.Join(c.Features, ", ")
	case rules.CoveredNotByFields:
		return "needs " + strings.Join(c.Needs, ", ")
	case rules.CoveredNotByKinds:
		return "no event of kind " + strings.Join(c.Kinds, ", ")
	}
	return ""
}
