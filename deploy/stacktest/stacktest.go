// Package stacktest gives tests real servers: Kafka and ClickHouse as cmd/devstack runs them.
//
// Tests of one process share a stack, unless AGENTRISK_STACK_DIR names one that `make up` started. A test that breaks
// its servers takes its own. What cannot be started fails the test. AGENTRISK_TEST_KAFKA is apache or kfake; without it
// Apache Kafka serves where Java is present, else kfake, and the tests of what only Apache Kafka does say that they were
// left out ([Stack.NeedApache]). AGENTRISK_TEST_STACK=containers takes both servers from a container engine instead, by
// testcontainers-go (folder containers; KAFKA_IMAGE and CLICKHOUSE_IMAGE name the images).
package stacktest

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Stack is a running pair of servers.
type Stack struct {
	Dir              string
	Brokers          []string
	KafkaKind        string // apache or kfake
	ClickHouseNative string // host:port
	ClickHouseHTTP   string // host:port
	Config           string // path of a complete agentrisk.yaml

	program string
}

var (
	mu     sync.Mutex
	shared *Stack
	made   string // folder of the shared stack, when this process started it
)

// Start returns the stack that the tests of this process share. Call it from tests of packages whose TestMain is
// [Main].
func Start(t testing.TB) *Stack {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if shared != nil {
		return shared
	}
	s, err := begin(os.Getenv("AGENTRISK_STACK_DIR"))
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	shared = s
	return s
}

// Main runs the tests and stops the shared stack after them.
func Main(m *testing.M) int {
	defer stopSecure()
	defer func() {
		if made != "" {
			_ = exec.Command(shared.program, "down", made).Run()
			_ = os.RemoveAll(made)
		}
	}()
	return m.Run()
}

// StartOwn starts a stack that only this test uses and may attack; args are those of `devstack up`.
func StartOwn(t testing.TB, args ...string) *Stack {
	t.Helper()
	dir, err := os.MkdirTemp("", "agentrisk-stack-")
	if err != nil {
		t.Fatal(err)
	}
	program, err := build()
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(program, "down", dir).CombinedOutput(); err != nil {
			t.Errorf("stack down: %v\n%s", err, out)
		}
		_ = os.RemoveAll(dir)
	})
	s, err := bring(program, dir, args...)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	return s
}

func begin(dir string) (*Stack, error) {
	program, err := build()
	if err != nil {
		return nil, err
	}
	if dir != "" {
		return read(program, dir)
	}
	if made, err = os.MkdirTemp("", "agentrisk-stack-"); err != nil {
		return nil, err
	}
	s, err := bring(program, made)
	if err != nil {
		_ = os.RemoveAll(made)
		made = ""
	}
	return s, err
}

func bring(program, dir string, args ...string) (*Stack, error) {
	if kind := os.Getenv("AGENTRISK_TEST_KAFKA"); kind != "" {
		args = append([]string{"--kafka", kind}, args...)
	}
	if out, err := exec.Command(program, append([]string{"up", dir}, args...)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s up: %w\n%s", filepath.Base(program), err, out)
	}
	return read(program, dir)
}

// read takes the addresses from DIR/env.
func read(program, dir string) (*Stack, error) {
	f, err := os.Open(filepath.Join(dir, "env"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &Stack{Dir: dir, Config: filepath.Join(dir, "agentrisk.yaml"), program: program}
	for in := bufio.NewScanner(f); in.Scan(); {
		switch name, value, _ := strings.Cut(in.Text(), "="); name {
		case "KAFKA_BROKERS":
			s.Brokers = strings.Split(value, ",")
		case "KAFKA_KIND":
			s.KafkaKind = value
		case "CLICKHOUSE_NATIVE":
			s.ClickHouseNative = value
		case "CLICKHOUSE_HTTP":
			s.ClickHouseHTTP = value
		}
	}
	if len(s.Brokers) == 0 || s.ClickHouseNative == "" {
		return nil, fmt.Errorf("%s/env names no servers", dir)
	}
	return s, nil
}

// build makes the program that runs the servers, once a process; Go's build cache makes it cheap.
var build = sync.OnceValues(func() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	name, source := "devstack", filepath.Join(root, "cmd", "devstack")
	switch v := os.Getenv("AGENTRISK_TEST_STACK"); v {
	case "", "devstack":
	case "containers":
		name, source = "containers", filepath.Join(root, "deploy", "stacktest", "containers") // the same verbs
	default:
		return "", fmt.Errorf("AGENTRISK_TEST_STACK %q: want devstack or containers", v)
	}
	dir := filepath.Join(root, ".cache", "bin") // of this checkout: another may hold another version
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, name+"-")
	if err != nil {
		return "", err
	}
	_ = tmp.Close()
	cmd := exec.Command("go", "build", "-C", source, "-o", tmp.Name(), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.Remove(tmp.Name())
		return "", fmt.Errorf("go build %s: %w\n%s", name, err, out)
	}
	program := filepath.Join(dir, name)
	return program, os.Rename(tmp.Name(), program)
})

