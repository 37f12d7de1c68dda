package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Audit reads what is stored, for a Reconciler.
type Audit interface {
	// LedgerEnds tells the least and the highest offset that the lines of a lane's epoch name.
	LedgerEnds(ctx context.Context, topic string, partition, epoch int32) (from, to int64, err error)
	// LedgerPage returns at most n lines that cover something, from the first on that comes after (afterFrom, afterTo), in
	// the order of From and To, none beyond end. Of lines of one range the newest counts.
	LedgerPage(ctx context.Context, topic string, partition, epoch int32, afterFrom, afterTo, end int64, n int) ([]scoring.Line, error)
	// Stored calls yield for each offset of the range that has rows or dead letters, in order.
	Stored(ctx context.Context, r scoring.Range, yield func(StoredOffset)) error
	// Kept tells the Kafka times, unix milliseconds, before which retention may have taken rows and dead letters.
	Kept(ctx context.Context) (rows, letters int64, err error)
}

// StoredOffset counts what the tables hold of one offset.
type StoredOffset struct {
	Offset      int64
	Rows        uint64 // in verdicts, without FINAL
	Distinct    uint64 // of them by item
	DeadLetters uint64 // distinct items that were not replayed
	Both        uint64 // items that are a row and such a dead letter
	Replayed    uint64 // items whose row came of a replayed dead letter
}

