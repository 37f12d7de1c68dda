package ingest

import "hash/maphash"

// keySet remembers which keys the objects of a record have said. Its table is used again for the next record; the hash
// is seeded, so that nobody can write keys that collide.
type keySet struct {
	slots []keySlot // a power of two of them, at most half full
	used  int
	round uint32 // slots of other rounds are free
}

type keySlot struct {
	round, scope uint32
	hash         uint64
	key          string
}

const (
	leastSlots = 64
	keptSlots  = 4096 // a larger table, 160 KiB, is given back after the record that needed it
)

var keySeed = maphash.MakeSeed()

func (k *keySet) reset() {
	if k.used = 0; len(k.slots) > keptSlots || k.round == 1<<32-1 {
		k.slots, k.round = nil, 0
	}
	k.round++
}

// add remembers a key of an object and reports whether it is new. The key must not change before the next reset.
func (k *keySet) add(scope uint32, key string) bool {
	if 2*k.used >= len(k.slots) {
		k.grow()
	}
	return k.put(keySlot{k.round, scope, maphash.String(keySeed, key), key})
}

func (k *keySet) put(s keySlot) bool {
	mask := len(k.slots) - 1
	for i := int(s.hash^uint64(s.scope)*0x9e3779b97f4a7c15) & mask; ; i = (i + 1) & mask {
		old := &k.slots[i]
		if old.round != k.round {
			*old = s
			k.used++
			return true
		}
		if old.hash == s.hash && old.scope == s.scope && old.key == s.key {
			return false
		}
	}
}

func (k *keySet) grow() {
	old := k.slots
	k.slots, k.used = make([]keySlot, max(leastSlots, 2*len(old))), 0
	for _, s := range old {
		if s.round == k.round {
			k.put(s)
		}
	}
}
