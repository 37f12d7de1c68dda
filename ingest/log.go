package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Log is a Kafka cluster as a lane sees it.
type Log interface {
	// Fetch reads from offset on and waits at most wait for something to be there; an empty chunk is no
	// error. The error is *OutOfRange when the log does not hold the offset, otherwise passing: try again.
	Fetch(ctx context.Context, topic string, partition int32, offset int64, wait time.Duration) (Chunk, error)
	// Bounds returns the first offset of the log and the one after the last stable record.
	Bounds(ctx context.Context, topic string, partition int32) (first, next int64, err error)
}

// Chunk is what one fetch brought. Its memory is reused after Release.
type Chunk interface {
	// Next fills e with what comes next, in offset order, and reports false at the end.
	Next(e *Entry) bool
	// End is, once Next has reported false, the offset after the last that the chunk covers, also where
	// records are missing; the offset that was asked for when nothing was there.
	End() int64
	// HighWatermark is the offset after the last record of the partition.
	HighWatermark() int64
	Release()
}

// EntryKind says what stands at an offset.
type EntryKind uint8

const (
	EntryRecord  EntryKind = iota // a record to judge
	EntryControl                  // a marker of a transaction
	EntryAborted                  // a record of an aborted transaction
	EntryCorrupt                  // offsets that cannot be read: Err says why
	EntryPoison                   // a record that ends the process that judges it; never from a log, a lane finds out
)

// Entry is what stands at the offsets First to Last (equal but for corrupt batches). Offsets that are skipped
// between two entries hold nothing: compaction took them, or they never held a record.
type Entry struct {
	Kind        EntryKind
	First, Last int64
	Record      Record // EntryRecord and EntryPoison; points into the chunk
	AppendTime  bool   // Record.Time is the broker's append time, not the producer's clock
	Err         error  // EntryCorrupt, EntryPoison: *scoring.Reject
}

// OutOfRange is the error of a fetch at an offset that the log does not hold.
type OutOfRange struct{ Offset, First, Next int64 }

func (e *OutOfRange) Error() string {
	return fmt.Sprintf("offset %d is outside the log, which holds [%d, %d)", e.Offset, e.First, e.Next)
}

// Generation is one membership in the consumer group, from one rebalance to the next.
type Generation interface {
	// Assignments lists the partitions of each topic that are ours.
	Assignments() map[string][]int32
	// Committed returns what the group stores for a partition; offset -1 when nothing is.
	Committed(ctx context.Context, topic string, partition int32) (offset int64, metadata string, err error)
	// Commit stores offset and metadata under this generation. The error is ErrNotOurs when the broker says
	// that the partition is no longer ours; any other error leaves the outcome unknown, and the caller must
	// End the generation.
	Commit(ctx context.Context, topic string, partition int32, offset int64, metadata string) error
	// End leaves the generation on purpose, for the reason given; the group joins anew.
	End(reason string)
}

// ErrNotOurs says that the broker answered, definitely, that another generation owns the partition.
var ErrNotOurs = errors.New("partition belongs to another generation of the group")

// errOutcomeUnknown ends a generation: nobody knows whether the broker stored the commit.
var errOutcomeUnknown = errors.New("outcome of a commit is unknown")
