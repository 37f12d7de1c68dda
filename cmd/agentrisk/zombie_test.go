package main

import (
	"syscall"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// Histories 20 and 60: a process is stopped in the middle of its work, for longer than its session. A tool moves the offsets
// of the group, which now is empty, back to the start; another process takes over and goes on. When the first wakes up it
// asks before it sends, and nothing is doubled.
func TestHistory20AProcessThatSlept(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	sleeper := s.run()
	eventually(t, "lanes run", func() bool { return s.count("batches") >= "3" })
	published := make(chan struct{})
	go func() { defer close(published); s.publish(s.fleet(9_000, 20)) }()
	eventually(t, "rows arrive", func() bool { return s.count("verdicts") != "0" })
	if err := sleeper.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-published
	moved := map[string]groupCommit{}
	for _, lane := range sixLanes {
		moved[s.prefix+lane] = commitOf(0, "")
	}
	s.commit(moved)
	successor := s.run()
	s.stored(9_000)
	if err := sleeper.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.publish(s.fleet(2_000, 21))
	s.settled(11_000)
	successor.stop(t)
	sleeper.stop(t)
	s.settled(11_000)
}
