package kafka

import (
	"encoding/binary"
	"maps"
	"slices"
)

// claim is what a member tells the group's leader when it joins: which partitions it served last, and in which
// generation. Its bytes also differ at each join, by design: to a follower that joins again with equal bytes the
// broker hands out the generation it had, and a late commit of before would be accepted (histories, 42).
type claim struct {
	incarnation uint64 // of the process, random
	join        uint64 // counts the joins
	generation  int32  // in which owned was served
	owned       map[string][]int32
}

const (
	claimMagic   = 0xA7 // so that other members' bytes are hardly ever taken for ours
	claimVersion = 1
)

// encode writes: magic, version, incarnation and join (8 bytes each), generation, number of topics, and for each
// its name and partitions as counted varints, all in order.
func (c claim) encode() []byte {
	b := []byte{claimMagic, claimVersion}
	b = binary.BigEndian.AppendUint64(b, c.incarnation)
	b = binary.BigEndian.AppendUint64(b, c.join)
	b = binary.AppendVarint(b, int64(c.generation))
	b = binary.AppendUvarint(b, uint64(len(c.owned)))
	for _, topic := range slices.Sorted(maps.Keys(c.owned)) {
		b = binary.AppendUvarint(b, uint64(len(topic)))
		b = append(b, topic...)
		b = binary.AppendUvarint(b, uint64(len(c.owned[topic])))
		for _, p := range slices.Sorted(slices.Values(c.owned[topic])) {
			b = binary.AppendUvarint(b, uint64(p))
		}
	}
	return b
}

// decodeClaim reads a claim. What another program put there claims nothing.
func decodeClaim(b []byte) (claim, bool) {
	if len(b) < 18 || b[0] != claimMagic || b[1] != claimVersion {
		return claim{}, false
	}
	r := claimReader{b: b[18:]}
	c := claim{incarnation: binary.BigEndian.Uint64(b[2:]), join: binary.BigEndian.Uint64(b[10:]), owned: map[string][]int32{}}
	generation, n := binary.Varint(r.b)
	if n <= 0 || generation != int64(int32(generation)) {
		return claim{}, false
	}
	r.b, c.generation = r.b[n:], int32(generation)
	for range r.count() {
		topic := r.text()
		partitions := make([]int32, 0, 8)
		for range r.count() {
			partitions = append(partitions, int32(r.number(1<<31-1)))
		}
		if r.bad {
			return claim{}, false
		}
		c.owned[topic] = partitions
	}
	return c, !r.bad && len(r.b) == 0
}

type claimReader struct {
	b   []byte
	bad bool
}

func (r *claimReader) number(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count is a number of things that take at least a byte each.
func (r *claimReader) count() uint64 { return r.number(uint64(len(r.b))) }

func (r *claimReader) text() string {
	n := r.count()
	if n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
