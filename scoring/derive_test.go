package scoring

import (
	"testing"
)

func TestToolOp(t *testing.T) {
	for name, want := range map[string]string{
		"get_payment": "read", "send_email": "send", "deleteFile": "delete", "transfer-money": "pay", "crm.export": "", "run_shell": "exec",
		"searchAndDelete": "read", "publish_post": "publish", "pip_install": "install", "发送邮件": "send", "查询余额": "read", "x": "", "grant_access": "admin", "create_user": "write",
	} {
		if got := toolOp(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestDestination(t *testing.T) {
	for args, want := range map[string][3]string{
		`{"url":"https://a.b.example.co.uk/x?y=1"}`:    {"a.b.example.co.uk", "example.co.uk", "unlisted"},
		`{"url":"http://100.100.100.200/latest/meta"}`: {"100.100.100.200", "", "metadata"},
		`{"url":"http://2852039166/latest"}`:           {"2852039166", "", "metadata"},
		`{"url":"http://0xA9.0xFE.0xA9.0xFE/"}`:        {"0xa9.0xfe.0xa9.0xfe", "", "metadata"},
		`{"url":"http://[::ffff:169.254.169.254]/"}`:   {"::ffff:169.254.169.254", "", "metadata"},
		`{"host":"10.0.0.7:22"}`:                       {"10.0.0.7", "", "private"},
		`{"endpoint":"localhost:8080"}`:                {"localhost", "", "loopback"},
		`{"q":"no address here"}`:                      {"", "", ""},
		`{"host":"justaword"}`:                         {"", "", ""},
	} {
		var e Event
		e.SetStr(FieldKind, "tool_call")
		e.SetStr(FieldToolArgs, args)
		var s DeriveScratch
		Derive(&e, &s)
		if got := [3]string{e.Str(FieldDstHost), e.Str(FieldDstDomain), e.Str(FieldDstClass)}; got != want {
			t.Errorf("%s: %v, want %v", args, got, want)
		}
	}
}

func TestCommandFromArguments(t *testing.T) {
	var e Event
	e.SetStr(FieldKind, "tool_call")
	e.SetStr(FieldToolName, "run_shell")
	e.SetStr(FieldToolArgs, `{"timeout": 3, "cmd": "echo \"a\"\nls"}`)
	Derive(&e, &DeriveScratch{})
	if got := e.Str(FieldExecCmd); got != "echo \"a\"\nls" {
		t.Errorf("command %q", got)
	}
}

func TestArgsHashIgnoresOrderAndWhiteSpace(t *testing.T) {
	hash := func(args string) string {
		var e Event
		e.SetStr(FieldToolArgs, args)
		Derive(&e, &DeriveScratch{})
		return e.Str(FieldToolArgsHash)
	}
	a := hash(`{"a":1,"b":{"c":[1,2],"d":"x y"}}`)
	for _, same := range []string{`{ "b" : {"d":"x y","c":[1, 2]}, "a" : 1 }`, `{"b":{"c":[1,2],"d":"x y"},"a":1}`} {
		if hash(same) != a {
			t.Errorf("%s hashes otherwise", same)
		}
	}
	for _, other := range []string{`{"a":1,"b":{"c":[2,1],"d":"x y"}}`, `{"a":1,"b":{"c":[1,2],"d":"xy"}}`, `{"a":1,"c":[1,2],"d":"x y"}`, `{}`, `[]`, `""`} {
		if hash(other) == a {
			t.Errorf("%s hashes alike", other)
		}
	}
}

// Derive never panics, changes nothing that was sent, and twice is once.
func FuzzDerive(f *testing.F) {
	f.Add("run_shell", `{"cmd":"ls","url":"http://x.cn"}`)
	f.Add("发送", `[[[[{"a":"\u0041"}]]]]`)
	f.Add("", `{"url":"//[::1"}`)
	f.Fuzz(func(t *testing.T, name, args string) {
		var e Event
		var s DeriveScratch
		e.SetStr(FieldKind, "tool_call")
		e.SetStr(FieldToolName, name)
		e.SetStr(FieldToolArgs, args)
		Derive(&e, &s)
		once := *e.Clone()
		Derive(&e, &s)
		if e.strs != once.strs || e.ints != once.ints || e.Flags != once.Flags {
			t.Errorf("twice is not once: %+v, %+v", once.strs, e.strs)
		}
		if e.Str(FieldToolName) != name || e.Str(FieldToolArgs) != args {
			t.Error("changed what was sent")
		}
	})
}
