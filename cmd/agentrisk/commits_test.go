package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	segmentio "github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// sixLanes are all of a system's.
var sixLanes = []string{"alpha/0", "alpha/1", "alpha/2", "beta/0", "beta/1", "beta/2"}

// groupCommit is what a group stores for a partition.
type groupCommit struct {
	offset   int64
	metadata string
}

func commitOf(offset int64, metadata string) groupCommit { return groupCommit{offset, metadata} }

// splitLane cuts topic/partition.
func splitLane(lane string) (topic string, partition int) {
	topic, number, _ := strings.Cut(lane, "/")
	_, _ = fmt.Sscan(number, &partition)
	return topic, partition
}

// commits reads what the group stores, by lane.
func (s *system) commits() map[string]groupCommit {
	s.t.Helper()
	all := map[string]groupCommit{}
	for _, lane := range sixLanes {
		topic, n := splitLane(s.prefix + lane)
		got, err := s.client().Committed(soon(s.t), s.group, topic, []int32{int32(n)})
		if err != nil {
			s.t.Fatal(err)
		}
		if c := got[int32(n)]; c.Offset >= 0 {
			all[topic+"/"+fmt.Sprint(n)] = groupCommit{c.Offset, c.Metadata}
		}
	}
	return all
}

// commit stores offsets and texts in the group as another program would, once no member is left.
func (s *system) commit(commits map[string]groupCommit) {
	s.t.Helper()
	request := &segmentio.OffsetCommitRequest{GroupID: s.group, GenerationID: -1, Topics: map[string][]segmentio.OffsetCommit{}}
	for lane, c := range commits {
		topic, n := splitLane(lane)
		request.Topics[topic] = append(request.Topics[topic], segmentio.OffsetCommit{Partition: n, Offset: c.offset, Metadata: c.metadata})
	}
	c := &segmentio.Client{Addr: segmentio.TCP(s.stack.Brokers...)}
	eventually(s.t, "the empty group takes the offsets", func() bool {
		res, err := c.OffsetCommit(soon(s.t), request)
		if err != nil {
			return false
		}
		for _, list := range res.Topics {
			for _, p := range list {
				if p.Error != nil { // 25: the group still has a member
					return false
				}
			}
		}
		return true
	})
}

// bury takes the members of a killed process out of the group, which else waits until their session is over.
func (s *system) bury() {
	s.t.Helper()
	c := &segmentio.Client{Addr: segmentio.TCP(s.stack.Brokers...)}
	eventually(s.t, "the group is empty", func() bool {
		res, err := c.DescribeGroups(soon(s.t), &segmentio.DescribeGroupsRequest{GroupIDs: []string{s.group}})
		if err != nil || len(res.Groups) != 1 {
			return false
		}
		for _, m := range res.Groups[0].Members {
			_, _ = c.LeaveGroup(soon(s.t), &segmentio.LeaveGroupRequest{GroupID: s.group, Members: []segmentio.LeaveGroupRequestMember{{ID: m.MemberID}}})
		}
		return len(res.Groups[0].Members) == 0
	})
}

