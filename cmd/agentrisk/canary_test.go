package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// leaks are what was found, each canary once a place.
type leaks map[string]bool

// look notes the canaries that a text holds, as they are, in base64 at any phase, in hexadecimal or as in a URL, and what
// stands there in base64, as bytes do in JSON.
func (l leaks) look(place, text string) {
	l.lookInto(place, text)
	for _, run := range base64Run.FindAllString(text, -1) {
		if b, err := base64.StdEncoding.DecodeString(run); err == nil {
			l.lookInto(place+", within base64", string(b))
		}
	}
}

var base64Run = regexp.MustCompile(`[A-Za-z0-9+/]{16,}={0,2}`)

func (l leaks) lookInto(place, text string) {
	for i, c := range canaries {
		for _, form := range canaryForms[i] {
			if at := strings.Index(text, form); at >= 0 {
				l[fmt.Sprintf("%s holds %s as %s: %q", place, c.secret, form, text[max(0, at-120):min(len(text), at+len(form)+40)])] = true
				break
			}
		}
	}
}

var canaryForms = func() (forms [][]string) {
	for _, c := range canaries {
		forms = append(forms, formsOf(c.secret))
	}
	return forms
}()

// formsOf are the ways in which a secret may be written. In base64 what stands before and behind it moves and changes
// the digits, so these are the ones in the middle.
func formsOf(secret string) []string {
	forms := []string{secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))), url.QueryEscape(secret), url.PathEscape(secret)}
	for phase := range 3 {
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			digits := enc.EncodeToString([]byte(strings.Repeat("\x00", phase) + secret))
			forms = append(forms, digits[(phase*8+5)/6:len(digits)-2])
		}
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

