package scoring

// Type is the type of a field's value.
type Type uint8

const (
	String  Type = iota // UTF-8 text of at most Max bytes
	Int                 // whole number, Min..Max
	Milli               // decimal with at most three places, held as thousandths; Min..Max are thousandths too
	Bool                // true or false
	Strings             // at most MaxList texts of at most Max bytes each
)

// Field says what one field of an event is called, holds and means.
type Field struct {
	Name     string   // dotted, as in expressions and in our JSON: "tool.name"
	Type     Type     //
	Column   string   // column of the verdicts table; empty for content, which is never stored
	Aliases  []string // other names in JSON: the flat form writes "agent_id" for "agent.id"
	Min, Max int64    // bounds of a number; Max is the byte limit of a text
	Doc      string   // one line for people
}

// IsContent reports whether the field holds what agents say and do. Content is judged and then dropped:
// rows keep its length and a keyed fingerprint.
func (f Field) IsContent() bool { return f.Type == String && f.Column == "" }

// Bounds of one event (design section 12). What exceeds them becomes a dead letter with the reason.
const (
	MaxRecord     = 1 << 20   // bytes of a record
	MaxItems      = 1000      // events in a record
	MaxContent    = 256 << 10 // bytes of content
	MaxArgs       = 64 << 10  // bytes of tool.args
	MaxNesting    = 16        // objects and arrays within one another
	MaxAttributes = 128       // fields that the table does not know
	MaxList       = 64        // values of a list field
	MaxName       = 256       // bytes of an attribute's name
	MaxAttribute  = 4 << 10   // bytes of an attribute's value
)

// Kinds that only agentrisk itself may produce.
const (
	KindTimer  = "timer"
	KindRollup = "rollup"
)

var fieldByName = func() map[string]FieldID {
	m := make(map[string]FieldID, 2*len(Fields))
	for id, f := range Fields {
		m[f.Name] = FieldID(id)
	}
	return m
}()

// LookupField finds a field by its dotted name.
func LookupField(name string) (FieldID, bool) {
	id, ok := fieldByName[name]
	return id, ok
}
