package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

const runbook = "../../deploy/RUNBOOK.md"

// fenced is a fenced command of the runbook and the heading that it stands under.
type fenced struct{ heading, text string }

func runbookBlocks(t *testing.T) (text string, blocks []fenced) {
	t.Helper()
	b, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	var heading string
	var in *fenced
	for line := range strings.Lines(string(b)) {
		switch {
		case in != nil && strings.HasPrefix(line, "```"):
			blocks, in = append(blocks, *in), nil
		case in != nil:
			in.text += line
		case strings.HasPrefix(line, "```sh"):
			in = &fenced{heading: heading}
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	return string(b), blocks
}

// The runbook tells of every alert, every reason for which a lane parks, and every metric.
func TestRunbookTellsOfEverything(t *testing.T) {
	text, _ := runbookBlocks(t)
	find := func(pattern, glob string) (names []string) {
		t.Helper()
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no file, %v", glob, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(b), -1) {
				names = append(names, m[1])
			}
		}
		if len(names) == 0 {
			t.Errorf("%s names nothing", glob)
		}
		return names
	}
	for _, name := range append(find(`- alert: (\w+)`, "../../deploy/prometheus/*.rules.yaml"), find(`ParkReason = "(\w+)"`, "../../ingest/*.go")...) {
		if !strings.Contains(text, "\n### "+name+"\n") {
			t.Errorf("no heading for %s", name)
		}
	}
	for _, name := range find("(?m)^\\| `(agentrisk_\\w+)`", "../../deploy/METRICS.md") {
		if !strings.Contains(text, "`"+name) && !strings.Contains(text, name+"[") {
			t.Errorf("nothing on metric %s", name)
		}
	}
}

// Every command of the runbook works, on lanes that are parked where it is about those.
func TestRunbook(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	s.deadLetters(3)
	if err := s.client().NewProducer(kafka.None).Produce(soon(t), s.prefix+"alpha", []kafka.Message{{Key: []byte("k"), Value: []byte(`{"cut":`)}}); err != nil {
		t.Fatal(err)
	}
	s.publish(s.fleet(1_000, 50))
	p := s.run()
	s.settled(1_000)
	p.stop(t)
	for _, table := range []string{"batches", "snapshots"} {
		s.damage("TRUNCATE TABLE %s." + table)
	}
	p = s.run()
	var parked []string
	eventually(t, "every lane is parked", func() bool {
		parked = nil
		for _, l := range s.lanes() {
			if l.State == "parked" {
				parked = append(parked, fmt.Sprintf("%s/%d", l.Topic, l.Partition))
			}
		}
		return len(parked) == 6
	})
	s.configure(s.group, ", provider: somebody_else") // for the commands: the pipeline runs on with what it has read
	_, url, _ := strings.Cut(p.text(), "url=")
	url, _, _ = strings.Cut(url, "/metrics")
	env := map[string]string{"CONFIG": s.config, "AGENTRISK_HTTP": url, "CLICKHOUSE_HTTP": "http://" + s.stack.ClickHouseHTTP, "DATABASE": s.database,
		"ORIGIN": s.stack.Query(t, "SELECT concat(topic, '/', toString(partition), '/', toString(offset), '/', toString(item)) FROM "+s.database+".dead_letters LIMIT 1"),
		"LANE":   parked[0], "PATH": filepath.Dir(program) + string(os.PathListSeparator) + os.Getenv("PATH")}
	run := func(what, text string) {
		t.Helper()
		var out []byte
		var err error
		for range 3 { // the library that serves ClickHouse here may be on its way up again
			cmd := exec.Command("bash", "-euo", "pipefail", "-c", text)
			cmd.Env = os.Environ()
			for k, v := range env {
				cmd.Env = append(cmd.Env, k+"="+v)
			}
			if out, err = cmd.CombinedOutput(); err == nil || !passing(string(out)) {
				break
			}
		}
		if err != nil {
			t.Errorf("%s: %v\n%s\n%s", what, err, text, out)
		}
	}
	_, blocks := runbookBlocks(t)
	for _, b := range blocks {
		if b.heading == "Repair" { // what follows is about lanes that run
			for _, lane := range parked {
				env["LANE"] = lane
				run("the other lanes", `agentrisk lanes skip "$LANE" --config "$CONFIG" --to start --reason "go on"`)
			}
			parked = nil
			s.stored(1_000)
			eventually(t, "the process is ready", func() bool {
				return exec.Command(program, "health", "--url", url).Run() == nil
			})
		}
		if strings.Contains(b.text, "lanes skip") && len(parked) > 0 {
			env["LANE"], parked = parked[0], parked[1:]
		} else if len(parked) > 0 {
			env["LANE"] = parked[0]
		}
		run(b.heading, b.text)
	}
	if len(blocks) < 25 {
		t.Errorf("%d blocks of commands", len(blocks))
	}
	if n := s.stack.Query(t, "SELECT countIf(state = 'replayed'), countIf(state = 'discarded') FROM "+s.database+".dead_letter_states"); n != "3\t1" {
		t.Errorf("replayed and discarded: %s, want 3 and 1", n)
	}
	p.stop(t)
}

// passing reports whether the output is that of a server that is away for a moment.
func passing(out string) bool {
	return strings.Contains(out, "Code: 236") || strings.Contains(out, "connection refused") || strings.Contains(out, "Connection refused") || strings.Contains(out, "EOF")
}
