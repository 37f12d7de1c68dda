package ingest

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unsafe"

	"github.com/agentrisk/agentrisk/scoring"
)

// name is one that the decoder knows: a field's, an alias of one, an object that holds some, or "time".
type name struct {
	text   string
	quoted string // as JSON writes it, with the colon
	what   nameKind
	field  scoring.FieldID
}

type nameKind uint8

const (
	nameField nameKind = iota
	nameAlias          // of a field; at the top, and not for an object: {"provider": {"id": ...}} is provider.id
	nameGroup          // "tool", of "tool.name"
	nameTime
)

// maxNames bounds the table of names: ids are bytes, and the last one is none.
const (
	maxNames = 255
	noName   = 255
)

// nameSet holds ids of names.
type nameSet [(maxNames + 63) / 64]uint64

// add puts an id into the set and reports whether it is new there.
func (s *nameSet) add(id uint8) bool {
	bit := uint64(1) << (id % 64)
	fresh := s[id/64]&bit == 0
	s[id/64] |= bit
	return fresh
}

// names are all known names; an id is a position. buckets finds ids by hash: 0 is empty, otherwise the id plus one,
// and who is not in its bucket is in one of the next. The table is four times as large as it must be.
var (
	names   []name
	buckets [1024]uint8
)

func init() {
	add := func(n name) {
		if _, known := findName(n.text); known {
			return
		}
		if len(names) == maxNames {
			panic("too many names of fields: widen the ids of names") // seen by every test
		}
		n.quoted = `"` + n.text + `":`
		names = append(names, n)
		i := nameHash(n.text)
		for buckets[i] != 0 {
			i = (i + 1) % uint32(len(buckets))
		}
		buckets[i] = uint8(len(names))
	}
	add(name{text: "time", what: nameTime})
	for id, f := range scoring.Fields {
		add(name{text: f.Name, what: nameField, field: scoring.FieldID(id)})
	}
	for id, f := range scoring.Fields {
		for _, a := range f.Aliases {
			add(name{text: a, what: nameAlias, field: scoring.FieldID(id)})
		}
	}
	for _, f := range scoring.Fields {
		if i := strings.LastIndexByte(f.Name, '.'); i > 0 {
			add(name{text: f.Name[:i], what: nameGroup})
		}
	}
}

// nameHash mixes the length with the first and the last bytes of a name: that tells the known ones apart well enough.
func nameHash(s string) uint32 {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	var first, last uint64
	switch n := len(b); {
	case n >= 8:
		first, last = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[n-8:])
	case n >= 4:
		first, last = uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[n-4:]))
	case n > 0:
		first = uint64(b[0])<<16 | uint64(b[n/2])<<8 | uint64(b[n-1])
	}
	hi, lo := bits.Mul64(first^uint64(len(b)), 0x9e3779b97f4a7c15)
	hi2, lo2 := bits.Mul64(last^lo, 0xd6e8feb86659fd93)
	return uint32(hi^hi2^lo2>>32) % uint32(len(buckets))
}

// findName returns the id of a known name.
func findName(s string) (id uint8, ok bool) {
	for i := nameHash(s); buckets[i] != 0; i = (i + 1) % uint32(len(buckets)) {
		if id := buckets[i] - 1; names[id].text == s {
			return id, true
		}
	}
	return 0, false
}
