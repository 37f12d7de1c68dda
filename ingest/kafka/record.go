package kafka

import (
	"encoding/binary"
	"errors"
)

var errRecord = errors.New("record does not follow its own lengths")

// parse reads one record from the rest into d.record. It reports false when lengths or offsets make no sense:
// offsets must grow and stay within the batch, and a record must be exactly as long as it says.
func (d *Decoder) parse() bool {
	b := d.rest
	size, i := varint(b, 0)
	if i < 0 || size < 0 || size > int64(len(b)-i) {
		return false
	}
	end := i + int(size)
	b, d.rest = b[:end], b[end:]
	i++ // attributes of a record are unused in format version 2
	if i > end {
		return false
	}
	r := &d.record
	r.Headers = r.Headers[:0]
	var delta, n int64
	if delta, i = varint(b, i); i < 0 {
		return false
	}
	if r.Time = d.batch.BaseTime + delta; d.batch.LogAppend {
		r.Time = d.batch.MaxTime
	}
	if delta, i = varint(b, i); i < 0 || delta < 0 || delta > d.batch.LastOffset-d.batch.BaseOffset {
		return false
	}
	r.Offset = d.batch.BaseOffset + delta
	if r.Key, i = sized(b, i); i < 0 {
		return false
	}
	if r.Value, i = sized(b, i); i < 0 {
		return false
	}
	if n, i = varint(b, i); i < 0 || n < 0 || n > int64(end-i)/2 {
		return false
	}
	for ; n > 0; n-- {
		var h Header
		if h.Key, i = sized(b, i); i < 0 {
			return false
		}
		if h.Value, i = sized(b, i); i < 0 {
			return false
		}
		r.Headers = append(r.Headers, h)
	}
	return i == end
}

// sized reads a length and as many bytes from b at i, and returns the place after them, or -1. A negative length
// means nil.
func sized(b []byte, i int) ([]byte, int) {
	n, i := varint(b, i)
	switch {
	case i < 0 || n > int64(len(b)-i):
		return nil, -1
	case n < 0:
		return nil, i
	}
	end := i + int(n)
	return b[i:end:end], end
}

// varint reads a zigzag number from b at i and returns it with the place after it, or -1.
func varint(b []byte, i int) (int64, int) {
	if i < len(b) && b[i] < 0x80 {
		return int64(b[i]>>1) ^ -int64(b[i]&1), i + 1
	}
	if i > len(b) {
		return 0, -1
	}
	v, n := binary.Varint(b[i:])
	if n <= 0 {
		return 0, -1
	}
	return v, i + n
}
