package chaos

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// size is how much is thrown at how many.
type size struct {
	events, partitions, processes, faults int
	agents                                int           // 400
	rate                                  int           // events a second
	gap                                   time.Duration // between two faults, in the mean; 0 spreads them over the events
	kinds                                 []string
}

// TestChaos is the attack. Without AGENTRISK_CHAOS it is the short form: a fixed seed, a few faults.
func TestChaos(t *testing.T) {
	s, seed := size{events: 20_000, partitions: 4, processes: 2, faults: len(quick), rate: 1500, kinds: quick}, uint64(7)
	if v := os.Getenv("AGENTRISK_CHAOS"); v != "" {
		s = size{events: 1_000_000, partitions: 16, processes: 3, faults: 80, rate: 1600, kinds: kinds}
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("AGENTRISK_CHAOS=%q: want a seed", v)
		}
		seed = n
		if v := os.Getenv("AGENTRISK_CHAOS_KINDS"); v != "" {
			only, err := regexp.Compile(v)
			if err != nil {
				t.Fatalf("AGENTRISK_CHAOS_KINDS=%q: %v", v, err)
			}
			s.kinds = slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return !only.MatchString(k) })
			if len(s.kinds) == 0 {
				t.Fatalf("AGENTRISK_CHAOS_KINDS=%q: none of %q", v, kinds)
			}
		}
		for name, to := range map[string]*int{"EVENTS": &s.events, "FAULTS": &s.faults, "RATE": &s.rate} {
			if v := os.Getenv("AGENTRISK_CHAOS_" + name); v != "" {
				if *to, err = strconv.Atoi(v); err != nil {
					t.Fatalf("AGENTRISK_CHAOS_%s=%q: want a number", name, v)
				}
			}
		}
	}
	attack(t, s, seed)
}

func attack(t *testing.T, s size, seed uint64) {
	s.kinds = possible(t, s.kinds)
	took := cmp.Or(s.gap*time.Duration(s.faults), time.Duration(s.events/s.rate)*time.Second)
	plan := draw(seed, s, took)
	fmt.Printf("chaos: seed %d: %d events, %d lanes, %d processes, %d faults\n", seed, s.events, s.partitions, s.processes, s.faults)
	d := newDeployment(t, s)
	published, unwatch := d.begin(s, seed)

	struck := map[string]int{}
	began := time.Now()
	for i, f := range plan {
		hit := d.strike(t.Context(), f)
		if hit {
			struck[f.kind]++
		}
		word := ""
		if !hit {
			word = " (nothing came by)"
		}
		fmt.Printf("chaos: %4.0f s, %d of %d: %s%s\n", time.Since(began).Seconds(), i+1, len(plan), f, word)
		time.Sleep(f.gap)
	}
	<-published
	rows := d.drained("attacked")
	fmt.Printf("chaos: %4.0f s, the attack is over: %d rows; %d kinds of fault struck, %v\n", time.Since(began).Seconds(), rows, len(struck), struck)
	d.stop()
	unwatch()
	d.judge()
}

// begin starts the processes, the publisher and the watch over memory; published is closed when everything is in the
// log, end stops the watch.
func (d *deployment) begin(s size, seed uint64) (published chan struct{}, end func()) {
	watching, unwatch := context.WithCancel(d.t.Context())
	for _, p := range d.procs {
		p.start()
	}
	var side sync.WaitGroup
	side.Go(func() { d.watch(watching) })
	published = make(chan struct{})
	side.Go(func() { defer close(published); d.publish(s, seed) })
	return published, func() { unwatch(); side.Wait() }
}

// stop ends the attacked processes as an operator would.
func (d *deployment) stop() {
	for _, p := range d.procs {
		if !p.end(syscall.SIGTERM) {
			d.t.Error("a process did not end within a minute of SIGTERM")
		}
	}
}

// judge lets one undisturbed process read the same log, and compares.
func (d *deployment) judge() {
	quiet := &process{d: d, config: d.quiet}
	quiet.start()
	defer quiet.end(syscall.SIGKILL)
	d.drained("quiet")
	if !quiet.end(syscall.SIGTERM) {
		d.t.Error("the quiet run did not end within a minute of SIGTERM")
	}
	d.compare()
}

