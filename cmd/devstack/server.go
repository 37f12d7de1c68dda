package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startLimit = 90 * time.Second // until a server must answer
	stopLimit  = 10 * time.Second // until SIGKILL follows SIGTERM
)

// server is one process of the stack. It runs in a session of its own and is known by its process id.
type server struct {
	name    string
	dir     string   // of the stack
	address string   // where it listens
	command []string // how to start it
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
	if err != nil || pid <= 0 || syscall.Kill(pid, 0) != nil {
		return 0
	}
	if now, _ := inspect(pid); now != started {
		return 0
	}
	return pid
}

// inspect returns the kernel's word for when a process began, and its state: R, S, T (paused) and so on. A zombie's
// start is "gone". Where there is no /proc both are "".
func inspect(pid int) (started, state string) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	// The name stands in parentheses and may hold anything; the fields are counted behind it.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "gone", ""
	}
	return fields[19], fields[0]
}

func (s *server) paused() bool {
	pid := s.pid()
	_, state := inspect(pid)
	return pid != 0 && state == "T"
}

func (s *server) state() string {
	switch pid := s.pid(); {
	case pid == 0:
		return "stopped"
	case s.paused():
		return fmt.Sprintf("paused pid=%d", pid)
	default:
		return fmt.Sprintf("running pid=%d", pid)
	}
}

// start runs the server and returns once it answers. When it does not, or ctx ends first, it is killed again.
func (s *server) start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.paused() {
		return fmt.Errorf("%s is paused: devstack ctl %s resume %s", s.name, s.dir, s.name)
	}
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	started, _ := inspect(cmd.Process.Pid)
	if err := replace(s.pidFile(), fmt.Sprintf("%d %s\n", cmd.Process.Pid, started)); err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- s.wait(waiting) }()
	select {
	case err := <-exited:
		return fmt.Errorf("%s ended while it was starting (%v); the end of %s:\n%s", s.name, err, s.logFile(), s.tail())
	case err := <-answered:
		if err != nil {
			return errors.Join(err, s.stop(syscall.SIGKILL))
		}
		return nil
	}
}

// wait returns once the server answers.
func (s *server) wait(ctx context.Context) error {
	deadline := time.Now().Add(startLimit)
	for {
		try, end := context.WithTimeout(ctx, 5*time.Second)
		err := s.ready(try)
		end()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer after %s: %w; the end of %s:\n%s", s.name, startLimit, err, s.logFile(), s.tail())
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tail is the end of the log, for errors.
func (s *server) tail() string {
	b, err := os.ReadFile(s.logFile())
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-2000):])
}

// stop signals the whole process group and waits until it is gone. Nothing happens when it does not run.
func (s *server) stop(sig syscall.Signal) error {
	pid := s.pid()
	if pid == 0 {
		return nil
	}
	_ = syscall.Kill(-pid, sig)
	if sig != syscall.SIGKILL {
		_ = syscall.Kill(-pid, syscall.SIGCONT) // a paused process takes SIGTERM once it goes on
	}
	began, killed := time.Now(), false
	for s.pid() != 0 {
		if waited := time.Since(began); waited > stopLimit && !killed {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			killed = true
		} else if waited > 3*stopLimit {
			return fmt.Errorf("%s: process %d is still there %s after SIGKILL: a disk that hangs?", s.name, pid, 2*stopLimit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := os.Remove(s.pidFile()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// treat does what tests ask for.
func (s *server) treat(ctx context.Context, how string) error {
	switch how {
	case "stop":
		return s.stop(syscall.SIGTERM)
	case "kill":
		return s.stop(syscall.SIGKILL)
	case "pause":
		return s.signal(syscall.SIGSTOP)
	case "resume":
		return s.signal(syscall.SIGCONT)
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

func (s *server) signal(sig syscall.Signal) error {
	pid := s.pid()
	if pid == 0 {
		return fmt.Errorf("%s is not running: devstack ctl %s start %s", s.name, s.dir, s.name)
	}
	return syscall.Kill(-pid, sig)
}

// replace writes a file whole: a reader sees the old text or the new.
func replace(path, text string) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
