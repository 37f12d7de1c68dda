package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// demo shows the whole system at work and stops everything again: devstack demo PROGRAM. KEEP=1 leaves it up, SAMPLE
// names a file of recorded events to stream instead of a simulated fleet, EVENTS says how many are simulated.
func demo(ctx context.Context, args []string) (err error) {
	if len(args) != 1 {
		return errors.New("want: devstack demo PROGRAM (make demo does it)")
	}
	program, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "agentrisk-demo-")
	if err != nil {
		return err
	}
	d := &show{program: program, dir: dir, keep: os.Getenv("KEEP") == "1"}
	defer func() { err = errors.Join(err, d.close()) }()
	return d.play(ctx)
}

// show is one demonstration.
type show struct {
	program, dir string
	keep         bool
	stack        *stack
	pipeline     *exec.Cmd
	ended        chan error
	receiver     *receiver
}

func (d *show) play(ctx context.Context) (err error) {
	say("1. Kafka and ClickHouse")
	if d.stack, err = openStack([]string{d.dir}); err != nil {
		return err
	}
	if err := d.stack.up(ctx, "auto", false, nil); err != nil {
		return err
	}
	if d.receiver, err = receive(); err != nil {
		return err
	}
	if err := d.configure(); err != nil {
		return err
	}
	say("2. Tables and topics: agentrisk migrate")
	if err := d.do(ctx, "migrate", "--config", d.config()); err != nil {
		return err
	}
	say("3. The pipeline: agentrisk run")
	sample := os.Getenv("SAMPLE")
	if sample == "" {
		if err := d.start(); err != nil {
			return err
		}
	} else {
		fmt.Println("   starts once the recorded events have made the topics of their providers")
	}
	say("4. Events: agentrisk simulate")
	began := time.Now()
	simulate := []string{"simulate", "--config", d.config(), "--to", "kafka"}
	if sample != "" {
		simulate = append(simulate, "--file", sample)
	} else {
		events := os.Getenv("EVENTS")
		if events == "" {
			events = "100000"
		}
		simulate = append(simulate, "--seed", "1", "--events", events, "--agents", "400")
	}
	if err := d.do(ctx, simulate...); err != nil {
		return err
	}
	if sample != "" {
		if err := d.start(); err != nil {
			return err
		}
	}
	rows, err := d.settled(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("   %d events judged and stored, %.0f events/s from the first to the last row, Kafka and ClickHouse on the same machine\n", rows, float64(rows)/time.Since(began).Seconds())
	return d.results(ctx)
}

func say(s string) { fmt.Printf("\n== %s\n", s) }

func (d *show) config() string { return filepath.Join(d.dir, "agentrisk.yaml") }

// configure adds the demo's receiver to the configuration.
func (d *show) configure() error {
	f, err := os.OpenFile(d.config(), os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "\n# The demo's own receiver; an inward address must be allowed.\nalerts:\n  webhook:\n    url: \"http://%s/page\"\n    secrets: [\"whsec_ZGVtbyBzZWNyZXQgZm9yIHRoZSBsb2NhbCByZWNlaXZlcg==\"]\n    allow: [\"%s\"]\n", d.receiver.address, d.receiver.address)
	return errors.Join(err, f.Close())
}

// do runs a command of the program to its end.
func (d *show) do(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, d.program, args...)
	cmd.Stdout, cmd.Stderr = indent{os.Stdout}, indent{os.Stderr}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("agentrisk %s: %w", args[0], err)
	}
	return nil
}

type indent struct{ w io.Writer }

func (i indent) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		fmt.Fprintf(i.w, "   %s", line)
	}
	return len(b), nil
}

// start runs the pipeline beside us; its log goes to a file.
func (d *show) start() error {
	log, err := os.Create(filepath.Join(d.dir, "run.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.pipeline = exec.Command(d.program, "run", "--config", d.config())
	d.pipeline.Stdout, d.pipeline.Stderr = log, log
	d.pipeline.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := d.pipeline.Start(); err != nil {
		return err
	}
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.pipeline.Wait() }()
	fmt.Println("   log in", log.Name())
	return nil
}

// settled waits until the ledger has passed every record of the topics.
func (d *show) settled(ctx context.Context) (int64, error) {
	last, since := int64(-1), time.Now()
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case err := <-d.ended:
			d.pipeline = nil
			b, _ := os.ReadFile(filepath.Join(d.dir, "run.log"))
			return 0, fmt.Errorf("the pipeline ended: %v\n%s", err, b[max(0, len(b)-2000):])
		case <-time.After(300 * time.Millisecond):
		}
		text, err := d.query(ctx, "SELECT count() FROM agentrisk.verdicts")
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		if n != last {
			last, since = n, time.Now()
		}
		if n > 0 && time.Since(since) > 2500*time.Millisecond {
			return n, nil
		}
		if time.Since(since) > time.Minute {
			return 0, fmt.Errorf("no row for a minute; see %s", filepath.Join(d.dir, "run.log"))
		}
	}
}

