package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// restartPause is for how long any lane may stand still because something was restarted, beyond three times as long as
// one does when nothing is; for servers from their answer on. deploy/EVIDENCE.md has the figures of a quiet machine.
const restartPause = 15 * time.Second

// Each part is restarted in turn under a steady load: both processes, Kafka, ClickHouse. Nothing is lost, nothing is
// doubled, and no lane stands still for long. The pauses are printed.
func TestRestartOfEachPartUnderLoad(t *testing.T) {
	t.Parallel()
	stack := stacktest.StartOwn(t)
	s := newSystem(t, stack, "")
	lanes := map[string]int32{s.prefix + "alpha": 3, s.prefix + "beta": 3}
	one, two := s.run(), s.run()
	load := s.stream(lanes, 50) // a second and lane
	w := s.watchRows(6)
	w.flow(t, "rows flow through every lane", time.Now())

	var table strings.Builder
	row := "%-20s %12s %12s %12s %14s %14s\n"
	fmt.Fprintf(&table, row, "restarted", "away", "any row", "worst lane", "after: a row", "after: all lanes")
	sent := 0
	defer func() { // also of a test that failed
		t.Logf("%d events at 300 a second, 6 lanes, 2 processes; pauses:\n%s", sent, &table)
	}()
	var quiet time.Duration // the longest pause of a lane without a restart
	// during runs a restart and says how long no row came from anywhere, and from the worst lane. How long a server was
	// away is its own affair, so for servers what counts begins when it answers again.
	during := func(what string, server bool, restart func() (stopped, answers time.Time)) {
		t.Helper()
		began := time.Now()
		stopped, answers := restart()
		w.flow(t, "rows flow again after the restart of "+what, answers)
		time.Sleep(8 * time.Second) // a rebalance that follows is part of it
		w.flow(t, "rows still flow after the restart of "+what, time.Now())
		any, worst := w.pauses(began, time.Now())
		first, all := w.after(answers)
		r := func(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }
		fmt.Fprintf(&table, row, what, r(answers.Sub(stopped)), r(any), r(worst), r(first), r(all))
		if quiet == 0 {
			quiet = worst
		} else if pause := map[bool]time.Duration{true: all, false: worst}[server]; pause > restartPause+3*quiet {
			t.Errorf("restart of %s: a lane stood still for %s", what, pause)
		}
	}
	again := func(p **process) func() (time.Time, time.Time) {
		return func() (stopped, answers time.Time) {
			t.Helper()
			stopped = time.Now()
			(*p).stop(t)
			if strings.Contains((*p).text(), "stopped early") {
				t.Log("a stop was not clean: this machine could not store what was in hand within 20 s")
			}
			*p = s.run()
			eventually(t, "the process is back in the group", func() bool { return strings.Contains((*p).text(), "group joined") })
			return stopped, time.Now()
		}
	}
	serverAgain := func(name string) func() (time.Time, time.Time) {
		return func() (stopped, answers time.Time) {
			t.Helper()
			stopped = time.Now()
			stack.Stop(t, name)
			stack.Start(t, name)
			return stopped, time.Now()
		}
	}
	during("nothing", false, func() (time.Time, time.Time) { now := time.Now(); return now, now })
	during("process 1", false, again(&one))
	during("process 2", false, again(&two))
	during("Kafka", true, serverAgain("kafka"))
	during("ClickHouse", true, serverAgain("clickhouse"))
	sent = load.stop(t)
	simulated := s.simulateWhileKafkaRestarts()
	// What was written twice after an unknown outcome stands in the log twice, and so in the table; each origin once.
	logged := 0
	for topic := range lanes {
		bounds, err := s.client().Offsets(soon(t), topic)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bounds {
			logged += int(b.Next - b.First)
		}
	}
	s.settled(logged)
	if got := stack.Query(t, "SELECT uniqExact(event_id) FROM "+s.database+".verdicts"); got != fmt.Sprint(sent+simulated) {
		t.Errorf("%s events have rows, %d were sent", got, sent+simulated)
	}
	one.stop(t)
	two.stop(t)
	s.settled(logged)
}

