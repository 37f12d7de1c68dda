package ingest

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Inspector looks at a feed as a lane would, and counts what its provider should know: what became a dead letter,
// which fields are sent, how records are keyed, what is odd about times and ids. It stores nothing and commits nothing.
type Inspector struct {
	seen Inspection

	pack    *scoring.Pack
	binding Binding
	topic   string
	judges  map[int32]*Judge // state is a lane's own
	rec     *Record
	items   int // of the record

	seed     maphash.Seed
	fields   [len(scoring.Fields)]int64
	agents   map[uint64]int32 // where an agent was first seen; splitAgent once it was seen elsewhere
	sessions map[uint64]int32
	ids      map[uint64]struct{}
	rejects  map[scoring.Reason]*RejectCount
}

// Bounds of what an Inspector remembers: beyond them it counts no new names.
const (
	maxInspected = 1 << 20
	maxNamesSeen = 1000
	// inspectedState is the memory of all partitions' state together: what is evicted only costs hits.
	inspectedState = 256 << 20
	split          = -1
)

// Inspection is what an Inspector saw.
type Inspection struct {
	Records     int64                   `json:"records"`
	Bytes       int64                   `json:"bytes"`  // of values
	Events      int64                   `json:"events"` // items that are events
	Partitions  int                     `json:"partitions,omitempty"`
	Control     int64                   `json:"control,omitempty"`
	Aborted     int64                   `json:"aborted,omitempty"`
	DeadLetters []RejectCount           `json:"dead_letters,omitempty"`
	Kinds       map[string]int64        `json:"kinds"`
	Fields      map[string]int64        `json:"fields"`     // events that send them, or from which they were derived
	Attributes  map[string]int64        `json:"attributes"` // names that the table of fields does not know
	Flags       map[string]int64        `json:"flags,omitempty"`
	Hits        map[string]int64        `json:"hits,omitempty"` // by rule, judged from a cold start
	Keys        KeyUse                  `json:"keys"`
	Odd         map[string]OddCount     `json:"odd,omitempty"` // by Odd... name
	Spellings   map[string]string       `json:"spellings,omitempty"`
	present     scoring.FieldSet        // in at least one event
	examples    map[scoring.FieldID]any // a short value of each, as sent
}

// RejectCount counts dead letters of one reason.
type RejectCount struct {
	Reason scoring.Reason `json:"reason"`
	Count  int64          `json:"count"`
	First  string         `json:"first"` // origin
	Detail string         `json:"detail"`
}

// OddCount counts what is unusual, and where it was first.
type OddCount struct {
	Count int64  `json:"count"`
	First string `json:"first"`
	What  string `json:"what"`
}

// Names of what an Inspection counts as odd.
const (
	OddTimeMissing   = "time_missing"
	OddTimeClamped   = "time_absurd"
	OddTimeOld       = "time_old"    // more than an hour before Kafka's
	OddTimeAhead     = "time_ahead"  // more than a minute after Kafka's
	OddIDMissing     = "id_missing"  // no id: a producer's retry counts twice
	OddIDTwice       = "id_twice"    // the same agent sent it before
	OddAgentMissing  = "no_agent"    // no state without
	OddSession       = "no_session"  // no features per session without
	OddTenantMissing = "no_tenant"   // agents of all tenants in one name space
	OddAgentSplit    = "agent_split" // an agent in more than one partition
	OddSessionSplit  = "session_split"
)

// KeyUse counts what the keys of records are.
type KeyUse struct {
	TenantAgent int64 `json:"tenant_agent"` // tenant/agent
	Agent       int64 `json:"agent"`
	Session     int64 `json:"session"`
	Trace       int64 `json:"trace"`
	Other       int64 `json:"other"`
	None        int64 `json:"none"`
	Agents      int   `json:"agents"`   // distinct
	Sessions    int   `json:"sessions"` // distinct
}

// NewInspector returns an inspector for records of a binding, judged by the pack.
func NewInspector(pack *scoring.Pack, b Binding, topic string) (*Inspector, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	i := &Inspector{pack: pack, binding: b, topic: topic, judges: map[int32]*Judge{}, seed: maphash.MakeSeed(),
		agents: map[uint64]int32{}, sessions: map[uint64]int32{}, ids: map[uint64]struct{}{}, rejects: map[scoring.Reason]*RejectCount{}}
	i.seen = Inspection{Kinds: map[string]int64{}, Fields: map[string]int64{}, Attributes: map[string]int64{}, Flags: map[string]int64{},
		Hits: map[string]int64{}, Odd: map[string]OddCount{}, examples: map[scoring.FieldID]any{}}
	return i, nil
}

