package clickhouse

import (
	"encoding/binary"
	"slices"

	"github.com/ClickHouse/ch-go/proto"
)

// column is one column of a block. A column in which no row has said anything is not sent at all: the server fills in
// what is empty, and most of the many columns are empty in most blocks. Columns hold their values as they go over the
// wire, so that sending copies nothing.
type column interface {
	input() proto.ColInput
	rows() int
	pad(n int)                     // fill up to n rows with what is empty
	bytes() int                    // of memory that the rows take
	reset()                        // forget the rows, see emptied
	copyRow(from column, i, n int) // append row i of a column of the same type as row n
}

// emptied returns the memory of s for the next rows, or none when these have used less than a quarter of it: what one
// large batch took would otherwise stay for good with every block, beside the budget that bounds batches.
func emptied[S ~[]T, T any](s S) S {
	if cap(s) > 4<<10 && len(s) < cap(s)/4 {
		return nil
	}
	return s[:0]
}

// fixed is a column of values of one width.
type fixed[T comparable, S interface {
	~[]T
	proto.ColInput
}] struct {
	col   S
	typ   proto.ColumnType // "" for the column's own
	none  T
	width int // bytes of a value
}

func (c *fixed[T, S]) set(n int, v T) {
	if len(c.col) < n {
		c.pad(n)
	}
	c.col = append(c.col, v)
}

func (c *fixed[T, S]) pad(n int) {
	from := len(c.col)
	if from >= n {
		return
	}
	c.col = slices.Grow(c.col, n-from)[:n]
	for i := from; i < n; i++ {
		c.col[i] = c.none
	}
}

func (c *fixed[T, S]) rows() int  { return len(c.col) }
func (c *fixed[T, S]) bytes() int { return len(c.col) * c.width }
func (c *fixed[T, S]) reset()     { c.col = emptied(c.col) }

func (c *fixed[T, S]) input() proto.ColInput {
	if c.typ != "" {
		return typed{c.col, c.typ}
	}
	return c.col
}

func (c *fixed[T, S]) copyRow(from column, i, n int) {
	if f := from.(*fixed[T, S]); i < len(f.col) && f.col[i] != c.none {
		c.set(n, f.col[i])
	}
}

// textCol is a column of texts: the length as a varint, then the bytes, row after row. An empty row is one byte.
type textCol struct {
	buf    []byte
	n      int
	starts []int // of rows in buf, made when rows are read again
}

func (c *textCol) set(n int, v string) {
	if c.n < n {
		c.pad(n)
	}
	c.buf = append(binary.AppendUvarint(c.room(len(v)), uint64(len(v))), v...)
	c.n++
}

// room returns the buffer with space for a text of n bytes. Doubling, where append would grow by a quarter, halves
// what is copied while a new block finds its size.
func (c *textCol) room(n int) []byte {
	if n += binary.MaxVarintLen64; cap(c.buf)-len(c.buf) < n {
		c.buf = slices.Grow(c.buf, max(n, cap(c.buf)))
	}
	return c.buf
}

func (c *textCol) pad(n int) {
	if c.n >= n {
		return
	}
	from := len(c.buf)
	c.buf = c.room(n - c.n)[:from+n-c.n]
	clear(c.buf[from:])
	c.n = n
}

func (c *textCol) rows() int             { return c.n }
func (c *textCol) bytes() int            { return len(c.buf) }
func (c *textCol) reset()                { c.buf, c.n, c.starts = emptied(c.buf), 0, emptied(c.starts) }
func (c *textCol) input() proto.ColInput { return c }

// row returns the text of row i.
func (c *textCol) row(i int) string {
	for at := c.end(len(c.starts) - 1); len(c.starts) < c.n; at = c.end(len(c.starts) - 1) {
		c.starts = append(c.starts, at)
	}
	size, width := binary.Uvarint(c.buf[c.starts[i]:])
	at := c.starts[i] + width
	return string(c.buf[at : at+int(size)])
}

// end returns where row i ends, 0 for the row before the first.
func (c *textCol) end(i int) int {
	if i < 0 {
		return 0
	}
	size, width := binary.Uvarint(c.buf[c.starts[i]:])
	return c.starts[i] + width + int(size)
}

