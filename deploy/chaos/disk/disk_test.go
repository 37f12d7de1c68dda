package disk

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the process that dies with a mounted disk.
func TestMain(m *testing.M) {
	if at := os.Getenv("AGENTRISK_TEST_MOUNT"); at != "" {
		if _, err := Mount(os.Getenv("AGENTRISK_TEST_BACKING"), at); err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("mounted\n")
		select {}
	}
	os.Exit(m.Run())
}

func mount(t *testing.T) (d *Disk, at string) {
	t.Helper()
	at = t.TempDir()
	d, err := Mount(t.TempDir(), at)
	if err != nil {
		t.Skipf("NOT RUN: no disk that fails on demand: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil || mounted(t, at) {
			t.Errorf("%v; still mounted: %v", err, mounted(t, at))
		}
	})
	return d, at
}

func mounted(t *testing.T, at string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), " "+at+" ")
}

func TestFaults(t *testing.T) {
	d, at := mount(t)
	if err := os.MkdirAll(filepath.Join(at, "store", "parts"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(at, "store", "rows"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir, err := os.Open(filepath.Join(at, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	write := func() error { _, err := f.WriteString("0123456789"); return err }
	saved := func() error { return errors.Join(write(), f.Sync()) }
	big := func() error { _, err := f.Write(make([]byte, 3<<20)); return errors.Join(err, f.Sync()) }
	create := func() error { return os.WriteFile(filepath.Join(at, "store", "more"), nil, 0o644) }
	mkdir := func() error { return os.Mkdir(filepath.Join(at, "store", "parts", "one"), 0o755) }
	named := func() error {
		tmp, name := filepath.Join(at, "store", "tmp"), filepath.Join(at, "store", "part")
		_ = os.RemoveAll(tmp)
		_ = os.RemoveAll(name)
		return errors.Join(os.Mkdir(tmp, 0o755), os.WriteFile(filepath.Join(tmp, "rows"), []byte("rows"), 0o644), os.Rename(tmp, name))
	}
	for _, tt := range []struct {
		name   string
		fault  Fault
		do     func() error
		errnos []error
	}{
		{"elsewhere", Fault{Op: Write, Errno: syscall.EIO, Under: "elsewhere"}, saved, []error{nil}},
		{"a write, twice", Fault{Op: Write, Errno: syscall.EIO, Times: 2}, saved, []error{syscall.EIO, syscall.EIO, nil}},
		{"a write under a path", Fault{Op: Write, Errno: syscall.EIO, Under: "store/"}, saved, []error{syscall.EIO, syscall.EIO, syscall.EIO}},
		{"a big write", Fault{Op: Write, Errno: syscall.ENOSPC, Times: 1}, big, []error{syscall.ENOSPC, nil}},
		{"a write that nobody syncs", Fault{Op: Write, Errno: syscall.EIO, Times: 1}, named, []error{syscall.EIO, nil}},
		{"a write passes while syncs fail", Fault{Op: Sync, Errno: syscall.EIO}, write, []error{nil}},
		{"fsync of a file", Fault{Op: Sync, Errno: syscall.EIO, Times: 1}, f.Sync, []error{syscall.EIO, nil}},
		{"fsync of a folder", Fault{Op: Sync, Errno: syscall.EIO, Times: 1}, dir.Sync, []error{syscall.EIO, nil}},
		{"full: a write", Fault{Op: Space, Errno: syscall.ENOSPC, Under: "rows"}, saved, []error{syscall.ENOSPC, syscall.ENOSPC}},
		{"full: a write elsewhere", Fault{Op: Space, Errno: syscall.ENOSPC, Under: "elsewhere"}, saved, []error{nil}}, // but nothing is free
		{"full: a new file", Fault{Op: Space, Errno: syscall.ENOSPC, Under: "elsewhere"}, create, []error{syscall.ENOSPC}},
		{"full: a new folder", Fault{Op: Space, Errno: syscall.ENOSPC}, mkdir, []error{syscall.ENOSPC}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.Break(tt.fault)
			want := 0
			for i, errno := range tt.errnos {
				if err := tt.do(); !errors.Is(err, errno) {
					t.Errorf("call %d: %v, want %v", i+1, err, errno)
				}
				if errno != nil {
					want++
				}
			}
			if tt.fault.Op == Space {
				want++
				if free(t, at) != 0 {
					t.Error("room on a full disk")
				}
			}
			if n := d.Mend(); (n > 0) != (want > 0) || n < want {
				t.Errorf("failed %d times, want %d", n, want)
			}
			if err := tt.do(); err != nil {
				t.Errorf("mended: %v", err)
			}
			if free(t, at) == 0 {
				t.Error("no room on a mended disk")
			}
		})
	}
}

func free(t *testing.T, at string) uint64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(at, &s); err != nil {
		t.Fatal(err)
	}
	return s.Bavail
}

// What a database does with its files: links, renames over and beside, appending, reading back, removing what is open.
func TestPassesThrough(t *testing.T) {
	_, at := mount(t)
	p := func(name string) string { return filepath.Join(at, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(p("tmp_part"), 0o755))
	must(os.WriteFile(p("tmp_part/data.bin"), []byte("rows"), 0o644))
	must(os.Rename(p("tmp_part"), p("part")))
	must(os.Link(p("part/data.bin"), p("linked")))
	f, err := os.OpenFile(p("linked"), os.O_APPEND|os.O_RDWR, 0)
	must(err)
	_, err = f.WriteString(" and more")
	must(err)
	must(os.Remove(p("linked")))
	b := make([]byte, 13)
	_, err = f.ReadAt(b, 0)
	must(err)
	must(f.Close())
	again, err := os.ReadFile(p("part/data.bin"))
	must(err)
	if string(b) != "rows and more" || string(again) != string(b) {
		t.Errorf("read %q, then %q", b, again)
	}
	must(os.RemoveAll(p("part")))
	if list, err := os.ReadDir(at); err != nil || len(list) != 0 {
		t.Errorf("left: %v %v", list, err)
	}
}

// A disk does not outlive its process, however that ends, and whoever has a file of it open.
func TestUnmountedAfterAKill(t *testing.T) {
	_, _ = mount(t) // or not run
	at, backing := t.TempDir(), t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "AGENTRISK_TEST_MOUNT="+at, "AGENTRISK_TEST_BACKING="+backing)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !mounted(t, at) {
		t.Fatalf("%q %v: not mounted", line, err)
	}
	f, err := os.Create(filepath.Join(at, "open"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for end := time.Now().Add(time.Minute); mounted(t, at); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("still mounted a minute after the kill")
		}
	}
}
