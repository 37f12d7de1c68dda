package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// hostile are values that somebody sends to break the reader.
func hostile() map[string]string {
	event := func(members string) string {
		return `{"id":"h","kind":"tool_call","tenant.id":"t","agent.id":"a",` + members + `}`
	}
	m := map[string]string{
		"nesting of arrays":       event(`"tool.args":` + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000)),
		"nesting of objects":      event(`"x":` + strings.Repeat(`{"a":`, 50_000) + "1" + strings.Repeat("}", 50_000)),
		"nesting without an end":  strings.Repeat("[", 900_000),
		"huge number":             event(`"net.bytes_out":` + strings.Repeat("9", 100_000)),
		"huge exponent":           event(`"net.bytes_out":1e999999999`),
		"tiny exponent":           event(`"net.bytes_out":1e-999999999`),
		"negative zero":           event(`"net.bytes_out":-0.0`),
		"not a number":            event(`"net.bytes_out":NaN`),
		"infinity":                event(`"net.bytes_out":Infinity`),
		"duplicate key":           event(`"tool.name":"a","tool.name":"b"`),
		"duplicate by escape":     event(`"tool.name":"a","tool.n\u0061me":"b"`),
		"byte order mark":         "\ufeff" + event(`"tool.name":"a"`),
		"UTF-16":                  "\xff\xfe{\x00}\x00",
		"invalid UTF-8":           event(`"content":"` + "\xff\xc3\x28\xed\xa0\x80" + `"`),
		"lone surrogates":         event(`"content":"\ud800 \udfff"`),
		"NUL bytes":               event(`"content":"a\u0000b"`) + "\x00\x00",
		"NUL bytes within":        event(`"tool.name":"a\u0000b","attributes":{"\u0000":"\u0000"}`),
		"nothing but NUL":         strings.Repeat("\x00", 1000),
		"long text":               event(`"content":"` + strings.Repeat("x", 1_000_000) + `"`),
		"long name":               event(`"tool.name":"` + strings.Repeat("n", 500_000) + `"`),
		"long key":                event(`"` + strings.Repeat("k", 500_000) + `":1`),
		"shell bomb":              event(`"tool.name":"shell","exec.cmd":"` + strings.Repeat("$(", 200_000) + `"`),
		"shell bomb of quotes":    event(`"tool.name":"shell","exec.cmd":"` + strings.Repeat(`\"$(echo `, 20_000) + `"`),
		"fork bomb":               event(`"tool.name":"shell","exec.cmd":":(){ :|:& };:"`),
		"here-document":           event(`"tool.name":"shell","exec.cmd":"` + strings.Repeat("cat <<E\\n", 5_000) + `"`),
		"escapes of a terminal":   event(`"content":"\u001b]0;owned\u0007\u001b[2J"`),
		"SQL":                     event(`"tool.name":"'); DROP TABLE verdicts; --","content":"\\'); DROP TABLE verdicts; --"`),
		"template":                event(`"content":"{{.}} ${jndi:ldap://x} %s%s%n"`),
		"regular expression bomb": event(`"content":"` + strings.Repeat("a", 50_000) + `!","net.url":"http://` + strings.Repeat("a.", 10_000) + `"`),
		"time out of this world":  event(`"time":"9999-12-31T23:59:60Z"`),
		"time before time":        event(`"time":-9223372036854775808`),
		"wrong types":             event(`"tool.args":[{}],"content":{"a":[1]},"time":[],"data.pi":"yes"`),
		"array for an event":      `[1,2,3]`,
		"text for an event":       `"event"`,
		"truncated":               event(`"content":"abc"`)[:50],
		"two events":              event(`"content":"a"`) + event(`"content":"b"`),
		"white space":             strings.Repeat(" \t\r\n", 200_000),
		"protobuf of a collector": "\x0a\xff\xff\xff\xff\x0f\x0a\x80\x80\x80\x80\x08",
		"truncated spans":         `{"resourceSpans":[{"resource":{"attributes":[{"key":"a"`,
	}
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, `"x%d":%d,`, i, i)
	}
	m["ten thousand attributes"] = event(many.String() + `"z":1`)
	m["ten thousand scopes"] = event(`"identity.scopes":[` + strings.TrimSuffix(strings.Repeat(`"s",`, 10_000), ",") + `]`)
	return m
}

// Hostile records, and batches of a few kilobytes that decompress to much, go through the real lane: each becomes a row or a
// dead letter, good events between them are judged, the process lives in bounded memory, and reconcile finds nothing.
func TestHostileRecordsAreRowsOrDeadLetters(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	p := s.run()
	n, good := 0, 0
	for name, value := range hostile() {
		if len(value) > 1<<20 {
			t.Errorf("%s: %d bytes are more than a topic takes", name, len(value))
		}
		messages := []kafka.Message{{Key: []byte(name), Value: []byte(value)}, {Key: []byte(name), Value: fmt.Appendf(nil, `{"id":"good-%d","kind":"tool_call","tenant.id":"t","agent.id":"a"}`, good)}}
		good++
		n += len(messages)
		if err := s.client().NewProducer(kafka.Gzip).Produce(soon(t), s.prefix+"alpha", messages); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, codec := range []kafka.Codec{kafka.Gzip, kafka.LZ4, kafka.Zstd, kafka.Snappy} {
		messages := []kafka.Message{{Value: []byte(`{"id":"before","kind":"x"}`)}, {Value: bytes.Repeat([]byte(" "), 12<<20)}, {Value: []byte(`{"id":"behind","kind":"x"}`)}}
		if err := s.client().NewProducer(codec).Produce(soon(t), s.prefix+"beta", messages); err != nil {
			t.Fatalf("bomb under %s: %v", codec, err)
		}
		n, good = n+3, good+2
	}
	eventually(t, "every record is a row or a dead letter", func() bool {
		got := s.stack.Query(t, "SELECT uniqExact(topic, partition, offset) FROM (SELECT topic, partition, offset FROM "+s.database+".verdicts UNION ALL SELECT topic, partition, offset FROM "+s.database+".dead_letters)")
		return got == fmt.Sprint(n)
	})
	if rows := s.count("verdicts WHERE event_id LIKE 'good-%' OR event_id IN ('before', 'behind')"); rows != fmt.Sprint(good) {
		t.Errorf("%s of %d good events have rows", rows, good)
	}
	if letters := s.count("dead_letters WHERE reason = 'too_large'"); letters != "4" {
		t.Errorf("%s letters of 4 that are too large", letters)
	}
	if mib := p.memory(t); mib > 300 {
		t.Errorf("the process holds %d MiB", mib)
	}
	if bad := s.count("dead_letters WHERE reason IN ('panic', 'poison')"); bad != "0" {
		t.Errorf("%s records ended in a panic: %s", bad, s.stack.Query(t, "SELECT detail FROM "+s.database+".dead_letters WHERE reason IN ('panic', 'poison')"))
	}
	eventually(t, "reconcile finds nothing", func() bool { return strings.Contains(s.reconciled(), " 0 findings") })
	select {
	case <-p.done:
		t.Errorf("the process ended: %v", p.err)
	default:
		p.stop(t)
	}
}
