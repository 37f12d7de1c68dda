package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/chaos/disk"
)

func onDisk(kind string) bool { return strings.HasPrefix(kind, "clickhouse disk") }

// possible leaves out what this machine does not allow, and says so.
func possible(t *testing.T, kinds []string) []string {
	t.Helper()
	if !slices.ContainsFunc(kinds, onDisk) {
		return kinds
	}
	if err := mountable(t); err != nil {
		fmt.Printf("chaos: NOT RUN: disk faults: %v\n", err)
		return slices.DeleteFunc(slices.Clone(kinds), onDisk)
	}
	return kinds
}

// mountable tries whether this user may mount a disk that fails on demand.
func mountable(t *testing.T) error {
	t.Helper()
	d, err := disk.Mount(t.TempDir(), t.TempDir())
	if err != nil {
		return err
	}
	return d.Close()
}

// mountDisk puts ClickHouse's data behind the disk.
func (d *deployment) mountDisk() {
	t := d.t
	t.Helper()
	at := filepath.Join(d.stack.Dir, "clickhouse")
	d.stack.Stop(t, "clickhouse")
	if err := os.Rename(at, at+".disk"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.disk, err = disk.Mount(at+".disk", at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.disk.Mend()
		d.stack.Stop(t, "clickhouse")
		if err := d.disk.Close(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	d.stack.Start(t, "clickhouse")
}

// repaired mends the disk and sees to the server as an operator would: one that ended is started again. False when nothing failed.
func (d *deployment) repaired() bool {
	n := d.disk.Mend()
	d.stack.Start(d.t, "clickhouse")
	return n > 0
}

// TestDiskFaults is the attack on ClickHouse's disk alone.
func TestDiskFaults(t *testing.T) {
	if err := mountable(t); err != nil {
		t.Skipf("NOT RUN: disk faults: %v", err)
	}
	var faults []string
	for _, k := range kinds {
		if onDisk(k) {
			faults = append(faults, k)
		}
	}
	attack(t, size{events: 10_000, partitions: 4, processes: 1, faults: 9, rate: 300, gap: time.Second, kinds: faults}, 11)
}
