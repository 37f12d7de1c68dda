package scoring

import "slices"

// Event is one thing that an agent did. Its texts may point into the record it was decoded from: who keeps
// an event longer than the record must Clone it. The zero Event is ready to use; Reset makes it zero again
// and keeps its buffers.
type Event struct {
	Origin    Origin
	KafkaTime int64 // append time of the record, unix milliseconds; 0 where there is no log (agentrisk score)
	Time      int64 // when it happened, as sent, unix milliseconds; 0 with TimeMissing
	Flags     Flags
	KeyedBy   KeyedBy // what the binding says of the topic

	// Attributes holds the fields that the table does not know, in the order they were sent.
	Attributes []Attribute

	strs    [numStrings]string
	ints    [numInts]int64
	bools   uint64
	lists   [numLists][]string
	present [(numFields + 63) / 64]uint64
}

// Attribute is a field that the table does not know. Value is the text, or the JSON of anything else.
type Attribute struct{ Key, Value string }

// KeyedBy says which of an agent's events are sure to stand in one partition, in order.
type KeyedBy uint8

const (
	KeyedByAgent   KeyedBy = iota // tenant/agent: every feature works
	KeyedBySession                // a conversation or trace: features per session work
	KeyedByNone                   // no state
)

// Flags marks what was unusual about an event or its judgement. The names are stored on the row.
type Flags uint32

const (
	FlagBadUTF8      Flags = 1 << iota // bytes that are no UTF-8 were replaced
	FlagTimeMissing                    // no time, or none that can be read: state used Kafka's
	FlagTimeClamped                    // before 2000 or more than a day past Kafka's: state used Kafka's
	FlagLate                           // older than the agent's clock by more than an hour
	FlagDuplicate                      // id and payload were seen before: stored, not counted
	FlagIDReused                       // id was seen before with another payload
	FlagCold                           // state that could have mattered may have been evicted, or a feature is new
	FlagRuleFailed                     // a rule could not be evaluated and did not match
	FlagDeriveFailed                   // a derivation gave up
	FlagDerived                        // a derived field was filled
	FlagReplayed                       // it was a dead letter, and an operator had it judged again
)

// FlagNames are the stored names, in bit order.
var FlagNames = []string{"bad_utf8", "time_missing", "time_clamped", "late", "duplicate", "id_reused", "cold", "rule_failed", "derive_failed", "derived", "replayed"}

// Names lists the names of the flags that are set.
func (f Flags) Names() []string {
	var n []string
	for i, name := range FlagNames {
		if f&(1<<i) != 0 {
			n = append(n, name)
		}
	}
	return n
}

// Reset makes e the zero Event and keeps the capacity of its slices.
func (e *Event) Reset() {
	attrs := e.Attributes[:0]
	lists := e.lists
	*e = Event{Attributes: attrs}
	for i := range lists {
		e.lists[i] = lists[i][:0]
	}
}

// Has reports whether the field was sent or derived.
func (e *Event) Has(f FieldID) bool { return e.present[f/64]&(1<<(f%64)) != 0 }

func (e *Event) mark(f FieldID) { e.present[f/64] |= 1 << (f % 64) }

// Str is the value of a String field, "" when absent.
func (e *Event) Str(f FieldID) string { return e.strs[f-firstString] }

// Int is the value of an Int or Milli field, 0 when absent; prov.intent_match is -1000 when absent.
func (e *Event) Int(f FieldID) int64 {
	if f == FieldIntentMatch && !e.Has(f) {
		return -1000
	}
	return e.ints[f-firstInt]
}

// Bool is the value of a Bool field, false when absent; agent.registered is true when absent.
func (e *Event) Bool(f FieldID) bool {
	if f == FieldRegistered && !e.Has(f) {
		return true
	}
	return e.bools&(1<<(f-firstBool)) != 0
}

// List is the value of a Strings field, empty when absent.
func (e *Event) List(f FieldID) []string { return e.lists[f-firstList] }

// SetStr sets a String field.
func (e *Event) SetStr(f FieldID, v string) { e.strs[f-firstString] = v; e.mark(f) }

// SetInt sets an Int or Milli field.
func (e *Event) SetInt(f FieldID, v int64) { e.ints[f-firstInt] = v; e.mark(f) }

// SetBool sets a Bool field.
func (e *Event) SetBool(f FieldID, v bool) {
	e.bools &^= 1 << (f - firstBool)
	if v {
		e.bools |= 1 << (f - firstBool)
	}
	e.mark(f)
}

// Append adds a value to a Strings field.
func (e *Event) Append(f FieldID, v string) {
	e.lists[f-firstList] = append(e.lists[f-firstList], v)
	e.mark(f)
}

// SetList marks a Strings field as present and returns it empty, ready for Append.
func (e *Event) SetList(f FieldID) { e.lists[f-firstList] = e.lists[f-firstList][:0]; e.mark(f) }

// Absurd times: before 2000, or more than a day past Kafka's.
const (
	year2000 = 946684800000 // unix milliseconds of 2000-01-01
	day      = 24 * 60 * 60 * 1000
)

// SettleTime flags a time that state must not use. Decoders call it once Time and KafkaTime are known.
// Without a log (KafkaTime 0) there is no upper bound.
func (e *Event) SettleTime() {
	switch {
	case e.Flags&FlagTimeMissing != 0:
	case e.Time < year2000, e.KafkaTime != 0 && e.Time > e.KafkaTime+day:
		e.Flags |= FlagTimeClamped
	}
}

// StateTime is the time that state uses: the event's own unless it is missing or absurd, then Kafka's.
func (e *Event) StateTime() int64 {
	if e.Flags&(FlagTimeMissing|FlagTimeClamped) != 0 {
		return e.KafkaTime
	}
	return e.Time
}

// Clone returns a copy that shares no memory with the record e was decoded from.
func (e *Event) Clone() *Event {
	c := *e
	clone := func(s string) string { return string(append([]byte(nil), s...)) }
	for i, s := range e.strs {
		c.strs[i] = clone(s)
	}
	for i, l := range e.lists {
		c.lists[i] = slices.Clone(l)
		for j, s := range l {
			c.lists[i][j] = clone(s)
		}
	}
	c.Attributes = slices.Clone(e.Attributes)
	for i, a := range e.Attributes {
		c.Attributes[i] = Attribute{clone(a.Key), clone(a.Value)}
	}
	return &c
}
