package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	segmentio "github.com/segmentio/kafka-go"

	proxy "github.com/agentrisk/agentrisk/deploy/chaos/wire"
	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// trim deletes a lane's records below an offset, as retention does.
func (s *system) trim(lane string, below int64) {
	s.t.Helper()
	topic, n := splitLane(s.prefix + lane)
	stacktest.Trim(s.t, s.stack.Brokers, topic, n, below)
}

// verdictsFollow recomputes every row from the events that its state_from says it is made of: those of its lane from there
// on. It returns the number of rows by lane and state_from, as "alpha/0@17".
func (s *system) verdictsFollow(paths ...string) map[string]int {
	s.t.Helper()
	events := map[string][]byte{}
	for _, path := range paths {
		for line := range bytes.Lines(read(s.t, path)) {
			var e struct{ ID string }
			if err := json.Unmarshal(line, &e); err != nil {
				s.t.Fatal(err)
			}
			events[e.ID] = line
		}
	}
	type row struct {
		Lane, ID  string
		Offset    int64 `json:",string"`
		StateFrom int64 `json:"state_from,string"`
	}
	lanes := map[string][]row{}
	for line := range strings.Lines(s.stack.Query(s.t, fmt.Sprintf(`SELECT concat(substring(topic, %d), '/', toString(partition)) AS lane, event_id AS id, toString(offset) AS offset, toString(state_from) AS state_from
		FROM %s.verdicts ORDER BY topic, partition, verdicts.offset FORMAT JSONEachRow`, len(s.prefix)+1, s.database))) {
		var r row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			s.t.Fatal(err)
		}
		lanes[r.Lane] = append(lanes[r.Lane], r)
	}
	want, counts := map[string]verdict{}, map[string]int{}
	for lane, rows := range lanes {
		starts := map[int64]map[string]verdict{}
		for _, r := range rows {
			if starts[r.StateFrom] == nil {
				var text []byte
				for _, e := range rows {
					if e.Offset >= r.StateFrom {
						text = append(text, events[e.ID]...)
					}
				}
				starts[r.StateFrom] = s.scored(s.write("from.ndjson", text))
			}
			want[r.ID] = starts[r.StateFrom][r.ID]
			counts[fmt.Sprintf("%s@%d", lane, r.StateFrom)]++
		}
	}
	s.equal(want, s.rows())
	return counts
}

// History 37: retention takes what a dead process had planned: the beginning of the plan, all of it, or what lies before it. Lanes that
// lost something park and name it. One goes on by the operator's order, the others once on_lost says so; the ledger
// says what is missing, and rows say from where their state is made: each verdict can be recomputed from there.
func TestHistory37RetentionTookThePlan(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	parts := s.fleetIn(3, 360, 37)
	between := s.behindProxy()
	p := s.run()
	s.publish(parts[0])
	s.settled(360)
	stall := proxy.Fault{Point: "Insert", How: proxy.Stall, For: forLong}
	struck := arm(t, between, stall, stall, stall, stall, stall, stall)
	s.publish(parts[1])
	struck()
	p.kill()
	plans := map[string]laneView{}
	for _, l := range s.lanes() {
		plans[fmt.Sprintf("%s/%d", strings.TrimPrefix(l.Topic, s.prefix), l.Partition)] = l
	}
	s.bury()
	lost := map[string]int64{}
	lose := func(lane string, below int64) {
		s.trim(lane, below)
		if n := below - plans[lane].Done; n > 0 {
			lost[lane] = n
		}
	}
	lose("alpha/0", plans["alpha/0"].Done+3)
	lose("alpha/1", plans["alpha/1"].Done+1)
	lose("alpha/2", plans["alpha/2"].PlanTo)
	lose("beta/0", plans["beta/0"].Done)
	lose("beta/1", plans["beta/1"].Done-1)

	s.configure(s.group, "")
	p = s.run()
	for lane, said := range s.parked("log_starts_late", "alpha/0", "alpha/1", "alpha/2") {
		if !strings.Contains(said, fmt.Sprintf("%d offsets are gone", lost[lane])) || !strings.Contains(said, "on_lost: continue") {
			t.Errorf("%s lost %d offsets, and says %q", lane, lost[lane], said)
		}
	}
	if n := s.count(fmt.Sprintf("verdicts WHERE topic = '%salpha' AND partition = 0 AND offset >= %d", s.prefix, plans["alpha/0"].Done)); n != "0" {
		t.Errorf("%s rows of a lane that waits for the operator", n)
	}
	s.must("lanes", "skip", s.prefix+"alpha/1", "--config", s.config, "--to", "start", "--reason", "retention took it")
	s.parked("log_starts_late", "alpha/0", "alpha/2")
	p.stop(t)
	s.configure(s.group, ", on_lost: continue")
	p = s.run()
	s.publish(parts[2])
	n := 3 * 360
	for _, k := range lost {
		n -= int(k)
	}
	s.settled(n)
	if got, want := s.stack.Query(t, fmt.Sprintf("SELECT partition, status, sum(to_offset - from_offset) FROM %s.batches WHERE status IN ('lost', 'skipped') GROUP BY ALL ORDER BY partition", s.database)),
		fmt.Sprintf("0\tlost\t%d\n1\tskipped\t%d\n2\tlost\t%d", lost["alpha/0"], lost["alpha/1"], lost["alpha/2"]); got != want {
		t.Errorf("what is missing of alpha\n%s\nwant\n%s", got, want)
	}
	counts := s.verdictsFollow(parts...)
	for lane, from := range map[string]int64{"alpha/0": 3, "alpha/1": 1, "alpha/2": plans["alpha/2"].PlanTo - plans["alpha/2"].Done, "beta/0": 0, "beta/1": 0, "beta/2": -plans["beta/2"].Done} {
		if counts[fmt.Sprintf("%s@%d", lane, plans[lane].Done+from)] == 0 {
			t.Errorf("%s: no row is made of what the log holds from %d on: %v", lane, plans[lane].Done+from, counts)
		}
	}
	p.stop(t)
}

