package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is one process of the stack. It runs in a session of its own and is known by its process id.
type server struct {
	name    string
	dir     string   // of the stack
	command []string // how to start it
	env     []string
	ready   func(ctx context.Context) error // nil once it really answers
}

func (s *server) pidFile() string { return filepath.Join(s.dir, s.name+".pid") }
func (s *server) logFile() string { return filepath.Join(s.dir, s.name+".log") }

// pid returns the process id, 0 when it is not running. The start time guards against a number used again.
func (s *server) pid() int {
	b, err := os.ReadFile(s.pidFile())
	if err != nil {
		return 0
	}
	number, started, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 || syscall.Kill(pid, 0) != nil || started != startTime(pid) {
		return 0
	}
	return pid
}

// startTime is the kernel's word for when a process began, "" where it says none; a zombie has none either.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "gone"
	}
	return fields[19]
}

func (s *server) state() string {
	if pid := s.pid(); pid != 0 {
		return fmt.Sprintf("running pid=%d", pid)
	}
	return "stopped"
}

// start runs the server and waits until it answers.
func (s *server) start(ctx context.Context) error {
	if s.pid() != 0 {
		return s.wait(ctx)
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.Env = append(os.Environ(), s.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	line := fmt.Sprintf("%d %s\n", cmd.Process.Pid, startTime(cmd.Process.Pid))
	if err := os.WriteFile(s.pidFile(), []byte(line), 0o644); err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	waited := make(chan error, 1)
	go func() { waited <- s.wait(ctx) }()
	select {
	case err := <-exited:
		return fmt.Errorf("%s ended at once (%v):\n%s", s.name, err, s.tail())
	case err := <-waited:
		if err != nil {
			_ = s.stop(syscall.SIGKILL)
		}
		return err
	}
}

// wait returns once the server answers.
func (s *server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for {
		try, end := context.WithTimeout(ctx, 5*time.Second)
		err := s.ready(try)
		end()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w\n%s", s.name, errors.Join(ctx.Err(), err), s.tail())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *server) tail() string {
	b, err := os.ReadFile(s.logFile())
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-2000):])
}

// stop signals the whole process group and waits until it is gone.
func (s *server) stop(sig syscall.Signal) error {
	pid := s.pid()
	if pid == 0 {
		return nil
	}
	_ = syscall.Kill(-pid, syscall.SIGCONT) // a paused process cannot end
	_ = syscall.Kill(-pid, sig)
	for deadline := time.Now().Add(10 * time.Second); groupLives(pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			deadline = deadline.Add(time.Hour)
		}
	}
	return os.Remove(s.pidFile())
}

// groupLives reports whether any process of the group still runs: a supervisor is gone long before the big child
// that it started, and the child holds locks until its memory is freed.
func groupLives(group int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(fields) <= 2 || fields[2] != strconv.Itoa(group) {
			continue
		}
		// A first thread that is gone is a zombie until the others are, who hold files, locks and ports.
		threads, _ := os.ReadDir(filepath.Join(filepath.Dir(path), "task"))
		if fields[0] != "Z" && fields[0] != "X" || len(threads) > 1 {
			return true
		}
	}
	return len(stats) == 0 && syscall.Kill(-group, 0) == nil // no /proc
}

// treat does what tests ask for.
func (s *server) treat(ctx context.Context, how string) error {
	signal := func(sig syscall.Signal) error {
		pid := s.pid()
		if pid == 0 {
			return fmt.Errorf("%s is not running", s.name)
		}
		return syscall.Kill(-pid, sig)
	}
	switch how {
	case "stop":
		return s.stop(syscall.SIGTERM)
	case "kill":
		return s.stop(syscall.SIGKILL)
	case "pause":
		return signal(syscall.SIGSTOP)
	case "resume":
		return signal(syscall.SIGCONT)
	case "start":
		return s.start(ctx)
	case "restart":
		if err := s.stop(syscall.SIGTERM); err != nil {
			return err
		}
		return s.start(ctx)
	}
	return fmt.Errorf("unknown treatment %q: stop, kill, pause, resume, start or restart", how)
}

// freePorts picks n ports that are free now, below those that systems give to outgoing connections: a server that is
// away for a moment would find one of those taken by a client that tries to reach it.
func freePorts(n int) ([]int, error) {
	var ports []int
	for try := 0; len(ports) < n; try++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 15_000+rand.IntN(17_000)))
		if err != nil {
			if try > 1000 {
				return nil, err
			}
			continue
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