// Devstack returns the path of the program that runs the servers, for tests of what documents say of it.
func Devstack(t testing.TB) string {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	return program
}

func (s *Stack) treat(t testing.TB, how, server string) {
	t.Helper()
	if out, err := exec.Command(s.program, "ctl", s.Dir, how, server).CombinedOutput(); err != nil {
		t.Fatalf("devstack ctl %s %s: %v\n%s", how, server, err, out)
	}
}

// Stop, Kill, Pause, Resume and Start treat one server, "kafka" or "clickhouse": SIGTERM, SIGKILL, SIGSTOP, SIGCONT, and
// a start on the same data and port that returns once the server answers.
func (s *Stack) Stop(t testing.TB, server string)   { t.Helper(); s.treat(t, "stop", server) }
func (s *Stack) Kill(t testing.TB, server string)   { t.Helper(); s.treat(t, "kill", server) }
func (s *Stack) Pause(t testing.TB, server string)  { t.Helper(); s.treat(t, "pause", server) }
func (s *Stack) Resume(t testing.TB, server string) { t.Helper(); s.treat(t, "resume", server) }
func (s *Stack) Start(t testing.TB, server string)  { t.Helper(); s.treat(t, "start", server) }

// NeedApache leaves the test out where the embedded broker serves, which does not do what it is about. With CI set it
// fails: there Apache Kafka must be present.
func (s *Stack) NeedApache(t testing.TB, what string) {
	t.Helper()
	switch {
	case s.KafkaKind == "apache":
	case os.Getenv("CI") != "" && os.Getenv("AGENTRISK_TEST_KAFKA") != "kfake":
		t.Fatalf("this test needs Apache Kafka (Java 17 and Maven): kfake has no %s", what)
	default:
		t.Skipf("NOT RUN: kfake has no %s; install Java 17 and Maven for Apache Kafka", what)
	}
}

// Query runs SQL over HTTP and returns what it printed, without the last line break.
func (s *Stack) Query(t testing.TB, sql string) string {
	t.Helper()
	// The library that serves here may abort and start again (see devstack): wait for it.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		status, text, err := s.ask(sql)
		switch {
		case err == nil && status == http.StatusOK:
			return strings.TrimSuffix(text, "\n")
		case err == nil && !strings.Contains(text, "Code: 236."), time.Now().After(end):
			t.Fatalf("clickhouse: %s: %v %s", sql, err, text)
		}
	}
}

func (s *Stack) ask(sql string) (status int, text string, err error) {
	res, err := http.Post("http://"+s.ClickHouseHTTP+"/", "text/plain", strings.NewReader(sql))
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// Database returns the name of a database that is this test's own and is dropped after it.
func (s *Stack) Database(t testing.TB) string {
	t.Helper()
	name := Unique("test_")
	t.Cleanup(func() {
		res, err := http.Post("http://"+s.ClickHouseHTTP+"/", "text/plain", strings.NewReader("DROP DATABASE IF EXISTS "+name+" SYNC"))
		if err == nil {
			res.Body.Close()
		}
	})
	return name
}

// KeepDoubles makes a database's empty table of verdicts one that merges nothing away: the table as it is shipped
// heals doubled rows in the background, before a test has counted them.
func (s *Stack) KeepDoubles(t testing.TB, database string) {
	t.Helper()
	ddl := s.Query(t, "SHOW CREATE TABLE "+database+".verdicts FORMAT TSVRaw")
	if strings.Count(ddl, "ReplacingMergeTree") != 1 {
		t.Fatalf("verdicts is no table that heals itself:\n%s", ddl)
	}
	if n := s.Query(t, "SELECT count() FROM "+database+".verdicts"); n != "0" {
		t.Fatalf("verdicts holds %s rows already", n)
	}
	s.Query(t, "DROP TABLE "+database+".verdicts SYNC")
	s.Query(t, strings.Replace(ddl, "ReplacingMergeTree", "MergeTree", 1))
}

// Topic returns a name that no other test uses.
func (s *Stack) Topic(t testing.TB, prefix string) string { t.Helper(); return Unique(prefix) }

// Unique returns prefix and 48 random bits.
func Unique(prefix string) string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return prefix + hex.EncodeToString(b[:])
}
