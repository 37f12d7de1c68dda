package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

var program string // the built program

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "agentrisk-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "agentrisk")
		build := exec.Command("go", "build", "-o", program, ".")
		if os.Getenv("AGENTRISK_RACE") != "" { // make race: the detector over the whole process, which ends at a finding
			build = exec.Command("go", "build", "-race", "-o", program, ".")
			os.Setenv("GORACE", "halt_on_error=1")
		}
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return stacktest.Main(m)
	}())
}

// system is one deployment on a stack: a database, topics and a group of its own.
type system struct {
	t        *testing.T
	stack    *stacktest.Stack
	dir      string
	config   string
	database string
	prefix   string // of the topics
	group    string
}

// newSystem is a system whose table keeps doubled rows for who counts them.
func newSystem(t *testing.T, stack *stacktest.Stack, extra string) *system {
	t.Helper()
	s := newSystemThatHeals(t, stack, extra)
	stack.KeepDoubles(t, s.database)
	return s
}

// newSystemThatHeals writes a configuration and migrates. extra is appended to the binding, as YAML members.
func newSystemThatHeals(t *testing.T, stack *stacktest.Stack, extra string) *system {
	t.Helper()
	s := &system{t: t, stack: stack, dir: t.TempDir(), database: stack.Database(t), prefix: stacktest.Unique("ev") + ".", group: stacktest.Unique("g")}
	s.config = filepath.Join(s.dir, "agentrisk.yaml")
	s.configure(s.group, extra)
	s.migrate()
	return s
}

// migrate makes tables and topics; a library that aborted is waited for.
func (s *system) migrate() {
	s.t.Helper()
	eventually(s.t, "the system is migrated", func() bool {
		out, err := exec.Command(program, "migrate", "--config", s.config).CombinedOutput()
		if err != nil {
			s.t.Logf("migrate: %s", out)
		}
		return err == nil
	})
}

func (s *system) configure(group, extra string) {
	s.t.Helper()
	text := fmt.Sprintf(`kafka: {brokers: [%q], group: %q}
clickhouse: {addresses: [%q], database: %q}
bindings: [{topics: "%s*", partitions: 3%s}]
providers: [alpha, beta]
alerts: {topic: "%salerts"}
dead_letters: {topic: "%sdead"}
batch: {min_age: 200ms, max_age: 1s}
http: {listen: "127.0.0.1:0"}
`, s.stack.Brokers[0], group, s.stack.ClickHouseNative, s.database, s.prefix, extra, strings.TrimSuffix(s.prefix, ".")+"-", strings.TrimSuffix(s.prefix, ".")+"-")
	if err := os.WriteFile(s.config, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// append adds lines to the configuration.
func (s *system) append(text string) {
	s.t.Helper()
	b, err := os.ReadFile(s.config)
	if err == nil {
		err = os.WriteFile(s.config, append(b, text...), 0o644)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// must runs a command of the program and returns its output.
func (s *system) must(args ...string) string {
	s.t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("agentrisk %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// process is a running pipeline.
type process struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	err  error
}

func (s *system) run() *process { s.t.Helper(); return s.runAs(program) }

// runAs runs the pipeline of another build.
func (s *system) runAs(program string) *process {
	s.t.Helper()
	return s.start(program)
}

// start runs a pipeline of another build.
func (s *system) start(program string) *process {
	s.t.Helper()
	log, err := os.CreateTemp(s.dir, "run-*.log")
	if err != nil {
		s.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(program, "run", "--config", s.config), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	s.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if s.t.Failed() {
			text := p.text()
			s.t.Logf("log of the pipeline:\n%s", text[max(0, len(text)-6000):])
		}
	})
	return p
}

func (p *process) text() string {
	b, _ := os.ReadFile(p.log.Name())
	return string(b)
}

// memory is what the process has resident, in MiB.
func (p *process) memory(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.Atoi(kib)
	if err != nil {
		t.Fatalf("VmRSS of the process: %v", err)
	}
	return n / 1024
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop ends the pipeline as an operator would.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("a clean stop ended with %v\n%s", p.err, p.text())
		}
	case <-time.After(40 * time.Second):
		t.Errorf("no clean stop within 40 s\n%s", p.text())
	}
}

// eventually waits for what must come true, with a deadline that only a broken system meets.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !ok(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not come true: %s", what)
		}
	}
}

func (s *system) count(from string) string {
	s.t.Helper()
	return s.stack.Query(s.t, "SELECT count() FROM "+s.database+"."+from)
}

// stored waits until the table holds n rows.
func (s *system) stored(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d rows are stored", n), func() bool {
		return s.count("verdicts") >= fmt.Sprint(n) && len(s.count("verdicts")) >= len(fmt.Sprint(n))
	})
}

