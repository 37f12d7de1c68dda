package scoring

import "fmt"

// Origin is an event's identity: where in the log it stands. A record may hold many items.
type Origin struct {
	Topic     string
	Partition int32
	Offset    int64
	Item      int32
}

func (o Origin) String() string {
	return fmt.Sprintf("%s/%d/%d/%d", o.Topic, o.Partition, o.Offset, o.Item)
}

// Range is the half-open range of offsets [From, To) of one partition, the unit of planning and of storing.
type Range struct {
	Topic     string
	Partition int32
	Epoch     int32 // raised by an operator when a topic starts anew
	From, To  int64
}

func (r Range) String() string {
	return fmt.Sprintf("%s/%d [%d, %d) epoch %d", r.Topic, r.Partition, r.From, r.To, r.Epoch)
}

// Line is what the ledger says of one range. It is written after everything else of the range is stored:
// a line means that all offsets below To are done.
type Line struct {
	Range
	Status      LineStatus
	Rows        uint64 // rows in the verdicts table
	DeadLetters uint64
	Duplicates  uint64 // rows marked as a producer's retry
	Control     uint64 // control records of transactions
	Aborted     uint64 // records of aborted transactions
	Gaps        uint64 // offsets that hold no record (compaction, holes)
	Alerts      uint64
	Hash        uint64  // over the origins and scores of the rows, in order
	LastOffset  int64   // of the record before To, -1 when there was none
	LastHash    uint64  // of its key and value
	LastKnown   bool    // false: the range held no record to remember
	FirstTime   int64   // Kafka time of the first record, unix milliseconds
	LastTime    int64   // and of the last
	StateFrom   int64   // offset of the lane's last cold start
	Pack        string  // digest
	Engine      string  // version
	Incarnation string  // of the process that wrote it
	Poison      []int64 // offsets of records that end the process which judges them: dead letters, and replays pass over them
	Settings    string  // digest of what shapes rows beside pack and engine
}

// LineStatus says how a range came to be done.
type LineStatus string

const (
	LineDone    LineStatus = "done"    // judged and stored in one go
	LineMixed   LineStatus = "mixed"   // some rows stood already, perhaps judged by another pack or engine
	LineLost    LineStatus = "lost"    // the log no longer held it, and policy said go on
	LineSkipped LineStatus = "skipped" // an operator ordered to leave it out
	LineIdle    LineStatus = "idle"    // nothing new: From equals To
)

// DeadLetter is a record or an item that could not become an event.
type DeadLetter struct {
	Origin
	Epoch     int32
	KafkaTime int64  // unix milliseconds
	Provider  string // of the binding
	Reason    Reason
	Detail    string // one line: which field, which limit, where; redacted
	Key       []byte // of the record, redacted, at most 256 bytes
	Head      []byte // the beginning of the value, redacted, at most 1 KiB
	Size      int    // bytes of the whole value
	Hash      string // SHA-256 of the whole value, hexadecimal
}

// Reason is why something became a dead letter; the set is bounded so that it can label a metric.
type Reason string

const (
	ReasonJSON      Reason = "invalid_json"
	ReasonDuplicate Reason = "duplicate_key"
	ReasonRange     Reason = "out_of_range"
	ReasonType      Reason = "wrong_type"
	ReasonLimit     Reason = "over_limit"
	ReasonProvider  Reason = "foreign_provider"
	ReasonReserved  Reason = "reserved_kind"
	ReasonMissing   Reason = "missing_field"
	ReasonEmpty     Reason = "empty_record"
	ReasonEnvelope  Reason = "unknown_envelope" // what is around the event is not what the format says
	ReasonProtobuf  Reason = "invalid_protobuf"
	ReasonCorrupt   Reason = "corrupt_batch"
	ReasonTooLarge  Reason = "too_large"
	ReasonPanic     Reason = "panic"
	ReasonPoison    Reason = "poison"
)

// Reasons lists every reason, for metrics and documentation.
var Reasons = []Reason{ReasonJSON, ReasonDuplicate, ReasonRange, ReasonType, ReasonLimit, ReasonProvider, ReasonReserved,
	ReasonMissing, ReasonEmpty, ReasonEnvelope, ReasonProtobuf, ReasonCorrupt, ReasonTooLarge, ReasonPanic, ReasonPoison}

// Reject is the error of a decoder that cannot make an event: it becomes a dead letter.
type Reject struct {
	Reason Reason
	Detail string
}

func (r *Reject) Error() string { return string(r.Reason) + ": " + r.Detail }
