package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What kafka-go's encoder wrote comes back equal, for every codec and random records.
func TestDecodeEqualsEncode(t *testing.T) {
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(codec)))
			var d Decoder
			for round := range 60 {
				base := rng.Int64N(1 << 50)
				var raw []byte
				var want []sent
				for next := base; len(want) < 40; {
					list := randomRecords(rng, 1+rng.IntN(30))
					one := oracle(t, codec, next, list)
					if codec == Snappy && rng.IntN(2) == 0 {
						one = unframed(t, one)
					}
					raw, want, next = append(raw, one...), append(want, list...), next+int64(len(list))
				}
				d.Reset(raw, base, nil)
				got := readAll(t, &d)
				if got.errs != nil || !reflect.DeepEqual(want, got.records) { // deep equality tells nil, no key, from an empty one
					t.Fatalf("round %d: %v\n%s", round, got.errs, cmp.Diff(want, got.records))
				}
				if d.End() != base+int64(len(want)) || d.Partial() || d.Early() {
					t.Fatalf("round %d: end %d, want %d", round, d.End(), base+int64(len(want)))
				}
			}
		})
	}
}

func TestBatchHead(t *testing.T) {
	raw := frame{base: 500, lastDelta: 9, attributes: 8 | 16 | uint16(LZ4), producer: 77, maxTime: 9999}.encode()
	var d Decoder
	d.Reset(raw, 0, nil)
	got, err := d.NextBatch()
	if err != nil {
		t.Fatal(err)
	}
	want := Batch{BaseOffset: 500, LastOffset: 509, LeaderEpoch: 7, Codec: LZ4, LogAppend: true, Transactional: true, BaseTime: 1000, MaxTime: 9999, ProducerID: 77}
	if *got != want {
		t.Errorf("got %+v\nwant %+v", *got, want)
	}
	if _, err := d.NextRecord(); err != io.EOF { // compaction left an empty batch, which is not even compressed
		t.Errorf("a record in an empty batch: %v", err)
	}
	if d.End() != 510 {
		t.Errorf("end %d, want 510: an empty batch covers its offsets", d.End())
	}
}

// With LogAppendTime every record bears the broker's time; the producer's deltas mean nothing.
func TestAppendTime(t *testing.T) {
	body := records(sent{Delta: 0, Time: 1000}, sent{Delta: 1, Time: 1234})
	for _, tt := range []struct {
		attributes uint16
		want       []int64
	}{
		{0, []int64{1000, 1234}},
		{8, []int64{88, 88}},
	} {
		var d Decoder
		d.Reset(frame{lastDelta: 1, attributes: tt.attributes, maxTime: 88, count: 2, body: body}.encode(), 0, nil)
		for i, r := range readAll(t, &d).records {
			if r.Time != tt.want[i] {
				t.Errorf("attributes %d record %d: time %d, want %d", tt.attributes, i, r.Time, tt.want[i])
			}
		}
	}
}

func TestReadsFromTheMiddle(t *testing.T) {
	raw := join(data(10, 5, 0, -1), data(15, 3, 0, -1))
	for from := int64(10); from <= 18; from++ {
		var d Decoder
		d.Reset(raw, from, nil)
		got := readAll(t, &d)
		if int64(len(got.offsets)) != 18-from || len(got.offsets) > 0 && got.offsets[0] != from {
			t.Errorf("from %d: offsets %v", from, got.offsets)
		}
		if d.End() != 18 {
			t.Errorf("from %d: end %d", from, d.End())
		}
	}
}

func TestCutOffAnywhere(t *testing.T) {
	whole := data(0, 4, 0, -1)
	raw := join(whole, data(4, 4, 0, -1))
	for n := range len(raw) {
		var d Decoder
		d.Reset(raw[:n], 0, nil)
		got := readAll(t, &d)
		want, partial := 0, n > 0
		if n >= len(whole) {
			want, partial = 4, n > len(whole)
		}
		if len(got.offsets) != want || got.errs != nil || d.Partial() != partial || d.End() != int64(want) {
			t.Fatalf("%d bytes: offsets %v errors %v partial %v end %d", n, got.offsets, got.errs, d.Partial(), d.End())
		}
	}
}