// Topic reads the newest records of a topic, n of all partitions together, as far as they are stable now. progress is
// told the offsets done and to do.
func (i *Inspector) Topic(ctx context.Context, log Log, partitions int, n int64, progress func(done, total int64)) error {
	type part struct{ from, to int64 }
	var parts []part
	var done, total int64
	for p := range partitions {
		first, next, err := log.Bounds(ctx, i.topic, int32(p))
		if err != nil {
			return err
		}
		from := max(first, next-max(1, n/int64(partitions)))
		parts, total = append(parts, part{from, next}), total+next-from
	}
	i.seen.Partitions = partitions
	for p, at := range parts {
		scan := &logScan{log: log, topic: i.topic, partition: int32(p)}
		err := scan.each(ctx, at.from, at.to, func(e *Entry, from, to int64) {
			if e != nil {
				i.entry(e, int32(p))
			}
			if done += to - from; progress != nil {
				progress(done, total)
			}
		})
		scan.close()
		if err != nil {
			return fmt.Errorf("%s/%d: %w", i.topic, p, err)
		}
	}
	return nil
}

func (i *Inspector) entry(e *Entry, partition int32) {
	switch e.Kind {
	case EntryControl:
		i.seen.Control++
	case EntryAborted:
		i.seen.Aborted++
	case EntryCorrupt:
		i.Dead(&scoring.DeadLetter{Origin: scoring.Origin{Topic: i.topic, Partition: partition, Offset: e.First}, Reason: scoring.ReasonCorrupt, Detail: e.Err.Error()})
		i.rejects[scoring.ReasonCorrupt].Count += e.Last - e.First
	case EntryRecord:
		_ = i.Record(&e.Record) // the format was checked with the binding
	}
}

// Record looks at one record.
func (i *Inspector) Record(rec *Record) error {
	j := i.judges[rec.Partition]
	if j == nil {
		provider := ""
		if i.topic != "" {
			provider = i.binding.ProviderOf(i.topic)
		}
		var err error
		if j, err = NewJudge(scoring.NewEngine(i.pack, scoring.Options{MaxBytes: inspectedState / int64(max(1, i.seen.Partitions))}), i.binding.Format, i.binding.Keyed(), provider); err != nil {
			return err
		}
		i.judges[rec.Partition] = j
	}
	i.seen.Records++
	i.seen.Bytes += int64(len(rec.Value))
	i.rec, i.items = rec, 0
	j.Record(rec, i)
	if i.topic != "" && len(rec.Key) == 0 {
		i.seen.Keys.None++
	}
	return nil
}

// Dead counts a dead letter.
func (i *Inspector) Dead(d *scoring.DeadLetter) {
	r := i.rejects[d.Reason]
	if r == nil {
		r = &RejectCount{Reason: d.Reason, First: i.place(d.Origin), Detail: strings.Clone(d.Detail)}
		i.rejects[d.Reason] = r
	}
	r.Count++
}

// place says where something stands: in a topic, or in which line of a file.
func (i *Inspector) place(o scoring.Origin) string {
	if i.topic == "" {
		return fmt.Sprintf("%s:%d", o.Topic, o.Offset)
	}
	return o.String()
}

// Row counts an event.
func (i *Inspector) Row(e *scoring.Event, v *scoring.Verdict) {
	s := &i.seen
	s.Events++
	i.items++
	count(s.Kinds, e.Str(scoring.FieldKind))
	for _, a := range e.Attributes {
		count(s.Attributes, a.Key)
	}
	for _, n := range v.Flags.Names() {
		s.Flags[n]++
	}
	for _, h := range v.Hits {
		s.Hits[i.pack.Rules[h.Rule].ID]++
	}
	for f := range scoring.FieldID(len(scoring.Fields)) {
		if e.Has(f) {
			i.fields[f]++
			s.present.Add(f)
			i.example(e, f)
		}
	}
	i.times(e)
	i.identity(e)
	i.key(e)
}

// count adds to a name that somebody else chose.
func count(m map[string]int64, name string) {
	if _, known := m[name]; known || len(m) < maxNamesSeen {
		m[strings.Clone(name)]++
	}
}

// example keeps the first short value of a field.
func (i *Inspector) example(e *scoring.Event, f scoring.FieldID) {
	if i.fields[f] > 1 || scoring.Fields[f].IsContent() {
		return
	}
	switch scoring.Fields[f].Type {
	case scoring.String:
		if s := e.Str(f); len(s) <= 64 {
			i.seen.examples[f] = strings.Clone(s)
		}
	case scoring.Int:
		i.seen.examples[f] = e.Int(f)
	case scoring.Milli:
		i.seen.examples[f] = float64(e.Int(f)) / 1000
	case scoring.Bool:
		i.seen.examples[f] = e.Bool(f)
	}
}

func (i *Inspector) odd(name string, e *scoring.Event, format string, args ...any) {
	o, known := i.seen.Odd[name]
	if !known {
		o.First, o.What = i.place(e.Origin), fmt.Sprintf(format, args...)
	}
	o.Count++
	i.seen.Odd[name] = o
}

