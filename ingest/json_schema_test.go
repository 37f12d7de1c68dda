package ingest_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

// eventSchema compiles the schema with a library of its own, against the metaschema of draft 2020-12.
func eventSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(ingest.JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("urn:agentrisk:event", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:agentrisk:event")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, event []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(event))
	if err != nil {
		t.Fatalf("%v: %s", err, event)
	}
	return s.Validate(v)
}

func decodes(t *testing.T, event []byte) *scoring.Reject {
	t.Helper()
	f, err := ingest.NewFormat("json")
	if err != nil {
		t.Fatal(err)
	}
	var e scoring.Event
	var rejected *scoring.Reject
	f.Decode(&ingest.Record{Value: event}, &e, func(_ int32, r *scoring.Reject) { rejected = r })
	return rejected
}

// What providers send is valid: our samples, a fleet, the events of the pack's tests; and the decoder takes it.
func TestSchemaTakesEvents(t *testing.T) {
	s := eventSchema(t)
	var events [][]byte
	samples, err := os.ReadFile(filepath.Join("..", "testdata", "events", "json.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(samples) {
		events = append(events, bytes.TrimSpace(line))
	}
	f := fleet.New(fleet.Config{Seed: 3, Events: 2000, Agents: 50, Misbehave: 5, Providers: []string{"alpha"}})
	for e := (fleet.Event{}); f.Next(&e); {
		events = append(events, bytes.Clone(e.Line))
	}
	pack, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range pack.Samples() {
		for _, e := range sample.Events {
			b, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, b)
		}
	}
	for _, e := range events {
		if err := validate(t, s, e); err != nil {
			t.Errorf("%v\n%s", err, e)
		}
		if r := decodes(t, e); r != nil {
			t.Errorf("valid, and the decoder says %v\n%s", r, e)
		}
	}
}

// What the decoder refuses for its content the schema refuses, too.
func TestSchemaRefusesWhatTheDecoderRefuses(t *testing.T) {
	s := eventSchema(t)
	long := strings.Repeat("x", 70_000)
	for _, event := range []string{
		`[]`, `"text"`, `{}`, `{"id":"a"}`, `{"kind":null}`, `{"kind":""}`, `{"type":""}`, `{"kind":7}`, `{"kind":"timer"}`, `{"type":"rollup"}`,
		`{"kind":"x","tool.name":7}`, `{"kind":"x","tool":{"name":["a"]}}`, `{"kind":"x","tool.name":"` + long + `"}`, `{"kind":"x","tool.args":true}`,
		`{"kind":"x","net.dst_port":-1}`, `{"kind":"x","net.dst_port":65536}`, `{"kind":"x","net":{"dst_port":1.5}}`, `{"kind":"x","net.dst_port":"443"}`,
		`{"kind":"x","llm.tokens_in":4294967296}`, `{"kind":"x","seq":9223372036854775808}`, `{"kind":"x","sequence":-1}`,
		`{"kind":"x","guard.score":1.001}`, `{"kind":"x","guard.score":-0.1}`, `{"kind":"x","approval.latency_s":"1"}`,
		`{"kind":"x","truncated":"yes"}`, `{"kind":"x","data.pi":1}`, `{"kind":"x","data.classes":"phone"}`, `{"kind":"x","data.classes":[1]}`,
		`{"kind":"x","data.classes":["` + long[:257] + `"]}`, `{"kind":"x","task.declared_tools":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 65), ",") + `]}`,
		`{"kind":"x","agent_id":5}`, `{"kind":"x","model":{"id":"a"},"llm.model_served":1}`, `{"kind":"x","` + long[:257] + `":1}`, `{"kind":"x","mine":"` + long[:4097] + `"}`,
		`{"kind":"x","provider":5}`,
	} {
		if validate(t, s, []byte(event)) == nil {
			t.Errorf("valid: %.120s", event)
		}
		if decodes(t, []byte(event)) == nil {
			t.Errorf("decoded: %.120s", event)
		}
	}
}

// Every field can be sent by each of its names, and at its bounds.
func TestSchemaAndDecoderAgreeOnBounds(t *testing.T) {
	s := eventSchema(t)
	check := func(format string, f scoring.Field, value string, want bool) {
		t.Helper()
		head, rest, _ := strings.Cut(f.Name, ".")
		event := strings.NewReplacer("NAME", f.Name, "HEAD", head, "REST", rest, "VALUE", value).Replace(format)
		if f.Name != "kind" {
			event = strings.Replace(event, "{", `{"kind":"x",`, 1)
		}
		valid, decoded := validate(t, s, []byte(event)) == nil, decodes(t, []byte(event)) == nil
		if valid != want || decoded != want {
			t.Errorf("schema %v, decoder %v, want %v: %.200s", valid, decoded, want, event)
		}
	}
	for _, f := range scoring.Fields {
		var good, bad []string
		switch f.Type {
		case scoring.String:
			good, bad = []string{`"` + strings.Repeat("x", int(f.Max)-2) + `"`}, []string{`"` + strings.Repeat("x", int(f.Max)+1) + `"`}
		case scoring.Int:
			good, bad = []string{number(f.Min, 0), number(f.Max, 0)}, []string{"1e19", "-1e19", "0.5"}
		case scoring.Milli:
			good, bad = []string{number(f.Min, 3), number(f.Max, 3)}, []string{"1e17", "-2"}
		case scoring.Bool:
			good, bad = []string{"true", "false"}, []string{`"true"`}
		case scoring.Strings:
			good, bad = []string{`[]`, `["a","b"]`}, []string{`[null]`}
		}
		formats := []string{`{"NAME":VALUE}`}
		if strings.Contains(f.Name, ".") {
			formats = append(formats, `{"HEAD":{"REST":VALUE}}`)
		}
		for _, a := range f.Aliases {
			if f.Name != "kind" {
				formats = append(formats, `{"`+a+`":VALUE}`)
			}
		}
		for _, format := range formats {
			for _, v := range good {
				check(format, f, v, true)
			}
			for _, v := range bad {
				check(format, f, v, false)
			}
			if f.Name != "kind" {
				check(format, f, "null", true)
			}
		}
	}
}

func number(v int64, places int) string {
	b, _ := json.Marshal(v)
	s, sign := string(b), ""
	if places == 0 {
		return s
	}
	if s[0] == '-' {
		s, sign = s[1:], "-"
	}
	s = strings.Repeat("0", max(0, places+1-len(s))) + s
	return sign + s[:len(s)-places] + "." + s[len(s)-places:]
}
