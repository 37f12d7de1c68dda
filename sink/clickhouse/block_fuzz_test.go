package clickhouse

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/dchest/siphash"
	"github.com/google/go-cmp/cmp"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// nativeReader reads a block of the native protocol in the plainest way, value by value.
type nativeReader struct {
	t *testing.T
	b []byte
}

func (r *nativeReader) take(n int) []byte {
	r.t.Helper()
	if n < 0 || n > len(r.b) {
		r.t.Fatalf("%d bytes wanted, %d left", n, len(r.b))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *nativeReader) length() int {
	r.t.Helper()
	n, width := binary.Uvarint(r.b)
	if width <= 0 {
		r.t.Fatal("a length cannot be read")
	}
	r.take(width)
	return int(n)
}

func (r *nativeReader) text() string { return string(r.take(r.length())) }

// value reads one value of a type that is no list.
func (r *nativeReader) value(typ string) any {
	r.t.Helper()
	switch {
	case typ == "String":
		return r.text()
	case typ == "Bool":
		return r.take(1)[0] == 1
	case typ == "UInt32":
		return int64(binary.LittleEndian.Uint32(r.take(4)))
	case typ == "Int32", typ == "Decimal(6, 3)":
		return int64(int32(binary.LittleEndian.Uint32(r.take(4))))
	case typ == "Int64", typ == "UInt64", typ == "Decimal(18, 3)", strings.HasPrefix(typ, "DateTime64(3"):
		return int64(binary.LittleEndian.Uint64(r.take(8)))
	}
	r.t.Fatalf("type %s", typ)
	return nil
}

// column reads a column: of lists first where each ends, then all elements.
func (r *nativeReader) column(typ string, rows int) (list []any) {
	r.t.Helper()
	of, isList := strings.CutPrefix(typ, "Array(")
	isMap := typ == "Map(String, String)"
	if !isList && !isMap {
		for range rows {
			list = append(list, r.value(typ))
		}
		return list
	}
	lengths, last := make([]int, rows), 0
	for i := range lengths {
		end := int(r.value("UInt64").(int64))
		lengths[i], last = end-last, end
	}
	read := func(typ string) (all []any) {
		for range last {
			all = append(all, r.value(typ))
		}
		return all
	}
	first, second := []any(nil), []any(nil)
	if isMap {
		first, second = read("String"), read("String")
	} else {
		first = read(strings.TrimSuffix(of, ")"))
	}
	for _, n := range lengths {
		if n < 0 {
			r.t.Fatalf("a list of %d", n)
		}
		row := ""
		for i := range n {
			row += fmt.Sprintf("%q ", fmt.Sprint(first[i]))
			if isMap {
				row += fmt.Sprintf("= %q ", second[i])
			}
		}
		list, first = append(list, row), first[n:]
		if isMap {
			second = second[n:]
		}
	}
	return list
}

// read reads a block: what each row says, by column.
func readBlock(t *testing.T, b []byte) (rows []map[string]any) {
	t.Helper()
	r := &nativeReader{t, b}
	columns := r.length()
	rows = make([]map[string]any, r.length())
	for i := range rows {
		rows[i] = map[string]any{}
	}
	for range columns {
		name, typ := r.text(), r.text()
		for i, v := range r.column(typ, len(rows)) {
			if _, twice := rows[i][name]; twice {
				t.Fatalf("column %s stands twice", name)
			}
			rows[i][name] = v
		}
	}
	if len(r.b) > 0 {
		t.Fatalf("%d bytes are left", len(r.b))
	}
	return rows
}

// encoded is the block as it goes over the wire, in one piece and in many.
func encoded(t *testing.T, b *Block) []byte {
	t.Helper()
	in := b.input()
	head := proto.Block{Columns: len(in), Rows: b.Rows()}
	var whole proto.Buffer
	if err := head.EncodeRawBlock(&whole, 0, in); err != nil {
		t.Fatal(err)
	}
	var pieces bytes.Buffer
	w := proto.NewWriter(&pieces, &proto.Buffer{})
	if err := head.WriteBlock(w, 0, in); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(whole.Buf, pieces.Bytes()) {
		t.Fatal("written in pieces it is another block")
	}
	return whole.Buf
}

// rowMaker makes rows of a fuzzer's bytes.
type rowMaker struct{ b []byte }

func (m *rowMaker) next() byte {
	if len(m.b) == 0 {
		return 0
	}
	c := m.b[0]
	m.b = m.b[1:]
	return c
}

func (m *rowMaker) text() string {
	n := int(m.next())
	if n > 250 {
		return strings.Repeat("x", 200*(n-250)) // lengths of two bytes
	}
	n = min(n, len(m.b))
	s := string(m.b[:n])
	m.b = m.b[n:]
	return s
}

func (m *rowMaker) number() int64 {
	return [...]int64{0, 1, -1, math.MaxInt64, math.MinInt64, int64(m.next()) << 32, int64(m.next()), -1000}[m.next()%8]
}

// row makes an event and its verdict, and what the table is to hold of them, in the plainest way.
func (m *rowMaker) row(b *Block, offset int64, item int32) (*scoring.Event, *scoring.Verdict, map[string]any) {
	e := &scoring.Event{Origin: scoring.Origin{Topic: m.text(), Partition: int32(m.number()), Offset: offset, Item: item}, Time: m.number(), KafkaTime: m.number()}
	v := &scoring.Verdict{Score: scoring.Score(m.number()), SessionScore: scoring.Score(m.number()), AgentScore: scoring.Score(m.number()), Level: scoring.Level(m.next() % 5), Alert: scoring.AlertCause(m.next() % 3),
		Flags: scoring.Flags(m.number()) & (1<<len(scoring.FlagNames) - 1)}
	want := map[string]any{"time": e.Time, "kafka_time": e.KafkaTime, "score": int64(int32(v.Score)), "session_score": int64(int32(v.SessionScore)), "agent_score": int64(int32(v.AgentScore)),
		"level": v.Level.String(), "alert": "", "topic": e.Origin.Topic, "pack": b.pack.Digest, "engine": scoring.EngineVersion, "partition": int64(e.Origin.Partition), "item": int64(item), "epoch": int64(b.Epoch),
		"offset": offset, "state_from": b.StateFrom, "redaction": b.Keep.Policy, "key_id": b.Keep.KeyID, "excerpt": "", "args_excerpt": ""}
	if v.Alert != scoring.NoAlert {
		want["alert"] = v.Alert.String()
	}
	list := func(name string, values []string) {
		row := ""
		for _, x := range values {
			row += fmt.Sprintf("%q ", x)
		}
		want[name] = row
	}
	var rules, severities, whys, shares, lacks, failed []string
	for range m.next() % 3 {
		h := scoring.Hit{Rule: int(m.next()) % len(b.pack.Rules), Contribution: scoring.Score(m.number()), Why: m.text()}
		v.Hits = append(v.Hits, h)
		r := b.pack.Rules[h.Rule]
		rules, severities, whys, shares = append(rules, r.ID), append(severities, r.Severity.String()), append(whys, h.Why), append(shares, fmt.Sprint(int32(h.Contribution)))
	}
	for range m.next() % 3 {
		n := int(m.next()) % len(b.pack.Rules)
		v.Lacks, lacks = append(v.Lacks, n), append(lacks, b.pack.Rules[n].ID)
	}
	for range m.next() % 2 {
		n := int(m.next()) % len(b.pack.Rules)
		v.Failed, failed = append(v.Failed, n), append(failed, b.pack.Rules[n].ID)
	}
	list("hits.rule", rules)
	list("hits.severity", severities)
	list("hits.why", whys)
	list("hits.contribution", shares)
	list("flags", v.Flags.Names())
	list("lacks", lacks)
	list("failed", failed)
	attributes := ""
	for range m.next() % 3 {
		a := scoring.Attribute{Key: m.text(), Value: m.text()}
		e.Attributes = append(e.Attributes, a)
		attributes += fmt.Sprintf("%q = %q ", a.Key, a.Value)
	}
	want["attributes"] = attributes
	m.fields(e, want, list)
	for i, c := range contents {
		s, action := e.Str(c.id), b.Keep.Arguments
		if c.id == scoring.FieldContent {
			action = b.Keep.Content
		}
		length, print, excerpt := int64(0), int64(0), ""
		if s != "" {
			length = int64(len(s))
			if action != redact.Drop {
				print = int64(siphash.Hash(b.k0, b.k1, []byte(s)))
			}
			if action == redact.Excerpt {
				excerpt = redact.Text(s, b.Keep.Excerpt)
			}
		}
		want[c.name+"_length"], want[c.name+"_fingerprint"] = length, print
		if i < 2 {
			want[[]string{"excerpt", "args_excerpt"}[i]] = excerpt
		}
	}
	return e, v, want
}

// fields gives the event some fields.
func (m *rowMaker) fields(e *scoring.Event, want map[string]any, list func(string, []string)) {
	says := m.next() // one of four rows in ten has fields at all
	for id := range scoring.Fields {
		f, id := &scoring.Fields[id], scoring.FieldID(id)
		has := says > 100 && m.next()%4 == 0
		var value any
		switch f.Type {
		case scoring.String:
			if has {
				e.SetStr(id, m.text())
			}
			value = e.Str(id)
		case scoring.Int, scoring.Milli:
			if has {
				e.SetInt(id, m.number())
			}
			value = e.Int(id)
		case scoring.Bool:
			if has {
				e.SetBool(id, m.next()%2 == 0)
			}
			value = e.Bool(id)
		case scoring.Strings:
			if has {
				e.SetList(id)
				for range m.next() % 3 {
					e.Append(id, m.text())
				}
			}
			if f.Column != "" {
				list(f.Column, e.List(id))
			}
			continue
		}
		if f.Column != "" {
			want[f.Column] = value
		}
	}
}

// absentOf is what the table holds where a column is not sent.
func absentOf(b *Block, want map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range want {
		switch v.(type) {
		case string:
			out[name] = ""
		case int64:
			out[name] = int64(0)
		case bool:
			out[name] = false
		}
	}
	var none scoring.Event
	out[scoring.Fields[scoring.FieldRegistered].Column] = none.Bool(scoring.FieldRegistered)
	out[scoring.Fields[scoring.FieldIntentMatch].Column] = none.Int(scoring.FieldIntentMatch)
	return out
}

// compareBlock reads the block as it is sent and compares it with the rows that it must hold.
func compareBlock(t *testing.T, b *Block, want []map[string]any) {
	t.Helper()
	got := readBlock(t, encoded(t, b))
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i, row := range got {
		for name := range row {
			if _, ok := want[i][name]; !ok {
				t.Fatalf("column %s is nobody's", name)
			}
		}
		for name, v := range absentOf(b, want[i]) {
			if _, sent := row[name]; !sent {
				row[name] = v
			}
		}
		if !reflect.DeepEqual(row, want[i]) {
			t.Fatalf("row %d: -want +got\n%s", i, cmp.Diff(want[i], row))
		}
	}
}

// FuzzBlock: a block of any rows, sent as the native protocol has it, reads as these rows, column by column; so does a block
// that was used before, and what is left of one when the rows that are stored are taken out.
func FuzzBlock(f *testing.F) {
	f.Add([]byte{}, byte(0), uint64(0))
	f.Add([]byte{3}, byte(1), uint64(1))
	f.Add(bytes.Repeat([]byte{5, 'a', 0, 0xff, 'b', 'c', 200, 4, 8, 12}, 300), byte(2), uint64(0b1010))
	f.Add(bytes.Repeat([]byte{255, 4, 254, 0}, 200), byte(3), ^uint64(0))
	f.Add(bytes.Repeat([]byte("password: hunter2 \xe6\x97\xa5 \x00"), 150), byte(7), uint64(5))
	rng := rand.NewChaCha8([32]byte{1})
	for mode := range byte(6) {
		long := make([]byte, 20_000)
		_, _ = rng.Read(long)
		f.Add(long, mode*5, rng.Uint64())
	}
	pack := &scoring.Pack{Digest: "d", Rules: []scoring.Rule{{ID: "AR-A-001", Severity: scoring.Low}, {ID: "AR-B-002", Severity: scoring.Critical}, {ID: "", Severity: scoring.Info}}}
	f.Fuzz(func(t *testing.T, raw []byte, mode byte, stored uint64) {
		m := &rowMaker{raw}
		b := NewBlock(pack, [16]byte{1, 2, 3})
		for use := range 2 {
			b.Epoch, b.StateFrom = int32(mode>>4), int64(mode>>2)
			b.Keep = redact.Row{Content: []redact.Action{redact.Drop, redact.Fingerprint, redact.Excerpt}[int(mode)%3], Arguments: []redact.Action{redact.Excerpt, redact.Drop, redact.Fingerprint}[int(mode>>1)%3], Excerpt: int(mode) * 3, Policy: "p", KeyID: m.text()}
			var want []map[string]any
			offset, item := m.number()>>1, int32(0)
			for len(want) < 8 && (len(want) < use || len(m.b) > 0) {
				if m.next()%3 > 0 {
					item++
				} else {
					offset, item = offset+1+int64(m.next()), 0
				}
				e, v, row := m.row(b, offset, item)
				b.Append(e, v)
				want = append(want, row)
			}
			if b.Rows() != len(want) {
				t.Fatalf("%d rows", b.Rows())
			}
			have := map[place]uint64{}
			var missing []map[string]any
			for i, row := range want {
				p := place{row["offset"].(int64), int32(row["item"].(int64))}
				if b.placeOf(i) != p {
					t.Fatalf("row %d is at %v, not %v", i, b.placeOf(i), p)
				}
				if stored>>(i%64)&1 == 1 {
					have[p] = 1
				} else {
					missing = append(missing, row)
				}
			}
			if len(want) > 0 {
				compareBlock(t, b, want)
			}
			if left := b.without(have); len(missing) > 0 {
				compareBlock(t, left, missing)
			} else if left.Rows() != 0 {
				t.Fatalf("%d rows are left", left.Rows())
			}
			b.Reset()
			mode = mode<<4 | mode>>4
		}
	})
}