// Offsets of a fault are named exactly, and what stands around them is read.
func TestFaults(t *testing.T) {
	flip := func(b []byte, at int) []byte { b = slices.Clone(b); b[at] ^= 0x10; return b }
	bomb := func(codec Codec) []byte {
		return oracle(t, codec, 3, []sent{{Time: 1, Value: make([]byte, 3<<20)}})
	}
	old := func(attributes byte) []byte { // format version 1: offset, size, crc, magic, attributes, time, key, value
		b := binary.BigEndian.AppendUint64(nil, 3)
		b = binary.BigEndian.AppendUint32(b, 6+8+8)
		b = append(b, 0, 0, 0, 0, 1, attributes)
		b = append(b, make([]byte, 16)...)
		binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
		return b
	}
	broken := frame{base: 3, lastDelta: 2, count: 3, body: append(records(sent{Delta: 0, Time: 1000, Value: []byte("a")}), 0x22, 9, 9, 9)}.encode()
	for _, tt := range []struct {
		name        string
		middle      []byte
		first, last int64
		reason      Reason
		before      int // records of the middle that are delivered
	}{
		{"checksum", flip(data(3, 3, 0, -1), 70), 3, 5, ReasonChecksum, 0},
		{"checksum and offset", flip(data(3, 3, 0, -1), 24), 3, 5, ReasonChecksum, 0}, // claims a million offsets
		{"old format", old(0), 3, 3, ReasonMagic, 0},
		{"old format, compressed", old(1), 3, 3, ReasonMagic, 0},
		{"future format", flip(data(3, 3, 0, -1), 16), 3, 3, ReasonMalformed, 0},
		{"unknown codec", frame{base: 3, lastDelta: 2, attributes: 5, count: 3, body: []byte("?")}.encode(), 3, 5, ReasonCodec, 0},
		{"garbage under gzip", frame{base: 3, lastDelta: 2, attributes: 1, count: 3, body: []byte("not gzip at all")}.encode(), 3, 5, ReasonMalformed, 0},
		{"garbage under snappy", frame{base: 3, lastDelta: 2, attributes: 2, count: 3, body: []byte("\xff\xff\xff\xff\xff\xff")}.encode(), 3, 5, ReasonMalformed, 0},
		{"garbage under lz4", frame{base: 3, lastDelta: 2, attributes: 3, count: 3, body: []byte("not lz4 at all")}.encode(), 3, 5, ReasonMalformed, 0},
		{"garbage under zstd", frame{base: 3, lastDelta: 2, attributes: 4, count: 3, body: []byte("not zstd at all")}.encode(), 3, 5, ReasonMalformed, 0},
		{"bomb under gzip", bomb(Gzip), 3, 3, ReasonTooLarge, 0},
		{"bomb under snappy", bomb(Snappy), 3, 3, ReasonTooLarge, 0},
		{"bomb under lz4", bomb(LZ4), 3, 3, ReasonTooLarge, 0},
		{"bomb under zstd", bomb(Zstd), 3, 3, ReasonTooLarge, 0},
		{"plain beyond the limit", bomb(None), 3, 3, ReasonTooLarge, 0},
		{"more records than offsets", frame{base: 3, lastDelta: 1, count: 3, body: records(sent{Time: 1000})}.encode(), 3, 4, ReasonMalformed, 0},
		{"negative last offset", frame{base: 3, lastDelta: -1, count: 0}.encode(), 3, 5, ReasonMalformed, 0}, // as the batch behind it tells
		{"second record broken", broken, 4, 5, ReasonMalformed, 1},
		{"fewer records than counted", frame{base: 3, lastDelta: 2, count: 3, body: records(sent{Delta: 1, Time: 1000})}.encode(), 5, 5, ReasonMalformed, 1},
		{"record beyond the last offset", frame{base: 3, lastDelta: 2, count: 1, body: records(sent{Delta: 3, Time: 1000})}.encode(), 3, 5, ReasonMalformed, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Decoder{Limit: 2 << 20}
			d.Reset(join(data(0, 3, 0, -1), tt.middle, data(6, 2, 0, -1)), 0, nil)
			got := readAll(t, &d)
			if len(got.errs) != 1 {
				t.Fatalf("errors %v", got.errs)
			}
			if e := got.errs[0]; e.First != tt.first || e.Last != tt.last || e.Reason != tt.reason {
				t.Errorf("got %v (%d to %d, %s), want %d to %d, %s", e, e.First, e.Last, e.Reason, tt.first, tt.last, tt.reason)
			}
			if len(got.offsets) != 5+tt.before || got.offsets[len(got.offsets)-1] != 7 || d.End() != 8 {
				t.Errorf("offsets %v, end %d", got.offsets, d.End())
			}
		})
	}
}