// simulateWhileKafkaRestarts publishes with simulate while the broker goes and comes back, and returns how many events:
// it says that it waits, goes on by itself, and can be broken off.
func (s *system) simulateWhileKafkaRestarts() int {
	s.t.Helper()
	events := bytes.SplitAfter(read(s.t, s.fleet(12_000, 77)), []byte("\n"))
	half := len(events) / 2 // more than simulate writes at once
	var all [2]*simulating
	for i := range all {
		all[i] = s.simulate()
		all[i].feed(events[:half])
	}
	eventually(s.t, "simulated events are stored", func() bool { return s.count("verdicts WHERE tenant_id != 't'") != "0" })
	s.stack.Stop(s.t, "kafka")
	for _, one := range all {
		one.feed(events[half:])
	}
	for _, one := range all {
		eventually(s.t, "simulate says that it waits", func() bool { return strings.Contains(one.text(), "are not acknowledged: writing them again in") })
	}
	if err := all[1].cmd.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
	if err := all[1].end(s.t); err == nil {
		s.t.Error("simulate ends well though it was broken off")
	}
	s.stack.Start(s.t, "kafka")
	if err := all[0].end(s.t); err != nil {
		s.t.Errorf("simulate ended with %v\n%s", err, all[0].text())
	}
	return len(events) - 1 // the last line is empty
}

// simulating is a simulate that reads events from a pipe.
type simulating struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	log   string
	done  chan error
	wrote chan struct{} // closed when all of the feed was read
}

func (s *system) simulate() *simulating {
	s.t.Helper()
	log, err := os.CreateTemp(s.dir, "simulate-*.log")
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	one := &simulating{cmd: exec.Command(program, "simulate", "--config", s.config, "--to", "kafka", "--file", "-"), log: log.Name(), done: make(chan error, 1)}
	one.cmd.Stderr = log
	if one.in, err = one.cmd.StdinPipe(); err == nil {
		err = one.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	go func() { one.done <- one.cmd.Wait() }()
	s.t.Cleanup(func() { _ = one.cmd.Process.Kill() })
	return one
}

// feed writes lines in the background: simulate stops reading while it waits for the broker.
func (one *simulating) feed(lines [][]byte) {
	wrote := one.wrote
	next := make(chan struct{})
	one.wrote = next
	go func() {
		defer close(next)
		if wrote != nil {
			<-wrote
		}
		_, _ = one.in.Write(bytes.Join(lines, nil)) // what does not arrive has no row
	}()
}

// end closes the pipe once everything is written and returns how simulate ended.
func (one *simulating) end(t *testing.T) error {
	t.Helper()
	go func() {
		<-one.wrote
		_ = one.in.Close()
	}()
	select {
	case err := <-one.done:
		return err
	case <-time.After(90 * time.Second):
		t.Fatalf("simulate does not end\n%s", one.text())
		return nil
	}
}

func (one *simulating) text() string {
	b, _ := os.ReadFile(one.log)
	return string(b)
}

// load is a stream of events into every lane.
type load struct {
	quit   chan struct{}
	once   sync.Once
	done   chan struct{}
	sent   atomic.Int64 // acknowledged
	failed atomic.Pointer[error]
}

// stream writes so many events a second into each lane, each with an id of its own, and again what was not acknowledged.
func (s *system) stream(lanes map[string]int32, rate int) *load {
	l := &load{quit: make(chan struct{}), done: make(chan struct{})}
	producer := s.client().NewProducer(kafka.None)
	const ticks = 10 // a second
	go func() {
		defer close(l.done)
		var wg sync.WaitGroup
		defer wg.Wait()
		for topic, partitions := range lanes {
			for n := range partitions {
				wg.Go(func() { l.lane(producer, topic, n, rate/ticks, time.Second/ticks) })
			}
		}
	}()
	s.t.Cleanup(func() { l.end(); <-l.done })
	return l
}

// lane feeds one lane. What waits while a server is away is written at once when it is back.
func (l *load) lane(producer *kafka.Producer, topic string, partition int32, each int, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	provider := topic[strings.LastIndexByte(topic, '.')+1:]
	var waiting []kafka.Message
	for n := 0; ; {
		<-tick.C
		quit := l.ended()
		if quit {
			each = 0
		}
		for range each {
			n++
			waiting = append(waiting, kafka.Message{Key: fmt.Appendf(nil, "t/%s-%d", provider, partition), Partition: &partition, Value: fmt.Appendf(nil,
				`{"id":"%s-%d-%d","kind":"tool_call","provider.id":"%s","tenant.id":"t","agent.id":"%s-%d","conversation.id":"c%d","tool.name":"read_file"}`,
				provider, partition, n, provider, provider, partition, n/100)})
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := producer.Produce(ctx, topic, waiting)
		cancel()
		var part *kafka.ProduceError
		left := 0
		if errors.As(err, &part) {
			for _, i := range part.Unacknowledged {
				waiting[left] = waiting[i]
				left++
			}
		} else if err != nil {
			l.failed.Store(&err)
			return
		}
		l.sent.Add(int64(len(waiting) - left))
		if waiting = waiting[:left]; quit && left == 0 {
			return
		}
	}
}

func (l *load) end() { l.once.Do(func() { close(l.quit) }) }

func (l *load) ended() bool {
	select {
	case <-l.quit:
		return true
	default:
		return false
	}
}

// stop ends the stream and returns how many events were acknowledged: all.
func (l *load) stop(t *testing.T) int {
	t.Helper()
	l.end()
	select {
	case <-l.done:
	case <-time.After(time.Minute):
		t.Fatal("the stream does not end: Kafka takes no events")
	}
	if err := l.failed.Load(); err != nil {
		t.Fatalf("the stream ended: %v", *err)
	}
	return int(l.sent.Load())
}

// rowWatch notes when each lane's rows became more.
type rowWatch struct {
	lanes int
	mu    sync.Mutex
	ends  map[string]string      // of each lane, the newest row
	seen  map[string][]time.Time // when it changed, oldest first
}

// watchRows looks ten times a second, and less often where looking takes long: the pauses of a busy machine are not to be
// its own.
func (s *system) watchRows(lanes int) *rowWatch {
	w := &rowWatch{lanes: lanes, ends: map[string]string{}, seen: map[string][]time.Time{}}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			began := time.Now()
			w.look(ctx, "http://"+s.stack.ClickHouseHTTP+"/", "SELECT concat(topic, '/', toString(partition)), max(offset) FROM "+s.database+".verdicts GROUP BY 1")
			took := time.Since(began)
			time.Sleep(max(100*time.Millisecond-took, 3*took))
		}
	}()
	s.t.Cleanup(func() { stop(); <-done })
	return w
}

