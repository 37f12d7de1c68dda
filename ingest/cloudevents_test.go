package ingest_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/scoring"
)

const (
	ceStart  = `{"specversion":"1.0","id":"e1","source":"urn:x","type":"io.agentrisk.agent.tool_call.v1"`
	ceHeader = "ce_specversion: 1.0\nce_id: e1\nce_source: urn:x\nce_type: tool_call\n"
)

// cloudEventCases are records and what must become of them: want is the reason of the dead letter, or part of the event
// as name=value.
var cloudEventCases = []struct{ name, headers, value, want string }{
	{"data", "", ceStart + `,"data":{"tool.name":"x"}}`, `tool.name=x`},
	{"kind from type", "", ceStart + `,"data":{}}`, `kind=tool_call`},
	{"kind of data", "", ceStart + `,"data":{"kind":"publish"}}`, `kind=publish`},
	{"no data", "", ceStart + `}`, `id=e1`},
	{"null data", "", ceStart + `,"data":null,"subject":null}`, `id=e1`},
	{"data before the envelope", "", `{"data":{"tool.name":"x"},` + ceStart[1:] + `}`, `tool.name=x`},
	{"same id in data", "", ceStart + `,"data":{"id":"e1","source":"urn:x"}}`, `id=e1`},
	{"other id in data", "", ceStart + `,"data":{"id":"e2"}}`, `duplicate_key`},
	{"other source in data", "", ceStart + `,"data":{"source":"urn:y"}}`, `duplicate_key`},
	{"time", "", ceStart + `,"time":"2026-05-01T18:00:00.25+08:00"}`, `time=1777629600250`},
	{"time of data", "", ceStart + `,"time":"2026-05-01T18:00:00Z","data":{"time":1777629600250}}`, `time=1777629600250`},
	{"time that is none", "", ceStart + `,"time":"today"}`, `attribute ce.time=today`},
	{"subject agent", "", ceStart + `,"subject":"agent/a 7"}`, `agent.id=a 7`},
	{"subject task", "", ceStart + `,"subject":"task/t7"}`, `task.id=t7`},
	{"subject of another form", "", ceStart + `,"subject":"mailbox"}`, `attribute ce.subject=mailbox`},
	{"subject that data knows better", "", ceStart + `,"subject":"agent/a","data":{"agent.id":"b"}}`, `attribute ce.subject=agent/a`},
	{"trace", "", ceStart + `,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`, `trace.id=0af7651916cd43dd8448eb211c80319c`},
	{"trace of zeros", "", ceStart + `,"traceparent":"00-00000000000000000000000000000000-b7ad6b7169203331-01"}`, `attribute ce.traceparent=00-00000000000000000000000000000000-b7ad6b7169203331-01`},
	{"sequence", "", ceStart + `,"sequence":"000123"}`, `seq=123`},
	{"sequence of letters", "", ceStart + `,"sequence":"abc"}`, `attribute ce.sequence=abc`},
	{"chain", "", ceStart + `,"correlationid":"w","causationid":"e0"}`, `correlationid=w`},
	{"extension", "", ceStart + `,"severitynumber":9,"sampled":true}`, `attribute ce.severitynumber=9`},
	{"extension beside a field of its name in data", "", ceStart + `,"zone":"e","data":{"zone":"d"}}`, `attribute zone=d`},
	{"base64", "", ceStart + `,"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(`{"tool.name":"\u0078"}`)) + `"}`, `tool.name=x`},
	{"base64 that is none", "", ceStart + `,"data_base64":"###"}`, `unknown_envelope`},
	{"base64 that is no JSON", "", ceStart + `,"data_base64":"eA=="}`, `wrong_type`},
	{"base64 of half an object", "", ceStart + `,"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(`{"a":`)) + `"}`, `invalid_json`},
	{"data twice", "", ceStart + `,"data":{},"data_base64":"e30="}`, `unknown_envelope`},
	{"data that is a text", "", ceStart + `,"data":"{}"}`, `wrong_type`},
	{"data of another type", "", ceStart + `,"datacontenttype":"text/xml","data":{}}`, `unknown_envelope`},
	{"data of a type of JSON", "", ceStart + `,"datacontenttype":"application/x+json; charset=utf-8","data":{"tool.name":"x"}}`, `tool.name=x`},
	{"no version", "", `{"id":"e1","source":"urn:x","type":"a"}`, `missing_field`},
	{"our JSON without an envelope", "", `{"kind":"tool_call"}`, `missing_field`},
	{"another version", "", `{"specversion":"0.3","id":"e1","source":"urn:x","type":"a"}`, `unknown_envelope`},
	{"no id", "", `{"specversion":"1.0","source":"urn:x","type":"a"}`, `missing_field`},
	{"empty id", "", `{"specversion":"1.0","id":"","source":"urn:x","type":"a"}`, `missing_field`},
	{"no source", "", `{"specversion":"1.0","id":"e1","type":"a"}`, `missing_field`},
	{"no type", "", `{"specversion":"1.0","id":"e1","source":"urn:x"}`, `missing_field`},
	{"type of versions alone", "", `{"specversion":"1.0","id":"e1","source":"urn:x","type":"v1.2"}`, `missing_field`},
	{"reserved kind", "", `{"specversion":"1.0","id":"e1","source":"urn:x","type":"io.agentrisk.agent.timer.v1"}`, `reserved_kind`},
	{"id that is a number", "", `{"specversion":"1.0","id":7,"source":"urn:x","type":"a"}`, `wrong_type`},
	{"long id", "", `{"specversion":"1.0","id":"` + strings.Repeat("x", 257) + `","source":"urn:x","type":"a"}`, `over_limit`},
	{"attribute twice", "", ceStart + `,"id":"e1"}`, `duplicate_key`},
	{"extension twice", "", ceStart + `,"x":1,"x":2}`, `duplicate_key`},
	{"field twice in data", "", ceStart + `,"data":{"kind":"a","kind":"b"}}`, `duplicate_key`},
	{"nothing", "", ` `, `empty_record`},
	{"half", "", ceStart, `invalid_json`},
	{"more", "", ceStart + `} {}`, `invalid_json`},
	{"a word", "", `true`, `wrong_type`},
	{"structured by header", "content-type: application/cloudevents+json; charset=UTF-8\n", ceStart + `}`, `id=e1`},
	{"structured by header, in capitals", "Content-Type: Application/CloudEvents+JSON\nce_id: ignored\n", ceStart + `}`, `id=e1`},
	{"another serialisation", "content-type: application/cloudevents+avro\n", `x`, `unknown_envelope`},
	{"binary", ceHeader + "content-type: application/json\n", `{"tool.name":"x"}`, `tool.name=x`},
	{"binary, no type of content", ceHeader, `{"tool.name":"x"}`, `kind=tool_call`},
	{"binary, an array", ceHeader, `[]`, `wrong_type`},
	{"binary, no value", ceHeader + "ce_subject: agent/a\n", ``, `agent.id=a`},
	{"binary, extension", ceHeader + "ce_zone: e\nother: x\n", `{}`, `attribute ce.zone=e`},
	{"binary, header twice", ceHeader + "ce_id: e2\n", `{}`, `duplicate_key`},
	{"binary, extension twice", ceHeader + "ce_x: 1\nce_x: 1\n", `{}`, `duplicate_key`},
	{"binary, another type of content", ceHeader + "content-type: application/avro\n", "\x00\x01", `unknown_envelope`},
	{"binary, no id", "ce_specversion: 1.0\nce_source: s\nce_type: t\n", `{}`, `missing_field`},
	{"binary, bytes that are no UTF-8", ceHeader + "ce_zone: \xff\n", `{}`, `flags=bad_utf8 time_missing`},
	{"empty batch", "", `[]`, `empty_record`},
	{"batch by header that is an object", "content-type: application/cloudevents-batch+json\n", `{}`, `wrong_type`},
}

func TestCloudEvents(t *testing.T) {
	for _, tt := range cloudEventCases {
		t.Run(tt.name, func(t *testing.T) {
			items := sound(t, "cloudevents", ingest.Record{Headers: headersOf(tt.headers), Value: []byte(tt.value)})
			if len(items) != 1 {
				t.Fatalf("%d items", len(items))
			}
			check(t, items[0], tt.want)
		})
	}
}

// check compares an item with a reason or with name=value.
func check(t *testing.T, it item, want string) {
	t.Helper()
	name, value, ok := strings.Cut(want, "=")
	if !ok {
		if string(it.Reason) != want {
			t.Errorf("%s %q %v, want %s", it.Reason, it.Detail, it.Event, want)
		}
		if len(it.Detail) > 300 {
			t.Errorf("a detail of %d bytes", len(it.Detail))
		}
		return
	}
	if got := fmt.Sprint(it.Event[name]); got != value {
		t.Errorf("%s is %q, want %q: %s %q %v", name, got, value, it.Reason, it.Detail, it.Event)
	}
}

// An item of a batch that is no event does not end the others; a batch that is no JSON has no items.
func TestCloudEventsBatch(t *testing.T) {
	good := ceStart + `,"data":{"tool.name":"x","deep":` + strings.Repeat("[", 9) + `"]}"` + strings.Repeat("]", 9) + `}}`
	bad := `{"specversion":"1.0","id":"e2","data":{"a":[1,{"b":"}]\""}]}}`
	deep := ceStart + `,"data":{"deep":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`
	items := sound(t, "cloudevents", ingest.Record{Value: []byte(" [ " + good + " , " + bad + ",7," + deep + ",\"x\"," + good + " ] ")})
	var got []string
	for _, it := range items {
		got = append(got, string(it.Reason))
	}
	if want := " missing_field wrong_type over_limit wrong_type "; strings.Join(got, " ") != want {
		t.Errorf("reasons %q, want %q", strings.Join(got, " "), want)
	}
	for name, value := range map[string]string{
		"cut off":   "[" + good + "," + good[:len(good)-1],
		"no comma":  "[" + good + good + "]",
		"more":      "[" + good + "] x",
		"no end":    "[" + good + ",",
		"NaN":       "[" + good + `,{"x":NaN}]`,
		"too deep":  "[" + good + "," + strings.Repeat("[", 100_000) + "]",
		"unclosed":  strings.Repeat("[", scoring.MaxRecord),
		"bad quote": "[" + good + `,"\x"]`,
	} {
		items := sound(t, "cloudevents", ingest.Record{Value: []byte(value)})
		if len(items) != 1 || items[0].Reason != scoring.ReasonJSON && items[0].Reason != scoring.ReasonLimit {
			t.Errorf("%s: %d items, %s", name, len(items), items[0].Reason)
		}
	}
}

// A record may hold 1,000 items; the next one is a dead letter that says so, and the rest is not read.
func TestRecordsOfTooManyItems(t *testing.T) {
	event := ceStart + `}`
	items := sound(t, "cloudevents", ingest.Record{Value: []byte("[" + strings.Repeat(event+",", 2000) + event + "]")})
	if n := len(items); n != scoring.MaxItems+1 || items[n-1].Reason != scoring.ReasonLimit || items[n-2].Reason != "" {
		t.Errorf("%d items, the last is %s", n, items[n-1].Reason)
	}
	span := `{"startTimeUnixNano":"1","attributes":[]}`
	items = sound(t, "otlp_json", ingest.Record{Value: []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[` + strings.Repeat(span+",", 2000) + span + `]}]}]}`)})
	if n := len(items); n != scoring.MaxItems+1 || items[n-1].Reason != scoring.ReasonLimit {
		t.Errorf("%d items, the last is %s", n, items[n-1].Reason)
	}
}