func (c *textCol) copyRow(from column, i, n int) {
	if f := from.(*textCol); i < f.n {
		if v := f.row(i); v != "" {
			c.set(n, v)
		}
	}
}

// Type, Rows, EncodeColumn and WriteColumn implement proto.ColInput.
func (c *textCol) Type() proto.ColumnType       { return proto.ColumnTypeString }
func (c *textCol) Rows() int                    { return c.n }
func (c *textCol) EncodeColumn(b *proto.Buffer) { b.PutRaw(c.buf) }
func (c *textCol) WriteColumn(w *proto.Writer)  { w.ChainWrite(c.buf) }

// ends are the ends of the rows of a column of lists, counted in elements.
type ends struct{ proto.ColUInt64 }

func (e *ends) last() uint64 {
	if len(e.ColUInt64) == 0 {
		return 0
	}
	return e.ColUInt64[len(e.ColUInt64)-1]
}

func (e *ends) pad(n int) {
	last := e.last()
	for len(e.ColUInt64) < n {
		e.ColUInt64 = append(e.ColUInt64, last)
	}
}

// add ends a row of k elements.
func (e *ends) add(k int) { e.ColUInt64 = append(e.ColUInt64, e.last()+uint64(k)) }

// of returns where row i begins and ends; both are 0 for a row that is not there.
func (e *ends) of(i int) (from, to int) {
	if i >= len(e.ColUInt64) {
		return 0, 0
	}
	if i > 0 {
		from = int(e.ColUInt64[i-1])
	}
	return from, int(e.ColUInt64[i])
}

func (e *ends) bytes() int { return 8 * len(e.ColUInt64) }
func (e *ends) reset()     { e.ColUInt64 = emptied(e.ColUInt64) }

// textsCol is a column of lists of texts.
type textsCol struct {
	ends ends
	data textCol
}

func (c *textsCol) set(n int, list []string) {
	c.ends.pad(n)
	for _, v := range list {
		c.data.set(c.data.n, v)
	}
	c.ends.add(len(list))
}

func (c *textsCol) pad(n int)             { c.ends.pad(n) }
func (c *textsCol) rows() int             { return c.ends.Rows() }
func (c *textsCol) bytes() int            { return c.ends.bytes() + c.data.bytes() }
func (c *textsCol) reset()                { c.ends.reset(); c.data.reset() }
func (c *textsCol) input() proto.ColInput { return c }

func (c *textsCol) copyRow(from column, i, n int) {
	f := from.(*textsCol)
	a, b := f.ends.of(i)
	if a == b {
		return
	}
	c.ends.pad(n)
	for j := a; j < b; j++ {
		c.data.set(c.data.n, f.data.row(j))
	}
	c.ends.add(b - a)
}

// Type, Rows, EncodeColumn and WriteColumn implement proto.ColInput.
func (c *textsCol) Type() proto.ColumnType       { return "Array(String)" }
func (c *textsCol) Rows() int                    { return c.ends.Rows() }
func (c *textsCol) EncodeColumn(b *proto.Buffer) { c.ends.EncodeColumn(b); c.data.EncodeColumn(b) }
func (c *textsCol) WriteColumn(w *proto.Writer)  { c.ends.WriteColumn(w); c.data.WriteColumn(w) }

// scoresCol is a column of lists of scores.
type scoresCol struct {
	ends ends
	data proto.ColInt32
}

func (c *scoresCol) set(n int, list []int32) {
	c.ends.pad(n)
	c.data = append(c.data, list...)
	c.ends.add(len(list))
}

func (c *scoresCol) pad(n int)             { c.ends.pad(n) }
func (c *scoresCol) rows() int             { return c.ends.Rows() }
func (c *scoresCol) bytes() int            { return c.ends.bytes() + 4*len(c.data) }
func (c *scoresCol) reset()                { c.ends.reset(); c.data = emptied(c.data) }
func (c *scoresCol) input() proto.ColInput { return c }

