package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	segmentio "github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// Two processes share the lanes; one is killed while rows are on their way and started again. Every event stands there
// once, with the verdict that `agentrisk score` gives.
func TestEveryEventOnceThoughAProcessIsKilled(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	path := s.fleet(30_000, 1)
	first, second := s.run(), s.run()
	done := make(chan struct{})
	go func() { defer close(done); s.publish(path) }()
	eventually(t, "rows arrive", func() bool { return s.count("verdicts") != "0" })
	first.kill()
	third := s.run()
	<-done
	s.settled(30_000)
	s.sameVerdicts(path)
	second.stop(t)
	third.stop(t)
	s.settled(30_000)
	if n := s.stack.Query(t, "SELECT count() FROM "+s.database+".snapshots WHERE chunk = -1"); n == "0" {
		t.Error("a clean stop left no snapshot")
	}
	// A clean restart finds its state and judges what follows as one stream.
	more := s.fleet(2_000, 2)
	s.publish(more)
	fourth := s.run()
	s.settled(32_000)
	fourth.stop(t)
}

// What is no event becomes a dead letter with its reason; everything else goes on.
func TestBadInputBecomesDeadLetters(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	bad := map[string]string{
		`{"kind":`:                                                              "invalid_json",
		`{"kind":"tool_call","kind":"x"}`:                                       "duplicate_key",
		`{"kind":"timer","provider.id":"alpha"}`:                                "reserved_kind",
		`{"kind":"tool_call","net.dst_port":70000}`:                             "out_of_range",
		`{"kind":"tool_call","provider.id":"somebody_else"}`:                    "foreign_provider",
		`{"agent.id":"a"}`:                                                      "missing_field",
		`{"kind":"tool_call","tool.name":1}`:                                    "wrong_type",
		`{"kind":"tool_call","content":"` + strings.Repeat("x", 300_000) + `"}`: "over_limit",
		``: "empty_record",
	}
	var messages []kafka.Message
	want := map[string]int{}
	for text, reason := range bad {
		messages = append(messages, kafka.Message{Key: []byte("k"), Value: []byte(text)})
		want[reason]++
	}
	messages = append(messages, kafka.Message{Key: []byte("k"), Value: []byte(`{"id":"good","kind":"tool_call","agent.id":"a","tenant.id":"t"}`)})
	if err := s.client().NewProducer(kafka.None).Produce(soon(t), s.prefix+"alpha", messages); err != nil {
		t.Fatal(err)
	}
	p := s.run()
	s.settled(1)
	for reason, n := range want {
		if got := s.stack.Query(t, fmt.Sprintf("SELECT count() FROM %s.dead_letters WHERE reason = '%s'", s.database, reason)); got != fmt.Sprint(n) {
			t.Errorf("%s: %s dead letters, want %d", reason, got, n)
		}
	}
	p.stop(t)
}

// History 44: staging and production on one database.
func TestHistory44AnotherGroupIsRefused(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	p := s.run()
	eventually(t, "the claim is written", func() bool { return s.count("claim") == "1" })
	p.stop(t)
	s.configure("another-group", "")
	out, err := exec.Command(program, "run", "--config", s.config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), s.group) || !strings.Contains(string(out), "another-group") {
		t.Errorf("want a refusal that names both groups, got %v: %s", err, out)
	}
	// The same group of another Kafka came first.
	s.configure(s.group, "")
	s.damage("TRUNCATE TABLE %s.claim")
	s.damage("INSERT INTO %s.claim (deployment, cluster, consumer_group) VALUES ('other', 'another-cluster', '" + s.group + "')")
	out, err = exec.Command(program, "run", "--config", s.config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "belongs to Kafka cluster another-cluster") {
		t.Errorf("want a refusal that names the cluster, got %v: %s", err, out)
	}
}

