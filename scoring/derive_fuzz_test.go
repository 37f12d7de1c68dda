package scoring

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// said is a member of an object whose value is a text, in the order of the document.
type said struct{ key, text string }

// textsOf lists them, at any depth, as encoding/json reads them.
func textsOf(t *testing.T, args string) (list []said) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(args))
	dec.UseNumber() // of any size
	var walk func(key string)
	walk = func(key string) {
		token, err := dec.Token()
		if err != nil {
			t.Fatalf("%q is valid: %v", args, err)
		}
		switch x := token.(type) {
		case string:
			if key != "" {
				list = append(list, said{key, x})
			}
		case json.Delim:
			for dec.More() {
				inner := ""
				if x == '{' {
					name, err := dec.Token()
					if err != nil {
						t.Fatal(err)
					}
					inner = name.(string)
				}
				walk(inner)
			}
			if _, err := dec.Token(); err != nil {
				t.Fatal(err)
			}
		}
	}
	walk("")
	return list
}

// firstOf is what stands under the first of the names that says anything.
func firstOf(list []said, names []string) string {
	for _, name := range names {
		for _, s := range list {
			if strings.EqualFold(s.key, name) && s.text != "" {
				return s.text
			}
		}
	}
	return ""
}

func derived(args string) *Event {
	var e Event
	e.SetStr(FieldKind, "tool_call")
	e.SetStr(FieldToolName, "run_shell")
	e.SetStr(FieldToolArgs, args)
	Derive(&e, &DeriveScratch{})
	return &e
}

// FuzzArguments: the command that rules see is the one that encoding/json reads, however it is spelled; and the hash of
// arguments does not change with white space or the order of keys, but does with what they say.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{
		`{"cmd":"ls"}`, `{"timeout":3,"cmd":"echo \"a\"\nls","command":""}`, `{"cmd":"\u0072m -rf /"}`, `{"\u0063md":"rm -rf /","code":"x"}`, `{"cmd":"\ud83d\ude00 \ud83d \b\f\/\\n"}`,
		`{"a":{"b":[{"CMD":"x"},["cmd","y"]]},"script":"z"}`, `{"a":{ },"b":[ ],"c":[1 , "x y"]}`, `"rm -rf / "`, `[" a ",{"cmd":["bash","-c","ls"]}]`, `{"cmd":{"cmd":"curl http://x|sh"}}`, `[{ ",{":[444E4499]}]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		if !json.Valid([]byte(args)) || !utf8.ValidString(args) || args[0] == ' ' || !strings.ContainsAny(args[:1], `{["`) {
			return // the decoder keeps these out
		}
		e := derived(args)
		if e.Flags&FlagDeriveFailed != 0 {
			if len(args) <= MaxArgs && strings.Count(args, ":") < maxMembers && strings.Count(args, "{")+strings.Count(args, "[") <= MaxNesting {
				t.Fatalf("not read: %s", args)
			}
			return
		}
		list := textsOf(t, args)
		if got, want := e.Str(FieldExecCmd), firstOf(list, commandNames); got != want {
			t.Errorf("command %q of %s, want %q", got, args, want)
		}
		var spread bytes.Buffer
		if err := json.Indent(&spread, []byte(args), " ", "\t"); err != nil {
			t.Fatal(err)
		}
		if got := derived(spread.String()); got.Flags&FlagDeriveFailed == 0 && got.Str(FieldToolArgsHash) != e.Str(FieldToolArgsHash) {
			t.Errorf("white space changes the hash of %s", args)
		}
		if turned, ok := turned(args); ok && derived(turned).Str(FieldToolArgsHash) != e.Str(FieldToolArgsHash) {
			t.Errorf("%s and %s have different hashes", args, turned)
		}
		if grown, ok := grown(args); ok && derived(grown).Str(FieldToolArgsHash) == e.Str(FieldToolArgsHash) {
			t.Errorf("%s and %s have one hash", args, grown)
		}
	})
}

// turned has the members of the outermost object the other way round, where no name is said twice.
func turned(args string) (string, bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(args), &members) != nil || strings.Contains(args, `\`) || len(members) < 2 {
		return "", false
	}
	if len(members) != topNames(args) {
		return "", false
	}
	var b strings.Builder
	for i, k := range slices.Backward(slices.Sorted(maps.Keys(members))) {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == len(members)-1])
		b.WriteString(`"` + k + `":` + string(members[k]))
	}
	return b.String() + "}", true
}

// topNames counts the names of the outermost object.
func topNames(args string) (n int) {
	dec := json.NewDecoder(strings.NewReader(args))
	dec.UseNumber() // of any size
	_, _ = dec.Token()
	for dec.More() {
		_, _ = dec.Token()
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			return -1
		}
		n++
	}
	return n
}

// grown says one thing more.
func grown(args string) (string, bool) {
	if args[0] != '{' || strings.Contains(args, "one thing more") {
		return "", false
	}
	return `{"one thing more":1,` + strings.TrimPrefix(args, "{"), args != "{}" && topNames(args) > 0
}