// look asks once. A server that is away shows no row.
func (w *rowWatch) look(ctx context.Context, address, sql string) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(sql))
	if err != nil {
		return
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(string(text)) {
		if lane, end, _ := strings.Cut(strings.TrimSpace(line), "\t"); w.ends[lane] != end {
			w.ends[lane] = end
			w.seen[lane] = append(w.seen[lane], now)
		}
	}
}

// flow waits until every lane has had a row since then.
func (w *rowWatch) flow(t *testing.T, what string, since time.Time) {
	t.Helper()
	all := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, seen := range w.seen {
			if !seen[len(seen)-1].After(since) {
				return false
			}
		}
		return len(w.seen) == w.lanes
	}
	for deadline := time.Now().Add(4 * time.Minute); !all(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not come true: %s", what)
		}
	}
}

// pauses are the longest time without a new row anywhere, and in the lane where it was longest.
func (w *rowWatch) pauses(from, to time.Time) (any, worst time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []time.Time
	for _, seen := range w.seen {
		all = append(all, seen...)
		worst = max(worst, longest(seen, from, to))
	}
	slices.SortFunc(all, time.Time.Compare)
	return longest(all, from, to), worst
}

// longest is the longest time between two neighbours that touches [from, to].
func longest(times []time.Time, from, to time.Time) (d time.Duration) {
	for i := 1; i < len(times); i++ {
		if times[i].After(from) && times[i-1].Before(to) {
			d = max(d, times[i].Sub(times[i-1]))
		}
	}
	return d
}

// after is how long it took until a row came, and until one had come from every lane.
func (w *rowWatch) after(from time.Time) (first, all time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, lane := range slices.Sorted(maps.Keys(w.seen)) {
		seen := w.seen[lane]
		i := slices.IndexFunc(seen, func(at time.Time) bool { return at.After(from) })
		if i < 0 {
			continue
		}
		if d := seen[i].Sub(from); first == 0 || d < first {
			first = d
		}
		all = max(all, seen[i].Sub(from))
	}
	return first, all
}
