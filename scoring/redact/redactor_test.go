package redact

import (
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/scoring"
)

func redactor(t *testing.T, p Policy, key Key) *Redactor {
	t.Helper()
	r, err := New(p, key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Under the default policy a secret survives in identifiers only, whatever field it is sent in.
func TestEventByDefault(t *testing.T) {
	secret := "mail " + mail + " key " + openai
	r := redactor(t, Policy{}, Key{1})
	for range 2 { // the second time meets what the first remembered
		var e scoring.Event
		for id, f := range scoring.Fields {
			switch id := scoring.FieldID(id); f.Type {
			case scoring.String:
				e.SetStr(id, secret)
			case scoring.Strings:
				e.Append(id, "clean")
				e.Append(id, secret)
			}
		}
		e.Attributes = []scoring.Attribute{{Key: "note", Value: secret}, {Key: "password", Value: "hunter2"}, {Key: openai, Value: "x"}, {Key: "fine", Value: "fine"}}
		if !r.Event(&e) {
			t.Error("nothing is said to have changed")
		}
		const want = "mail [email] key [secret]"
		for id, f := range scoring.Fields {
			id := scoring.FieldID(id)
			var got string
			switch f.Type {
			case scoring.String:
				got = e.Str(id)
			case scoring.Strings:
				got = e.List(id)[1]
				if e.List(id)[0] != "clean" {
					t.Errorf("%s: %q", f.Name, e.List(id)[0])
				}
			default:
				continue
			}
			if kept := f.IsContent() || Identifiers[id] != ""; kept && got != secret || !kept && got != want[:min(len(want), int(f.Max))] && !strings.HasPrefix(want, got) {
				t.Errorf("%s is %q", f.Name, got)
			}
		}
		for i, want := range []scoring.Attribute{{Key: "note", Value: want}, {Key: "password", Value: "[secret]"}, {Key: "[secret]", Value: "x"}, {Key: "fine", Value: "fine"}} {
			if e.Attributes[i] != want {
				t.Errorf("attribute %q, want %q", e.Attributes[i], want)
			}
		}
	}
}

func TestIdentifiersAreTextsWithAColumn(t *testing.T) {
	for id, why := range Identifiers {
		if f := scoring.Fields[id]; f.Column == "" || f.Type != scoring.String && f.Type != scoring.Strings || why == "" {
			t.Errorf("%s: no column of texts, or no reason", f.Name)
		}
	}
	if kept := Default().Columns(); len(kept) != len(Identifiers) {
		t.Errorf("the default keeps %q", kept)
	}
}

func TestEventByPolicy(t *testing.T) {
	r := redactor(t, Policy{Attributes: "fingerprint", Columns: map[string]string{"user_id": "fingerprint", "agent_name": "drop", "tool_target": "keep", "task_id": "mask", "prov_source_ids": "fingerprint"}}, Key{1})
	var e scoring.Event
	e.SetStr(scoring.FieldUser, "u-1")
	e.SetStr(scoring.FieldAgentName, "bob")
	e.SetStr(scoring.FieldToolTarget, mail)
	e.SetStr(scoring.FieldTask, mail)
	e.Append(scoring.FieldSourceIDs, "e1")
	e.Attributes = []scoring.Attribute{{Key: "k", Value: "u-1"}}
	if !r.Event(&e) {
		t.Error("nothing changed")
	}
	fp := Key{1}.Text("u-1")
	for _, x := range [][2]string{{e.Str(scoring.FieldUser), fp}, {e.Str(scoring.FieldAgentName), ""}, {e.Str(scoring.FieldToolTarget), mail}, {e.Str(scoring.FieldTask), "[email]"},
		{e.List(scoring.FieldSourceIDs)[0], Key{1}.Text("e1")}, {e.Attributes[0].Value, fp}} {
		if x[0] != x[1] {
			t.Errorf("got %q, want %q", x[0], x[1])
		}
	}
	if fp == (Key{2}.Text("u-1")) || len(fp) != 19 || !strings.HasPrefix(fp, "fp_") {
		t.Errorf("fingerprint %q", fp)
	}
	want := "v1 content=fingerprint arguments=fingerprint attributes=fingerprint dead_letters=excerpt agent_name=drop prov_source_ids=fingerprint task_id=mask tool_target=keep user_id=fingerprint"
	if got := r.Row().Policy; got != want {
		t.Errorf("policy\n got %s\nwant %s", got, want)
	}
	// What a policy takes from columns stands in no letter either.
	var d scoring.DeadLetter
	d.Detail = "detail"
	r.Letter(&d, []byte("tenant/u-1"), []byte(`{"user.id":"u-1"`))
	if len(d.Head) != 0 || strings.Contains(string(d.Key), "u-1") || len(d.Key) != 19 {
		t.Errorf("letter %q %q", d.Key, d.Head)
	}
}

func TestLetter(t *testing.T) {
	r := Default()
	value := `{"kind":"tool_call","content":"\u0070assword: hunter2","phone":"` + mobile + `","pad":"` + strings.Repeat("x ", 500) + openai + `"`
	d := scoring.DeadLetter{Detail: `"` + openai + `" is said twice`, Head: []byte("raw"), Key: []byte("raw")}
	r.Letter(&d, []byte("t/"+mail), []byte(value))
	for _, s := range []string{"hunter2", mobile, openai[:12], mail} {
		if all := d.Detail + string(d.Key) + string(d.Head); strings.Contains(all, s) {
			t.Errorf("%q survives in %q", s, all)
		}
	}
	if len(d.Head) > 1024 || !strings.HasPrefix(string(d.Head), `{"kind":"tool_call"`) || d.Detail != `"[secret]" is said twice` {
		t.Errorf("%q %q", d.Detail, d.Head)
	}
	drop := redactor(t, Policy{DeadLetters: "drop"}, Key{})
	if drop.Letter(&d, nil, []byte(value)); d.Head != nil || d.Key != nil {
		t.Errorf("dropped: %q %q", d.Head, d.Key)
	}
}

func TestPolicyErrors(t *testing.T) {
	for _, tt := range []struct {
		p    Policy
		want string
	}{
		{Policy{Content: "keep"}, `redaction.content "keep": want one of fingerprint, excerpt, drop`},
		{Policy{Arguments: "x"}, `redaction.arguments "x"`},
		{Policy{Attributes: "excerpt"}, `redaction.attributes "excerpt": want one of mask, fingerprint, drop`},
		{Policy{DeadLetters: "mask"}, `redaction.dead_letters "mask"`},
		{Policy{Excerpt: 2000}, "want 1 to 1024 bytes"},
		{Policy{Excerpt: -1}, "want 1 to 1024 bytes"},
		{Policy{Columns: map[string]string{"user": "drop"}}, `"user" is no column of texts`},
		{Policy{Columns: map[string]string{"": "drop"}}, `is no column of texts`},
		{Policy{Columns: map[string]string{"seq": "drop"}}, `"seq" is no column of texts`},
		{Policy{Columns: map[string]string{"provider": "drop"}}, "provider is the binding's"},
		{Policy{Columns: map[string]string{"user_id": "hide"}}, `redaction.columns.user_id "hide"`},
	} {
		if err := tt.p.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.p, err, tt.want)
		}
	}
	p := Policy{Content: "excerpt", Columns: map[string]string{"user_id": "keep"}}
	if err := p.Check(); err != nil || p.Excerpt != 256 || p.Arguments != "fingerprint" || p.Attributes != "mask" || p.DeadLetters != "excerpt" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestKeyID(t *testing.T) {
	if (Key{}).ID() != "unkeyed" || (Key{1}).ID() == (Key{2}).ID() || len(Key{1}.ID()) != 8 {
		t.Errorf("ids %s %s %s", Key{}.ID(), Key{1}.ID(), Key{2}.ID())
	}
}

func TestEventDoesNotAllocateWithoutFindings(t *testing.T) {
	r := Default()
	var e scoring.Event
	fill := func() {
		e.SetStr(scoring.FieldKind, "tool_call")
		e.SetStr(scoring.FieldToolName, "get_webpage")
		e.SetStr(scoring.FieldToolTarget, "docs.example.com")
		e.SetStr(scoring.FieldUser, "user-17")
		e.Attributes = append(e.Attributes[:0], scoring.Attribute{Key: "note", Value: strings.Repeat("nothing to see here ", 10)})
	}
	fill()
	if n := testing.AllocsPerRun(50, func() { fill(); r.Event(&e) }); n > 1 { // the value that fill makes
		t.Errorf("%v allocations", n)
	}
}