func (c *scoresCol) copyRow(from column, i, n int) {
	f := from.(*scoresCol)
	if a, b := f.ends.of(i); a < b {
		c.set(n, f.data[a:b])
	}
}

// Type, Rows, EncodeColumn and WriteColumn implement proto.ColInput.
func (c *scoresCol) Type() proto.ColumnType       { return "Array(Decimal(6, 3))" }
func (c *scoresCol) Rows() int                    { return c.ends.Rows() }
func (c *scoresCol) EncodeColumn(b *proto.Buffer) { c.ends.EncodeColumn(b); c.data.EncodeColumn(b) }
func (c *scoresCol) WriteColumn(w *proto.Writer)  { c.ends.WriteColumn(w); c.data.WriteColumn(w) }

// pairsCol is a column of maps from text to text.
type pairsCol struct {
	ends         ends
	keys, values textCol
}

// add gives row n one more pair; all pairs of a row are added before the next row's.
func (c *pairsCol) add(n int, key, value string) {
	c.ends.pad(n)
	if c.ends.Rows() == n {
		c.ends.add(0)
	}
	c.ends.ColUInt64[n]++
	c.keys.set(c.keys.n, key)
	c.values.set(c.values.n, value)
}

func (c *pairsCol) pad(n int)             { c.ends.pad(n) }
func (c *pairsCol) rows() int             { return c.ends.Rows() }
func (c *pairsCol) bytes() int            { return c.ends.bytes() + c.keys.bytes() + c.values.bytes() }
func (c *pairsCol) reset()                { c.ends.reset(); c.keys.reset(); c.values.reset() }
func (c *pairsCol) input() proto.ColInput { return c }

func (c *pairsCol) copyRow(from column, i, n int) {
	f := from.(*pairsCol)
	a, b := f.ends.of(i)
	for j := a; j < b; j++ {
		c.add(n, f.keys.row(j), f.values.row(j))
	}
}

// Type, Rows, EncodeColumn and WriteColumn implement proto.ColInput.
func (c *pairsCol) Type() proto.ColumnType { return "Map(String, String)" }
func (c *pairsCol) Rows() int              { return c.ends.Rows() }
func (c *pairsCol) EncodeColumn(b *proto.Buffer) {
	c.ends.EncodeColumn(b)
	c.keys.EncodeColumn(b)
	c.values.EncodeColumn(b)
}
func (c *pairsCol) WriteColumn(w *proto.Writer) {
	c.ends.WriteColumn(w)
	c.keys.WriteColumn(w)
	c.values.WriteColumn(w)
}

// typed gives a column another type of the same layout: a Decimal is sent as the integers it is made of.
type typed struct {
	proto.ColInput
	typ proto.ColumnType
}

// Type implements proto.ColInput.
func (t typed) Type() proto.ColumnType { return t.typ }

type (
	i64Col  = fixed[int64, proto.ColInt64]
	i32Col  = fixed[int32, proto.ColInt32]
	u64Col  = fixed[uint64, proto.ColUInt64]
	u32Col  = fixed[uint32, proto.ColUInt32]
	boolCol = fixed[bool, proto.ColBool]
)

func newText() *textCol     { return &textCol{} }
func newTexts() *textsCol   { return &textsCol{} }
func newScores() *scoresCol { return &scoresCol{} }
func newPairs() *pairsCol   { return &pairsCol{} }
func newI64() *i64Col       { return &i64Col{width: 8} }
func newI32() *i32Col       { return &i32Col{width: 4} }
func newU64() *u64Col       { return &u64Col{width: 8} }
func newU32() *u32Col       { return &u32Col{width: 4} }
func newBool() *boolCol     { return &boolCol{width: 1} }

// newTime is a DateTime64(3): unix milliseconds.
func newTime() *i64Col { return &i64Col{typ: "DateTime64(3, 'UTC')", width: 8} }

// newScore is a Decimal(6, 3): thousandths of a point.
func newScore() *i32Col { return &i32Col{typ: "Decimal(6, 3)", width: 4} }

// newMilli is a Decimal(18, 3).
func newMilli() *i64Col { return &i64Col{typ: "Decimal(18, 3)", width: 8} }
