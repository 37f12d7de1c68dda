package kafka

import (
	"encoding/binary"
	"slices"
)

// Aborted says that a producer's transaction that began at FirstOffset was aborted. A broker sends the list with
// a read_committed fetch; the records themselves are sent too, and the reader leaves them out.
type Aborted struct {
	ProducerID  int64
	FirstOffset int64
}

// aborts follows aborted transactions through the batches of a fetch: a producer's records are aborted from the
// transaction's first offset up to its abort marker.
type aborts struct {
	waiting []Aborted // by FirstOffset
	open    map[int64]struct{}
}

func (a *aborts) reset(list []Aborted) {
	a.waiting = append(a.waiting[:0], list...)
	slices.SortFunc(a.waiting, func(x, y Aborted) int {
		switch {
		case x.FirstOffset < y.FirstOffset:
			return -1
		case x.FirstOffset > y.FirstOffset:
			return 1
		}
		return 0
	})
	clear(a.open)
}

// covers reports whether the batch holds records of an aborted transaction. Batches must come in order.
func (a *aborts) covers(b *Batch, body []byte) bool {
	for len(a.waiting) > 0 && a.waiting[0].FirstOffset <= b.LastOffset {
		if a.open == nil {
			a.open = make(map[int64]struct{})
		}
		a.open[a.waiting[0].ProducerID] = struct{}{}
		a.waiting = a.waiting[1:]
	}
	if len(a.open) == 0 || !b.Transactional {
		return false
	}
	if !b.Control {
		_, aborted := a.open[b.ProducerID]
		return aborted
	}
	if isAbortMarker(body) {
		delete(a.open, b.ProducerID)
	}
	return false
}

// isAbortMarker reads the first record of a control batch, which is never compressed: its key is a version and a
// type, two bytes each, and type 0 says that the transaction was aborted.
func isAbortMarker(body []byte) bool {
	size, i := varint(body, 0)
	if i < 0 || size < 1 || size > int64(len(body)-i) {
		return false
	}
	_, i = varint(body, i+1)
	if i < 0 {
		return false
	}
	if _, i = varint(body, i); i < 0 {
		return false
	}
	key, i := sized(body, i)
	return i > 0 && len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == 0
}
