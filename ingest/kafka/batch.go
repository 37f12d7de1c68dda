package kafka

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// Bounds of a Decoder whose fields are zero.
const (
	DefaultLimit  = 64 << 20 // of one batch, as sent and after decompression
	DefaultBudget = 16 << 20 // of decompressed bytes between two Resets
)

// Batch is the head of a record batch, format version 2: what all of its records share.
// The layout is that of "Record Batch" in Apache Kafka's protocol documentation.
type Batch struct {
	BaseOffset, LastOffset int64 // both included; compaction may have taken records in between
	LeaderEpoch            int32
	Codec                  Codec
	LogAppend              bool // MaxTime is the broker's append time, for every record
	Transactional          bool
	Control                bool  // holds a marker that ends a transaction, and no data
	Aborted                bool  // belongs to a transaction that was aborted: to count, not to judge
	BaseTime, MaxTime      int64 // unix milliseconds
	ProducerID             int64
	Count                  int // records, at most LastOffset-BaseOffset+1
}

// Record is one record of a batch.
type Record struct {
	Offset  int64
	Time    int64  // unix milliseconds: append time if the batch says LogAppend, else the producer's clock
	Key     []byte // nil if the record has none
	Value   []byte // nil if the record has none
	Headers []Header
}

// Header is a header of a record.
type Header struct{ Key, Value []byte }

// Decoder reads the record batches of one fetch after another. Key and Value of a record point into the raw
// bytes or into memory of the decoder and are valid until the next Reset; the Record itself and its Headers are
// used again for the next record. A Decoder makes no garbage once its buffers have grown. It is not safe for
// concurrent use.
type Decoder struct {
	// Limit in bytes of one batch, as sent and after decompression. What exceeds it is a BatchError.
	Limit int
	// Budget in bytes bounds what one Reset decompresses: once it is spent the decoder stops in front of the
	// next compressed batch, or of the next record of one that is large, as if the fetch had ended there. Budget
	// plus 8 MiB is exceeded only by a single block of snappy, and then by Limit.
	Budget int

	raw  []byte
	pos  int   // of the next batch in raw
	next int64 // offsets below have been delivered or were not asked for

	partial, early bool
	aborts         aborts

	batch  Batch
	body   []byte // of the batch, after its head
	opened bool
	rest   []byte // records not yet read, decompressed
	left   int
	record Record

	stream   *bufio.Reader // of a batch that is decompressed record by record
	streamed int           // bytes that came out of it

	slab inflater
}

// Reset starts on the record set of a fetch at offset from: records below it, which share a batch with it, are
// left out. aborted is what the broker said about aborted transactions.
func (d *Decoder) Reset(raw []byte, from int64, aborted []Aborted) {
	d.raw, d.pos, d.next = raw, 0, from
	d.partial, d.early = false, false
	d.aborts.reset(aborted)
	d.close()
	d.slab.reset()
}

// End is the offset after everything that was read so far, whether it was delivered, left out or a BatchError.
// After io.EOF from NextBatch the next fetch continues here.
func (d *Decoder) End() int64 { return d.next }

// Partial reports that the last batch was cut off, as Kafka does at the fetch's maximum of bytes.
func (d *Decoder) Partial() bool { return d.partial }

// Early reports that the decoder stopped before the end because the Budget was spent.
func (d *Decoder) Early() bool { return d.early }

