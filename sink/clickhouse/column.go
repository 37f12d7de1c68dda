package clickhouse

import (
	"github.com/ClickHouse/ch-go/proto"
)

// column is one column of a block. A column in which no row has said anything is not sent at all: the server fills in
// what is empty, and most of the many columns are empty in most blocks.
type column interface {
	input() proto.ColInput
	rows() int
	pad(n int) // fill up to n rows with what is empty
	reset()
	copyRow(from column, i, n int) // append row i of a column of the same type as row n
}

// scalar is a column of values that append one by one.
type scalar[T comparable, C interface {
	proto.ColInput
	Append(T)
	Row(int) T
	Reset()
}] struct {
	col  C
	typ  proto.ColumnType // "" for the column's own
	none T
}

func (c *scalar[T, C]) set(n int, v T) {
	c.pad(n)
	c.col.Append(v)
}

func (c *scalar[T, C]) pad(n int) {
	for c.col.Rows() < n {
		c.col.Append(c.none)
	}
}

func (c *scalar[T, C]) rows() int { return c.col.Rows() }
func (c *scalar[T, C]) reset()    { c.col.Reset() }

func (c *scalar[T, C]) input() proto.ColInput {
	if c.typ != "" {
		return typed{c.col, c.typ}
	}
	return c.col
}

func (c *scalar[T, C]) copyRow(from column, i, n int) {
	if f := from.(*scalar[T, C]); i < f.col.Rows() {
		if v := f.col.Row(i); v != c.none {
			c.set(n, v)
		}
	}
}

// list is a column of arrays.
type list[T any] struct {
	col *proto.ColArr[T]
	typ proto.ColumnType
}

func (c *list[T]) set(n int, v []T) {
	c.pad(n)
	c.col.Append(v)
}

func (c *list[T]) pad(n int) {
	for c.col.Rows() < n {
		c.col.Append(nil)
	}
}

func (c *list[T]) rows() int { return c.col.Rows() }
func (c *list[T]) reset()    { c.col.Reset() }

func (c *list[T]) input() proto.ColInput {
	if c.typ != "" {
		return typed{c.col, c.typ}
	}
	return c.col
}

func (c *list[T]) copyRow(from column, i, n int) {
	if f := from.(*list[T]); i < f.col.Rows() {
		if v := f.col.Row(i); len(v) > 0 {
			c.set(n, v)
		}
	}
}

// pairs is a column of maps from text to text.
type pairs struct {
	col *proto.ColMap[string, string]
}

func (c *pairs) set(n int, v []proto.KV[string, string]) {
	c.pad(n)
	c.col.AppendKV(v)
}

func (c *pairs) pad(n int) {
	for c.col.Rows() < n {
		c.col.AppendKV(nil)
	}
}

func (c *pairs) rows() int             { return c.col.Rows() }
func (c *pairs) reset()                { c.col.Reset() }
func (c *pairs) input() proto.ColInput { return c.col }

func (c *pairs) copyRow(from column, i, n int) {
	if f := from.(*pairs); i < f.col.Rows() {
		if v := f.col.RowKV(i); len(v) > 0 {
			c.set(n, v)
		}
	}
}

// typed gives a column another type of the same layout: a Decimal is sent as the integers it is made of.
type typed struct {
	proto.ColInput
	typ proto.ColumnType
}

// Type implements proto.ColInput.
func (t typed) Type() proto.ColumnType { return t.typ }

type (
	textCol = scalar[string, *proto.ColStr]
	i64Col  = scalar[int64, *proto.ColInt64]
	i32Col  = scalar[int32, *proto.ColInt32]
	u64Col  = scalar[uint64, *proto.ColUInt64]
	u32Col  = scalar[uint32, *proto.ColUInt32]
	boolCol = scalar[bool, *proto.ColBool]
)

func newText() *textCol { return &textCol{col: new(proto.ColStr)} }
func newI64() *i64Col   { return &i64Col{col: new(proto.ColInt64)} }
func newI32() *i32Col   { return &i32Col{col: new(proto.ColInt32)} }
func newU64() *u64Col   { return &u64Col{col: new(proto.ColUInt64)} }
func newU32() *u32Col   { return &u32Col{col: new(proto.ColUInt32)} }
func newBool() *boolCol { return &boolCol{col: new(proto.ColBool)} }

// newTime is a DateTime64(3): unix milliseconds.
func newTime() *i64Col { return &i64Col{col: new(proto.ColInt64), typ: "DateTime64(3, 'UTC')"} }

// newScore is a Decimal(6, 3): thousandths of a point.
func newScore() *i32Col { return &i32Col{col: new(proto.ColInt32), typ: "Decimal(6, 3)"} }

// newMilli is a Decimal(18, 3).
func newMilli() *i64Col { return &i64Col{col: new(proto.ColInt64), typ: "Decimal(18, 3)"} }

func newTexts() *list[string] { return &list[string]{col: proto.NewArray[string](new(proto.ColStr))} }

func newScores() *list[int32] {
	return &list[int32]{col: proto.NewArray[int32](new(proto.ColInt32)), typ: "Array(Decimal(6, 3))"}
}

func newPairs() *pairs {
	return &pairs{col: proto.NewMap[string, string](new(proto.ColStr), new(proto.ColStr))}
}