// Finding is one thing that does not add up.
type Finding struct {
	Lane   string `json:"lane"`
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

// Kinds of findings.
const (
	FindMissing    = "missing"      // a record without row and without reason
	FindDoubled    = "doubled"      // an item with more than one row
	FindBoth       = "both"         // an item that is a row and a dead letter
	FindUnexpected = "unexpected"   // rows where the log holds nothing to judge
	FindGap        = "ledger_gap"   // offsets that no line covers
	FindCount      = "ledger_count" // a line and the tables count differently
)

// Reconciled is what Reconcile saw of one lane.
type Reconciled struct {
	Lane        string    `json:"lane"`
	From        int64     `json:"from"` // first offset that could be compared with the log
	To          int64     `json:"to"`   // end of the ledger
	Records     uint64    `json:"records"`
	Rows        uint64    `json:"rows"`
	DeadLetters uint64    `json:"dead_letters"`
	Control     uint64    `json:"control"`
	Aborted     uint64    `json:"aborted"`
	Gaps        uint64    `json:"gaps"`
	Lines       int       `json:"lines"`
	NotInLog    int64     `json:"not_in_log"`       // offsets of the ledger that the log no longer holds: only ledger and tables were compared
	Skipped     int64     `json:"skipped"`          // offsets that an operator ordered to leave out
	NotKept     int64     `json:"not_kept"`         // offsets whose rows retention may have taken: not compared
	Compacted   int64     `json:"compacted"`        // records that compaction took after they were judged
	Twice       int64     `json:"twice"`            // offsets that two ledger lines cover: a lane went over a gap again; no finding, each line is compared
	Replayed    uint64    `json:"replayed"`         // rows of dead letters that were replayed
	Mended      []string  `json:"mended,omitempty"` // what was done about findings
	Findings    []Finding `json:"findings,omitempty"`
	More        uint64    `json:"more_findings,omitempty"` // beyond the first hundred
}

// OK reports whether everything adds up.
func (r *Reconciled) OK() bool { return len(r.Findings) == 0 }

const maxFindings = 100

func (r *Reconciled) find(kind string, from, to int64, format string, args ...any) {
	r.add(Finding{Lane: r.Lane, From: from, To: to, Kind: kind, Detail: fmt.Sprintf(format, args...)})
}

func (r *Reconciled) add(f Finding) {
	if len(r.Findings) >= maxFindings {
		r.More++
		return
	}
	r.Findings = append(r.Findings, f)
}

// Reconciler proves the promise on a live system, line by line of a lane's ledger: every offset that the log holds has
// exactly one row an item, or one reason, and ledger and tables count alike. It holds one line's offsets at a time.
type Reconciler struct {
	Log    Log
	Audit  Audit
	Mender *Mender // heals what is found; nil: only reads
	// Committed reads what the group has committed for a lane's epoch, -1 for nothing: the ledger must reach that far. It
	// may be nil.
	Committed func(ctx context.Context, topic string, partition, epoch int32) (int64, error)
	// Progress is told now and then of the offsets done and to do; it may be nil.
	Progress func(done, total int64)

	topic            string
	partition, epoch int32
	first            int64 // of the log
	rowsKept         int64
	lettersKept      int64
	scan             *logScan
	r                *Reconciled
}

const ledgerPage = 2000 // lines held at a time

// Lane reconciles one lane. With old it is an epoch that another has followed: the log is not its own any more, and only
// ledger and tables are compared.
func (c *Reconciler) Lane(ctx context.Context, topic string, partition, epoch int32, old bool) (r *Reconciled, err error) {
	r = &Reconciled{Lane: fmt.Sprintf("%s/%d", topic, partition)}
	c.r, c.topic, c.partition, c.epoch = r, topic, partition, epoch
	defer func() {
		if err != nil {
			err = fmt.Errorf("reconcile %s/%d: %w", topic, partition, err)
		}
	}()
	from, end, err := c.Audit.LedgerEnds(ctx, topic, partition, epoch)
	if err != nil {
		return nil, err
	}
	if c.Committed != nil && !old {
		committed, err := c.Committed(ctx, topic, partition, epoch)
		if err != nil {
			return nil, err
		}
		end = max(end, committed)
	}
	if c.rowsKept, c.lettersKept, err = c.Audit.Kept(ctx); err != nil {
		return nil, err
	}
	c.first = end
	if !old {
		if c.first, _, err = c.Log.Bounds(ctx, topic, partition); err != nil {
			return nil, err
		}
	}
	r.From, r.To = max(from, c.first), end
	c.scan = &logScan{log: c.Log, topic: topic, partition: partition, trimmed: func(from, to int64) {
		c.first = max(c.first, to)
		r.NotInLog += to - from
	}}
	defer c.scan.close()
	if c.Mender != nil && !old {
		release, err := c.Mender.begin(ctx, topic, partition, epoch)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	return r, c.lines(ctx, from, end, old)
}

// lines goes over the ledger page by page. A gap that was mended is read again, line by line.
func (c *Reconciler) lines(ctx context.Context, from, end int64, old bool) error {
	at, cursor := from, scoring.Range{From: from - 1, To: from - 1}
	state, mended := from, int64(-1)
	for {
		page, err := c.Audit.LedgerPage(ctx, c.topic, c.partition, c.epoch, cursor.From, cursor.To, end, ledgerPage)
		if err != nil {
			return err
		}
		last := len(page) < ledgerPage
		again := false
		for i := range page {
			l := &page[i]
			if l.From > at {
				if again, err = c.gap(ctx, at, l.From, state, &mended, old); err != nil {
					return err
				}
				if again {
					break
				}
			}
			if l.From < at {
				c.r.Twice += min(at, l.To) - l.From
			}
			at, state, cursor = max(at, l.To), l.StateFrom, l.Range
			c.r.Lines++
			if err := c.line(ctx, l, old); err != nil {
				return err
			}
			if c.Progress != nil {
				c.Progress(at-from, end-from)
			}
		}
		if again || !last {
			continue
		}
		if at < end { // an idle line says that everything below is done, and nothing else does
			if again, err = c.gap(ctx, at, end, state, &mended, old); err != nil || !again {
				return err
			}
			continue
		}
		return nil
	}
}

// gap notes offsets that no line covers, or mends them: again says that they now have lines.
func (c *Reconciler) gap(ctx context.Context, from, to, stateFrom int64, mended *int64, old bool) (again bool, err error) {
	if c.Mender != nil && !old && *mended < to && to > c.first {
		*mended = to
		did, ok, err := c.Mender.gap(ctx, max(from, c.first), to, stateFrom, c.first)
		if err != nil {
			return false, err
		}
		c.r.Mended = append(c.r.Mended, did...)
		if ok {
			return true, nil
		}
	}
	c.r.find(FindGap, from, to, "no ledger line covers these offsets")
	return false, nil
}

// line compares a line, mends what can be mended, and compares it again.
func (c *Reconciler) line(ctx context.Context, l *scoring.Line, old bool) error {
	before := *c.r
	for round := 0; ; round++ {
		c.r.Findings, c.r.More = nil, 0
		whole, err := c.compare(ctx, l, old)
		if err != nil {
			return err
		}
		found, more := c.r.Findings, c.r.More
		var did []string
		if len(found) > 0 && c.Mender != nil && !old && round < 3 {
			if did, err = c.Mender.line(ctx, l, found, c.first, whole); err != nil {
				return err
			}
		}
		if len(did) == 0 {
			c.r.Findings, c.r.More = before.Findings, before.More+more
			for _, f := range found {
				c.r.add(f)
			}
			return nil
		}
		said := append(c.r.Mended, did...)
		*c.r = before
		c.r.Mended = said
	}
}

// compare holds one ledger line against the tables and the log. whole says that the log still holds every record that
// the line was made of.
func (c *Reconciler) compare(ctx context.Context, l *scoring.Line, old bool) (whole bool, err error) {
	r := c.r
	switch {
	case l.Status == scoring.LineSkipped: // by an operator's order: rows that stood there before are no surprise
		r.Skipped += l.To - l.From
		return false, nil
	case l.Status == scoring.LineLost:
		r.NotInLog += l.To - l.From
		return false, nil
	case l.LastTime < c.rowsKept:
		r.NotKept += l.To - l.From
		return false, nil
	}
	stored := map[int64]StoredOffset{}
	var rows, dead, replayed uint64
	err = c.Audit.Stored(ctx, l.Range, func(s StoredOffset) {
		stored[s.Offset] = s
		rows += s.Rows
		dead += s.DeadLetters
		replayed += s.Replayed
		if s.Rows != s.Distinct {
			r.find(FindDoubled, s.Offset, s.Offset+1, "%d rows of %d items", s.Rows, s.Distinct)
		}
		if s.Both > 0 {
			r.find(FindBoth, s.Offset, s.Offset+1, "%d items are a row and a dead letter", s.Both)
		}
	})
	if err != nil {
		return false, err
	}
	r.Rows += rows
	r.DeadLetters += dead
	r.Replayed += replayed
	lettersGone := l.LastTime < c.lettersKept
	if rows != l.Rows+replayed || dead+replayed != l.DeadLetters && !lettersGone {
		r.find(FindCount, l.From, l.To, "ledger says %d rows and %d dead letters, the tables hold %d and %d, and %d rows of replayed ones", l.Rows, l.DeadLetters, rows-min(rows, replayed), dead, replayed)
	}
	if l.From < c.first {
		r.NotInLog += min(l.To, c.first) - l.From
	}
	if l.To <= c.first {
		return false, nil
	}
	excused := uint64(0) // records whose dead letters retention may have taken
	if gone := dead + replayed; lettersGone && l.DeadLetters > gone {
		excused = l.DeadLetters - gone
	}
	records, stray := int64(0), []int64{}
	err = c.scan.each(ctx, max(l.From, c.first), l.To, func(e *Entry, from, to int64) {
		_, has := stored[from]
		switch {
		case e == nil: // nothing there
			r.Gaps += uint64(to - from)
			for o := from; o < to && len(stored) > 0; o++ {
				if _, has := stored[o]; has {
					stray = append(stray, o)
				}
			}
		case e.Kind == EntryControl, e.Kind == EntryAborted:
			if e.Kind == EntryControl {
				r.Control++
			} else {
				r.Aborted++
			}
			if has {
				r.find(FindUnexpected, from, to, "%d rows of a record that no transaction committed", stored[from].Rows)
			}
		default:
			for o := from; o < to; o++ {
				records++
				r.Records++
				if _, has := stored[o]; has {
					continue
				}
				if excused > 0 {
					excused--
					continue
				}
				r.find(FindMissing, o, o+1, "the log holds a record, the tables neither row nor dead letter")
			}
		}
	})
	if err != nil {
		return false, err
	}
	// Compaction takes records after they were judged; their rows stay. The line remembers how many there were.
	taken := l.To - l.From - int64(l.Gaps+l.Control+l.Aborted) - records
	if l.From >= c.first && int64(len(stray)) > max(taken, 0) {
		for _, o := range stray {
			r.find(FindUnexpected, o, o+1, "%d rows and %d dead letters where the log holds nothing", stored[o].Rows, stored[o].DeadLetters)
		}
	}
	if l.From >= c.first && taken > 0 {
		r.Compacted += taken
	}
	return l.From >= c.first && taken <= 0, nil
}

// logScan walks over a partition in order.
type logScan struct {
	log       Log
	topic     string
	partition int32
	chunk     Chunk
	entry     Entry
	have      bool
	pos       int64                // everything below was looked at
	asked     int64                // where the chunk begins
	trimmed   func(from, to int64) // told of offsets that the log no longer holds
}

func (s *logScan) close() {
	if s.chunk != nil {
		s.chunk.Release()
		s.chunk, s.have = nil, false
	}
}

// each calls fn for every entry in [from, to), and with a nil entry for the offsets between that hold nothing.
func (s *logScan) each(ctx context.Context, from, to int64, fn func(e *Entry, from, to int64)) error {
	if s.pos != from {
		s.close()
		s.pos = from
	}
	for s.pos < to {
		if !s.have {
			err := s.next(ctx)
			var out *OutOfRange
			if errors.As(err, &out) && out.First > s.pos { // retention took it while we read
				s.trimmed(s.pos, min(out.First, to))
				s.pos = min(out.First, to)
				continue
			}
			if err != nil {
				return err
			}
			if !s.have { // the chunk ended: what it covers beyond its entries holds nothing
				end := min(s.chunk.End(), to)
				s.close()
				if end <= s.pos && s.pos == s.asked {
					return fmt.Errorf("the log sent nothing at offset %d: does it still hold it?", s.pos)
				}
				if end > s.pos {
					fn(nil, s.pos, end)
					s.pos = end
				}
				continue
			}
		}
		if s.entry.First > s.pos {
			end := min(s.entry.First, to)
			fn(nil, s.pos, end)
			s.pos = end
			continue
		}
		end := min(s.entry.Last+1, to)
		fn(&s.entry, s.pos, end)
		s.pos = end
		s.have = s.pos <= s.entry.Last
	}
	return nil
}

func (s *logScan) next(ctx context.Context) error {
	if s.chunk == nil {
		c, err := s.log.Fetch(ctx, s.topic, s.partition, s.pos, 5*time.Second)
		if err != nil {
			return err
		}
		s.chunk, s.asked = c, s.pos
	}
	for s.chunk.Next(&s.entry) {
		if s.entry.Last >= s.pos {
			s.have = true
			return nil
		}
	}
	return nil
}
