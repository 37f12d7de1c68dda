package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// A binding named the wrong provider: its records are dead letters. Once it is mended two operators replay them at the same
// time: each is one row under its first origin, what is no event stays with its reason, and everything adds up.
func TestDeadLettersReplayed(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	s.deadLetters(8)
	var broken []kafka.Message
	for i := range 3 {
		broken = append(broken, kafka.Message{Key: []byte("k"), Value: fmt.Appendf(nil, `{"broken":%d`, i)})
	}
	if err := s.client().NewProducer(kafka.None).Produce(soon(t), s.prefix+"alpha", broken); err != nil {
		t.Fatal(err)
	}
	path := s.fleet(500, 40)
	s.publish(path)
	p := s.run()
	s.settled(500)
	eventually(t, "eleven dead letters", func() bool { return s.count("dead_letters") == "11" })

	if out := s.must("dlq", "list", "--config", s.config); !strings.Contains(out, "foreign_provider") || !strings.Contains(out, "invalid_json") {
		t.Error(out)
	}
	// As the binding stands they are no events, and a replay says so.
	if out, status := s.try("dlq", "replay", "--config", s.config, "--reason-is", "foreign_provider", "--reason", "try"); status != statusFindings || !strings.Contains(out, "0 are events, 8 stay") {
		t.Errorf("status %d: %s", status, out)
	}
	s.configure(s.group, `, provider: somebody_else`)
	if out := s.must("dlq", "replay", "--config", s.config, "--reason-is", "foreign_provider", "--dry-run"); !strings.Contains(out, "8 are events (nothing was stored), 0 stay") {
		t.Error(out)
	}
	if n := s.count("verdicts"); n != "500" {
		t.Errorf("%s rows after a dry run, want 500", n)
	}
	var wg sync.WaitGroup
	for _, who := range []string{"one", "two"} {
		wg.Go(func() {
			if out, status := s.try("dlq", "replay", "--config", s.config, "--all", "--who", who, "--reason", "binding mended"); status != statusFindings || strings.Contains(out, "agentrisk:") {
				t.Errorf("%s: status %d: %s", who, status, out)
			}
		})
	}
	wg.Wait()
	s.settled(508)
	if got := s.stack.Query(t, "SELECT count(), uniqExact(offset, partition), countIf(has(flags, 'replayed') AND has(flags, 'cold') AND provider = 'somebody_else') FROM "+s.database+".verdicts WHERE has(flags, 'replayed')"); got != "8\t8\t8" {
		t.Errorf("replayed rows: %s", got)
	}
	var letters []letterView
	for line := range strings.Lines(s.must("dlq", "list", "--letters", "--config", s.config, "--output", "json")) {
		var l letterView
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		letters = append(letters, l)
		switch {
		case l.Reason == "invalid_json" && (l.State != "open" || l.NewReason != "invalid_json"), l.Reason == "foreign_provider" && l.State != "replayed":
			t.Errorf("%+v", l)
		}
	}
	if len(letters) != 11 {
		t.Fatalf("%d letters", len(letters))
	}
	if out := s.must("dlq", "discard", "--config", s.config, "--reason-is", "invalid_json", "--reason", "cut off by their producer", "--who", "duty"); !strings.Contains(out, "3 dead letters are discarded") {
		t.Error(out)
	}
	for _, l := range letters {
		if l.Reason == "invalid_json" {
			if out := s.must("dlq", "show", "--config", s.config, l.Origin); !strings.Contains(out, "discarded by duty: cut off by their producer") || !strings.Contains(out, "it can be replayed") {
				t.Error(out)
			}
			break
		}
	}
	if out := s.must("dlq", "replay", "--config", s.config, "--all"); !strings.Contains(out, "0 are events, 0 stay") {
		t.Error(out)
	}
	for _, bad := range [][]string{{"dlq", "replay", "--config", s.config}, {"dlq", "discard", "--config", s.config, "--all"}, {"dlq", "show", "--config", s.config, "x"}, {"dlq", "list", "--config", s.config, "--by", "x"},
		{"dlq", "list", "--config", s.config, "--state", "x"}, {"dlq", "list", "--config", s.config, "--since", "x"}} {
		if out, status := s.try(bad...); status != statusUsage {
			t.Errorf("%v: status %d: %s", bad, status, out)
		}
	}
	p.stop(t)
	s.settled(508)
}