// A transactional producer: what it aborts is never judged and leaves nothing in any state, what is still open is not
// judged yet, nor what lies behind it, and markers are counted as what they are. So also when a process dies in between.
func TestTransactionsOfProducers(t *testing.T) {
	t.Parallel()
	stack := stacktest.Start(t)
	stack.NeedApache(t, "transactions of a producer without franz-go")
	s := newSystem(t, stack, "")
	lines := strings.SplitAfter(string(read(t, s.fromAlpha(s.fleet(60, 59)))), "\n")
	tx := stacktest.NewTransactions(t, stack.Brokers, s.prefix+"alpha")
	var judged []string
	next := func(n int, counts bool) []string {
		var some []string
		for _, line := range lines[:n] {
			some = append(some, strings.TrimSpace(line))
		}
		if lines = lines[n:]; counts {
			judged = append(judged, some...)
		}
		return some
	}
	plain := func(n int) {
		t.Helper()
		lane := int32(0)
		var list []kafka.Message
		for _, v := range next(n, true) {
			list = append(list, kafka.Message{Value: []byte(v), Partition: &lane})
		}
		if err := s.client().NewProducer(kafka.None).Produce(soon(t), s.prefix+"alpha", list); err != nil {
			t.Fatal(err)
		}
	}
	p := s.run()
	tx.Write(next(9, false)...)
	tx.End(false)
	tx.Write(next(8, true)...)
	tx.End(true)
	plain(7)
	s.stored(15)
	tx.Write(next(6, false)...)
	plain(5)
	tx.End(false)
	s.stored(20)
	p.kill()
	tx.Write(next(4, true)...) // open
	plain(3)
	s.bury()
	p = s.run()
	s.settled(20)
	time.Sleep(time.Second) // batches are cut five times as often
	if n := s.count("verdicts"); n != "20" {
		t.Errorf("%s rows, want 20: a transaction is open", n)
	}
	tx.End(true)
	s.settled(27)
	if n := s.stack.Query(t, "SELECT sum(rows), sum(control), sum(aborted), sum(gaps), sum(dead_letters) FROM "+s.database+".batches"); n != "27\t4\t15\t0\t0" {
		t.Errorf("the ledger counts rows, markers, aborted, gaps, dead letters as %s", n)
	}
	if out := s.reconciled(); !strings.Contains(out, " 0 findings") {
		t.Error(out)
	}
	s.sameVerdicts(s.write("judged.ndjson", []byte(strings.Join(judged, "\n")+"\n")))
	p.stop(t)
}

// History 65: on a broker that compacts, the record before the position is gone, and so are some that nobody has read yet.
// The lane goes on and counts that it could not compare; offsets without a record are gaps, and nothing counts as lost.
func TestHistory65ACompactedTopic(t *testing.T) {
	t.Parallel()
	stack := stacktest.Start(t)
	stack.NeedApache(t, "log cleaner")
	s := newSystem(t, stack, "")
	topic := s.prefix + "gamma"
	config := []segmentio.ConfigEntry{{ConfigName: "cleanup.policy", ConfigValue: "compact"}, {ConfigName: "segment.ms", ConfigValue: "100"},
		{ConfigName: "min.cleanable.dirty.ratio", ConfigValue: "0.01"}, {ConfigName: "message.timestamp.type", ConfigValue: "LogAppendTime"}}
	c := &segmentio.Client{Addr: segmentio.TCP(stack.Brokers...)}
	if res, err := c.CreateTopics(soon(t), &segmentio.CreateTopicsRequest{Topics: []segmentio.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: config}}}); err != nil || res.Errors[topic] != nil {
		t.Fatal(res, err)
	}
	n := 0
	send := func() {
		t.Helper()
		var list []kafka.Message
		for i := range 10 {
			list = append(list, kafka.Message{Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, `{"id":"e%d","kind":"tool_call","provider.id":"gamma","tenant.id":"t","agent.id":"a%d"}`, n, i)})
			n++
		}
		if err := s.client().NewProducer(kafka.None).Produce(soon(t), topic, list); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond) // the next write begins another segment
	}
	p := s.run()
	send()
	send()
	s.settled(20)
	p.stop(t)
	send()
	send()
	send() // the newest segment is never compacted
	log := kafka.NewLog(s.client())
	first := func() (offset int64) {
		chunk, err := log.Fetch(soon(t), topic, 0, 0, time.Second)
		if err != nil {
			return 0
		}
		defer chunk.Release()
		var e ingest.Entry
		for chunk.Next(&e) {
			return e.First
		}
		return chunk.End()
	}
	eventually(t, "the broker compacts", func() bool { return first() >= 30 })
	left := n - int(first())
	p = s.run()
	s.settled(20 + left)
	if got := s.stack.Query(t, "SELECT sum(rows), sum(gaps), countIf(status IN ('lost', 'skipped')) FROM "+s.database+".batches WHERE topic = '"+topic+"'"); got != fmt.Sprintf("%d\t%d\t0", 20+left, n-20-left) {
		t.Errorf("rows, gaps and losses: %s, want %d and %d", got, 20+left, n-20-left)
	}
	if !strings.Contains(p.ask(t, "/metrics"), "agentrisk_unverified_starts_total 1") {
		t.Error("a start that could compare nothing is not counted")
	}
	p.stop(t)
}
