package kafka

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/scoring"
)

// fetchBytes is what one fetch of a lane asks for. 1 MiB is where larger fetches stop paying.
const fetchBytes = 1 << 20

// Log is the cluster as lanes see it.
type Log struct {
	client   *Client
	decoders sync.Pool

	mu      sync.Mutex
	suspect map[place]int // batches whose checksum differed, and how often
}

type place struct {
	topic     string
	partition int32
	offset    int64
}

// believeChecksum is how often a batch must come with a wrong checksum before it is believed: a fault on the way
// looks the same.
const believeChecksum = 3

// NewLog returns the log of a client's cluster.
func NewLog(c *Client) *Log {
	return &Log{client: c, decoders: sync.Pool{New: func() any { return new(Decoder) }}, suspect: map[place]int{}}
}

var _ ingest.Log = (*Log)(nil)

// Bounds implements [ingest.Log].
func (l *Log) Bounds(ctx context.Context, topic string, partition int32) (first, next int64, err error) {
	b, err := l.client.Bounds(ctx, topic, partition)
	return b.First, b.Next, err
}

// Fetch implements [ingest.Log].
func (l *Log) Fetch(ctx context.Context, topic string, partition int32, offset int64, wait time.Duration) (ingest.Chunk, error) {
	f, err := l.client.Fetch(ctx, topic, partition, offset, fetchBytes, wait)
	var out *OutOfRange
	if errors.As(err, &out) {
		return nil, &ingest.OutOfRange{Offset: out.Offset, First: out.LogStart, Next: out.HighWatermark}
	}
	if err != nil {
		return nil, err
	}
	d := l.decoders.Get().(*Decoder)
	d.Reset(f.Raw, offset, f.Aborted)
	return &chunk{log: l, fetched: f, decoder: d, topic: topic, partition: partition}, nil
}

// chunk walks over one fetch.
type chunk struct {
	log       *Log
	fetched   *Fetched
	decoder   *Decoder
	topic     string
	partition int32
	batch     *Batch
	headers   []ingest.Header
	stopped   bool
	end       int64 // where a suspect batch begins, when stopped
}

// Next implements [ingest.Chunk].
func (c *chunk) Next(e *ingest.Entry) bool {
	for !c.stopped {
		if c.batch == nil {
			b, err := c.decoder.NextBatch()
			if err == io.EOF {
				return false
			}
			if err != nil {
				return c.corrupt(e, err)
			}
			c.batch = b
		}
		r, err := c.decoder.NextRecord()
		if err == io.EOF {
			c.batch = nil
			continue
		}
		if err != nil { // of one record, or of all that is left of the batch: the next call tells
			return c.corrupt(e, err)
		}
		*e = ingest.Entry{First: r.Offset, Last: r.Offset, AppendTime: c.batch.LogAppend}
		switch {
		case c.batch.Control:
			e.Kind = ingest.EntryControl
		case c.batch.Aborted:
			e.Kind = ingest.EntryAborted
		default:
			e.Record = ingest.Record{Topic: c.topic, Partition: c.partition, Offset: r.Offset, Time: r.Time, Key: r.Key, Value: r.Value, Headers: c.headersOf(r)}
		}
		return true
	}
	return false
}

// headersOf is what CloudEvents in binary mode and tracing put beside a value. Like the record it is valid until the next
// one.
func (c *chunk) headersOf(r *Record) []ingest.Header {
	c.headers = c.headers[:0]
	for _, h := range r.Headers {
		c.headers = append(c.headers, ingest.Header{Key: string(h.Key), Value: h.Value})
	}
	return c.headers
}

// corrupt makes an entry of a batch that cannot be read, or ends the chunk in front of it to fetch it again.
func (c *chunk) corrupt(e *ingest.Entry, err error) bool {
	var bad *BatchError
	if !errors.As(err, &bad) {
		bad = &BatchError{First: c.decoder.End(), Last: c.decoder.End(), Reason: ReasonMalformed, Err: err}
	}
	if bad.Reason == ReasonChecksum && !c.log.believe(place{c.topic, c.partition, bad.First}) {
		c.stopped, c.end = true, bad.First
		return false
	}
	reject := &scoring.Reject{Reason: scoring.ReasonCorrupt, Detail: bad.Error()}
	if bad.Reason == ReasonTooLarge {
		reject.Reason = scoring.ReasonTooLarge
	}
	*e = ingest.Entry{Kind: ingest.EntryCorrupt, First: bad.First, Last: bad.Last, Err: reject}
	return true
}

func (l *Log) believe(p place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.suspect[p]++; l.suspect[p] < believeChecksum {
		return false
	}
	delete(l.suspect, p)
	return true
}

// End implements [ingest.Chunk].
func (c *chunk) End() int64 {
	if c.stopped {
		return c.end
	}
	return c.decoder.End()
}

// HighWatermark implements [ingest.Chunk].
func (c *chunk) HighWatermark() int64 { return c.fetched.HighWatermark }

// Release implements [ingest.Chunk].
func (c *chunk) Release() {
	c.fetched.Release()
	c.decoder.Reset(nil, 0, nil)
	c.log.decoders.Put(c.decoder)
	c.decoder = nil
}

// Member is a generation as lanes see it.
type Member struct {
	client *Client
	gen    *Generation
}

// NewMember ties a generation to the client that joined it.
func NewMember(c *Client, g *Generation) *Member { return &Member{c, g} }

var _ ingest.Generation = (*Member)(nil)

// Assignments implements [ingest.Generation].
func (m *Member) Assignments() map[string][]int32 { return m.gen.Assignments }

// Committed implements [ingest.Generation].
func (m *Member) Committed(ctx context.Context, topic string, partition int32) (int64, string, error) {
	found, err := m.client.Committed(ctx, m.gen.GroupID, topic, []int32{partition})
	if err != nil {
		return 0, "", err
	}
	return found[partition].Offset, found[partition].Metadata, nil
}

// Commit implements [ingest.Generation].
func (m *Member) Commit(ctx context.Context, topic string, partition int32, offset int64, metadata string) error {
	err := m.client.Commit(ctx, m.gen, topic, partition, offset, metadata)
	if errors.Is(err, ErrNotOurs) {
		return errors.Join(ingest.ErrNotOurs, err)
	}
	return err
}

// End implements [ingest.Generation].
func (m *Member) End(reason string) { m.gen.End(reason) }