func TestBatchErrorText(t *testing.T) {
	for _, tt := range []struct {
		err  BatchError
		want string
	}{
		{BatchError{First: 3, Last: 5, Reason: ReasonChecksum}, "records 3 to 5: checksum differs"},
		{BatchError{First: 3, Last: 3, Reason: ReasonCodec, Err: fmt.Errorf("%w: %d", errCodec, 7)}, "records 3 to 3: unknown compression: codec is unknown: 7"},
		{BatchError{Reason: 99}, "records 0 to 0: reason 99"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// A batch so large that the fetch kept only its head is named by the offsets that its head claims.
func TestTooLargeForTheFetch(t *testing.T) {
	raw := oracle(t, None, 40, []sent{{Time: 1, Value: make([]byte, 1<<20)}, {Delta: 1, Time: 1}})
	d := Decoder{Limit: 1 << 16}
	d.Reset(raw[:1<<17], 40, nil)
	got := readAll(t, &d)
	if len(got.errs) != 1 || got.errs[0].First != 40 || got.errs[0].Last != 41 || got.errs[0].Reason != ReasonTooLarge || d.End() != 42 {
		t.Errorf("errors %v, end %d", got.errs, d.End())
	}
}

// Where the next batch begins is unknown after a length that makes no sense: one offset is given up.
func TestNonsenseLength(t *testing.T) {
	raw := data(3, 3, 0, -1)
	binary.BigEndian.PutUint32(raw[8:], math.MaxUint32-3)
	var d Decoder
	d.Reset(raw, 3, nil)
	got := readAll(t, &d)
	if len(got.errs) != 1 || got.errs[0].First != 3 || got.errs[0].Last != 3 || d.End() != 4 {
		t.Errorf("errors %v, end %d", got.errs, d.End())
	}
}

// Two producers, interleaved: 1 aborts, begins again and commits; 2 commits.
func TestAbortedTransactions(t *testing.T) {
	raw := join(
		data(0, 2, 16, 1),    // aborted
		data(2, 2, 16, 2),    // committed
		data(4, 1, 0, -1),    // no transaction
		data(5, 1, 16, 1),    // aborted
		marker(6, 1, false),  // abort of 1
		data(7, 2, 16, 1),    // committed
		marker(9, 2, true),   //
		marker(10, 1, true),  //
		data(11, 1, 16, 1),   // aborted, its marker stands behind the fetch
		data(12, 1, 0|8, -1), //
	)
	var d Decoder
	for range 2 { // a reset forgets
		d.Reset(raw, 0, []Aborted{{1, 11}, {1, 0}})
		got := readAll(t, &d)
		want := seen{offsets: []int64{2, 3, 4, 7, 8, 12}, aborted: []int64{0, 1, 5, 11}, control: []int64{6, 9, 10}}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(seen{}), cmpopts.IgnoreFields(seen{}, "records")); diff != "" {
			t.Error(diff)
		}
	}
}

// Highly compressed batches do not blow up memory: the fetch is read in parts.
func TestBudget(t *testing.T) {
	var raw []byte
	for i := range 10 {
		raw = append(raw, oracle(t, Zstd, int64(i), []sent{{Time: 1, Value: make([]byte, 1<<20)}})...)
	}
	d := Decoder{Budget: 3 << 20}
	var got []int64
	for rounds := 0; len(got) < 10; rounds++ {
		if rounds > 10 {
			t.Fatal("no progress")
		}
		d.Reset(raw, int64(len(got)), nil)
		part := readAll(t, &d)
		if len(part.offsets) > 3 || d.Early() != (len(got)+len(part.offsets) < 10) {
			t.Fatalf("%v in one go, early %v", part.offsets, d.Early())
		}
		got = append(got, part.offsets...)
		if d.End() != int64(len(got)) {
			t.Fatalf("end %d after %v", d.End(), got)
		}
	}
}

// Keys and values stay valid until the next Reset, over all batches in between.
func TestValuesLiveUntilReset(t *testing.T) {
	var raw []byte
	var want []string
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 50 {
		v := strings.Repeat(fmt.Sprint(i, ","), 1+rng.IntN(5000))
		want = append(want, v)
		raw = append(raw, oracle(t, Codec(i%5), int64(i), []sent{{Time: 1, Value: []byte(v)}})...)
	}
	var d Decoder
	for range 3 {
		d.Reset(raw, 0, nil)
		for i, r := range readAll(t, &d).records {
			if string(r.Value) != want[i] {
				t.Fatalf("value %d has changed", i)
			}
		}
	}
}

// A decoder that has seen its like makes no garbage.
func TestDecodeMakesNoGarbage(t *testing.T) {
	for _, codec := range []Codec{None, Snappy, Zstd} {
		raw := oracle(t, codec, 0, randomRecords(rand.New(rand.NewPCG(5, 6)), 500))
		var d Decoder
		perRun := testing.AllocsPerRun(20, func() {
			d.Reset(raw, 0, nil)
			d.NextBatch()
			for {
				if _, err := d.NextRecord(); err != nil {
					return
				}
			}
		})
		if perRun > 5 {
			t.Errorf("%s: %v allocations for 500 records", codec, perRun)
		}
	}
}

// Whatever the bytes, decoding ends, does not panic, delivers growing offsets and accounts for every one of them.
func FuzzDecoder(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		f.Add(join(oracle(f, codec, 3, randomRecords(rng, 3)), data(6, 2, 16, 5), marker(8, 5, false)), int64(4), true)
	}
	f.Add(data(0, 1, 0, -1)[:50], int64(0), false)
	f.Fuzz(func(t *testing.T, raw []byte, from int64, repair bool) {
		if from < 0 || from > math.MaxInt64/2 {
			return
		}
		if repair { // otherwise the checksum keeps the fuzzer out
			for rest := raw; len(rest) >= batchHead; {
				size := int(int32(binary.BigEndian.Uint32(rest[8:]))) + 12
				if size < batchHead || size > len(rest) {
					break
				}
				seal(rest[:size])
				rest = rest[size:]
			}
		}
		d := Decoder{Limit: 1 << 20, Budget: 1 << 20}
		d.Reset(raw, from, []Aborted{{5, 2}, {9, 100}})
		got := readAll(t, &d)
		all := slices.Concat(got.offsets, got.aborted, got.control)
		slices.Sort(all)
		for i, o := range all {
			if o < from || o >= d.End() || i > 0 && all[i-1] == o {
				t.Fatalf("offset %d delivered, from %d, end %d, all %v", o, from, d.End(), all)
			}
			for _, e := range got.errs {
				if e.First <= o && o <= e.Last {
					t.Fatalf("offset %d was delivered and is in %v", o, e)
				}
			}
		}
		for _, e := range got.errs {
			if e.First > e.Last || e.First < from || e.Last >= d.End() {
				t.Fatalf("range of %v, from %d, end %d", e, from, d.End())
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	value := []byte(strings.Repeat(`{"agent":"a-17","tool":"shell","args":"ls"}`, 22)) // 946 bytes
	list := make([]sent, 1000)
	for i := range list {
		list[i] = sent{Delta: int64(i), Time: int64(1000 + i), Key: []byte("tenant/agent-1"), Value: value}
	}
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		raw := oracle(b, codec, 0, list)
		b.Run(codec.String(), func(b *testing.B) {
			var d Decoder
			b.ReportAllocs()
			b.SetBytes(int64(len(list) * len(value)))
			for b.Loop() {
				d.Reset(raw, 0, nil)
				for {
					if _, err := d.NextBatch(); err != nil {
						break
					}
					for {
						if _, err := d.NextRecord(); err != nil {
							break
						}
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(list)), "ns/record")
		})
	}
}
