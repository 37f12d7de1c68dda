package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// try runs a command of the program that may fail and returns its output and exit status.
func (s *system) try(args ...string) (out string, status int) {
	s.t.Helper()
	b, err := exec.Command(program, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Error(err)
		return err.Error(), -1
	}
	if exit != nil {
		status = exit.ExitCode()
	}
	return string(b), status
}

// lanes reads `agentrisk lanes`.
func (s *system) lanes() (list []laneView) {
	s.t.Helper()
	eventually(s.t, "lanes are listed", func() bool {
		out, err := exec.Command(program, "lanes", "--config", s.config, "--output", "json").Output()
		return err == nil && json.Unmarshal(out, &list) == nil
	})
	return list
}

// The ledger is lost while the group has progress: lanes park and say so, and the operator says from where, lane by lane.
// Orders are audited, and refused where they make no sense; afterwards every offset is accounted for.
func TestLanesParkedForWantOfALedger(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	path := s.fleet(3_000, 20)
	s.publish(path)
	p := s.run()
	s.settled(3_000)
	var all []laneView
	eventually(t, "six lanes run, without lag, and name their owner", func() bool {
		n := 0
		all = s.lanes()
		for _, l := range all {
			if l.State == "running" && l.Lag == 0 && l.Incarnation != "" && l.Host != "" && l.HasLedger {
				n++
			}
		}
		return n == 6 && len(all) == 6
	})
	if out, status := s.try("lanes", "resume", "--config", s.config, s.prefix+"alpha/0", "--reason", "for fun"); status != 1 || !strings.Contains(out, "not parked") {
		t.Errorf("status %d: %s", status, out)
	}
	p.stop(t)
	for _, table := range []string{"batches", "snapshots"} {
		s.stack.Query(t, "TRUNCATE TABLE "+s.database+"."+table)
	}
	p = s.run()
	eventually(t, "every lane is parked", func() bool {
		n := 0
		for _, l := range s.lanes() {
			if l.State == "parked" && l.Reason == "no_ledger" && strings.Contains(l.Detail, "agentrisk lanes skip") {
				n++
			}
		}
		return n == 6
	})
	var wg sync.WaitGroup
	for _, l := range all {
		lane, to := fmt.Sprintf("%s/%d", l.Topic, l.Partition), "start"
		if l.Topic == s.prefix+"beta" {
			to = "committed"
		}
		wg.Go(func() {
			out, status := s.try("lanes", "skip", "--config", s.config, lane, "--to", to, "--reason", "the ledger is gone", "--who", "duty", "--wait", "2m")
			if status != 0 || !strings.Contains(out, "is skipped") {
				t.Errorf("%s: status %d: %s", lane, status, out)
			}
		})
	}
	wg.Wait()
	more := s.fleet(1_000, 21)
	s.publish(more)
	s.settled(4_000)
	s.stack.Query(t, "SELECT throwIf(count() != 12 OR countIf(state = 'ordered' AND who = 'duty' AND why = 'the ledger is gone') != 6 OR countIf(state = 'done') != 6) FROM "+s.database+".lane_orders")
	// One who is late is told so.
	if out, status := s.try("lanes", "skip", "--config", s.config, s.prefix+"beta/0", "--to", "1", "--reason", "late", "--force"); status != 1 || !strings.Contains(out, "everything below is done") {
		t.Errorf("status %d: %s", status, out)
	}
	// A forced order restarts a lane that runs.
	if out := s.must("lanes", "resume", "--config", s.config, s.prefix+"beta/0", "--force", "--reason", "look again"); !strings.Contains(out, "starts again") {
		t.Error(out)
	}
	p.stop(t)
	s.settled(4_000)
	for _, bad := range [][]string{
		{"lanes", "skip", "--config", s.config, s.prefix + "alpha/0", "--reason", "x"},
		{"lanes", "skip", "--config", s.config, s.prefix + "alpha/0", "--one", "--to", "5", "--reason", "x"},
		{"lanes", "skip", "--config", s.config, s.prefix + "alpha/0", "--one"},
		{"lanes", "resume", "--config", s.config, "nothing", "--reason", "x"},
	} {
		if out, status := s.try(bad...); status != 2 {
			t.Errorf("%v: status %d, want 2: %s", bad, status, out)
		}
	}
	if out, status := s.try("lanes", "resume", "--config", s.config, s.prefix+"alpha/0", "--reason", "x"); status != 1 || !strings.Contains(out, "agentrisk run") {
		t.Errorf("status %d: %s", status, out)
	}
}

// damage runs SQL with the database's name in it; a library that aborted is waited for.
func (s *system) damage(sql string) {
	s.t.Helper()
	s.stack.Query(s.t, fmt.Sprintf(sql, s.database))
}

// deadLetters publishes n records that are no events.
func (s *system) deadLetters(n int) {
	s.t.Helper()
	var bad []kafka.Message
	for i := range n {
		bad = append(bad, kafka.Message{Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, `{"kind":"tool_call","provider.id":"somebody_else","agent.id":"a%d"}`, i)})
	}
	if err := s.client().NewProducer(kafka.None).Produce(soon(s.t), s.prefix+"alpha", bad); err != nil {
		s.t.Fatal(err)
	}
}