func (i *Inspector) times(e *scoring.Event) {
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
	switch {
	case e.Flags&scoring.FlagTimeMissing != 0:
		for _, a := range e.Attributes {
			if a.Key == "time" {
				i.odd(OddTimeMissing, e, "time %.40q cannot be read", a.Value)
				return
			}
		}
		i.odd(OddTimeMissing, e, "no time")
	case e.Flags&scoring.FlagTimeClamped != 0:
		i.odd(OddTimeClamped, e, "time %s", at(e.Time))
	case e.KafkaTime == 0:
	case e.Time < e.KafkaTime-time.Hour.Milliseconds():
		i.odd(OddTimeOld, e, "time %s, and Kafka's is %s", at(e.Time), at(e.KafkaTime))
	case e.Time > e.KafkaTime+time.Minute.Milliseconds():
		i.odd(OddTimeAhead, e, "time %s, and Kafka's is %s", at(e.Time), at(e.KafkaTime))
	}
}

func (i *Inspector) hash(parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(i.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

func (i *Inspector) identity(e *scoring.Event) {
	tenant, agent, id := e.Str(scoring.FieldTenant), e.Str(scoring.FieldAgent), e.Str(scoring.FieldEventID)
	for _, m := range []struct {
		field scoring.FieldID
		name  string
	}{{scoring.FieldAgent, OddAgentMissing}, {scoring.FieldTenant, OddTenantMissing}, {scoring.FieldSession, OddSession}, {scoring.FieldEventID, OddIDMissing}} {
		if e.Str(m.field) == "" {
			i.odd(m.name, e, "kind %.40q without %s", e.Str(scoring.FieldKind), scoring.Fields[m.field].Name)
		}
	}
	if id == "" || len(i.ids) >= maxInspected {
		return
	}
	h := i.hash(tenant, agent, id)
	if _, seen := i.ids[h]; seen {
		i.odd(OddIDTwice, e, "id %.60q", id)
	}
	i.ids[h] = struct{}{}
}

// key looks at the record's key once, with its first event, and at where agents and sessions stand with every one.
func (i *Inspector) key(e *scoring.Event) {
	if i.topic == "" {
		return
	}
	tenant, agent, session := e.Str(scoring.FieldTenant), e.Str(scoring.FieldAgent), e.Str(scoring.FieldSession)
	if i.items == 1 && len(i.rec.Key) > 0 {
		k := &i.seen.Keys
		switch key := string(i.rec.Key); key {
		case tenant + "/" + agent:
			k.TenantAgent++
		case agent:
			k.Agent++
		case session:
			k.Session++
		case e.Str(scoring.FieldTrace):
			k.Trace++
		default:
			k.Other++
		}
	}
	where := func(seen map[uint64]int32, name, text string, h uint64) {
		p, known := seen[h]
		switch {
		case !known && len(seen) < maxInspected:
			seen[h] = e.Origin.Partition
		case known && p != split && p != e.Origin.Partition:
			i.odd(name, e, "%.120s in partitions %d and %d", text, p, e.Origin.Partition)
			seen[h] = split
		}
	}
	if agent != "" {
		where(i.agents, OddAgentSplit, tenant+"/"+agent, i.hash(tenant, agent))
	}
	if session != "" {
		where(i.sessions, OddSessionSplit, session, i.hash(tenant, agent, session))
	}
}

// Seen is what was seen so far.
func (i *Inspector) Seen() *Inspection {
	s := &i.seen
	s.Keys.Agents, s.Keys.Sessions = len(i.agents), len(i.sessions)
	for f, n := range i.fields {
		if n > 0 {
			s.Fields[scoring.Fields[f].Name] = n
		}
	}
	s.DeadLetters = nil
	for _, r := range i.rejects {
		s.DeadLetters = append(s.DeadLetters, *r)
	}
	slices.SortFunc(s.DeadLetters, func(a, b RejectCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(string(a.Reason), string(b.Reason)))
	})
	s.Spellings = map[string]string{}
	for name := range s.Attributes {
		if f := meant(name); f != "" {
			s.Spellings[name] = f
		}
	}
	return s
}

// Present is the set of fields that at least one event has.
func (s *Inspection) Present() scoring.FieldSet { return s.present }

// KindsSeen lists the kinds, the most frequent first.
func (s *Inspection) KindsSeen() []string {
	return slices.SortedFunc(maps.Keys(s.Kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Kinds[b], s.Kinds[a]), strings.Compare(a, b))
	})
}

// Example is a short value of the field as the feed sends it, nil when none was seen.
func (s *Inspection) Example(f scoring.FieldID) any { return s.examples[f] }

// meant finds the field that an unknown name spells in another style: agentId, tool-name, TenantID.
func meant(name string) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer(".", "", "_", "", "-", "").Replace(s))
	}
	for _, f := range scoring.Fields {
		for _, n := range append([]string{f.Name}, f.Aliases...) {
			if plain(n) == plain(name) {
				return f.Name
			}
		}
	}
	return ""
}
