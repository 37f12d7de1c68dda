package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

const firstDay = "../../deploy/FIRST-DAY.md"

// TestFirstDay does what deploy/FIRST-DAY.md says, word by word: each block between ```sh and ``` is a script, run by bash
// where bin/ holds the programs; what it exports holds in the next ones, and a line "# => text" in it says what its output
// holds. Only ports are others, because those of the document may be taken here.
func TestFirstDay(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(firstDay)
	if err != nil {
		t.Fatal(err)
	}
	script := string(text)
	for _, port := range []string{"8088", "9464", "9465"} {
		script = strings.ReplaceAll(script, "127.0.0.1:"+port, quietAddress(t))
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"agentrisk": program, "devstack": stacktest.Devstack(t)} {
		if err := os.Symlink(path, filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	d := &day{t: t, dir: dir}
	t.Cleanup(d.end)
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(script, -1)
	if len(blocks) < 8 {
		t.Fatalf("%s has %d blocks: is it written otherwise now?", firstDay, len(blocks))
	}
	for i, b := range blocks {
		d.do(i+1, b[1])
	}
}

// quietAddress returns an address that is free now, with a port below those that the system gives to whoever asks for any:
// nobody else takes it before it is used.
func quietAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port below 30000")
	return ""
}

// day runs blocks one after the other.
type day struct {
	t      *testing.T
	dir    string
	groups []int // process groups of the blocks: what they left running is in them
}

func (d *day) do(n int, block string) {
	d.t.Helper()
	out, err := os.Create(filepath.Join(d.dir, fmt.Sprintf("block%02d", n)))
	if err != nil {
		d.t.Fatal(err)
	}
	defer out.Close()
	// The variables go on to the next block through a file.
	cmd := exec.Command("bash", "-c", "set -euo pipefail\n[ ! -f .exports ] || . ./.exports\n"+block+"\nexport -p > .exports\n")
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.groups = append(d.groups, cmd.Process.Pid)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err = <-done:
	case <-time.After(4 * time.Minute):
		err = fmt.Errorf("did not end")
	}
	text, _ := os.ReadFile(out.Name())
	for _, want := range regexp.MustCompile(`(?m)^# => (.*)$`).FindAllStringSubmatch(block, -1) {
		if err == nil && !strings.Contains(string(text), want[1]) {
			d.t.Errorf("block %d: printed without %q\n%s\nprinted:\n%s", n, want[1], block, text)
		}
	}
	if err != nil {
		for _, log := range []string{"run.log", "second.log"} {
			b, _ := os.ReadFile(filepath.Join(d.dir, "day", log))
			d.t.Logf("%s:\n%s", log, b[max(0, len(b)-3000):])
		}
		d.t.Fatalf("block %d: %v\n%s\nprinted:\n%s", n, err, block, text)
	}
}

// end stops what a block that failed left behind.
func (d *day) end() {
	if _, err := os.Stat(filepath.Join(d.dir, "day", "state.json")); err == nil {
		_ = exec.Command(filepath.Join(d.dir, "bin", "devstack"), "down", filepath.Join(d.dir, "day")).Run()
	}
	for _, g := range d.groups {
		_ = syscall.Kill(-g, syscall.SIGKILL)
	}
}