// History 43: a topic is deleted and made again while the group is away. The lane parks and says what to do; with a new
// epoch everything that the topic now holds is judged.
func TestHistory43TopicMadeAgain(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	one := s.fleet(3_000, 3)
	s.publish(one)
	p := s.run()
	s.settled(3_000)
	p.stop(t)
	c := &segmentio.Client{Addr: segmentio.TCP(s.stack.Brokers...)}
	if _, err := c.DeleteTopics(soon(t), &segmentio.DeleteTopicsRequest{Topics: []string{s.prefix + "alpha", s.prefix + "beta"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topics are gone", func() bool {
		list, err := s.client().Topics(t.Context(), s.prefix+"*")
		return err == nil && len(list) == 0
	})
	s.migrate()
	p = s.run()
	for lane, said := range s.parked("log_ends_early", sixLanes...) {
		if !strings.Contains(said, "raise the binding's epoch") {
			t.Errorf("%s says not what to do: %s", lane, said)
		}
	}
	p.stop(t)
	two := s.fleet(6_000, 4)
	s.publish(two)
	p = s.run()
	eventually(t, "all six lanes park", func() bool { return strings.Count(p.text(), "lane is parked") >= 6 })
	if !strings.Contains(p.text(), "log_changed") {
		t.Error("no lane has found that the record before its position is another one")
	}
	if n := s.count("verdicts"); n != "3000" {
		t.Errorf("%s rows, want the 3000 of before: nothing of the new topic may be stored under the old epoch", n)
	}
	if !strings.Contains(p.text(), "epoch") {
		t.Error("the log does not say what to do")
	}
	p.kill()
	s.configure(s.group, ", epoch: 1")
	if out := s.reconciled(); !strings.Contains(out, " 0 findings") {
		t.Errorf("reconcile holds the old topic's rows against the new topic's log:\n%s", out)
	}
	p = s.run()
	eventually(t, "the new topic is judged", func() bool { return s.count("verdicts WHERE epoch = 1") == "6000" })
	p.stop(t)
}

// History 64: the database is restored from yesterday's backup while the group's commit is today's. Nothing is skipped,
// and what the table still has is not doubled.
func TestHistory64DatabaseRestoredFromABackup(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	path := s.fleet(8_000, 5)
	most, rest := s.split(path, 7_000)
	s.publish(most)
	p := s.run()
	s.settled(7_000)
	p.stop(t)
	for _, sql := range []string{
		"ALTER TABLE %s.batches DELETE WHERE to_offset > 300 AND partition != 1 SETTINGS mutations_sync = 2",
		"ALTER TABLE %s.snapshots DELETE WHERE 1 SETTINGS mutations_sync = 2",
		"ALTER TABLE %s.verdicts DELETE WHERE offset > 500 AND partition = 2 SETTINGS mutations_sync = 2",
		"ALTER TABLE %s.verdicts DELETE WHERE offset % 3 = 0 AND offset > 400 AND partition = 0 SETTINGS mutations_sync = 2",
	} {
		s.stack.Query(t, strings.ReplaceAll(sql, "%s", s.database))
	}
	if s.count("verdicts") == "7000" {
		t.Fatal("the backup holds everything")
	}
	// With what has come since, the lost ranges are judged again under other bounds: their tokens hold nothing off.
	s.publish(rest)
	p = s.run()
	s.settled(8_000)
	s.sameVerdicts(path)
	p.stop(t)
}

// ClickHouse is away while ten times what memory may hold comes in: the process stays in the group, takes no more than
// its budget, and catches up by itself. AGENTRISK_OUTAGE=3m makes the outage longer.
func TestClickHouseAwayAndBack(t *testing.T) {
	t.Parallel()
	outage := 30 * time.Second
	if text := os.Getenv("AGENTRISK_OUTAGE"); text != "" {
		var err error
		if outage, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	stack := stacktest.StartOwn(t)
	s := newSystem(t, stack, "")
	s.append("memory: {budget: 64MiB, state: 64MiB}\n")
	p := s.run()
	one, two := s.fleet(4_000, 6), s.fleet(200_000, 7)
	s.publish(one)
	s.stored(4_000)
	stack.Kill(t, "clickhouse")
	began := time.Now()
	s.publish(two)
	for last := 0; time.Since(began) < outage; time.Sleep(outage / 6) {
		select {
		case <-p.done:
			t.Fatalf("the pipeline ended: %v\n%s", p.err, p.text())
		default:
		}
		now := p.memory(t)
		t.Logf("%s after the database went the process holds %d MiB", time.Since(began).Round(time.Second), now)
		if last > 0 && now > last+64 {
			t.Errorf("memory grows while the database is away: %d MiB, then %d MiB", last, now)
		}
		last = now
	}
	stack.Start(t, "clickhouse")
	s.settled(204_000)
	if n := strings.Count(p.text(), "group joined"); n != 1 {
		t.Errorf("the group was joined %d times, want once", n)
	}
	p.stop(t)
}

// A broker that dies and comes back.
func TestKafkaAwayAndBack(t *testing.T) {
	t.Parallel()
	stack := stacktest.StartOwn(t)
	s := newSystem(t, stack, "")
	p := s.run()
	one, two := s.fleet(4_000, 8), s.fleet(4_000, 9)
	s.publish(one)
	stack.Kill(t, "kafka")
	time.Sleep(3 * time.Second)
	stack.Start(t, "kafka")
	s.publish(two)
	s.settled(8_000)
	p.stop(t)
}

// The program is told of a topic's clock and of one that keeps the producer's: both ways every event counts once, also
// when a process dies.
func TestTopicWithTheProducersClock(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	c := &segmentio.Client{Addr: segmentio.TCP(s.stack.Brokers...)}
	if _, err := c.CreateTopics(soon(t), &segmentio.CreateTopicsRequest{Topics: []segmentio.TopicConfig{{Topic: s.prefix + "gamma", NumPartitions: 2, ReplicationFactor: 1}}}); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range 3000 {
		lines = append(lines, fmt.Sprintf(`{"id":"g%d","kind":"tool_call","provider.id":"gamma","tenant.id":"t","agent.id":"a%d","conversation.id":"s","time":"1999-01-02T03:04:05Z"}`, i, i%7))
	}
	path := filepath.Join(s.dir, "gamma.ndjson")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	p := s.run()
	s.publish(path)
	eventually(t, "rows arrive", func() bool { return s.count("verdicts") != "0" })
	p.kill()
	p = s.run()
	s.settled(3_000)
	if n := s.stack.Query(t, "SELECT count() FROM "+s.database+".verdicts WHERE has(flags, 'time_clamped') AND time = toDateTime64('1999-01-02 03:04:05', 3, 'UTC')"); n != "3000" {
		t.Errorf("%s rows keep the time as sent and are flagged, want 3000", n)
	}
	p.stop(t)
}
