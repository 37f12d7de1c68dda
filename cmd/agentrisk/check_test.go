package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// checked is what a test reads of check's JSON.
type checked struct {
	Records     int64
	Events      int64
	Partitions  int
	DeadLetters []struct {
		Reason, First string
		Count         int64
	} `json:"dead_letters"`
	Keys struct {
		TenantAgent int64 `json:"tenant_agent"`
		None        int64
		Agents      int
	}
	Problems, Advice []struct{ About, What, First, Do string }
	CanFire          int `json:"rules_that_can_fire"`
	Sample           json.RawMessage
}

// check runs check on a topic of the system and returns what it said and its status.
func (s *system) check(args ...string) (c checked, status int) {
	s.t.Helper()
	cmd := exec.Command(program, append([]string{"check", "--config", s.config, "--output", "json"}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	}
	if status == statusFailed || status == statusUsage || err != nil && exit == nil {
		s.t.Fatalf("check %v: %v\n%s", args, err, exit.Stderr)
	}
	if err := json.Unmarshal(out, &c); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	return c, status
}

func (c *checked) says(list []struct{ About, What, First, Do string }, about, what string) bool {
	return slices.ContainsFunc(list, func(r struct{ About, What, First, Do string }) bool {
		return r.About == about && strings.Contains(r.What, what)
	})
}

// A provider's feed on a real topic: in order, then with everything wrong that a key, an id and a record can have.
func TestCheckOfATopic(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	alpha, beta := s.prefix+"alpha", s.prefix+"beta"
	s.publish(s.fleet(4_000, 21))
	good, status := s.check("--topic", alpha)
	if status != statusDone || len(good.Problems) > 0 || good.Records < 1000 || good.Events != good.Records || good.Keys.TenantAgent != good.Records || good.Partitions != 3 {
		t.Errorf("a feed that is in order: status %d, %+v", status, good)
	}
	if few, _ := s.check("--topic", alpha, "--records", "30"); few.Records == 0 || few.Records > 30 {
		t.Errorf("--records 30 read %d", few.Records)
	}
	var m []kafka.Message
	put := func(key, value string) {
		msg := kafka.Message{Value: []byte(value), Partition: new(int32)}
		if *msg.Partition = int32(len(m) % 3); key != "" {
			msg.Key = []byte(key)
		}
		m = append(m, msg)
	}
	for i := range 30 {
		put("", fmt.Sprintf(`{"id":"e%d","time":"2026-05-01T10:00:00Z","kind":"tool_call","tenant.id":"t","agent.id":"a%d","conversation.id":"s%d","tool.name":"read"}`, i%29, i%5, i%5))
	}
	put("k", `{"kind":"tool_call","provider.id":"somebody"}`)
	put("k", `{"kind":"tool_call","seq":-1}`)
	put("k", `not json`)
	if err := s.client().NewProducer(kafka.None).Produce(soon(t), beta, m); err != nil {
		t.Fatal(err)
	}
	bad, status := s.check("--topic", beta, "--records", "33")
	reasons := map[string]int64{}
	for _, d := range bad.DeadLetters {
		reasons[d.Reason] += d.Count
		if !strings.HasPrefix(d.First, beta+"/") {
			t.Errorf("%s has no origin: %q", d.Reason, d.First)
		}
	}
	if status != statusFindings || reasons["foreign_provider"] != 1 || reasons["out_of_range"] != 1 || reasons["invalid_json"] != 1 || bad.Keys.None != 30 {
		t.Errorf("a feed that is not in order: status %d, %+v", status, bad)
	}
	if !bad.says(bad.Problems, "key", "of 5 agents have events in more than one partition") || !bad.says(bad.Problems, "key", "the records have no key") {
		t.Errorf("agents in several partitions: %+v", bad.Problems)
	}
	if !bad.says(bad.Advice, "time", "2026-05-01T10:00:00Z, and Kafka's is") {
		t.Errorf("times of long ago: %+v", bad.Advice)
	}
	for topic, want := range map[string]string{"elsewhere": "no binding is for topic elsewhere", s.prefix + "none": alpha} {
		out, err := exec.Command(program, "check", "--config", s.config, "--topic", topic).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("--topic %s: %v: want %q in %s", topic, err, want, out)
		}
	}
	stored, err := s.client().Committed(soon(t), s.group, alpha, []int32{0, 1, 2})
	if err != nil {
		t.Fatal(err)
	}
	for p, c := range stored {
		if c.Offset >= 0 {
			t.Errorf("check committed offset %d of partition %d", c.Offset, p)
		}
	}

	// What is keyed by nothing is told that it could be more; the completion knows the topics.
	s.configure(s.group, ", keyed_by: none")
	if none, _ := s.check("--topic", alpha); !none.says(none.Advice, "key", "stands in one partition") || none.CanFire >= good.CanFire {
		t.Errorf("a feed that promises less than it keeps: %d rules, %+v", none.CanFire, none.Advice)
	}
	if out := s.must("__complete", "check", "--config", s.config, "--topic", ""); !strings.Contains(out, alpha+"\n"+beta) {
		t.Errorf("completion of topics: %s", out)
	}
	s.metricsAreDescribed(s.run())
}

// metricsAreDescribed compares what a process serves with the reference.
func (s *system) metricsAreDescribed(p *process) {
	s.t.Helper()
	var url []byte
	eventually(s.t, "metrics are served", func() bool {
		url = regexp.MustCompile(`http://127\.0\.0\.1:\d+/metrics`).Find([]byte(p.text()))
		return url != nil
	})
	s.stored(1)
	res, err := http.Get(string(url))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, d := range describeMetrics(servedMetrics()...) {
		kinds[d.name] = d.kind
	}
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (agentrisk_\w+) (\w+)$`).FindAllStringSubmatch(string(body), -1) {
		if n++; kinds[m[1]] != m[2] {
			s.t.Errorf("%s is served as a %s and described as %q", m[1], m[2], kinds[m[1]])
		}
	}
	if n < 15 {
		s.t.Errorf("only %d of our metrics are served:\n%s", n, body)
	}
	p.stop(s.t)
}

// What check shows as an event is one that check has nothing to say against, whatever the feed was like.
func TestSampleOfAFeedIsInOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fleet, err := exec.Command(program, "simulate", "--events", "500").Output()
	if err != nil {
		t.Fatal(err)
	}
	feeds := map[string]string{"json empty": "", "flat little": `{"kind":"code_exec"}`, "json bad": `{"kind":`, "json fleet": string(fleet), "cloudevents empty": "", "otlp_json empty": ""}
	for name, feed := range feeds {
		format, _, _ := strings.Cut(name, " ")
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(feed), 0o644); err != nil {
			t.Fatal(err)
		}
		var first, second checked
		for _, c := range []*checked{&first, &second} {
			out, _ := exec.Command(program, "check", path, "--format", format, "--output", "json").Output()
			if err := json.Unmarshal(out, c); err != nil {
				t.Fatalf("%s: %v: %s", name, err, out)
			}
			var line bytes.Buffer
			if err := json.Compact(&line, c.Sample); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, line.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if second.Events < 1 || len(second.Problems) > 0 || len(second.Advice) > 0 {
			t.Errorf("%s: %+v %+v of\n%s", name, second.Problems, second.Advice, first.Sample)
		}
	}
}
