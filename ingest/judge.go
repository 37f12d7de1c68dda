package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// Judge turns records into verdicts, in order, and keeps the state that this needs. It is what a lane and
// `agentrisk score` share, so that both give the same verdicts to the bit. Not safe for concurrent use.
type Judge struct {
	Engine   *scoring.Engine
	Provider string // of the binding; "" takes the event's own word
	Epoch    int32
	Redactor *redact.Redactor // what of an event and a dead letter leaves; the default policy unless it is set

	format  Format
	keyed   scoring.KeyedBy
	event   scoring.Event
	verdict scoring.Verdict
	derive  scoring.DeriveScratch

	// The record under judgement; fields and not arguments, so that no closure is made for each record.
	rec    *Record
	out    Output
	next   int32 // the item that a panic of the decoder itself would belong to
	onItem func(int32, *scoring.Reject)
}

// Output takes what becomes of each item, redacted but for the content of events. Event and verdict are valid until Row
// returns.
type Output interface {
	Row(*scoring.Event, *scoring.Verdict)
	Dead(*scoring.DeadLetter)
}

// NewJudge returns a judge for the records of one binding.
func NewJudge(engine *scoring.Engine, format string, keyedBy scoring.KeyedBy, provider string) (*Judge, error) {
	f, err := NewFormat(format)
	if err != nil {
		return nil, err
	}
	j := &Judge{Engine: engine, Provider: provider, Redactor: redact.Default(), format: f, keyed: keyedBy}
	j.onItem = j.decoded
	return j, nil
}

// Record judges every item of a record. Each item ends in exactly one call of out. A panic is the item's end,
// never the lane's.
func (j *Judge) Record(rec *Record, out Output) {
	if len(rec.Value) > scoring.MaxRecord {
		out.Dead(j.letter(rec, 0, &scoring.Reject{Reason: scoring.ReasonTooLarge, Detail: fmt.Sprintf("record of %d bytes, limit %d", len(rec.Value), scoring.MaxRecord)}))
		return
	}
	j.rec, j.out, j.next = rec, out, 0
	if reject := j.guard((*Judge).decode); reject != nil {
		out.Dead(j.letter(rec, j.next, reject))
	}
	j.rec, j.out = nil, nil
}

func (j *Judge) decode() *scoring.Reject {
	seam(j.rec)
	j.format.Decode(j.rec, &j.event, j.onItem)
	return nil
}

// decoded takes an item from the decoder.
func (j *Judge) decoded(item int32, reject *scoring.Reject) {
	j.next = item
	if reject == nil {
		reject = j.guard((*Judge).item)
	}
	j.next = item + 1
	if reject != nil {
		j.out.Dead(j.letter(j.rec, item, reject))
		return
	}
	j.out.Row(&j.event, &j.verdict)
}

func (j *Judge) item() *scoring.Reject {
	e, rec := &j.event, j.rec
	e.Origin = scoring.Origin{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Item: j.next}
	e.KeyedBy = j.keyed
	switch sent := e.Str(scoring.FieldProvider); {
	case j.Provider == "":
	case sent == "":
		e.SetStr(scoring.FieldProvider, j.Provider)
	case sent != j.Provider:
		return &scoring.Reject{Reason: scoring.ReasonProvider, Detail: fmt.Sprintf("event says provider %q, its topic belongs to %q", redact.Text(sent, 64), j.Provider)}
	}
	scoring.Derive(e, &j.derive)
	j.Engine.Judge(e, &j.verdict)
	if j.Redactor.Event(e) {
		j.Engine.Explain(&j.verdict) // hits say what made them match, so they say it again
	}
	return nil
}

// guard runs f and turns a panic into a reject. The engine writes state only after a judgement succeeded.
func (j *Judge) guard(f func(*Judge) *scoring.Reject) (reject *scoring.Reject) {
	defer func() {
		if p := recover(); p != nil {
			reject = &scoring.Reject{Reason: scoring.ReasonPanic, Detail: fmt.Sprintf("%.200v", p)}
		}
	}()
	return f(j)
}

func (j *Judge) letter(rec *Record, item int32, reject *scoring.Reject) *scoring.DeadLetter {
	sum := sha256.Sum256(rec.Value)
	d := &scoring.DeadLetter{
		Origin:    scoring.Origin{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Item: item},
		Epoch:     j.Epoch,
		KafkaTime: rec.Time,
		Provider:  j.Provider,
		Reason:    reject.Reason,
		Detail:    reject.Detail,
		Size:      len(rec.Value),
		Hash:      hex.EncodeToString(sum[:]),
	}
	j.Redactor.Letter(d, rec.Key, rec.Value)
	return d
}