// query asks ClickHouse.
func (d *show) query(ctx context.Context, sql string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.stack.address(3)+"/", strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("clickhouse: %w %s", err, b)
	}
	return strings.TrimRight(string(b), "\n"), nil
}

const riskiest = `SELECT s.provider AS provider, s.agent_id AS agent, s.session_id AS session, s.score AS score, s.events AS events,
    arrayStringConcat(arrayMap(r -> concat(r, '  ', t[r].1, '  ', t[r].2), s.rules), '\n') AS rules
FROM (SELECT * FROM agentrisk.sessions ORDER BY score DESC, session_id LIMIT 5) AS s
CROSS JOIN (SELECT CAST((groupArray(rule), groupArray((title_en, title_zh))), 'Map(String, Tuple(String, String))') AS t FROM (SELECT rule, any(title_en) AS title_en, any(title_zh) AS title_zh FROM agentrisk.rules GROUP BY rule)) AS t
ORDER BY score DESC, session FORMAT Vertical`

const across = `SELECT rule, providers, tenants, agents, hits FROM (
    SELECT rule, uniqExact(provider) AS providers, uniqExact(provider, tenant_id) AS tenants, uniqExact(provider, agent_id) AS agents, count() AS hits
    FROM agentrisk.verdicts ARRAY JOIN hits.rule AS rule GROUP BY rule HAVING providers >= 2 ORDER BY tenants DESC, rule LIMIT 5) FORMAT PrettyCompactMonoBlock`

func (d *show) results(ctx context.Context) error {
	for _, q := range []struct{ title, sql string }{
		{"5. The five riskiest sessions, with what their rules say / 风险最高的五个会话", riskiest},
		{"6. What no provider sees alone: one rule at many tenants of several providers", across},
	} {
		say(q.title)
		out, err := d.query(ctx, q.sql)
		if err != nil {
			return err
		}
		fmt.Println(out)
	}
	say("7. The page that on-call got / 告警")
	pages, first := d.receiver.got()
	fmt.Printf("   %d pages; the first:\n%s\n", pages, first)
	say("8. Does it add up? agentrisk reconcile")
	if err := d.do(ctx, "reconcile", "--config", d.config()); err != nil {
		return err
	}
	say("Where to look next")
	fmt.Printf("   ClickHouse's console: http://%s/play   metrics and lanes: the url in %s\n   configuration: %s\n", d.stack.address(3), filepath.Join(d.dir, "run.log"), d.config())
	if !d.keep {
		fmt.Println("   everything is stopped now; KEEP=1 make demo leaves it up")
	}
	return nil
}

// close stops everything, unless it is to stay.
func (d *show) close() error {
	if d.keep && d.stack != nil && d.pipeline != nil {
		fmt.Printf("   still up; to stop: kill %d; devstack down %s\n", d.pipeline.Process.Pid, d.dir)
		return nil
	}
	var errs []error
	if d.pipeline != nil {
		_ = d.pipeline.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(25 * time.Second):
			_ = d.pipeline.Process.Kill()
		}
	}
	if d.stack != nil {
		errs = append(errs, d.stack.down())
	}
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}

// receiver is a local webhook.
type receiver struct {
	address string
	mu      sync.Mutex
	n       int
	first   []byte
}

func receive() (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{address: l.Addr().String()}
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
		if err != nil || req.Header.Get("webhook-signature") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.n++; r.first == nil {
			r.first = b
		}
	})}
	go func() { _ = srv.Serve(l) }()
	return r, nil
}

func (r *receiver) got() (int, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out bytes.Buffer
	if json.Indent(&out, r.first, "   ", "  ") != nil {
		return r.n, "   (none)"
	}
	return r.n, "   " + out.String()
}
