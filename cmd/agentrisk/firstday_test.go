package main

import (
	"bytes"
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
// holds. Only ports are others, because those of the document may be taken here. The new version is [newerProgram].
func TestFirstDay(t *testing.T) {
	t.Parallel()
	script := string(read(t, firstDay))
	for _, port := range []string{"8088", "9464", "9465"} {
		script = strings.ReplaceAll(script, "127.0.0.1:"+port, quietAddress(t))
	}
	d := newDay(t, map[string]string{"agentrisk": program, "agentrisk-next": newerProgram(t), "devstack": stacktest.Devstack(t)})
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(script, -1)
	if len(blocks) < 8 {
		t.Fatalf("%s has %d blocks: is it written otherwise now?", firstDay, len(blocks))
	}
	for i, b := range blocks {
		d.do(i+1, b[1])
	}
}

// The commands of README.md after `make build up` do what they say; topics, group and database are others, for this test.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	d := newDay(t, map[string]string{"agentrisk": program})
	if err := os.Mkdir(filepath.Join(d.dir, "try"), 0o755); err != nil {
		t.Fatal(err)
	}
	mine := stacktest.Unique("readme_")
	config := strings.NewReplacer("agent.events.", mine+".", ": agentrisk\n", ": "+mine+"\n").Replace(string(read(t, stacktest.Start(t).Config)))
	if err := os.WriteFile(filepath.Join(d.dir, "try", "agentrisk.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^    bin/agentrisk .*$`).FindAllString(string(read(t, "../../README.md")), -1)
	if len(lines) != 3 {
		t.Fatalf("README.md has %d commands after `make build up`: is it written otherwise now?", len(lines))
	}
	lines[1] = strings.TrimSuffix(lines[1], "&") + "> run.log 2>&1 &"
	d.do(1, strings.Join(lines, "\n"))
	d.do(2, "until bin/agentrisk reconcile --config try/agentrisk.yaml | grep ' 50000 rows'; do sleep 1; done\n# => 0 findings\n")
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

// newDay returns a day in an empty folder whose bin/ holds the programs.
func newDay(t *testing.T, programs map[string]string) *day {
	t.Helper()
	d := &day{t: t, dir: t.TempDir()}
	t.Cleanup(d.end)
	if err := os.Mkdir(filepath.Join(d.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range programs {
		if err := os.Symlink(path, filepath.Join(d.dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return d
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
	case <-time.After(10 * time.Minute):
		err = fmt.Errorf("did not end")
	}
	text, _ := os.ReadFile(out.Name())
	for _, want := range regexp.MustCompile(`(?m)^# => (.*)$`).FindAllStringSubmatch(block, -1) {
		if err == nil && !strings.Contains(string(text), want[1]) {
			d.t.Errorf("block %d: printed without %q\n%s\nprinted:\n%s", n, want[1], block, text)
		}
	}
	if bytes.Contains(text, []byte("has neither these listeners")) {
		(&stacktest.Stack{KafkaKind: "kfake"}).NeedApache(d.t, "TLS, SASL and ACLs as Apache Kafka has them")
	}
	if err != nil {
		for _, log := range []string{"run.log", "second.log"} {
			b, _ := os.ReadFile(filepath.Join(d.dir, "day", log))
			d.t.Logf("%s:\n%s", log, b[max(0, len(b)-3000):])
		}
		d.t.Fatalf("block %d: %v\n%s\nprinted:\n%s", n, err, block, text)
	}
	d.t.Logf("block %d:\n%s\nprinted:\n%s", n, block, text)
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
