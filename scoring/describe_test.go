package scoring

import "testing"

// Every flag and every reason is described, and nothing else.
func TestFlagsAndReasonsAreDescribed(t *testing.T) {
	for _, n := range FlagNames {
		if FlagDocs[n] == "" {
			t.Errorf("flag %s has no line in FlagDocs", n)
		}
	}
	for _, r := range Reasons {
		if ReasonDocs[r] == "" {
			t.Errorf("reason %s has no line in ReasonDocs", r)
		}
	}
	if len(FlagDocs) != len(FlagNames) || len(ReasonDocs) != len(Reasons) {
		t.Errorf("%d flags with %d lines, %d reasons with %d lines", len(FlagNames), len(FlagDocs), len(Reasons), len(ReasonDocs))
	}
}

// What Derive fills is what Derivations says, on events that imply all of it.
func TestDerivationsAreAllOfThem(t *testing.T) {
	var filled FieldSet
	for _, args := range []string{`{"command":"ls"}`, `{"url":"https://files.example.com:8443/x"}`} {
		for _, name := range []string{"run_shell", "http_post"} {
			var e Event
			var s DeriveScratch
			e.SetStr(FieldKind, "tool_call")
			e.SetStr(FieldToolName, name)
			e.SetStr(FieldToolArgs, args)
			sent := e.Present()
			Derive(&e, &s)
			said := sent
			said.Derive()
			for f := range FieldID(len(Fields)) {
				if !e.Has(f) || sent.Has(f) {
					continue
				}
				filled.Add(f)
				if !said.Has(f) {
					t.Errorf("%s is derived and Derivations does not say so", Fields[f].Name)
				}
			}
		}
	}
	for _, d := range Derivations {
		if !filled.Has(d.Field) {
			t.Errorf("%s is never derived here", Fields[d.Field].Name)
		}
	}
}
