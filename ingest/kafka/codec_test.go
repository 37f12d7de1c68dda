package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/segmentio/kafka-go/protocol"
)

// sent is a record as a producer meant it.
type sent struct {
	Delta   int64 // from the batch's base offset
	Time    int64
	Key     []byte
	Value   []byte
	Headers []Header
}

// frame describes a batch to encode; our own encoder, for what kafka-go's cannot say.
type frame struct {
	base       int64
	lastDelta  int64
	attributes uint16
	producer   int64
	epoch      int16
	sequence   int32
	maxTime    int64
	count      int32
	body       []byte
}

func (f frame) encode() []byte {
	b := make([]byte, batchHead, batchHead+len(f.body))
	binary.BigEndian.PutUint64(b, uint64(f.base))
	binary.BigEndian.PutUint32(b[8:], uint32(batchHead-12+len(f.body)))
	binary.BigEndian.PutUint32(b[12:], 7)
	b[16] = 2
	binary.BigEndian.PutUint16(b[21:], f.attributes)
	binary.BigEndian.PutUint32(b[23:], uint32(f.lastDelta))
	binary.BigEndian.PutUint64(b[27:], 1000)
	binary.BigEndian.PutUint64(b[35:], uint64(f.maxTime))
	binary.BigEndian.PutUint64(b[43:], uint64(f.producer))
	binary.BigEndian.PutUint16(b[51:], uint16(f.epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(f.sequence))
	binary.BigEndian.PutUint32(b[57:], uint32(f.count))
	b = append(b, f.body...)
	return seal(b)
}

// seal puts the checksum right.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// records encodes records as a batch's body; times count from 1000.
func records(list ...sent) []byte {
	var out []byte
	for _, r := range list {
		b := []byte{0}
		b = binary.AppendVarint(b, r.Time-1000)
		b = binary.AppendVarint(b, r.Delta)
		b = appendSized(b, r.Key)
		b = appendSized(b, r.Value)
		b = binary.AppendVarint(b, int64(len(r.Headers)))
		for _, h := range r.Headers {
			b = appendSized(b, h.Key)
			b = appendSized(b, h.Value)
		}
		out = append(binary.AppendVarint(out, int64(len(b))), b...)
	}
	return out
}

func appendSized(b, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(v))), v...)
}

// data is a batch of n small records from base on.
func data(base int64, n int, attributes uint16, producer int64) []byte {
	var list []sent
	for i := range n {
		list = append(list, sent{Delta: int64(i), Time: 1000, Value: []byte{byte(i)}})
	}
	return frame{base: base, lastDelta: int64(n - 1), attributes: attributes, producer: producer, maxTime: 1000, count: int32(n), body: records(list...)}.encode()
}

// marker is a control batch: the end of a producer's transaction.
func marker(base, producer int64, commit bool) []byte {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	return frame{base: base, attributes: 16 | 32, producer: producer, maxTime: 1000, count: 1, body: records(sent{Time: 1000, Key: key, Value: make([]byte, 6)})}.encode()
}

// oracle encodes with kafka-go's own encoder, as its producers do.
func oracle(t testing.TB, codec Codec, base int64, list []sent) []byte {
	t.Helper()
	var in []protocol.Record
	for _, r := range list {
		rec := protocol.Record{Time: time.UnixMilli(r.Time)}
		if r.Key != nil {
			rec.Key = protocol.NewBytes(r.Key)
		}
		if r.Value != nil {
			rec.Value = protocol.NewBytes(r.Value)
		}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, protocol.Header{Key: string(h.Key), Value: h.Value})
		}
		in = append(in, rec)
	}
	set := protocol.RecordSet{Version: 2, Attributes: protocol.Attributes(codec), Records: protocol.NewRecordReader(in...)}
	var buf bytes.Buffer
	if _, err := set.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	raw := buf.Bytes()[4:]
	binary.BigEndian.PutUint64(raw, uint64(base)) // as the broker does when it appends
	return raw
}

// unframed takes the xerial framing from a snappy batch, as librdkafka and others send it.
func unframed(t testing.TB, raw []byte) []byte {
	t.Helper()
	plain, err := unsnappy(raw[batchHead:], nil, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw[:batchHead:batchHead], snappy.Encode(nil, plain)...)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	return seal(raw)
}

func randomRecords(rng *rand.Rand, n int) []sent {
	text := func(maximum int) []byte {
		if rng.IntN(5) == 0 {
			return nil
		}
		b := make([]byte, rng.IntN(maximum))
		for i := range b {
			b[i] = byte('a' + rng.IntN(4))
		}
		return b
	}
	list := make([]sent, n)
	at := rng.Int64N(2_000_000_000_000) + 1
	for i := range list {
		at = max(1, at+rng.Int64N(5000)-1000)
		list[i] = sent{Delta: int64(i), Time: at, Key: text(40), Value: text(3000)}
		for range rng.IntN(4) {
			list[i].Headers = append(list[i].Headers, Header{append([]byte("k"), text(20)...), text(90)})
		}
	}
	return list
}

// seen is what a decoder makes of a record set: a line for each record, batch and error.
type seen struct {
	offsets []int64
	aborted []int64
	control []int64
	errs    []*BatchError
	records []sent
}

func readAll(t testing.TB, d *Decoder) seen {
	t.Helper()
	var s seen
	for {
		b, err := d.NextBatch()
		if err == io.EOF {
			return s
		}
		for err == nil {
			var r *Record
			if r, err = d.NextRecord(); err != nil {
				var one *BatchError
				if !errors.As(err, &one) {
					break
				}
				s.errs, err = append(s.errs, one), nil // what follows it in the batch may be read
				continue
			}
			switch {
			case b.Control:
				s.control = append(s.control, r.Offset)
			case b.Aborted:
				s.aborted = append(s.aborted, r.Offset)
			default:
				s.offsets = append(s.offsets, r.Offset)
				c := sent{Delta: r.Offset - b.BaseOffset, Time: r.Time, Key: r.Key, Value: r.Value}
				c.Headers = append(c.Headers, r.Headers...)
				s.records = append(s.records, c)
			}
		}
		var bad *BatchError
		switch {
		case errors.As(err, &bad):
			s.errs = append(s.errs, bad)
		case err != io.EOF:
			t.Fatalf("error of an unknown kind: %v", err)
		}
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