// write writes a file of the test's own.
func (s *system) write(name string, text []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// parked waits until these lanes are parked, and no others, and returns what each says.
func (s *system) parked(reason string, lanes ...string) map[string]string {
	s.t.Helper()
	var said map[string]string
	eventually(s.t, fmt.Sprintf("%v are parked for %s", lanes, reason), func() bool {
		said = map[string]string{}
		others := 0
		for _, l := range s.lanes() {
			name := fmt.Sprintf("%s/%d", strings.TrimPrefix(l.Topic, s.prefix), l.Partition)
			switch {
			case l.State == "parked" && l.Reason == reason:
				said[name] = l.Detail
			case l.State != "running":
				others++
			}
		}
		for _, lane := range lanes {
			if said[lane] == "" {
				return false
			}
		}
		return len(said) == len(lanes) && others == 0
	})
	return said
}

// History 54: the group's commits are another program's, with texts of its own, with ours cut off or of a version to come, or with a plan
// that nobody made. Without a ledger of it a lane parks, and judges nothing. With one the ledger is the truth, whatever offset and
// text stand there: nothing is skipped and nothing doubled. A plan that the log cannot hold parks its lane.
func TestHistory54CommitsOfAnotherProgram(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	parts := s.fleetIn(3, 400, 54)
	s.publish(parts[0])
	s.commit(map[string]groupCommit{s.prefix + "beta/0": {3, ""}, s.prefix + "beta/1": {0, "consumer-7"}, s.prefix + "beta/2": {5, `{"v":1,"to":`}})
	p := s.run()
	for lane, said := range s.parked("no_ledger", "beta/0", "beta/1", "beta/2") {
		if !strings.Contains(said, "lanes skip") {
			t.Errorf("%s says not what to do: %s", lane, said)
		}
	}
	its, _ := s.providerOnly(parts[0], "alpha")
	eventually(t, "the other lanes judge", func() bool { return s.count("verdicts") == fmt.Sprint(strings.Count(string(read(t, its)), "\n")) })
	if n := s.count("verdicts WHERE topic LIKE '%beta'"); n != "0" {
		t.Errorf("%s rows of lanes whose history nobody knows", n)
	}
	p.stop(t)

	// Nothing is stored of them, and so the operator takes the stranger's offsets away.
	c := &segmentio.Client{Addr: segmentio.TCP(s.stack.Brokers...)}
	if res, err := c.OffsetDelete(soon(t), &segmentio.OffsetDeleteRequest{GroupID: s.group, Topics: map[string][]int{s.prefix + "beta": {0, 1, 2}}}); err != nil || res.Error != nil {
		t.Fatalf("%v %+v", err, res)
	}
	p = s.run()
	s.settled(400)
	p.stop(t)

	s.publish(parts[1])
	ours := s.commits()
	done := func(lane string) int64 { return ours[s.prefix+lane].offset }
	s.commit(map[string]groupCommit{
		s.prefix + "alpha/0": {0, ""},                                                                        // back to the start
		s.prefix + "alpha/1": {done("alpha/1") + 5, "consumer-7"},                                            // ahead of the ledger
		s.prefix + "alpha/2": {1 << 40, strings.Repeat("x", 4096)},                                           // beyond the log
		s.prefix + "beta/0":  {done("beta/0"), `{"v":99,"to":1,"ep":0}`},                                     // of a version to come
		s.prefix + "beta/1":  {done("beta/1"), ours[s.prefix+"beta/1"].metadata[:9] + "\x00\xff"},            // ours, cut off
		s.prefix + "beta/2":  {done("beta/2"), `{"v":1,"to":1000000,"ep":0,"lo":-1,"lh":"0","in":"nobody"}`}, // a plan beyond the log
	})
	p = s.run()
	if said := s.parked("log_ends_early", "beta/2"); !strings.Contains(said["beta/2"], "was planned, the log ends at") {
		t.Errorf("it says %q", said["beta/2"])
	}
	p.stop(t)
	s.commit(map[string]groupCommit{s.prefix + "beta/2": {done("beta/2"), ""}})
	p = s.run()
	s.settled(800)
	s.publish(parts[2])
	s.settled(1_200)
	s.sameVerdicts(parts...)
	p.stop(t)
}

// History 43: nothing happens for a day, the processes are away, and the broker forgets the empty group. The next start
// stands where the ledger ends, with the state of the day before; lanes that never held a record begin.
func TestHistory43TheGroupIsForgottenOverADay(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	parts := s.fleetIn(2, 300, 43)
	first, rest := s.providerOnly(parts[0], "alpha")
	s.publish(first)
	p := s.run()
	n := strings.Count(string(read(t, first)), "\n")
	s.settled(n)
	p.stop(t)
	for _, table := range []string{"batches", "snapshots"} {
		for _, sql := range []string{
			"CREATE TABLE %[1]s.aged AS %[1]s.%[2]s",
			"INSERT INTO %[1]s.aged SELECT * REPLACE (written - toIntervalDay(1) AS written) FROM %[1]s.%[2]s",
			"TRUNCATE TABLE %[1]s.%[2]s",
			"INSERT INTO %[1]s.%[2]s SELECT * FROM %[1]s.aged",
			"DROP TABLE %[1]s.aged SYNC",
		} {
			s.stack.Query(t, fmt.Sprintf(sql, s.database, table))
		}
	}
	c := &segmentio.Client{Addr: segmentio.TCP(s.stack.Brokers...)}
	eventually(t, "the group is forgotten", func() bool {
		res, err := c.DeleteGroups(soon(t), &segmentio.DeleteGroupsRequest{GroupIDs: []string{s.group}})
		return err == nil && res.Errors[s.group] == nil && len(s.commits()) == 0
	})
	p = s.run()
	eventually(t, "idle lanes say that they live", func() bool {
		return s.stack.Query(t, "SELECT uniqExact(topic, partition) FROM "+s.database+".batches WHERE written > now() - 3600 AND status = 'idle'") == "6"
	})
	s.publish(rest)
	s.publish(parts[1])
	s.settled(600)
	s.sameVerdicts(first, rest, parts[1])
	if n := s.stack.Query(t, "SELECT max(state_from) FROM "+s.database+".verdicts"); n != "0" {
		t.Errorf("a row says that the state of its lane starts at %s", n)
	}
	p.stop(t)
}

// providerOnly cuts a file in two: the events of one provider, and the others.
func (s *system) providerOnly(path, provider string) (its, others string) {
	s.t.Helper()
	var one, two strings.Builder
	for line := range strings.Lines(string(read(s.t, path))) {
		if strings.Contains(line, `"provider.id":"`+provider+`"`) {
			one.WriteString(line)
		} else {
			two.WriteString(line)
		}
	}
	return s.write("one.ndjson", []byte(one.String())), s.write("two.ndjson", []byte(two.String()))
}

// fromAlpha makes every event of a file one of alpha's.
func (s *system) fromAlpha(path string) string {
	s.t.Helper()
	return s.write("alpha.ndjson", []byte(strings.ReplaceAll(string(read(s.t, path)), `"provider.id":"beta"`, `"provider.id":"alpha"`)))
}