const (
	frameHead = 17 // base offset, length, leader epoch, magic: alike in all versions where it matters
	batchHead = 61
	maxDelta  = 1 << 20 // offsets that a batch whose checksum differs may claim to cover
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NextBatch moves on to the next batch. It returns io.EOF at the end, and a *BatchError for a batch that cannot
// be read, after which it may be called again. Records of the batch before that were not read are passed over.
func (d *Decoder) NextBatch() (*Batch, error) {
	d.pass()
	for {
		raw := d.raw[d.pos:]
		if len(raw) < frameHead {
			d.partial = len(raw) > 0
			return nil, io.EOF
		}
		size := int64(int32(binary.BigEndian.Uint32(raw[8:]))) + 12
		switch {
		case size < frameHead:
			d.pos = len(d.raw) // where the next batch begins is unknown
			return nil, d.fail(d.next, d.next, ReasonMalformed, fmt.Errorf("batch of %d bytes", size))
		case size > int64(len(raw)):
			return nil, d.cut(raw, size)
		}
		raw = raw[:size]
		if raw[16] == 2 && len(raw) >= batchHead && raw[22]&7 != 0 && d.spent() {
			d.early = true
			return nil, io.EOF
		}
		d.pos += int(size)
		if err := d.open(raw); err != nil {
			return nil, err
		}
		if d.opened = false; d.batch.LastOffset >= d.next {
			return &d.batch, nil
		}
		d.close()
	}
}

// pass moves the mark over the batch that was current.
func (d *Decoder) pass() {
	if d.body != nil {
		d.next = max(d.next, d.batch.LastOffset+1)
	}
	d.close()
}

func (d *Decoder) close() { d.body, d.rest, d.left, d.opened, d.stream = nil, nil, 0, false, nil }

// cut answers a batch that raw does not hold whole. Kafka sends at least one whole batch, so it is the end of
// the fetch, unless [Client.Fetch] itself kept no more of a batch beyond every limit.
func (d *Decoder) cut(raw []byte, size int64) error {
	d.pos = len(d.raw)
	if size > int64(d.limit()) && raw[16] == 2 && len(raw) >= batchHead && plausible(int64(binary.BigEndian.Uint64(raw))) {
		first, last := d.claims(raw)
		return d.fail(first, last, ReasonTooLarge, fmt.Errorf("batch of %d bytes, limit %d", size, d.limit()))
	}
	d.partial = true
	return io.EOF
}

// open reads a batch's head and checks what can be checked without decompressing it.
func (d *Decoder) open(raw []byte) error {
	base := int64(binary.BigEndian.Uint64(raw))
	if raw[16] != 2 {
		return d.foreign(raw, base)
	}
	if len(raw) < batchHead || !plausible(base) {
		return d.fail(d.next, d.next, ReasonMalformed, fmt.Errorf("batch of %d bytes at offset %d", len(raw), base))
	}
	first, last := d.claims(raw)
	if crc := binary.BigEndian.Uint32(raw[17:]); crc != crc32.Checksum(raw[21:], castagnoli) {
		return d.fail(first, last, ReasonChecksum, nil)
	}
	attributes := binary.BigEndian.Uint16(raw[21:])
	delta := int64(int32(binary.BigEndian.Uint32(raw[23:])))
	count := int64(int32(binary.BigEndian.Uint32(raw[57:])))
	if delta < 0 || count < 0 || count > delta+1 {
		return d.fail(first, last, ReasonMalformed, fmt.Errorf("%d records in %d offsets", count, delta+1))
	}
	if len(raw) > d.limit() && base+delta >= d.next {
		return d.fail(max(base, d.next), base+delta, ReasonTooLarge, fmt.Errorf("batch of %d bytes, limit %d", len(raw), d.limit()))
	}
	d.batch = Batch{
		BaseOffset:    base,
		LastOffset:    base + delta,
		LeaderEpoch:   int32(binary.BigEndian.Uint32(raw[12:])),
		Codec:         Codec(attributes & 7),
		LogAppend:     attributes&8 != 0,
		Transactional: attributes&16 != 0,
		Control:       attributes&32 != 0,
		BaseTime:      int64(binary.BigEndian.Uint64(raw[27:])),
		MaxTime:       int64(binary.BigEndian.Uint64(raw[35:])),
		ProducerID:    int64(binary.BigEndian.Uint64(raw[43:])),
		Count:         int(count),
	}
	d.body = raw[batchHead:]
	d.batch.Aborted = d.aborts.covers(&d.batch, d.body)
	return nil
}

// plausible keeps sums of offsets from overflowing.
func plausible(base int64) bool { return base >= 0 && base < math.MaxInt64-math.MaxInt32 }

// foreign answers a message of format version 0 or 1, or of one that does not exist yet.
func (d *Decoder) foreign(raw []byte, base int64) error {
	if raw[16] > 2 || len(raw) < 18 || !plausible(base) || binary.BigEndian.Uint32(raw[12:]) != crc32.ChecksumIEEE(raw[16:]) {
		return d.fail(d.next, d.next, ReasonMalformed, fmt.Errorf("record format version %d", raw[16]))
	}
	first, last := base, base
	if raw[17]&7 != 0 {
		first = d.next // a wrapper around compressed messages; its offset is that of the last
	}
	if first = max(first, d.next); last < first {
		last = first
	}
	return d.fail(first, last, ReasonMagic, fmt.Errorf("record format version %d", raw[16]))
}

// claims is the range of offsets that a head claims, as far as that can be believed before the checksum is
// known to be right: without it, one flipped bit would condemn two thousand million offsets.
func (d *Decoder) claims(raw []byte) (first, last int64) {
	base := int64(binary.BigEndian.Uint64(raw))
	delta := int64(int32(binary.BigEndian.Uint32(raw[23:])))
	first = max(base, d.next)
	last = max(first, base+delta)
	believable := delta >= 0 && delta <= maxDelta
	if !believable {
		last = first
	}
	if following := d.raw[d.pos:]; len(following) >= frameHead && following[16] == 2 {
		if b := int64(binary.BigEndian.Uint64(following)); b > first && (b-1 < last || !believable && b-1-first <= maxDelta) {
			last = b - 1
		}
	}
	return first, last
}

// fail makes the error for a range and moves on behind it.
func (d *Decoder) fail(first, last int64, reason Reason, err error) error {
	d.close()
	d.next = max(d.next, last+1)
	return &BatchError{First: first, Last: last, Reason: reason, Err: err}
}

// giveUp makes the error for what is left of the current batch: io.EOF where its last offset was delivered already, and what
// follows is more than it has offsets for.
func (d *Decoder) giveUp(reason Reason, err error) error {
	if d.next > d.batch.LastOffset {
		d.close()
		return io.EOF
	}
	return d.fail(max(d.batch.BaseOffset, d.next), d.batch.LastOffset, reason, err)
}

func (d *Decoder) limit() int {
	if d.Limit > 0 {
		return d.Limit
	}
	return DefaultLimit
}

func (d *Decoder) spent() bool {
	if d.Budget > 0 {
		return d.slab.total >= d.Budget
	}
	return d.slab.total >= DefaultBudget
}

// NextRecord returns the next record of the current batch, and io.EOF at its end. After a *BatchError, which
// names the offsets that are not delivered, it may be called again: the records behind them follow, if any.
func (d *Decoder) NextRecord() (*Record, error) {
	if d.body == nil {
		return nil, io.EOF
	}
	if !d.opened && d.batch.Count > 0 { // what compaction emptied holds not even a compressed nothing
		if err := d.openRecords(); err != nil {
			return nil, err
		}
	}
	for d.left > 0 {
		if d.stream != nil {
			if err := d.pull(); err != nil {
				return nil, err
			}
			if d.left == 0 {
				break
			}
		}
		d.left--
		if !d.parse() {
			return nil, d.giveUp(ReasonMalformed, errRecord)
		}
		if d.record.Offset >= d.next {
			d.next = d.record.Offset + 1
			return &d.record, nil
		}
	}
	d.pass()
	return nil, io.EOF
}

func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, errTooLarge):
		return ReasonTooLarge
	case errors.Is(err, errCodec):
		return ReasonCodec
	}
	return ReasonMalformed
}
