package kafka

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// A batch that decompresses to more than wholeLimit is read record by record: what lies in memory is bounded, whatever a
// producer packed into a few kilobytes, and a record that is too large is refused alone.
const (
	wholeLimit  = 8 << 20  // bytes that are decompressed in one go
	recordLimit = 2 << 20  // of a record that is read so, with key and headers; values have a lower limit of their own
	windowLimit = 16 << 20 // of zstd: what a stream keeps to look back
	headOfIt    = 1 + 2*binary.MaxVarintLen64
)

// openRecords decompresses the current batch, or begins to.
func (d *Decoder) openRecords() error {
	rest, err := d.slab.inflate(d.batch.Codec, d.body, min(wholeLimit, d.limit()))
	if errors.Is(err, errTooLarge) {
		var r io.Reader
		if r, err = streamOf(d.batch.Codec, d.body, d.limit()); err == nil {
			d.stream, d.streamed = bufio.NewReaderSize(r, 64<<10), 0
		}
	}
	if err != nil {
		return d.giveUp(reasonOf(err), err)
	}
	d.rest, d.left, d.opened = rest, d.batch.Count, true
	return nil
}

// streamOf decompresses src piece by piece. A single block of snappy comes in one piece, of at most limit bytes.
func streamOf(codec Codec, src []byte, limit int) (io.Reader, error) {
	in := bytes.NewReader(src)
	switch codec {
	case Gzip:
		return gzip.NewReader(in)
	case LZ4:
		return lz4.NewReader(in), nil
	case Zstd:
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(windowLimit))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return z, nil
	case Snappy:
		if framed(src) {
			return &xerial{src: src[xerialHead:], limit: limit}, nil
		}
		out, err := unsnappyBlock(src, nil, limit)
		return bytes.NewReader(out), err
	}
	return nil, fmt.Errorf("%w: %d", errCodec, codec)
}

// xerial reads the blocks of snappy's Java framing.
type xerial struct {
	src, block []byte
	out        []byte // of block that is not read yet
	limit      int    // of one block
}

func (x *xerial) Read(p []byte) (int, error) {
	for len(x.out) == 0 {
		if len(x.src) == 0 {
			return 0, io.EOF
		}
		src, rest, err := nextBlock(x.src)
		if err != nil {
			return 0, err
		}
		if x.block, err = unsnappyBlock(src, x.block[:0], x.limit); err != nil {
			return 0, err
		}
		x.src, x.out = rest, x.block
	}
	n := copy(p, x.out)
	x.out = x.out[n:]
	return n, nil
}

// pull makes the stream's next record what is to be parsed. Records below the mark are passed over. It returns io.EOF
// when the budget is spent, and a *BatchError for a record that is too large, behind which the next one can be pulled,
// or for all that is left.
func (d *Decoder) pull() error {
	for ; d.left > 0; d.left-- {
		size, err := binary.ReadVarint(d.stream)
		if err != nil || size < 0 {
			return d.broken(err)
		}
		var prefix [binary.MaxVarintLen64]byte
		n := binary.PutVarint(prefix[:], size)
		if d.streamed += n; size > int64(d.limit()-d.streamed) {
			return d.giveUp(ReasonTooLarge, fmt.Errorf("%w of %d", errTooLarge, d.limit()))
		}
		d.streamed += int(size)
		offset, err := d.ahead(int(size))
		switch {
		case err != nil:
			return d.broken(err)
		case offset < d.next:
			if _, err := d.stream.Discard(int(size)); err != nil {
				return d.broken(err)
			}
			continue
		case size > recordLimit:
			if _, err := d.stream.Discard(int(size)); err != nil {
				return d.broken(err)
			}
			d.left--
			d.next = offset + 1
			return &BatchError{First: offset, Last: offset, Reason: ReasonTooLarge, Err: fmt.Errorf("record of %d bytes, limit %d", size, recordLimit)}
		case d.spent():
			d.early, d.pos = true, len(d.raw)
			d.close()
			return io.EOF
		}
		b := append(d.slab.take(n+int(size)), prefix[:n]...)
		b = b[:n+int(size)]
		if _, err := io.ReadFull(d.stream, b[n:]); err != nil {
			return d.broken(err)
		}
		d.rest = b
		return nil
	}
	return nil
}

// ahead is the offset of the record that the stream stands at, of the size given.
func (d *Decoder) ahead(size int) (int64, error) {
	head, err := d.stream.Peek(min(size, headOfIt))
	if err != nil {
		return 0, err
	}
	_, i := varint(head, min(1, len(head)))
	if i < 0 {
		return 0, errRecord
	}
	delta, i := varint(head, i)
	if i < 0 || delta < 0 || delta > d.batch.LastOffset-d.batch.BaseOffset {
		return 0, errRecord
	}
	return d.batch.BaseOffset + delta, nil
}

// broken gives up what is left of the batch.
func (d *Decoder) broken(err error) error {
	if err == nil {
		err = errRecord
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	reason := reasonOf(err)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		reason = ReasonTooLarge
	}
	return d.giveUp(reason, err)
}

// take is room for n bytes that live until the reset.
func (f *inflater) take(n int) []byte {
	if cap(f.slab)-f.used < n {
		f.slab, f.used = make([]byte, 0, max(n, 1<<20)), 0
	}
	b := f.slab[f.used : f.used : f.used+n]
	f.used += n
	f.total += n
	return b
}
