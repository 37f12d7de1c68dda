package ingest

import (
	"errors"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// batch is an open or planned range of a lane with everything that it will store.
type batch struct {
	judge      *Judge
	pack       *scoring.Pack
	deployment string

	block    Block
	dead     []scoring.DeadLetter
	alerts   []scoring.Alert
	line     scoring.Line // Range.To moves on as entries are taken in
	bytes    int          // of record values
	records  int
	opened   time.Time
	clock    int64 // Kafka time for topics that keep the producer's clock, unix milliseconds
	day      int64
	measured int64 // memory of the block when it was measured, and what came since
	planned  bool
	compare  bool // rows of the range may be stored already, under other bounds
	share    share
	mend     bool                                // a range that the ledger knows: the line is not written
	only     func(offset int64, item int32) bool // leaves out what is stored; nil takes everything
}

// full reports whether the batch has reached a bound of design section 12.
func (b *batch) full() bool { return b.block.Rows() >= MaxBatchRows || b.bytes >= MaxBatchBytes }

// empty reports whether the batch covers no offset.
func (b *batch) empty() bool { return b.line.From == b.line.To }

// measureEvery is how many records come between two looks at the block's many columns.
const measureEvery = 32

// memory is what the batch holds: the columns, and about what the texts on their way out take.
func (b *batch) memory() int64 { return b.measured + int64(len(b.dead)+len(b.alerts))*2048 }

// measure keeps the measure up to date: to the byte now and then, by the size of the record in between.
func (b *batch) measure(record int) {
	if b.records%measureEvery == 0 {
		b.measured = int64(b.block.Bytes())
		return
	}
	b.measured += int64(record)
}

const millisPerDay = 24 * 60 * 60 * 1000

// accepts reports whether the entry may join: a batch lies within one day of Kafka time, so that its rows are
// one part.
func (b *batch) accepts(e *Entry) bool {
	return b.records == 0 || e.Kind != EntryRecord || b.timeOf(e)/millisPerDay == b.day
}

// timeOf is the entry's Kafka time: the broker's append time, else the clock when the batch was opened.
func (b *batch) timeOf(e *Entry) int64 {
	if e.AppendTime {
		return e.Record.Time
	}
	return b.clock
}

// add takes the entry in.
func (b *batch) add(e *Entry) {
	if gap := e.First - b.line.To; gap > 0 {
		b.line.Gaps += uint64(gap)
	}
	switch e.Kind {
	case EntryControl:
		b.line.Control++
	case EntryAborted:
		b.line.Aborted++
	case EntryCorrupt:
		b.addCorrupt(e)
	case EntryRecord:
		b.addRecord(e)
	case EntryPoison:
		b.addPoison(e)
	}
	b.line.To = e.Last + 1
}

func (b *batch) addRecord(e *Entry) {
	rec := &e.Record
	rec.Time = b.timeOf(e)
	if b.records == 0 {
		b.day, b.line.FirstTime = rec.Time/millisPerDay, rec.Time
	}
	b.line.LastTime = rec.Time
	b.records++
	b.bytes += len(rec.Value)
	b.judge.Record(rec, b)
	b.measure(len(rec.Value))
}

// Row and Dead make the batch the output of its lane's judge.
func (b *batch) Row(e *scoring.Event, v *scoring.Verdict) {
	if b.only != nil && !b.only(e.Origin.Offset, e.Origin.Item) {
		return
	}
	b.block.Append(e, v)
	if v.Flags&scoring.FlagDuplicate != 0 {
		b.line.Duplicates++
	}
	if v.Alert != scoring.NoAlert {
		b.alerts = append(b.alerts, scoring.NewAlert(b.deployment, b.line.Epoch, b.pack, e, v))
	}
}

func (b *batch) Dead(d *scoring.DeadLetter) {
	if b.only == nil || b.only(d.Offset, d.Item) {
		b.dead = append(b.dead, *d)
	}
}

// addCorrupt gives every offset that cannot be read a dead letter of its own.
func (b *batch) addCorrupt(e *Entry) {
	reject := &scoring.Reject{Reason: scoring.ReasonCorrupt, Detail: e.Err.Error()}
	var known *scoring.Reject
	if errors.As(e.Err, &known) {
		reject = known
	}
	for o := e.First; o <= e.Last; o++ {
		rec := Record{Topic: b.line.Topic, Partition: b.line.Partition, Offset: o, Time: b.clock}
		b.Dead(b.judge.letter(&rec, 0, reject))
	}
}

// addPoison makes a dead letter of a record that nobody may look into; the ledger's line lists it.
func (b *batch) addPoison(e *Entry) {
	var reject *scoring.Reject
	if errors.As(e.Err, &reject) {
		e.Record.Time = b.timeOf(e)
		b.dead = append(b.dead, *b.judge.letter(&e.Record, 0, reject))
	}
	b.line.Poison = append(b.line.Poison, e.First)
}

// gap moves the end of the batch over offsets that hold nothing.
func (b *batch) gap(to int64) {
	if to > b.line.To {
		b.line.Gaps += uint64(to - b.line.To)
		b.line.To = to
	}
}
