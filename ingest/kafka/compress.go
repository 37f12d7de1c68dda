package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is how a batch's records are compressed, by Kafka's numbers.
type Codec uint8

const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

func (c Codec) String() string {
	if names := [...]string{"none", "gzip", "snappy", "lz4", "zstd"}; int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

var (
	errTooLarge = errors.New("exceeds the limit after decompression")
	errCodec    = errors.New("codec is unknown")
)

// keepSlab is the most memory in bytes that an inflater keeps from one Reset to the next.
const keepSlab = 8 << 20

// inflater decompresses batches one behind the other into memory that lives until its reset.
type inflater struct {
	slab  []byte
	used  int // of slab
	total int // bytes since the reset

	source bytes.Reader
	gzip   *gzip.Reader
	lz4    *lz4.Reader
	zstd   *zstd.Decoder
	limit  int // of zstd
}

func (f *inflater) reset() {
	switch {
	case f.total > keepSlab:
		f.slab = nil
	case f.total > cap(f.slab): // several slabs were needed; one will do next time
		f.slab = make([]byte, 0, f.total+f.total/4)
	}
	f.used, f.total = 0, 0
}

// inflate returns what src holds under codec: src itself, or memory that is valid until the reset.
func (f *inflater) inflate(codec Codec, src []byte, limit int) ([]byte, error) {
	if codec == None {
		return src, nil
	}
	dst := f.slab[f.used:f.used:cap(f.slab)]
	out, err := f.decompress(codec, src, dst, limit)
	if err != nil {
		return nil, err
	}
	f.total += len(out)
	if cap(dst) > 0 && len(out) > 0 && &out[0] == &dst[:1][0] {
		f.used += len(out)
	} else {
		f.slab, f.used = out[:0], len(out)
	}
	return out, nil
}

func (f *inflater) decompress(codec Codec, src, dst []byte, limit int) ([]byte, error) {
	f.source.Reset(src)
	defer f.source.Reset(nil)
	switch codec {
	case Gzip:
		if f.gzip == nil {
			f.gzip = new(gzip.Reader)
		}
		if err := f.gzip.Reset(&f.source); err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return drain(f.gzip, dst, limit)
	case LZ4:
		if f.lz4 == nil {
			f.lz4 = lz4.NewReader(nil)
		}
		f.lz4.Reset(&f.source)
		return drain(f.lz4, dst, limit)
	case Snappy:
		return unsnappy(src, dst, limit)
	case Zstd:
		return f.unzstd(src, dst, limit)
	}
	return nil, fmt.Errorf("%w: %d", errCodec, codec)
}

// drain appends all of r to dst, at most limit bytes.
func drain(r io.Reader, dst []byte, limit int) ([]byte, error) {
	for idle := 0; idle < 100; idle++ {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), limit+1)])
		if dst = dst[:len(dst)+n]; n > 0 {
			idle = 0
		}
		switch {
		case len(dst) > limit:
			return nil, errTooLarge
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return nil, err
		}
	}
	return nil, io.ErrNoProgress
}

func (f *inflater) unzstd(src, dst []byte, limit int) ([]byte, error) {
	if f.zstd == nil || f.limit != limit {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		if f.zstd != nil {
			f.zstd.Close()
		}
		f.zstd, f.limit = z, limit
	}
	out, err := f.zstd.DecodeAll(src, dst)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) || err == nil && len(out) > limit:
		return nil, errTooLarge
	case err != nil:
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return out, nil
}

// xerialMagic opens the framing that snappy's Java library adds: two version numbers of four bytes follow, then
// blocks, each behind its length.
const (
	xerialMagic = "\x82SNAPPY\x00"
	xerialHead  = len(xerialMagic) + 8
)

func unsnappy(src, dst []byte, limit int) ([]byte, error) {
	if !framed(src) {
		return unsnappyBlock(src, dst, limit)
	}
	for src = src[xerialHead:]; len(src) > 0; {
		block, rest, err := nextBlock(src)
		if err != nil {
			return nil, err
		}
		if dst, err = unsnappyBlock(block, dst, limit); err != nil {
			return nil, err
		}
		src = rest
	}
	return dst, nil
}

func framed(src []byte) bool {
	return len(src) >= xerialHead && string(src[:len(xerialMagic)]) == xerialMagic
}

// nextBlock splits the first block, without its length, from the rest.
func nextBlock(src []byte) (block, rest []byte, err error) {
	if len(src) >= 4 {
		if n := int64(binary.BigEndian.Uint32(src)); n <= int64(len(src)-4) {
			return src[4 : 4+n], src[4+n:], nil
		}
	}
	return nil, nil, fmt.Errorf("snappy: %w", io.ErrUnexpectedEOF)
}

// unsnappyBlock appends a block to dst.
func unsnappyBlock(src, dst []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return nil, fmt.Errorf("snappy: %w", err)
	}
	if n > limit-len(dst) {
		return nil, errTooLarge
	}
	if n > cap(dst)-len(dst) {
		grown := make([]byte, len(dst), max(2*cap(dst), len(dst)+n))
		copy(grown, dst)
		dst = grown
	}
	out, err := snappy.Decode(dst[len(dst):len(dst)+n], src)
	if err != nil {
		return nil, fmt.Errorf("snappy: %w", err)
	}
	return dst[:len(dst)+len(out)], nil
}