// publish writes the fleet at its rate, and now and then what is no event, past the proxies. What a broker that is away has
// not acknowledged is written again; what then stands twice in the log is judged as such.
func (d *deployment) publish(s size, seed uint64) {
	c, err := kafka.NewClient(kafka.Config{Brokers: d.stack.Brokers})
	if err != nil {
		d.t.Error(err)
		return
	}
	defer c.Close()
	producer, r := c.NewProducer(kafka.LZ4), rand.New(rand.NewPCG(seed, 1))
	feed := fleet.New(fleet.Config{Seed: seed, Events: s.events, Agents: cmp.Or(s.agents, 400), Providers: []string{"alpha", "alpha", "beta", "beta", "gamma"}, Misbehave: 20})
	limit := rate.NewLimiter(rate.Limit(s.rate), s.rate)
	const batch = 250
	var held []kafka.Message // gamma's, while that is made again
	var e fleet.Event
	for more := true; more; {
		lists := map[string][]kafka.Message{}
		n := 0
		for ; n < batch && more; n++ {
			if more = feed.Next(&e); more {
				lists[e.Provider] = append(lists[e.Provider], kafka.Message{Key: bytes.Clone(e.Key), Value: bytes.Clone(e.Line)})
			}
		}
		if r.IntN(10) == 0 {
			lists["alpha"] = append(lists["alpha"], kafka.Message{Key: []byte("nobody"), Value: []byte(nonsense[r.IntN(len(nonsense))])})
		}
		if limit.WaitN(d.t.Context(), n) != nil {
			return
		}
		held = append(held, lists["gamma"]...)
		delete(lists, "gamma")
		for provider, list := range lists {
			if !d.produce(producer, "agent.events."+provider, list) {
				return
			}
		}
		if !more {
			d.remaking.Lock()
		} else if !d.remaking.TryLock() {
			continue
		}
		for list := range slices.Chunk(held, batch) {
			if !d.produce(producer, gamma, list) {
				break // the test is over
			}
		}
		held = nil
		d.remaking.Unlock()
	}
}

