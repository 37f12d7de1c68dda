package kafka

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// squeezed compresses what fill writes.
func squeezed(t testing.TB, codec Codec, fill func(io.Writer)) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch codec {
	case Gzip:
		w, err = gzip.NewWriterLevel(&out, gzip.BestSpeed)
	case LZ4:
		w = lz4.NewWriter(&out)
	case Zstd:
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	case Snappy:
		var plain bytes.Buffer
		fill(&plain)
		return snappy.Encode(nil, plain.Bytes())
	}
	if err != nil {
		t.Fatal(err)
	}
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// writeZeros writes a record whose value is size zeros.
func writeZeros(w io.Writer, delta, size int64) {
	b := binary.AppendVarint([]byte{0, 0}, delta) // attributes, time
	b = binary.AppendVarint(binary.AppendVarint(b, -1), size)
	w.Write(append(binary.AppendVarint(nil, int64(len(b))+size+1), b...))
	for zeros := make([]byte, 1<<20); size > 0; size -= int64(len(zeros)) {
		zeros = zeros[:min(size, int64(len(zeros)))]
		w.Write(zeros)
	}
	w.Write([]byte{0}) // headers
}

// History 24: a few kilobytes that decompress to much. A record that is too large is refused alone; of a batch beyond every
// limit what lies within it is read; the batches beside it are read; and memory stays small.
func TestHistory24CompressedBombs(t *testing.T) {
	for _, tt := range []struct {
		name   string
		codec  Codec
		size   int64
		want   []int64 // offsets delivered of 0 to 2 before, 3 to 6 in the batch, 7 and 8 behind
		memory uint64  // MiB allocated, all in all
	}{
		{"40 MiB under gzip", Gzip, 40 << 20, []int64{0, 1, 2, 3, 5, 6, 7, 8}, 64},
		{"40 MiB under lz4", LZ4, 40 << 20, []int64{0, 1, 2, 3, 5, 6, 7, 8}, 64},
		{"40 MiB under zstd", Zstd, 40 << 20, []int64{0, 1, 2, 3, 5, 6, 7, 8}, 64},
		{"40 MiB in one block of snappy", Snappy, 40 << 20, []int64{0, 1, 2, 3, 5, 6, 7, 8}, 128},
		{"200 MiB under gzip", Gzip, 200 << 20, []int64{0, 1, 2, 3, 7, 8}, 64},
		{"200 MiB under lz4", LZ4, 200 << 20, []int64{0, 1, 2, 3, 7, 8}, 64},
		{"1 GiB under zstd", Zstd, 1 << 30, []int64{0, 1, 2, 3, 7, 8}, 64},
		{"80 MiB in one block of snappy", Snappy, 80 << 20, []int64{0, 1, 2, 7, 8}, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := squeezed(t, tt.codec, func(w io.Writer) {
				w.Write(records(sent{Delta: 0, Time: 1000, Value: []byte("good")}))
				writeZeros(w, 1, tt.size)
				w.Write(records(sent{Delta: 2, Time: 1000, Value: []byte("good")}, sent{Delta: 3, Time: 1000, Value: []byte("too")}))
			})
			raw := join(data(0, 3, 0, -1), frame{base: 3, lastDelta: 3, attributes: uint16(tt.codec), count: 4, body: body}.encode(), data(7, 2, 0, -1))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var d Decoder
			d.Reset(raw, 0, nil)
			got := readAll(t, &d)
			runtime.ReadMemStats(&after)
			if !slices.Equal(got.offsets, tt.want) || d.End() != 9 {
				t.Errorf("offsets %v, end %d; want %v", got.offsets, d.End(), tt.want)
			}
			if len(got.errs) != 1 || got.errs[0].Reason != ReasonTooLarge {
				t.Fatalf("errors %v", got.errs)
			}
			if e := got.errs[0]; len(got.offsets)+int(e.Last-e.First)+1 != 9 || slices.Contains(got.offsets, e.First) {
				t.Errorf("%v: every offset is delivered or refused, once", e)
			}
			mib := (after.TotalAlloc - before.TotalAlloc) >> 20
			t.Logf("%d KiB as sent: %d MiB allocated", len(body)>>10, mib)
			if mib > tt.memory {
				t.Errorf("%d MiB allocated, want at most %d", mib, tt.memory)
			}
		})
	}
}

// A batch whose good records make more than the budget is read in parts: each fetch goes on where the last one ended.
func TestLargeBatchInParts(t *testing.T) {
	for _, codec := range []Codec{Gzip, LZ4, Zstd} {
		body := squeezed(t, codec, func(w io.Writer) {
			for i := range int64(50) {
				writeZeros(w, i, 1<<20)
			}
		})
		raw := join(frame{base: 3, lastDelta: 49, attributes: uint16(codec), count: 50, body: body}.encode(), data(53, 2, 0, -1))
		var d Decoder
		at := int64(3)
		rounds := 0
		for ; at < 55 && rounds < 10; rounds++ {
			d.Reset(raw, at, nil)
			got := readAll(t, &d)
			for _, o := range got.offsets {
				if o != at {
					t.Fatalf("%s: offset %d, want %d", codec, o, at)
				}
				at++
			}
			if len(got.errs) > 0 || d.End() != at || len(got.offsets) > 17+2 || d.Early() != (at < 55) {
				t.Fatalf("%s: %d records, end %d, early %v, errors %v", codec, len(got.offsets), d.End(), d.Early(), got.errs)
			}
		}
		if rounds != 4 {
			t.Errorf("%s: took %d fetches, want 4", codec, rounds)
		}
	}
}

// Records of a stream that break off or lie about their lengths condemn only what is left of their batch.
func TestBrokenStreams(t *testing.T) {
	for _, codec := range []Codec{Gzip, LZ4, Zstd} {
		body := squeezed(t, codec, func(w io.Writer) {
			for i := range int64(12) {
				writeZeros(w, i, 1<<20)
			}
		})
		for name, batch := range map[string][]byte{
			"cut":             frame{base: 0, lastDelta: 11, attributes: uint16(codec), count: 12, body: body[:len(body)*3/4]}.encode(),
			"fewer":           frame{base: 0, lastDelta: 12, attributes: uint16(codec), count: 13, body: body}.encode(),
			"beyond the last": frame{base: 0, lastDelta: 9, attributes: uint16(codec), count: 10, body: body}.encode(),
		} {
			var d Decoder
			d.Reset(join(batch, data(13, 2, 0, -1)), 0, nil)
			got := readAll(t, &d)
			if len(got.offsets) < 2 || got.offsets[len(got.offsets)-1] != 14 || d.End() != 15 || len(got.errs) > 1 {
				t.Errorf("%s, %s: offsets %v, end %d, errors %v", codec, name, got.offsets, d.End(), got.errs)
			}
			if name != "beyond the last" && len(got.errs) != 1 {
				t.Errorf("%s, %s: errors %v", codec, name, got.errs)
			}
		}
	}
}