// settled checks the promise: reconcile finds nothing, and every origin has one row without FINAL.
func (s *system) settled(n int) {
	s.t.Helper()
	want := fmt.Sprintf("%d\t%d", n, n)
	eventually(s.t, "rows and origins are "+want, func() bool {
		return s.stack.Query(s.t, "SELECT count(), uniqExact(topic, partition, epoch, offset, item) FROM "+s.database+".verdicts") == want
	})
	eventually(s.t, "reconcile finds nothing", func() bool {
		return strings.Contains(s.reconciled(), " 0 findings")
	})
}

// reconciled is what reconcile says.
func (s *system) reconciled() string {
	out, _ := exec.Command(program, "reconcile", "--config", s.config).CombinedOutput()
	return string(out)
}

// fleet writes n events to a file and returns its path.
func (s *system) fleet(n int, seed int) string {
	s.t.Helper()
	out, err := exec.Command(program, "simulate", "--seed", fmt.Sprint(seed), "--events", fmt.Sprint(n), "--agents", "60", "--providers", "alpha,beta", "--misbehave", "10").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.dir, fmt.Sprintf("fleet-%d.ndjson", seed))
	if err := os.WriteFile(path, out, 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// split cuts a file after n lines and returns both parts.
func (s *system) split(path string, n int) (head, rest string) {
	s.t.Helper()
	lines := bytes.SplitAfter(read(s.t, path), []byte("\n"))
	head, rest = path+".head", path+".rest"
	for file, part := range map[string][][]byte{head: lines[:n], rest: lines[n:]} {
		if err := os.WriteFile(file, bytes.Join(part, nil), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	return head, rest
}

func (s *system) publish(path string) {
	s.t.Helper()
	s.must("simulate", "--config", s.config, "--to", "kafka", "--file", path)
}

// client is a Kafka client for what only tests do.
func (s *system) client() *kafka.Client {
	s.t.Helper()
	c, err := kafka.NewClient(kafka.Config{Brokers: s.stack.Brokers})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// verdict is what a line of `agentrisk score` and a row have in common.
type verdict struct {
	Score        float64
	Level        string
	SessionScore float64 `json:"session_score"`
	AgentScore   float64 `json:"agent_score"`
	Hits         string
}

// scored judges files without servers.
func (s *system) scored(paths ...string) map[string]verdict {
	s.t.Helper()
	out, err := exec.Command(program, append([]string{"score"}, paths...)...).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	m := map[string]verdict{}
	for line := range bytes.Lines(out) {
		var v struct {
			EventID string `json:"event_id"`
			verdict
			Hits []struct {
				Rule, Severity, Why string
				Contribution        json.Number
			}
		}
		if err := json.Unmarshal(line, &v); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		for _, h := range v.Hits {
			v.verdict.Hits += fmt.Sprintf("%s %s %s %s;", h.Rule, h.Severity, h.Contribution, h.Why)
		}
		m[v.EventID] = v.verdict
	}
	return m
}

// rows reads the same from the table.
func (s *system) rows() map[string]verdict {
	s.t.Helper()
	out := s.stack.Query(s.t, `SELECT event_id, toFloat64(score) AS score, level, toFloat64(session_score) AS session_score, toFloat64(agent_score) AS agent_score,
		arrayStringConcat(arrayMap((r, v, c, w) -> concat(r, ' ', v, ' ', toString(c), ' ', w, ';'), hits.rule, hits.severity, hits.contribution, hits.why)) AS Hits
		FROM `+s.database+`.verdicts FORMAT JSONEachRow`)
	m := map[string]verdict{}
	for line := range strings.Lines(out) {
		var v struct {
			EventID string `json:"event_id"`
			verdict
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		m[v.EventID] = v.verdict
	}
	return m
}

// sameVerdicts compares the table with `agentrisk score`, to the bit.
func (s *system) sameVerdicts(paths ...string) {
	s.t.Helper()
	s.equal(s.scored(paths...), s.rows())
}

// equal compares verdicts by event.
func (s *system) equal(want, got map[string]verdict) {
	s.t.Helper()
	if len(want) == 0 || len(got) != len(want) {
		s.t.Errorf("%d rows, %d verdicts of score", len(got), len(want))
	}
	wrong := 0
	for id, w := range want {
		if got[id] != w {
			if wrong++; wrong <= 3 {
				s.t.Errorf("%s:\n   row %+v\n score %+v", id, got[id], w)
			}
		}
	}
	if wrong > 0 {
		s.t.Errorf("%d verdicts differ", wrong)
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
