package scoring

import "math"

// A feature is computed at the agent's clock: the newest state time among the agent's events, this one included. A
// window is twelve buckets of a twelfth of its length; it covers the bucket of the clock and the eleven before.
// Each event counts in the bucket of its own time, and an event older than the window counts nowhere. Values
// include the event under judgement, but for Since, which looks back.

// update is what an event would do to one feature. It is computed before the judgement and written after it.
type update struct {
	feature int
	sub     uint64
	reset   bool
	match   bool // step 0 of all kinds but sequences
	value   int64
	hash    uint64 // Distinct
	steps   uint32 // Sequence: bit n is set when the event matches step n
	same    uint64
	differ  uint64
}

func (f *Feature) width() int64 { return max(f.Window/buckets, 1) }

// saturate adds without wrapping.
func saturate(a, b int64) int64 {
	s := a + b
	switch {
	case a > 0 && b > 0 && s < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && s >= 0:
		return math.MinInt64
	}
	return s
}

// value is the feature as it stands with the event: the cell c (nil: nothing yet) and the update u (nil: the event
// changes nothing) at the clock now, for an event of time t.
func (f *Feature) value(c *cell, u *update, now, t int64) int64 {
	if u != nil && !u.match && u.steps == 0 && !u.reset {
		u = nil
	}
	switch f.Kind {
	case Since:
		if c == nil || c.last == 0 || u != nil && u.reset {
			return -1
		}
		return max(0, now-(c.last-1)) / 1000
	case Sequence:
		if u != nil && f.completes(c, u, now) {
			return 1
		}
		return 0
	case Distinct:
		return f.distinct(c, u, now, t)
	}
	w := f.width()
	head, in := now/w, u != nil && u.match && t/w > now/w-buckets
	var v int64
	any := false
	if c != nil {
		for i := range c.values {
			b := c.head - int64(i)
			if b <= head-buckets || b > head || c.values[i] == empty {
				continue
			}
			v, any = f.merge(v, c.values[i], any), true
		}
	}
	if in {
		v = f.merge(v, u.value, any)
	}
	return v
}

// empty marks a bucket without events: 0 is a value that Max may have seen.
const empty = math.MinInt64

func (f *Feature) merge(a, b int64, any bool) int64 {
	switch {
	case !any:
		return b
	case f.Kind == Max:
		return max(a, b)
	}
	return saturate(a, b)
}

func (f *Feature) distinct(c *cell, u *update, now, t int64) int64 {
	w := f.width()
	head, n, known := now/w, int64(0), false
	if c != nil {
		for _, d := range c.distinct {
			if d.bucket > head-buckets {
				n++
				known = known || u != nil && u.match && d.hash == u.hash
			}
		}
	}
	if u != nil && u.match && !known && t/w > head-buckets {
		n++
	}
	return min(n, maxDistinct)
}

// write applies the update.
func (f *Feature) write(c *cell, u *update, now, t int64) {
	switch f.Kind {
	case Since:
		if u.reset {
			c.last = 0
		}
		if u.match {
			c.last = now + 1
		}
	case Sequence:
		f.advance(c, u, now)
	case Distinct:
		f.writeDistinct(c, u, now, t)
	default:
		f.writeBucket(c, u, now, t)
	}
}

func (f *Feature) writeBucket(c *cell, u *update, now, t int64) {
	w := f.width()
	head, b := now/w, t/w
	if b <= head-buckets {
		return
	}
	if c.values == nil {
		c.values, c.head = []int64{}, head
	}
	if d := head - c.head; d > 0 { // room for newer buckets in front
		n := min(int64(len(c.values))+d, buckets)
		values := make([]int64, n)
		for i := range values {
			if values[i] = empty; int64(i) >= d {
				values[i] = c.values[int64(i)-d]
			}
		}
		c.values, c.head = values, head
	}
	i := c.head - b
	for int64(len(c.values)) <= i {
		c.values = append(c.values, empty)
	}
	c.values[i] = f.merge(c.values[i], u.value, c.values[i] != empty)
}

func (f *Feature) writeDistinct(c *cell, u *update, now, t int64) {
	w := f.width()
	head, b := now/w, t/w
	if b <= head-buckets {
		return
	}
	kept := c.distinct[:0]
	for _, d := range c.distinct {
		if d.bucket > head-buckets {
			kept = append(kept, d)
		}
	}
	c.distinct = kept
	for i := range c.distinct {
		if d := &c.distinct[i]; d.hash == u.hash {
			d.bucket = max(d.bucket, b)
			return
		}
	}
	if len(c.distinct) < maxDistinct {
		c.distinct = append(c.distinct, distinctValue{u.hash, b})
	}
}

// fits reports whether the event takes the run one step further.
func (f *Feature) fits(p *partial, u *update, now int64) bool {
	if now-p.start > f.Window || u.steps&(1<<p.next) == 0 || p.same != u.same {
		return false
	}
	return int(p.next) < f.Steps-1 || len(f.Differ) == 0 || p.differ != u.differ
}

func (f *Feature) completes(c *cell, u *update, now int64) bool {
	if u.reset || c == nil {
		return f.Steps == 1 && u.steps&1 != 0
	}
	for i := range c.partials {
		if p := &c.partials[i]; int(p.next) == f.Steps-1 && f.fits(p, u, now) {
			return true
		}
	}
	return f.Steps == 1 && u.steps&1 != 0
}

// advance moves every run that the event fits by one step, drops what is finished or too old, and begins a new run.
// An event takes one run by one step only. Of two runs at the same step with equal values the younger is kept: it
// can finish whenever the older can.
func (f *Feature) advance(c *cell, u *update, now int64) {
	if u.reset {
		c.partials = c.partials[:0]
	}
	kept := c.partials[:0]
	keep := func(p partial) {
		for i := range kept {
			if k := &kept[i]; k.next == p.next && k.same == p.same && k.differ == p.differ {
				k.start = max(k.start, p.start)
				return
			}
		}
		kept = append(kept, p)
	}
	old := append([]partial(nil), c.partials...)
	for _, p := range old {
		if now-p.start > f.Window {
			continue
		}
		if f.fits(&p, u, now) {
			if p.next++; int(p.next) == f.Steps {
				continue
			}
		}
		keep(p)
	}
	if u.steps&1 != 0 && f.Steps > 1 {
		keep(partial{next: 1, start: now, same: u.same, differ: u.differ})
	}
	if n := len(kept); n > maxPartials {
		kept = append(kept[:0], kept[n-maxPartials:]...)
	}
	c.partials = kept
}
