package scoring

import "slices"

// What people are told of fields, flags and reasons beside their names: the reference in deploy/FIELDS.md and the
// output of `agentrisk check` are made from it. Tests hold these tables complete.

var typeNames = []string{String: "text", Int: "whole number", Milli: "decimal", Bool: "true or false", Strings: "list of texts"}

func (t Type) String() string { return typeNames[t] }

// FlagDocs says what each flag of [FlagNames] means.
var FlagDocs = map[string]string{
	"bad_utf8":      "bytes that are no UTF-8 were replaced by U+FFFD",
	"time_missing":  "no time was sent, or none that can be read: state used Kafka's",
	"time_clamped":  "the time lies before 2000 or more than a day past Kafka's: it is kept as sent, and state used Kafka's",
	"late":          "more than an hour older than the newest event of the same agent",
	"duplicate":     "the same agent sent this id with this payload before: stored, counted in no feature and no score",
	"id_reused":     "the same agent sent this id before with another payload: judged as any event",
	"cold":          "state that could have mattered may have been evicted",
	"rule_failed":   "a rule or feature could not be evaluated and did not match: `failed` on the row names the rules",
	"derive_failed": "a derivation gave up: arguments were too deep, too long or no JSON",
	"derived":       "a field was filled from others that were sent",
	"replayed":      "a dead letter that was judged again later, by `agentrisk dlq replay` or `reconcile --repair`, under its first origin",
}

// ReasonDocs says what each reason of [Reasons] means, and what the provider can do.
var ReasonDocs = map[Reason]string{
	ReasonJSON:      "the record is not valid in its format: invalid JSON, or NaN and infinity, which JSON does not have",
	ReasonDuplicate: "an object says a name twice, or a field is said by two spellings: send each once",
	ReasonRange:     "a number lies outside of what its field holds: see the bounds of the field",
	ReasonType:      "a value has another type than its field: a text for a number, an object for a text",
	ReasonLimit:     "something is longer, deeper or more than the limits allow: cut content at the source and set `truncated`",
	ReasonProvider:  "the event names another provider than the one its topic belongs to",
	ReasonReserved:  "the kinds `timer` and `rollup` are agentrisk's own",
	ReasonMissing:   "something is missing that every event has: `kind`, or `id`, `source`, `type` or `specversion` of a CloudEvent",
	ReasonEmpty:     "the record holds nothing: a tombstone, or an empty value",
	ReasonEnvelope:  "what is around the event is not what the binding's format says: another version or type of content, or metrics",
	ReasonProtobuf:  "the record is no OTLP message in protobuf, or is cut off",
	ReasonCorrupt:   "a batch of the log cannot be read: checksum, compression or structure",
	ReasonTooLarge:  "the record, or what its batch decompresses to, is larger than the limit",
	ReasonPanic:     "decoding or judging ended in a fault of agentrisk: please report it with the record",
	ReasonPoison:    "judging the record ended the whole process, as a child process showed: please report it with the record",
}

// Derivation says that Derive may fill a field from another one where the provider did not send it.
type Derivation struct{ Field, From FieldID }

// Derivations lists what Derive may fill, in an order in which each source stands before what depends on it.
var Derivations = []Derivation{
	{FieldToolOp, FieldToolName},
	{FieldToolArgsHash, FieldToolArgs},
	{FieldExecCmd, FieldToolArgs},
	{FieldDstHost, FieldToolArgs},
	{FieldDstPort, FieldToolArgs},
	{FieldDstDomain, FieldDstHost},
	{FieldDstClass, FieldDstHost},
}

// FieldSet is a set of fields.
type FieldSet [(numFields + 63) / 64]uint64

// Add puts a field into the set.
func (s *FieldSet) Add(f FieldID) { s[f/64] |= 1 << (f % 64) }

// Has reports whether the field is in the set.
func (s *FieldSet) Has(f FieldID) bool { return s[f/64]&(1<<(f%64)) != 0 }

// Derive adds what derivations and the engine itself may fill when the fields of the set are sent.
func (s *FieldSet) Derive() {
	for _, d := range Derivations {
		if s.Has(d.From) {
			s.Add(d.Field)
		}
	}
	if s.Has(FieldEventID) {
		s.Add(FieldIDReused)
	}
}

// Present is the set of the fields that the event has.
func (e *Event) Present() FieldSet { return e.present }

// DerivedFrom lists the fields that a field may be derived from.
func DerivedFrom(f FieldID) (from []FieldID) {
	for _, d := range Derivations {
		if d.Field == f && !slices.Contains(from, d.From) {
			from = append(from, d.From)
		}
	}
	return from
}
