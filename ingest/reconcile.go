package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Audit reads what is stored, for Reconcile.
type Audit interface {
	// LedgerLines returns every line of a lane's epoch in the order of From, equal lines once.
	LedgerLines(ctx context.Context, topic string, partition, epoch int32) ([]scoring.Line, error)
	// Stored calls yield for each offset of the range that has rows or dead letters, in order.
	Stored(ctx context.Context, r scoring.Range, yield func(StoredOffset)) error
}

// StoredOffset counts what the tables hold of one offset.
type StoredOffset struct {
	Offset      int64
	Rows        uint64 // in verdicts, without FINAL
	Distinct    uint64 // of them by item
	DeadLetters uint64 // distinct items
	Both        uint64 // items that are a row and a dead letter
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
	FindMissing    = "missing"    // a record without row and without reason
	FindDoubled    = "doubled"    // an item with more than one row
	FindBoth       = "both"       // an item that is a row and a dead letter
	FindUnexpected = "unexpected" // rows where the log holds nothing to judge
	FindGap        = "ledger_gap" // offsets that no line covers
	FindOverlap    = "ledger_overlap"
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
	NotInLog    int64     `json:"not_in_log"` // offsets of the ledger that the log no longer holds: only ledger and tables were compared
	Skipped     int64     `json:"skipped"`    // offsets that an operator ordered to leave out
	Findings    []Finding `json:"findings,omitempty"`
	More        uint64    `json:"more_findings,omitempty"` // beyond the first hundred
}

// OK reports whether everything adds up.
func (r *Reconciled) OK() bool { return len(r.Findings) == 0 }

const maxFindings = 100

func (r *Reconciled) find(kind string, from, to int64, format string, args ...any) {
	if len(r.Findings) >= maxFindings {
		r.More++
		return
	}
	r.Findings = append(r.Findings, Finding{Lane: r.Lane, From: from, To: to, Kind: kind, Detail: fmt.Sprintf(format, args...)})
}

// Reconcile proves the promise on a live system, line by line of one lane's ledger: every offset that the log
// holds has exactly one row an item, or one reason, and ledger and tables count alike. It reads only, and holds
// one line's offsets at a time. progress is called now and then with the offsets done and to do.
func Reconcile(ctx context.Context, log Log, audit Audit, topic string, partition, epoch int32, progress func(done, total int64)) (*Reconciled, error) {
	r := &Reconciled{Lane: fmt.Sprintf("%s/%d", topic, partition)}
	lines, err := audit.LedgerLines(ctx, topic, partition, epoch)
	if err != nil {
		return nil, fmt.Errorf("reconcile %s: %w", r.Lane, err)
	}
	if len(lines) == 0 {
		return r, nil
	}
	first, _, err := log.Bounds(ctx, topic, partition)
	if err != nil {
		return nil, fmt.Errorf("reconcile %s: %w", r.Lane, err)
	}
	r.From, r.To = max(lines[0].From, first), lines[len(lines)-1].To
	at := lines[0].From
	scan := &logScan{log: log, topic: topic, partition: partition}
	defer scan.close()
	for i := range lines {
		l := &lines[i]
		if l.From > at {
			r.find(FindGap, at, l.From, "no ledger line covers these offsets")
		}
		if l.From < at && l.To > l.From {
			r.find(FindOverlap, l.From, min(at, l.To), "two ledger lines cover these offsets")
		}
		at = max(at, l.To)
		if l.To == l.From {
			continue
		}
		r.Lines++
		if err := r.line(ctx, scan, audit, l, first); err != nil {
			return nil, fmt.Errorf("reconcile %s: %w", r.Lane, err)
		}
		if progress != nil {
			progress(at-lines[0].From, r.To-lines[0].From)
		}
	}
	return r, nil
}

// line compares one ledger line with the tables and with the log.
func (r *Reconciled) line(ctx context.Context, scan *logScan, audit Audit, l *scoring.Line, first int64) error {
	stored := map[int64]StoredOffset{}
	var rows, dead uint64
	err := audit.Stored(ctx, l.Range, func(s StoredOffset) {
		stored[s.Offset] = s
		rows += s.Rows
		dead += s.DeadLetters
		if s.Rows != s.Distinct {
			r.find(FindDoubled, s.Offset, s.Offset+1, "%d rows of %d items", s.Rows, s.Distinct)
		}
		if s.Both > 0 {
			r.find(FindBoth, s.Offset, s.Offset+1, "%d items are a row and a dead letter", s.Both)
		}
	})
	if err != nil {
		return err
	}
	r.Rows += rows
	r.DeadLetters += dead
	if l.Status == scoring.LineSkipped { // by an operator's order: rows that stood there before are no surprise
		r.Skipped += l.To - l.From
		return nil
	}
	if l.Status == scoring.LineLost {
		r.NotInLog += l.To - l.From
		return nil
	}
	if rows != l.Rows || dead != l.DeadLetters {
		r.find(FindCount, l.From, l.To, "ledger says %d rows and %d dead letters, the tables hold %d and %d", l.Rows, l.DeadLetters, rows, dead)
	}
	if l.From < first {
		r.NotInLog += min(l.To, first) - l.From
	}
	if l.To <= first {
		return nil
	}
	return scan.each(ctx, max(l.From, first), l.To, func(e *Entry, from, to int64) {
		s, has := stored[from]
		switch {
		case e == nil: // nothing there
			r.Gaps += uint64(to - from)
			for o := from; o < to; o++ {
				if s, has := stored[o]; has {
					r.find(FindUnexpected, o, o+1, "%d rows and %d dead letters where the log holds nothing", s.Rows, s.DeadLetters)
				}
			}
		case e.Kind == EntryControl, e.Kind == EntryAborted:
			if e.Kind == EntryControl {
				r.Control++
			} else {
				r.Aborted++
			}
			if has {
				r.find(FindUnexpected, from, to, "%d rows of a record that no transaction committed", s.Rows)
			}
		default:
			for o := from; o < to; o++ {
				r.Records++
				if _, has := stored[o]; !has {
					r.find(FindMissing, o, o+1, "the log holds a record, the tables neither row nor dead letter")
				}
			}
		}
	})
}

// logScan walks over a partition in order.
type logScan struct {
	log       Log
	topic     string
	partition int32
	chunk     Chunk
	entry     Entry
	have      bool
	pos       int64 // everything below was looked at
	asked     int64 // where the chunk begins
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
			if err := s.next(ctx); err != nil {
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
