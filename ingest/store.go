package ingest

import (
	"context"
	"fmt"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// Block collects the rows of one batch, column by column. It copies what it keeps.
type Block interface {
	// Begin tells what all rows have in common: the epoch and the last cold start of their lane, and what the
	// binding keeps of content, which events still hold as it was sent.
	Begin(line *scoring.Line, keep redact.Row)
	Append(e *scoring.Event, v *scoring.Verdict)
	Rows() int
	Bytes() int   // memory of the columns
	Hash() uint64 // over origins and scores, in order
	Reset()
}

// Store is the database as a lane sees it. Every method may be called again with the same arguments after an
// error: it then completes what was begun and doubles nothing.
type Store interface {
	NewBlock(pack *scoring.Pack) Block
	// Insert stores the block's rows exactly once and returns how many stood there already. It retries what
	// may pass for as long as ctx lives, calls lease before each send, and returns *Park when an operator is
	// needed.
	Insert(ctx context.Context, req Insert) (already uint64, err error)
	// StoredAlerts makes the alerts of a range from the rows that are stored.
	StoredAlerts(ctx context.Context, r scoring.Range) ([]scoring.Alert, error)
	DeadLetters(ctx context.Context, r scoring.Range, letters []scoring.DeadLetter) error
	// Ledger writes a line and returns when it is stored.
	Ledger(ctx context.Context, line scoring.Line) error
	// Position says how far the ledger and the table know a lane.
	Position(ctx context.Context, topic string, partition, epoch int32) (Position, error)
	// Lines returns the ledger lines that overlap [r.From, r.To), in order.
	Lines(ctx context.Context, r scoring.Range) ([]scoring.Line, error)

	SaveSnapshot(ctx context.Context, s Snapshot, save func(func(chunk []byte) error) error) error
	// LoadSnapshot gives load the newest whole snapshot that was cut at or before notAfter, and an older one when load
	// refuses it. What next finds damaged it says with scoring.ErrDamaged; its other errors may pass.
	LoadSnapshot(ctx context.Context, topic string, partition, epoch int32, notAfter int64, load func(Snapshot, func() ([]byte, error)) error) (bool, error)
}

// Insert is a request to store one planned range.
type Insert struct {
	Range scoring.Range
	Block Block
	// Compare says that rows of the range may be stored by an earlier owner under other bounds: only what the
	// table lacks goes in.
	Compare bool
	// InLedger says that the range was done before: nobody but who mends it stores rows of it.
	InLedger bool
	// Replay says that it is a dead letter's replay, which has a token of its own.
	Replay bool
	Lease  func(context.Context) error
}

// Position is where a lane stands according to the database.
type Position struct {
	HasLedger bool
	To        int64        // contiguous end of the ledger
	Last      scoring.Line // the line that ends there
	TableTo   int64        // one past the highest offset in the table, 0 when there is none
}

// Snapshot identifies a lane's saved state.
type Snapshot struct {
	Topic            string
	Partition, Epoch int32
	Offset           int64 // everything below is in the state, nothing else
	StateFrom        int64 // last cold start
	Pack, Engine     string
}

// Outbox takes alerts and returns when they are safe. Equal ids may be written again.
type Outbox interface {
	Write(ctx context.Context, alerts []scoring.Alert) error
}

// DeadLetterTopic takes dead letters and returns when they are safe.
type DeadLetterTopic interface {
	Write(ctx context.Context, letters []scoring.DeadLetter) error
}

// Park is the error that stops a lane until an operator acts. Reason labels a metric; the detail says what
// was found and what to do.
type Park struct {
	Reason ParkReason
	Detail string
}

func (p *Park) Error() string { return fmt.Sprintf("parked (%s): %s", p.Reason, p.Detail) }

// ParkReason is why a lane waits for an operator.
type ParkReason string

const (
	ParkNoLedger  ParkReason = "no_ledger"       // the group has progress, the database knows nothing of it
	ParkChanged   ParkReason = "log_changed"     // the record before the position is another one
	ParkTruncated ParkReason = "log_ends_early"  // the log ends before the position
	ParkLost      ParkReason = "log_starts_late" // the log starts beyond the position
	ParkStore     ParkReason = "store"           // rows do not become complete
	ParkGrown     ParkReason = "partitions"      // the topic has more partitions than when it was first read
	ParkPlan      ParkReason = "plan"            // the planned range cannot be read again as it was
)
