package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	proxy "github.com/agentrisk/agentrisk/deploy/chaos/wire"
	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/scoring"
)

var countingHits = regexp.MustCompile(`AR-SEEN-001[^;]*;`)

// Histories 18, 49, 6 and 40: a process plans ranges and is killed at every point of what follows: before an insert leaves,
// half-way through one, when one has landed and its answer is under way, before the ledger's lines. Its successor is another version of
// the program, a later one or an older one, and judges by another pack. It takes every range over with its bounds, judges what is missing and
// nothing else, and each row says who judged it. What the dead process had sent arrives after that, and changes nothing; no more
// does the group's commit, once a tool has put it back to where the process died.
func TestHistory18TakeOverByAnotherVersionAndPack(t *testing.T) {
	t.Parallel()
	stack, next := stacktest.Start(t), newerProgram(t)
	for _, tt := range []struct{ name, first, second, engine string }{
		{"a later version takes over", program, next, "next"},
		{"an older version takes over", next, program, scoring.EngineVersion},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, stack, "")
			eventually(t, "the later version migrates", func() bool { return exec.Command(next, "migrate", "--config", s.config).Run() == nil })
			parts := s.fleetIn(2, 400, 18)
			between := s.behindProxy()
			first := s.runAs(tt.first)
			s.publish(parts[0])
			s.settled(400)
			struck := arm(t, between, proxy.Fault{Point: "Insert", How: proxy.Stall, For: forLong}, proxy.Fault{Point: "Insert", How: proxy.Stall, Bytes: 3000, For: forLong},
				proxy.Fault{Point: "Insert", How: proxy.StallAfter, For: forLong}, proxy.Fault{Point: "Ledger", How: proxy.Stall, For: forLong})
			s.publish(parts[1])
			struck()
			beyond := fmt.Sprintf(`SELECT uniqExact(topic, partition) FROM %[1]s.verdicts AS v LEFT JOIN
				(SELECT topic, partition, max(to_offset) AS done FROM %[1]s.batches GROUP BY ALL) AS b USING (topic, partition) WHERE v.offset >= b.done`, s.database)
			eventually(t, "of six lanes two wait with their rows, and four for their line", func() bool { return s.stack.Query(t, beyond) == "4" })
			first.kill()
			var plans []laneView
			for _, l := range s.lanes() {
				if l.PlanTo <= l.Done {
					t.Errorf("%s/%d: done up to %d, the plan ends at %d", l.Topic, l.Partition, l.Done, l.PlanTo)
				}
				plans = append(plans, l)
			}
			commits := s.commits()
			s.bury()

			s.configure(s.group, "")
			dir, mine := packDir(t, "mine", "2", countingRule)
			s.must("rules", "activate", dir, "--config", s.config, "--by", "alice", "--reason", "count them")
			second := s.runAs(tt.second)
			s.settled(800)
			between.Release() // half an insert, a whole one
			s.settled(800)
			for _, l := range plans {
				if n := s.count(fmt.Sprintf("batches WHERE topic = '%s' AND partition = %d AND from_offset = %d AND to_offset = %d", l.Topic, l.Partition, l.Done, l.PlanTo)); n != "1" {
					t.Errorf("%s/%d: %s lines of the planned range [%d, %d)", l.Topic, l.Partition, n, l.Done, l.PlanTo)
				}
			}
			checkMixed(t, s)
			if n := s.stack.Query(t, "SELECT countIf(status = 'mixed'), countIf(status = 'mixed' AND pack = '"+mine+"' AND engine = '"+tt.engine+"') FROM "+s.database+".batches"); n != "4\t4" {
				t.Errorf("mixed lines, and those that the successor wrote: %s, want 4 of each", n)
			}
			if n := s.stack.Query(t, "SELECT uniqExact(engine), countIf(engine = '"+tt.engine+"') > 0, countIf((engine = '"+tt.engine+"') != (pack = '"+mine+"')), countIf((pack = '"+mine+"') != has(hits.rule, 'AR-SEEN-001')) FROM "+s.database+".verdicts"); n != "2\t1\t0\t0" {
				t.Errorf("engines, rows of the successor's, rows of one's engine and the other's pack, rows judged by another pack than they name: %s", n)
			}
			got := s.rows()
			for id, v := range got {
				v.Hits = countingHits.ReplaceAllString(v.Hits, "") // it weighs nothing
				got[id] = v
			}
			s.equal(s.scored(parts...), got)
			outbox := strings.Join(s.read(strings.TrimSuffix(s.prefix, ".")+"-alerts"), "\n")
			alerts := strings.Fields(s.stack.Query(t, "SELECT event_id FROM "+s.database+".verdicts WHERE alert != ''"))
			for _, id := range alerts {
				if !strings.Contains(outbox, `"`+id+`"`) {
					t.Errorf("the row of %s tells of an alert that nobody wrote", id)
				}
			}
			if len(alerts) == 0 {
				t.Error("no row tells of an alert")
			}
			second.stop(t)

			s.commit(commits)
			again := s.runAs(tt.second)
			eventually(t, "six lanes run again", func() bool { return judgesBy(t, 6, mine, again) })
			s.settled(800)
			again.stop(t)
		})
	}
}