// A canary in every field of events of every form, and of what is no event, comes out nowhere: no table, topic, page, log,
// metric or error holds it. Identifiers are sent without one: what the contract says of them stands in redact.Identifiers.
func TestCanariesComeOutNowhere(t *testing.T) {
	t.Parallel()
	for _, c := range canaries {
		if strings.Contains(redact.Text("x "+c.text+" y", 1000), c.secret) {
			t.Fatalf("no mask for %q", c.text)
		}
		for _, text := range []string{"x" + base64.StdEncoding.EncodeToString([]byte("ab"+c.text)), hex.EncodeToString([]byte(c.text)), url.QueryEscape(c.text)} {
			found := leaks{}
			if found.look("a text", text); len(found) == 0 {
				t.Fatalf("%q would not be found in %s", c.text, text)
			}
		}
	}
	records := canaryRecords(t)
	const policy = ", redaction: {content: excerpt, arguments: excerpt, excerpt: 1024}"
	prefixes, bindings := map[string]string{}, policy
	for _, format := range ingest.FormatNames {
		if format != "json" {
			prefixes[format] = stacktest.Unique(format) + "."
			bindings += fmt.Sprintf(`}, {topics: "%s*", format: %s, partitions: 1%s`, prefixes[format], format, policy)
		}
	}
	s := newSystem(t, stacktest.Start(t), bindings)
	prefixes["json"] = s.prefix
	var mu sync.Mutex
	var pages []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		pages = append(pages, string(b)+fmt.Sprint(r.Header, r.URL))
	}))
	defer hook.Close()
	keys := filepath.Join(s.dir, "keys.yaml")
	s.must("keys", "new", keys)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	webhook := fmt.Sprintf(`-alerts", webhook: {url: "%s/", secrets: ["whsec_%s"], allow: ["%s"]}}`, hook.URL,
		base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))), strings.TrimPrefix(hook.URL, "http://"))
	text = []byte(strings.Replace(string(text), `-alerts"}`, webhook, 1))
	if err := os.WriteFile(s.config, append(text, "keys_file: "+keys+"\nlog: {level: debug}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	producer := s.client().NewProducer(kafka.None)
	var want expected
	for format, list := range records {
		want.judge(t, format, list)
		var messages []kafka.Message
		for _, rec := range list {
			messages = append(messages, kafka.Message{Key: []byte("t/" + canaries[2].text), Value: rec.Value, Headers: headersOf(rec.Headers)})
		}
		if err := producer.Produce(soon(t), prefixes[format]+"alpha", messages); err != nil {
			t.Fatal(err)
		}
	}
	p := s.run()
	s.stored(want.rows)
	eventually(t, "every item that is no event is a dead letter", func() bool { // a producer that asked again sent more
		n, err := strconv.Atoi(s.count("dead_letters"))
		return err == nil && n >= want.letters
	})
	if s.stack.Query(t, "SELECT count() FROM "+s.database+".verdicts WHERE alert != ''") != "0" {
		eventually(t, "a page is delivered", func() bool { mu.Lock(); defer mu.Unlock(); return len(pages) > 0 })
	} else {
		t.Error("no row pages: nothing shows that pages hold no canary")
	}
	if n := s.stack.Query(t, "SELECT countIf(length(hits.why) > 0), countIf(excerpt != ''), countIf(args_excerpt != ''), countIf(key_id != '' AND redaction != '') FROM "+s.database+".verdicts"); strings.HasPrefix(n, "0\t") || strings.Contains(n, "\t0") {
		t.Errorf("hits, excerpts and policies on rows: %s", n)
	}
	found := leaks{}
	if m := regexp.MustCompile(`http://[0-9.:]+/metrics`).FindString(p.text()); m == "" {
		t.Error("the log does not say where metrics are")
	} else {
		for _, path := range []string{"/metrics", "/lanes", "/ready"} {
			resp, err := http.Get(strings.TrimSuffix(m, "/metrics") + path)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			found.look(path, string(b))
		}
	}
	p.stop(t) // saves snapshots
	found.look("the log", p.text())
	mu.Lock()
	for _, page := range pages {
		found.look("a page", page)
	}
	mu.Unlock()
	tables := strings.Fields(s.stack.Query(t, "SELECT name FROM system.tables WHERE database = '"+s.database+"' AND engine NOT LIKE '%View'"))
	if len(tables) < 8 {
		t.Errorf("tables %q", tables)
	}
	for _, table := range tables {
		for row := range strings.Lines(s.stack.Query(t, "SELECT * FROM "+s.database+"."+table+" FORMAT TSVRaw")) {
			found.look("table "+table, row)
		}
	}
	if s.count("snapshots") == "0" {
		t.Error("no snapshot: nothing shows that they hold no canary")
	}
	other := strings.TrimSuffix(s.prefix, ".") + "-"
	for _, name := range []string{other + "alerts", other + "dead"} {
		list := s.read(name)
		if len(list) == 0 {
			t.Errorf("topic %s holds nothing", name)
		}
		for _, record := range list {
			found.look("topic "+name, record)
		}
	}
	letters := s.must("dlq", "list", "--letters", "--state", "all", "--config", s.config)
	found.look("dlq list", letters)
	_, origin, _ := strings.Cut(letters, "\n")
	origin, _, _ = strings.Cut(origin, " ")
	out, err := exec.Command(program, "dlq", "replay", origin, "--reason", "to see", "--config", s.config).CombinedOutput()
	if !bytes.Contains(out, []byte(origin+" stays")) {
		t.Errorf("dlq replay: %v: %s", err, out)
	}
	found.look("dlq replay", string(out))
	found.look("dlq show", s.must("dlq", "show", origin, "--config", s.config))
	for format, prefix := range prefixes {
		out, _ := exec.Command(program, "check", "--topic", prefix+"alpha", "--config", s.config).CombinedOutput() // status 3: there is much to change
		if !bytes.Contains(out, []byte("dead letter")) {
			t.Errorf("check of %s: %s", format, out)
		}
		found.look("check of "+format, string(out))
	}
	for format, list := range records {
		found.look("the output of score --format "+format, s.scoreAll(format, list))
	}
	for _, leak := range slices.Sorted(maps.Keys(found)) {
		t.Error(leak)
	}
}

// expected counts what becomes of records.
type expected struct{ rows, letters int }

func (x *expected) Row(*scoring.Event, *scoring.Verdict) { x.rows++ }
func (x *expected) Dead(*scoring.DeadLetter)             { x.letters++ }

func (x *expected) judge(t *testing.T, format string, list []ingest.Record) {
	t.Helper()
	pack, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	judge, err := ingest.NewJudge(scoring.NewEngine(pack.Pack, scoring.Options{}), format, scoring.KeyedByAgent, "alpha")
	if err != nil {
		t.Fatal(err)
	}
	before := *x
	for i := range list {
		judge.Record(&list[i], x)
	}
	if x.rows == before.rows || x.letters == before.letters {
		t.Fatalf("%s: %d events and %d dead letters: want some of both", format, x.rows-before.rows, x.letters-before.letters)
	}
}

// scoreAll is what `agentrisk score` says of records. Without a binding the provider is the event's own word, an
// identifier, so records whose provider is a canary are left out.
func (s *system) scoreAll(format string, list []ingest.Record) string {
	s.t.Helper()
	args, lines := []string{"score", "--format", format}, []byte(nil)
	for i, rec := range list {
		switch {
		case bytes.Contains(rec.Value, []byte(foreign)) || len(rec.Headers) > 1: // headers stand in no file
		case wholeFile(format):
			path := filepath.Join(s.dir, fmt.Sprintf("canary-%d.bin", i))
			if err := os.WriteFile(path, rec.Value, 0o600); err != nil {
				s.t.Fatal(err)
			}
			args = append(args, path)
		default:
			lines = append(append(lines, rec.Value...), '\n')
		}
	}
	if !wholeFile(format) {
		path := filepath.Join(s.dir, "canaries."+format)
		if err := os.WriteFile(path, lines, 0o600); err != nil {
			s.t.Fatal(err)
		}
		args = append(args, path)
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil || len(out) == 0 {
		s.t.Errorf("score --format %s: %v, %d bytes", format, err, len(out))
	}
	return string(out)
}

// read returns keys, headers and values of all records of a topic.
func (s *system) read(topic string) (records []string) {
	s.t.Helper()
	client := s.client()
	partitions, err := client.Offsets(soon(s.t), topic)
	if err != nil {
		s.t.Fatal(err)
	}
	log := kafka.NewLog(client)
	for _, p := range partitions {
		for from := p.First; from < p.Next; {
			chunk, err := log.Fetch(soon(s.t), topic, p.Partition, from, time.Second)
			if err != nil {
				s.t.Fatal(err)
			}
			var e ingest.Entry
			for chunk.Next(&e) {
				records = append(records, fmt.Sprintf("%s %s %s", e.Record.Key, e.Record.Headers, e.Record.Value))
			}
			from = chunk.End()
			chunk.Release()
		}
	}
	return records
}
