package chaos

import (
	"context"
	"syscall"
	"time"

	"github.com/agentrisk/agentrisk/deploy/chaos/wire"
)

// strike does one fault and undoes it; false when what it names did not come by.
func (d *deployment) strike(ctx context.Context, s strike) bool {
	t, p := d.t, d.procs[s.victim]
	byWire := func(w *wire.Proxy) bool {
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		return w.Strike(ctx, s.wire)
	}
	hold := func() {
		select {
		case <-ctx.Done():
		case <-time.After(s.hold):
		}
	}
	switch s.kind {
	case "kafka connection at a request", "kafka connection at a byte":
		return byWire(d.kafka)
	case "clickhouse connection at an insert", "clickhouse connection at a query":
		return byWire(d.click)
	case "kafka connections all cut":
		return d.kafka.CutAll() > 0
	case "clickhouse connections all cut":
		return d.click.CutAll() > 0
	case "kafka frozen":
		d.kafka.Freeze(s.hold)
		hold()
	case "clickhouse frozen":
		d.click.Freeze(s.hold)
		hold()
	case "process killed":
		p.end(syscall.SIGKILL)
		p.start()
	case "process restarted":
		if !p.end(syscall.SIGTERM) {
			t.Errorf("a process did not end within a minute of SIGTERM")
		}
		p.start()
	case "process asleep", "process asleep beyond its session":
		p.signal(syscall.SIGSTOP)
		hold()
		p.signal(syscall.SIGCONT)
	case "clock of a process jumps", "clock of a process jumps while it sleeps":
		return p.jump(s.jump, s.kind != "clock of a process jumps", hold)
	case "topic trimmed":
		return d.trim()
	case "topic made again":
		d.makeAgain(hold)
	case "partition moved":
		d.move(s.pick)
	case "process joins and leaves":
		more := &process{d: d, config: d.attacked}
		more.start()
		hold()
		more.end(syscall.SIGTERM)
	case "kafka killed", "clickhouse killed":
		server := s.kind[:len(s.kind)-len(" killed")]
		d.stack.Kill(t, server)
		d.stack.Start(t, server)
	case "kafka restarted", "clickhouse restarted":
		server := s.kind[:len(s.kind)-len(" restarted")]
		d.stack.Stop(t, server)
		d.stack.Start(t, server)
	case "kafka asleep", "clickhouse asleep":
		server := s.kind[:len(s.kind)-len(" asleep")]
		d.stack.Pause(t, server)
		hold()
		d.stack.Resume(t, server)
	case "clickhouse disk: write fails (EIO)", "clickhouse disk: fsync fails (EIO)", "clickhouse disk full":
		d.disk.Break(s.disk)
		hold()
		return d.repaired()
	default:
		t.Fatalf("no such fault: %s", s.kind)
	}
	return true
}
