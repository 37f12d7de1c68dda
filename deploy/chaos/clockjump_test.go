package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// jumps are by how much a process's clock is wrong for a while: less and more than the minute and the hour that something
// may wait for, another day, and beyond what the tables keep.
var jumps = []time.Duration{-10 * time.Minute, 10 * time.Minute, -time.Hour, time.Hour, -26 * time.Hour, 26 * time.Hour, 200 * 24 * time.Hour}

// clockVariable names the file that says by how many seconds the clock of a process built by [overlay] is wrong.
const clockVariable = "AGENTRISK_CHAOS_CLOCK"

// jumpSource becomes a file of package time: by how many seconds the wall clock is wrong. One goroutine reads the file
// every 50 ms (time.Now may not: the scheduler itself calls it, on a stack of its own). The monotonic reading stays what it
// is, as it does when somebody sets the clock of a machine.
const jumpSource = `package time

import (
	"sync/atomic"
	"syscall"
)

var jumped atomic.Int64

func init() {
	if name, ok := syscall.Getenv("` + clockVariable + `"); ok {
		go func() {
			for ; ; Sleep(50 * Millisecond) {
				if by, ok := readJump(name); ok {
					jumped.Store(by)
				}
			}
		}()
	}
}

func readJump(name string) (by int64, ok bool) {
	fd, err := open(name)
	if err != nil {
		return 0, false
	}
	defer closefd(fd)
	var buf [24]byte
	n, err := read(fd, buf[:])
	sign := int64(1)
	for _, c := range buf[:max(n, 0)] {
		switch {
		case c == '-':
			sign = -1
		case '0' <= c && c <= '9':
			by = 10*by + int64(c-'0')
		}
	}
	return sign * by, err == nil && n > 0
}
`

// overlay writes what makes a compiler build a program whose clock can be set: Go's own time.Now, and a line in it. No
// code of the product is touched, and a static program takes it, which has no library to preload.
func overlay(dir string) (path string, err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		return "", err
	}
	const before = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if n := strings.Count(string(text), before); n != 1 {
		return "", fmt.Errorf("%s/time.go has %d times what is replaced in it, want once: see deploy/chaos/clockjump_test.go", source, n)
	}
	now, jump, path := filepath.Join(dir, "time.go"), filepath.Join(dir, "jump.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(source, "time.go"): now, filepath.Join(source, "jump.go"): jump}})
	for _, f := range []struct{ path, text string }{
		{now, strings.Replace(string(text), before, before+"\tsec += jumped.Load()\n", 1)}, {jump, jumpSource}, {path, string(list)},
	} {
		if err == nil {
			err = os.WriteFile(f.path, []byte(f.text), 0o644)
		}
	}
	return path, err
}

// clockFile is where a process reads by how much its clock is wrong.
func (p *process) clockFile() string { return p.config + ".clock" }

// setClock makes the process's clock wrong by so much.
func (p *process) setClock(by time.Duration) {
	path := p.clockFile()
	err := os.WriteFile(path+".new", []byte(strconv.Itoa(int(by.Seconds()))), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		p.d.t.Error(err)
	}
}

// clock is by how much the process's clock is wrong, as what it serves over HTTP says; false when it serves nothing.
func (p *process) clock() (by time.Duration, ok bool) {
	client := http.Client{Timeout: 5 * time.Second}
	for range 10 {
		if res, err := client.Head(p.metrics); err == nil {
			res.Body.Close()
			at, err := http.ParseTime(res.Header.Get("Date"))
			return time.Until(at), err == nil
		}
		time.Sleep(500 * time.Millisecond)
	}
	return 0, false
}

// jump sets the clock of a process, asleep meanwhile or not, holds that, and sets it right again. It reports whether the
// process was seen to believe both.
func (p *process) jump(by time.Duration, asleep bool, hold func()) bool {
	believes := func(by time.Duration) bool {
		time.Sleep(200 * time.Millisecond)
		is, ok := p.clock()
		if ok && (is-by).Abs() > time.Minute {
			p.d.t.Errorf("a clock that was set %s wrong is %s wrong", by, is)
		}
		return ok
	}
	if asleep {
		p.signal(syscall.SIGSTOP)
		p.setClock(by)
		hold()
		p.signal(syscall.SIGCONT)
	} else {
		p.setClock(by)
		hold()
	}
	there := believes(by)
	p.setClock(0)
	return believes(0) && there
}
