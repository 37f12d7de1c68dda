package chaos

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/agentrisk/agentrisk/deploy/chaos/disk"
	"github.com/agentrisk/agentrisk/deploy/chaos/wire"
)

// strike is one fault of a plan: what, to whom, and its particulars.
type strike struct {
	kind   string
	wire   wire.Fault // of the kinds that break connections
	disk   disk.Fault // of the kinds that break ClickHouse's disk
	victim int        // process
	hold   time.Duration
	jump   time.Duration // of the clock
	pick   int           // of partitions
	gap    time.Duration // after it, before the next
}

func (s strike) String() string {
	switch {
	case s.wire.Point != "" || s.wire.How != 0:
		return fmt.Sprintf("%s: %s %s, %d bytes", s.kind, s.wire.Point, s.wire.How, s.wire.Bytes)
	case s.disk.Times > 0:
		return fmt.Sprintf("%s: at most %d times in %s", s.kind, s.disk.Times, s.hold)
	case s.jump != 0:
		return fmt.Sprintf("%s by %s for %s (process %d)", s.kind, s.jump, s.hold, s.victim)
	case s.hold > 0:
		return fmt.Sprintf("%s for %s (process %d)", s.kind, s.hold, s.victim)
	}
	return fmt.Sprintf("%s (process %d)", s.kind, s.victim)
}

// kinds are all that a plan draws from.
var kinds = []string{
	"kafka connection at a request", "kafka connection at a byte", "kafka connections all cut", "kafka frozen",
	"clickhouse connection at an insert", "clickhouse connection at a query", "clickhouse connections all cut", "clickhouse frozen",
	"process killed", "process asleep", "process asleep beyond its session", "process restarted", "process joins and leaves",
	"clock of a process jumps", "clock of a process jumps while it sleeps",
	"kafka killed", "kafka asleep", "kafka restarted", "topic trimmed", "topic made again", "partition moved",
	"clickhouse killed", "clickhouse asleep", "clickhouse restarted",
	"clickhouse disk: write fails (EIO)", "clickhouse disk: fsync fails (EIO)", "clickhouse disk full",
}

var requests = []string{"OffsetCommit", "OffsetCommit", "OffsetCommit", "Fetch", "JoinGroup", "SyncGroup", "Heartbeat", "Produce", "OffsetFetch", "Metadata", "LeaveGroup"}

// folders are where ClickHouse writes parts: those of inserts, those of merges too.
var folders = []string{"/tmp_insert_", "/tmp_"}

// quick are those of the short form: none waits for a broker or a session to come back.
var quick = []string{
	"kafka connection at a request", "clickhouse connection at an insert", "process killed", "kafka connections all cut",
	"clickhouse connections all cut", "clickhouse killed", "process asleep", "clickhouse connection at a query",
	"clock of a process jumps",
}

// draw makes a plan of strikes within about took from a seed: every kind in turn, in a random order, then random kinds.
func draw(seed uint64, of size, took time.Duration) []strike {
	r := rand.New(rand.NewPCG(seed, 0x6368616f73))
	order := r.Perm(len(of.kinds))
	plan := make([]strike, of.faults)
	for i := range plan {
		k := of.kinds[r.IntN(len(of.kinds))]
		if i < len(order) {
			k = of.kinds[order[i]]
		}
		s := strike{kind: k, victim: r.IntN(of.processes), gap: time.Duration(r.Int64N(int64(2*took)/int64(of.faults) + 1))}
		switch k {
		case "kafka connection at a request":
			s.wire = wire.Fault{Point: requests[r.IntN(len(requests))], How: wire.How(r.IntN(2))}
		case "kafka connection at a byte":
			s.wire = wire.Fault{Point: requests[r.IntN(len(requests))], How: wire.CutAt + wire.How(r.IntN(2)), Bytes: r.IntN(200)}
		case "clickhouse connection at an insert":
			s.wire = wire.Fault{Point: "Insert", How: wire.How(r.IntN(4)), Bytes: r.IntN(60_000)}
		case "clickhouse connection at a query":
			s.wire = wire.Fault{Point: "Query", How: wire.How(r.IntN(4)), Bytes: r.IntN(500)}
		case "kafka frozen", "clickhouse frozen", "kafka asleep", "clickhouse asleep", "process asleep":
			s.hold = time.Second + time.Duration(r.Int64N(int64(3*time.Second)))
		case "clickhouse disk: write fails (EIO)":
			s.disk = disk.Fault{Op: disk.Write, Errno: syscall.EIO, Under: folders[r.IntN(len(folders))], Times: 1 + r.IntN(60)}
			s.hold = time.Second + time.Duration(r.Int64N(int64(3*time.Second)))
		case "clickhouse disk: fsync fails (EIO)":
			s.disk = disk.Fault{Op: disk.Sync, Errno: syscall.EIO, Times: 1 + r.IntN(30)}
			s.hold = time.Second + time.Duration(r.Int64N(int64(3*time.Second)))
		case "clickhouse disk full":
			s.disk = disk.Fault{Op: disk.Space, Errno: syscall.ENOSPC, Under: "/tmp_"}
			s.hold = time.Second + time.Duration(r.Int64N(int64(3*time.Second)))
		case "process asleep beyond its session":
			s.hold = 8*time.Second + time.Duration(r.Int64N(int64(6*time.Second)))
		case "clock of a process jumps":
			s.jump, s.hold = jumps[r.IntN(len(jumps))], 3*time.Second+time.Duration(r.Int64N(int64(9*time.Second)))
		case "clock of a process jumps while it sleeps":
			s.jump, s.hold = jumps[r.IntN(len(jumps))], 8*time.Second+time.Duration(r.Int64N(int64(6*time.Second)))
		case "topic made again":
			s.hold = time.Second + time.Duration(r.Int64N(int64(4*time.Second)))
		case "partition moved":
			s.pick = r.IntN(1000)
		case "process joins and leaves":
			s.hold = 2*time.Second + time.Duration(r.Int64N(int64(5*time.Second)))
		}
		plan[i] = s
	}
	return plan
}