// History 62: plans that a machine with more memory made, of more rows and of more bytes than this program would cut, under
// the smallest budget that is accepted. They are taken over with their bounds, one at a time.
func TestHistory62PlansOfABiggerMachine(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	p := s.run()
	eventually(t, "the ledger begins", func() bool {
		return s.stack.Query(t, "SELECT uniqExact(topic, partition) FROM "+s.database+".batches") == "6"
	})
	p.stop(t)

	var records [2][]kafka.Message
	many := s.fromAlpha(s.fleet(ingest.MaxBatchRows+500, 62))
	for line := range bytes.Lines(read(t, many)) {
		lane := int32(0)
		records[0] = append(records[0], kafka.Message{Key: []byte("k"), Value: bytes.TrimSpace(line), Partition: &lane})
	}
	var large bytes.Buffer
	lane, content := int32(1), strings.Repeat("word ", 20_000)
	for i := range ingest.MaxBatchBytes/len(content) + 20 {
		value := fmt.Sprintf(`{"id":"large-%d","kind":"tool_call","provider.id":"alpha","tenant.id":"t","agent.id":"a%d","conversation.id":"c","content":"%s"}`, i, i%7, content)
		fmt.Fprintln(&large, value)
		records[1] = append(records[1], kafka.Message{Key: []byte("k"), Value: []byte(value), Partition: &lane})
	}
	commits := s.commits()
	for i, list := range records {
		if err := s.client().NewProducer(kafka.Gzip).Produce(soon(t), s.prefix+"alpha", list); err != nil {
			t.Fatal(err)
		}
		commits[fmt.Sprintf("%salpha/%d", s.prefix, i)] = commitOf(0, fmt.Sprintf(`{"v":1,"to":%d,"ep":0,"sh":0,"cl":"","in":"of a bigger machine","lo":-1,"lh":"0"}`, len(list)))
	}
	s.commit(commits)
	small := read(t, s.config)
	s.append("memory: {budget: 47MiB, state: 64MiB}\n")
	if out, status := s.try("run", "--config", s.config); status == 0 || !strings.Contains(out, "less than the 48 MiB that one batch can need") {
		t.Errorf("a budget below a batch's needs: status %d: %s", status, out)
	}
	if err := os.WriteFile(s.config, append(small, "memory: {budget: 48MiB, state: 64MiB}\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	p = s.run()
	n := len(records[0]) + len(records[1])
	s.stored(n)
	mib := p.memory(t)
	s.settled(n)
	if got := s.stack.Query(t, "SELECT partition, from_offset, to_offset, status FROM "+s.database+".batches WHERE from_offset < to_offset ORDER BY partition"); got != fmt.Sprintf("0\t0\t%d\tdone\n1\t0\t%d\tdone", len(records[0]), len(records[1])) {
		t.Errorf("ranges\n%s\nwant the two that were planned", got)
	}
	if mib > 400 {
		t.Errorf("the process holds %d MiB", mib)
	}
	s.sameVerdicts(many, s.write("large.ndjson", large.Bytes()))
	p.stop(t)
}
