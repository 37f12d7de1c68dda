package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The program is its own child: it serves kfake and the ClickHouse library.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "serve-") {
		if err := run(context.Background(), os.Args[1:]); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func ask(t *testing.T, s *stack, sql string) string {
	t.Helper()
	res, err := http.Post("http://"+s.address(3)+"/", "text/plain", strings.NewReader(sql))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", sql, b)
	}
	return strings.TrimSpace(string(b))
}

// A stack that is killed comes back on the same ports with the same data, and down leaves no process.
func TestKilledServersComeBackWithTheirData(t *testing.T) {
	for _, kind := range []string{"kfake", "auto"} {
		t.Run(kind, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			dir := t.TempDir()
			if err := run(ctx, []string{"up", dir, "--kafka", kind}); err != nil {
				t.Fatal(err)
			}
			s, err := openStack([]string{dir})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.down() }()
			ask(t, s, "CREATE TABLE t (x Int8) ENGINE = MergeTree ORDER BY x")
			ask(t, s, "INSERT INTO t VALUES (7)")
			c, err := kgo.NewClient(kgo.SeedBrokers(s.address(0)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, "kept"); err != nil {
				t.Fatal(err)
			}
			for _, server := range []string{"kafka", "clickhouse"} {
				for _, how := range []string{"pause", "resume", "kill", "start"} {
					if err := run(ctx, []string{"ctl", dir, how, server}); err != nil {
						t.Fatalf("%s %s: %v", how, server, err)
					}
				}
			}
			if got := ask(t, s, "SELECT x FROM t"); got != "7" {
				t.Errorf("row %q", got)
			}
			topics, err := kadm.NewClient(c).ListTopics(ctx, "kept")
			if err != nil || topics["kept"].Err != nil {
				t.Errorf("topic: %v %v", err, topics["kept"].Err)
			}
			if err := run(ctx, []string{"up", dir}); err != nil { // already up: nothing happens
				t.Error(err)
			}
			pids := []int{s.kafka().pid(), s.clickhouse().pid()}
			for range 2 {
				if err := run(ctx, []string{"down", dir}); err != nil {
					t.Error(err)
				}
			}
			for _, pid := range pids {
				if pid == 0 || startTime(pid) != "" && startTime(pid) != "gone" {
					t.Errorf("process %d: running before and gone after?", pid)
				}
			}
		})
	}
}

func TestWrongCalls(t *testing.T) {
	for _, args := range [][]string{{"fly"}, {"up"}, {"up", t.TempDir(), "--kafka", "pulsar"}, {"up", t.TempDir(), "--kafka", "kfake", "--secure"}, {"ctl", t.TempDir(), "kill"}, {"fetch", "redis"}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
