package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzRecords: any records come back as they were, under every codec, wherever reading begins, also when the raw bytes came
// through a response of the protocol.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), "header", []byte{0}, int64(7), int64(1_790_000_000_000), byte(0), byte(1))
	for codec := range byte(5) {
		f.Add([]byte(nil), bytes.Repeat([]byte("abc"), 5000), "", []byte(nil), int64(1)<<50, int64(1), codec, codec*3)
		f.Add([]byte{}, []byte{}, "\xff", bytes.Repeat([]byte{0}, 300), int64(0), int64(1)<<40, codec, byte(200))
	}
	f.Fuzz(func(t *testing.T, key, value []byte, header string, headerValue []byte, base, at int64, which, shape byte) {
		if !plausible(base) || at <= 0 || at > 1<<50 {
			return // kafka-go's encoder has no other times
		}
		codec := Codec(which % 5)
		list := make([]sent, 1+shape%7)
		for i := range list {
			s := sent{Delta: int64(i), Time: at + int64(i)*int64(shape), Key: key, Value: value}
			if (shape>>i)&1 == 1 {
				s.Key, s.Value = value, key
			}
			if (which>>i)&1 == 1 {
				s.Headers = []Header{{[]byte(header), headerValue}, {[]byte("h"), nil}}[:1+i%2]
			}
			list[i] = s
		}
		want := slices.Clone(list)
		raw := fetchedOf(t, oracle(t, codec, base, list))
		for from := range int64(len(list)) + 1 {
			var d Decoder
			d.Reset(raw, base+from, nil)
			got := readAll(t, &d)
			if got.errs != nil {
				t.Fatal(got.errs)
			}
			if len(got.records) != len(want)-int(from) || d.End() != base+int64(len(want)) && from < int64(len(want)) {
				t.Fatalf("%d records from %d on of %d, end %d", len(got.records), from, len(want), d.End())
			}
			for i, r := range got.records {
				if w := want[int(from)+i]; !bytes.Equal(r.Key, w.Key) || !bytes.Equal(r.Value, w.Value) || (r.Key == nil) != (w.Key == nil) || (r.Value == nil) != (w.Value == nil) ||
					r.Time != w.Time || !reflect.DeepEqual(headersText(r.Headers), headersText(w.Headers)) {
					t.Fatalf("%s, record %d: %s", codec, int(from)+i, cmp.Diff(w, r))
				}
			}
		}
	})
}

func headersText(list []Header) (out []string) {
	for _, h := range list {
		out = append(out, string(h.Key)+"="+string(h.Value))
	}
	return out
}

// fetchedOf takes a record set as a fetch does.
func fetchedOf(t *testing.T, raw []byte) []byte {
	t.Helper()
	wire := append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...)
	var s rawSet
	n, err := s.ReadFrom(bytes.NewReader(append(wire, "what follows"...)))
	if err != nil || n != int64(len(wire)) || !bytes.Equal(s.bytes, raw) {
		t.Fatalf("%d of %d bytes, %v", n, len(wire), err)
	}
	var cut rawSet
	if n, err := cut.ReadFrom(bytes.NewReader(wire[:len(wire)-1])); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) || n >= int64(len(wire)) {
		t.Fatalf("cut off: %d bytes, %v", n, err)
	}
	putSlab(cut.slab)
	return s.bytes
}
