package ingest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/scoring"
)

// The tables of deploy/FORMATS.md are those of the code. -update writes them.
func TestTablesOfFormats(t *testing.T) {
	const path = "../deploy/FORMATS.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, want := range map[string]string{"attributes": attributeTable(), "kinds": kindTable()} {
		begin, end := "<!-- "+name+": made from the code -->\n", "<!-- end of "+name+" -->"
		head, rest, ok := strings.Cut(text, begin)
		old, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no part between %q and %q", path, begin, end)
		}
		if old != want && flag.Lookup("update").Value.String() != "true" {
			t.Errorf("the table of %s is not what the code says: run go test ./ingest -run TestTablesOfFormats -update", name)
		}
		text = head + begin + want + end + tail
	}
	if text != string(b) && flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func attributeTable() string {
	uses := map[otlpUse]string{
		useOperation: "the kind, see below", useMethod: "the kind, see below", useEvent: "the kind of a log record, see below", useSystem: "an event `system_prompt`",
		useInput: "an event `user_message`: the last message, if it is the user's", useOutput: "an event `agent_message`", useResult: "an event `tool_result`", useDropped: "nothing: dropped",
	}
	when := map[otlpWhen]string{always: "", forModels: "for `model_call` alone", forTools: "for `tool_call`, `tool_result` and `tool_list`", notForTools: "not for events of tools"}
	var b strings.Builder
	b.WriteString("| attribute | becomes | name | note |\n|---|---|---|---|\n")
	for _, n := range otlpTable {
		becomes, age, note := uses[n.use], "current", when[n.when]
		if n.use == useField {
			becomes = "`" + scoring.Fields[n.field].Name + "`"
		}
		if n.rank > 2 {
			age = "older, or for lack of better"
		}
		if n.other != 0 {
			note += ", otherwise `" + scoring.Fields[n.other].Name + "`"
		}
		if n.kept {
			note = strings.TrimPrefix(note+"; stays an attribute too", "; ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", n.key, becomes, age, note)
	}
	return b.String()
}

func kindTable() string {
	var b strings.Builder
	b.WriteString("| operation, method or event | kind |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(otlpKinds)) {
		fmt.Fprintf(&b, "| `%s` | `%s` |\n", name, otlpKinds[name])
	}
	return b.String()
}