func (d *deployment) produce(p *kafka.Producer, topic string, list []kafka.Message) bool {
	for {
		err := p.Produce(d.t.Context(), topic, list)
		if err == nil {
			return true
		}
		var some *kafka.ProduceError
		if errors.As(err, &some) {
			var rest []kafka.Message
			for _, i := range some.Unacknowledged {
				rest = append(rest, list[i])
			}
			list = rest
		}
		select {
		case <-d.t.Context().Done():
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
}

var nonsense = []string{`{"kind":`, `{"kind":"tool_call","kind":"x"}`, `{"kind":"timer"}`, `{"kind":"tool_call","net.dst_port":70000}`, ``, `[1,2]`, "\xff\xfe", `{"kind":"tool_call","provider.id":"somebody_else"}`}

// drained waits until a database's ledger has reached the end of every lane of the log, or of some topics.
func (d *deployment) drained(database string, only ...string) int {
	d.t.Helper()
	d.await(database, func() int64 { return d.behind(database, only...) })
	return int(d.number("SELECT count() FROM %s.verdicts", database))
}

// await waits until nothing is missing.
func (d *deployment) await(database string, missing func() int64) {
	d.t.Helper()
	last, since := "", time.Now()
	for {
		n := missing()
		if n == 0 {
			return
		}
		now := fmt.Sprint(n)
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > 3*time.Minute {
			b, _ := os.ReadFile(filepath.Join(d.dir, "run.log"))
			d.t.Fatalf("%s: %s offsets are not in the ledger, and nothing has moved for three minutes; the log ends:\n%s", database, now, b[max(0, len(b)-4000):])
		}
		time.Sleep(time.Second)
	}
}

// number reads one.
func (d *deployment) number(sql string, args ...any) int64 {
	d.t.Helper()
	n, err := strconv.ParseInt(d.stack.Query(d.t, fmt.Sprintf(sql, args...)), 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// stored is what the ledger knows of a lane: everything below.
func (d *deployment) stored(database, topic string, partition int32) int64 {
	d.t.Helper()
	return d.number("SELECT max(to_offset) FROM %s.batches WHERE topic = '%s' AND partition = %d AND epoch = %d", database, topic, partition, d.epochOf(topic))
}

// behind counts the offsets, of all topics or some, that the ledger does not know yet.
func (d *deployment) behind(database string, only ...string) int64 {
	d.t.Helper()
	if len(only) == 0 {
		only = topics
	}
	c, err := kafka.NewClient(kafka.Config{Brokers: d.stack.Brokers})
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	log, total := kafka.NewLog(c), int64(0)
	for _, topic := range only {
		ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
		defer cancel()
		found, err := c.Topics(ctx, topic)
		if err != nil || len(found) != 1 {
			return -1
		}
		for n := range int32(found[0].Partitions) {
			_, next, err := log.Bounds(ctx, topic, n)
			if err != nil {
				return -1
			}
			total += next - d.stored(database, topic, n)
		}
	}
	return total
}

// compare is the verdict: nothing lost, nothing doubled, everything as in the quiet run.
func (d *deployment) compare() {
	t := d.t
	query := func(format string, args ...any) string { return d.stack.Query(t, fmt.Sprintf(format, args...)) }
	zero := func(what, sql string, args ...any) {
		t.Helper()
		if got := query(sql, args...); got != "0" {
			t.Errorf("%s: %s, want 0", what, got)
		} else {
			fmt.Printf("chaos: %-55s 0\n", what)
		}
	}
	const origin = "topic, partition, epoch, offset, item"
	fmt.Printf("chaos: %-55s %s\n", "rows of the attacked run (no FINAL), and of the quiet one", query("SELECT (SELECT count() FROM attacked.verdicts), (SELECT count() FROM quiet.verdicts)"))
	zero("doubled", "SELECT count() - uniqExact(%s) FROM attacked.verdicts", origin)
	zero("lost", "SELECT count() FROM quiet.verdicts WHERE (%s) NOT IN (SELECT %s FROM attacked.verdicts)", origin, origin)
	zero("in excess", "SELECT count() FROM attacked.verdicts WHERE (%s) NOT IN (SELECT %s FROM quiet.verdicts)", origin, origin)
	columns := strings.Split(query("SELECT name FROM system.columns WHERE database = 'attacked' AND table = 'verdicts' AND default_kind = '' ORDER BY position"), "\n")
	all := "cityHash64(toString(tuple(`" + strings.Join(columns, "`, `") + "`)))"
	zero("rows that differ in any column", "SELECT count() FROM (SELECT %s AS h, %s FROM attacked.verdicts) AS a INNER JOIN (SELECT %s AS h, %s FROM quiet.verdicts) AS q USING (%s) WHERE a.h != q.h", all, origin, all, origin, origin)
	if t.Failed() {
		for _, c := range columns {
			n := query("SELECT count() FROM attacked.verdicts AS a INNER JOIN quiet.verdicts AS q USING (%s) WHERE toString(a.`%s`) != toString(q.`%s`)", origin, c, c)
			if n != "0" {
				fmt.Printf("chaos: column %s differs in %s rows\n", c, n)
			}
		}
	}
	const letters = "topic, partition, epoch, offset, item, reason, detail, size, sha256"
	zero("dead letters that differ", "SELECT count() FROM (SELECT DISTINCT %s, 1 AS side FROM attacked.dead_letters) AS a FULL OUTER JOIN (SELECT DISTINCT %s, 1 AS side FROM quiet.dead_letters) AS q USING (%s) WHERE a.side + q.side != 2", letters, letters, letters)
	const states = "(SELECT topic, partition, argMax(id, written) AS id, argMax(data, written) AS manifest, argMax(offset, written) AS upto FROM %s.snapshots WHERE chunk = -1 AND epoch = %d * (topic = '" + gamma + "') GROUP BY topic, partition)"
	zero("lanes whose state differs after the last event", "SELECT count() FROM "+states+" AS a FULL OUTER JOIN "+states+" AS q USING (topic, partition) WHERE a.upto != q.upto OR a.manifest != q.manifest", "attacked", d.epoch, "quiet", d.epoch)
	a, q := d.alerts("attacked.alerts"), d.alerts("quiet.alerts")
	differ := 0
	for k := range a {
		if !q[k] {
			differ++
		}
	}
	for k := range q {
		if !a[k] {
			differ++
		}
	}
	fmt.Printf("chaos: %-55s %d of %d\n", "alerts that differ", differ, len(q))
	if differ > 0 || len(q) == 0 {
		t.Errorf("%d alerts differ, of %d", differ, len(q))
	}
	out, err := exec.Command(program, "reconcile", "--config", d.quiet).CombinedOutput()
	d.reconciled("quiet", out, err)
	// The proxies are as good as the servers now: nobody breaks them any more.
	out, err = exec.Command(program, "reconcile", "--config", d.attacked).CombinedOutput()
	d.reconciled("attacked", out, err)
	starts, exits := 0, 0
	for _, p := range d.procs {
		starts, exits = starts+p.starts, exits+len(p.exits)
		for _, e := range p.exits {
			fmt.Printf("chaos: a process ended by itself: %s\n", e)
		}
	}
	b, _ := os.ReadFile(filepath.Join(d.dir, "run.log"))
	var parked []string
	for line := range strings.Lines(string(b)) {
		// Under the old epoch lanes park when they meet a topic that was made again.
		met := d.epoch > 0 && strings.Contains(line, "lane="+gamma+"/") && (strings.Contains(line, "reason=log_ends_early") || strings.Contains(line, "reason=log_changed"))
		if strings.Contains(line, "lane is parked") && !met {
			parked = append(parked, line)
		}
	}
	fmt.Printf("chaos: %-55s %d MiB\n", "most memory of a process", d.peak)
	fmt.Printf("chaos: %-55s %d, %d\n", "starts, ends by themselves", starts, exits)
	fmt.Printf("chaos: %-55s %d\n", "lanes parked", len(parked))
	if d.peak > 512 {
		t.Errorf("a process took %d MiB, more than 512", d.peak)
	}
	for _, line := range parked {
		t.Error(line)
	}
}

func (d *deployment) reconciled(name string, out []byte, err error) {
	d.t.Helper()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	fmt.Printf("chaos: reconcile of the %s run: %s\n", name, lines[len(lines)-1])
	if err != nil || !strings.Contains(string(out), " 0 findings") {
		d.t.Errorf("reconcile of the %s run: %v\n%s", name, err, out[max(0, len(out)-2000):])
	}
}

// alerts reads an outbox: the alerts by origin and content, without the id, which names the deployment.
func (d *deployment) alerts(topic string) map[string]bool {
	d.t.Helper()
	c, err := kafka.NewClient(kafka.Config{Brokers: d.stack.Brokers})
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	set := map[string]bool{}
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	found, err := c.Topics(ctx, topic)
	if err != nil || len(found) != 1 {
		d.t.Fatalf("%s: %v %v", topic, found, err)
	}
	for n := range int32(found[0].Partitions) {
		for _, value := range d.values(ctx, c, topic, n) {
			var m map[string]any
			if err := json.Unmarshal(value, &m); err != nil {
				d.t.Errorf("%s: %v", topic, err)
			}
			delete(m, "id")
			b, _ := json.Marshal(m)
			set[string(b)] = true
		}
	}
	return set
}

// values reads a whole partition.
func (d *deployment) values(ctx context.Context, c *kafka.Client, topic string, partition int32) (list [][]byte) {
	d.t.Helper()
	log := kafka.NewLog(c)
	from, end, err := log.Bounds(ctx, topic, partition)
	if err != nil {
		d.t.Fatal(err)
	}
	for from < end {
		chunk, err := log.Fetch(ctx, topic, partition, from, time.Second)
		if err != nil {
			d.t.Fatal(err)
		}
		var e ingest.Entry
		for chunk.Next(&e) {
			if e.Kind == ingest.EntryRecord && e.First >= from {
				list = append(list, append([]byte(nil), e.Record.Value...))
			}
		}
		from = chunk.End()
		chunk.Release()
	}
	return list
}
