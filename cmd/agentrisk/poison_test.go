package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// History 46 (and 11): records that end the process which looks at them: it exits, a goroutine of its own panics, the stack
// overflows, memory runs out. Each is found in a child process and becomes a dead letter that the ledger lists; what stands
// beside it is judged, a replay of the state passes over it, and the process ends no more often than there are such records.
func TestHistory46RecordsThatEndTheProcess(t *testing.T) {
	t.Parallel()
	seam := filepath.Join(t.TempDir(), "agentrisk-seam")
	if out, err := exec.Command("go", "build", "-tags", "poisonseam", "-o", seam, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s := newSystem(t, stacktest.Start(t), "")
	producer := s.client().NewProducer(kafka.None)
	kinds := []string{"exit", "panic", "stack", "memory"}
	var messages []kafka.Message
	for i := range 400 {
		messages = append(messages, kafka.Message{Key: []byte("k"), Value: fmt.Appendf(nil, `{"id":"e%d","kind":"tool_call","tenant.id":"t","agent.id":"a%d"}`, i, i%5)})
		if i%100 == 60 {
			messages = append(messages, kafka.Message{Key: []byte("k"), Value: []byte(`{"secret":"canary","poison-seam:` + kinds[i/100] + `":1}`)})
		}
	}
	if err := producer.Produce(soon(t), s.prefix+"alpha", messages); err != nil {
		t.Fatal(err)
	}
	// Somebody starts what ended, as an orchestrator does.
	deaths := 0
	p := s.start(seam)
	for deadline := time.After(4 * time.Minute); s.count("verdicts") != "400"; {
		select {
		case <-p.done:
			if deaths++; deaths > len(kinds) {
				t.Fatalf("the process ended %d times\n%s", deaths, p.text())
			}
			p = s.start(seam)
		case <-deadline:
			t.Fatalf("%s of 400 rows after %d ends\n%s", s.count("verdicts"), deaths, p.text())
		case <-time.After(200 * time.Millisecond):
		}
	}
	if deaths == 0 {
		t.Error("nothing ended the process: this build has no seam")
	}
	s.settled(400)
	p.stop(t)
	letters := s.stack.Query(t, "SELECT offset, detail FROM "+s.database+".dead_letters WHERE reason = 'poison' ORDER BY offset")
	if lines := strings.Split(letters, "\n"); len(lines) != len(kinds) || !strings.HasPrefix(letters, "61\t") ||
		!strings.Contains(letters, "exit status 137") || strings.Contains(letters, "canary") {
		t.Errorf("dead letters:\n%s", letters)
	}
	if got := s.stack.Query(t, "SELECT arraySort(groupUniqArrayArray(poison)) FROM "+s.database+".batches"); got != "[61,162,263,364]" {
		t.Errorf("the ledger lists %s", got)
	}
	// Without a snapshot the state is made from the log, past the same records.
	s.stack.Query(t, "TRUNCATE TABLE "+s.database+".snapshots")
	if err := producer.Produce(soon(t), s.prefix+"alpha", messages[:60]); err != nil {
		t.Fatal(err)
	}
	p = s.start(seam)
	s.settled(460)
	p.stop(t)
}
