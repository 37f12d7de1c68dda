package clickhouse

import (
	"encoding/binary"
	"fmt"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/dchest/siphash"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// Block collects the rows of one planned range. It copies what it keeps, and its memory is used again after Reset.
type Block struct {
	pack   *scoring.Pack
	k0, k1 uint64 // of fingerprints

	names   []string
	columns []column
	n       int
	last    scoring.Origin
	hash    uint64
	day     int64 // of Kafka time, in days since 1970
	mixed   bool  // rows of more than one day

	time, kafkaTime                   *i64Col
	score, sessionScore, agentScore   *i32Col
	level, alert, topic, packCol, eng *textCol
	partition, item, epoch            *i32Col
	offset, stateFrom                 *i64Col
	rules, severities, whys           *textsCol
	contributions                     *scoresCol
	flags, lacks, failed              *textsCol
	attributes                        *pairsCol
	fields                            [len(scoring.Fields)]column
	lengths                           [3]*u32Col
	prints                            [3]*u64Col
	excerpts                          [3]*textCol // of content and of arguments; a command line is one of these
	redaction, keyID                  *textCol

	texts  [4][]string
	shares []int32
	buf    []byte

	// Epoch and StateFrom of the lane stand on every row.
	Epoch     int32
	StateFrom int64
	// Keep says what the binding keeps of content. The zero value keeps length and fingerprint.
	Keep redact.Row
}

// contents are the fields that are not stored: rows keep their length, and a keyed fingerprint and an excerpt as far as
// the binding allows.
var contents = [3]struct {
	id   scoring.FieldID
	name string
}{{scoring.FieldContent, "content"}, {scoring.FieldToolArgs, "args"}, {scoring.FieldExecCmd, "cmd"}}

// NewBlock returns an empty block for rows that the pack judged. key is that of the fingerprints.
func NewBlock(pack *scoring.Pack, key [16]byte) *Block {
	b := &Block{pack: pack, k0: binary.LittleEndian.Uint64(key[:8]), k1: binary.LittleEndian.Uint64(key[8:]), day: -1}
	b.time, b.kafkaTime = addTo(b, "time", newTime()), addTo(b, "kafka_time", newTime())
	b.score, b.sessionScore, b.agentScore = addTo(b, "score", newScore()), addTo(b, "session_score", newScore()), addTo(b, "agent_score", newScore())
	b.level, b.alert = addTo(b, "level", newText()), addTo(b, "alert", newText())
	b.topic, b.packCol, b.eng = addTo(b, "topic", newText()), addTo(b, "pack", newText()), addTo(b, "engine", newText())
	b.partition, b.item, b.epoch = addTo(b, "partition", newI32()), addTo(b, "item", newI32()), addTo(b, "epoch", newI32())
	b.offset, b.stateFrom = addTo(b, "offset", newI64()), addTo(b, "state_from", newI64())
	b.rules, b.severities, b.whys = addTo(b, "hits.rule", newTexts()), addTo(b, "hits.severity", newTexts()), addTo(b, "hits.why", newTexts())
	b.contributions = addTo(b, "hits.contribution", newScores())
	b.flags, b.lacks, b.failed = addTo(b, "flags", newTexts()), addTo(b, "lacks", newTexts()), addTo(b, "failed", newTexts())
	b.attributes = addTo(b, "attributes", newPairs())
	for id, f := range scoring.Fields {
		if f.Column == "" {
			continue
		}
		var c column
		switch f.Type {
		case scoring.String:
			c = newText()
		case scoring.Int:
			c = newI64()
		case scoring.Milli:
			c = newMilli()
		case scoring.Bool:
			c = newBool()
		case scoring.Strings:
			c = newTexts()
		}
		b.fields[id] = addTo(b, f.Column, c)
	}
	// What two absent fields read as is not zero; the table's defaults say the same (migration 0006).
	var absent scoring.Event
	b.fields[scoring.FieldRegistered].(*boolCol).none = absent.Bool(scoring.FieldRegistered)
	b.fields[scoring.FieldIntentMatch].(*i64Col).none = absent.Int(scoring.FieldIntentMatch)
	b.excerpts[0], b.excerpts[1] = addTo(b, "excerpt", newText()), addTo(b, "args_excerpt", newText())
	b.redaction, b.keyID = addTo(b, "redaction", newText()), addTo(b, "key_id", newText())
	for i, c := range contents {
		b.lengths[i] = addTo(b, c.name+"_length", newU32())
		b.prints[i] = addTo(b, c.name+"_fingerprint", newU64())
	}
	return b
}

func addTo[C column](b *Block, name string, c C) C {
	b.names = append(b.names, name)
	b.columns = append(b.columns, c)
	return c
}

// Append adds a row. Origins must grow: that keeps sorting keys unique within the block.
func (b *Block) Append(e *scoring.Event, v *scoring.Verdict) {
	o := e.Origin
	if b.n > 0 && (o.Offset < b.last.Offset || o.Offset == b.last.Offset && o.Item <= b.last.Item) {
		panic(fmt.Sprintf("clickhouse: row %s after %s: origins must grow within a block", o, b.last))
	}
	b.last = o
	if day := e.KafkaTime / 86_400_000; b.day != day {
		b.mixed = b.mixed || b.day >= 0
		b.day = day
	}
	n := b.n
	b.n++
	b.time.set(n, e.Time)
	b.kafkaTime.set(n, e.KafkaTime)
	b.score.set(n, int32(v.Score))
	b.sessionScore.set(n, int32(v.SessionScore))
	b.agentScore.set(n, int32(v.AgentScore))
	b.level.set(n, v.Level.String())
	b.topic.set(n, o.Topic)
	b.packCol.set(n, b.pack.Digest)
	b.eng.set(n, scoring.EngineVersion)
	b.partition.set(n, o.Partition)
	b.offset.set(n, o.Offset)
	b.stateFrom.set(n, b.StateFrom)
	if o.Item != 0 {
		b.item.set(n, o.Item)
	}
	if b.Epoch != 0 {
		b.epoch.set(n, b.Epoch)
	}
	if v.Alert != scoring.NoAlert {
		b.alert.set(n, v.Alert.String())
	}
	b.judgement(n, v)
	b.event(n, e)
	b.hash = b.hash*0x100000001b3 ^ uint64(o.Offset)<<20 ^ uint64(o.Item)<<44 ^ uint64(v.Score)
}

// judgement adds what rules said.
func (b *Block) judgement(n int, v *scoring.Verdict) {
	if len(v.Hits) > 0 {
		rules, severities, whys := b.texts[0][:0], b.texts[1][:0], b.texts[2][:0]
		b.shares = b.shares[:0]
		for _, h := range v.Hits {
			r := &b.pack.Rules[h.Rule]
			rules, severities, whys = append(rules, r.ID), append(severities, r.Severity.String()), append(whys, h.Why)
			b.shares = append(b.shares, int32(h.Contribution))
		}
		b.rules.set(n, rules)
		b.severities.set(n, severities)
		b.whys.set(n, whys)
		b.contributions.set(n, b.shares)
		b.texts[0], b.texts[1], b.texts[2] = rules, severities, whys
	}
	if v.Flags != 0 {
		names := b.texts[3][:0]
		for i, name := range scoring.FlagNames {
			if v.Flags&(1<<i) != 0 {
				names = append(names, name)
			}
		}
		b.flags.set(n, names)
		b.texts[3] = names
	}
	for _, l := range [...]struct {
		col  *textsCol
		list []int
	}{{b.lacks, v.Lacks}, {b.failed, v.Failed}} {
		if len(l.list) > 0 {
			ids := b.texts[3][:0]
			for _, r := range l.list {
				ids = append(ids, b.pack.Rules[r].ID)
			}
			l.col.set(n, ids)
			b.texts[3] = ids
		}
	}
}

// event adds what the provider said.
func (b *Block) event(n int, e *scoring.Event) {
	for i, c := range b.fields {
		id := scoring.FieldID(i)
		if c == nil || !e.Has(id) {
			continue
		}
		switch c := c.(type) {
		case *textCol:
			c.set(n, e.Str(id))
		case *i64Col:
			c.set(n, e.Int(id))
		case *boolCol:
			c.set(n, e.Bool(id))
		case *textsCol:
			c.set(n, e.List(id))
		}
	}
	for i, c := range contents {
		if s := e.Str(c.id); s != "" {
			b.lengths[i].set(n, uint32(len(s)))
			action := b.Keep.Content
			if c.id != scoring.FieldContent {
				action = b.Keep.Arguments
			}
			if action == redact.Drop {
				continue
			}
			b.buf = append(b.buf[:0], s...)
			b.prints[i].set(n, siphash.Hash(b.k0, b.k1, b.buf))
			if action == redact.Excerpt && b.excerpts[i] != nil {
				b.excerpts[i].set(n, redact.Text(s, b.Keep.Excerpt))
			}
		}
	}
	b.redaction.set(n, b.Keep.Policy)
	b.keyID.set(n, b.Keep.KeyID)
	if len(e.Attributes) > 0 {
		for _, a := range e.Attributes {
			b.attributes.add(n, a.Key, a.Value)
		}
	}
}

// Rows is the number of rows.
func (b *Block) Rows() int { return b.n }

// Bytes is the memory that the rows take.
func (b *Block) Bytes() (n int) {
	for _, c := range b.columns {
		n += c.bytes()
	}
	return n
}

// Hash covers origins and scores of the rows, in order.
func (b *Block) Hash() uint64 { return b.hash }

// Reset empties the block. It keeps the memory that its rows have used.
func (b *Block) Reset() {
	for _, c := range b.columns {
		c.reset()
	}
	b.n, b.hash, b.day, b.mixed, b.last = 0, 0, -1, false, scoring.Origin{}
}

// input is what goes over the wire: the columns that say something.
func (b *Block) input() proto.Input {
	var in proto.Input
	for i, c := range b.columns {
		if c.rows() == 0 {
			continue
		}
		c.pad(b.n)
		in = append(in, proto.InputColumn{Name: b.names[i], Data: c.input()})
	}
	return in
}

// place is a row's identity within its range.
type place struct {
	offset int64
	item   int32
}

// placeOf returns the identity of row i.
func (b *Block) placeOf(i int) place {
	p := place{offset: b.offset.col[i]}
	if i < b.item.rows() {
		p.item = b.item.col[i]
	}
	return p
}

// without copies the rows whose places are not stored into a block of its own.
func (b *Block) without(stored map[place]uint64) *Block {
	out := NewBlock(b.pack, [16]byte{})
	for i := range b.n {
		p := b.placeOf(i)
		if stored[p] > 0 {
			continue
		}
		for c := range b.columns {
			out.columns[c].copyRow(b.columns[c], i, out.n)
		}
		// A row's own columns must exist even where every value reads as empty.
		out.offset.pad(out.n)
		if out.offset.rows() == out.n {
			out.offset.set(out.n, p.offset)
		}
		out.n++
	}
	out.day = b.day
	return out
}
