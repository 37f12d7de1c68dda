package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The servers' ports lie below the range that the kernel takes for outgoing connections. A port inside of it may be
// taken while its server is down, even by a client that tries to reach that very port and meets itself.
const (
	lowestPort  = 15000
	highestPort = 32000
)

// reservePorts picks n ports that nobody listens on and that no other devstack is about to use. Call release once
// servers listen on them.
func reservePorts(n int) (ports []int, release func(), err error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("agentrisk-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	var held []*os.File
	release = func() {
		for _, f := range held {
			_ = os.Remove(f.Name())
			_ = f.Close()
		}
	}
	top := min(highestPort, outgoingPorts())
	for range 1000 {
		if len(ports) == n {
			return ports, release, nil
		}
		port := lowestPort + rand.IntN(top-lowestPort)
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			release()
			return nil, nil, err
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			_ = f.Close()
			continue
		}
		held = append(held, f)
		if l, err := net.Listen("tcp", address(port)); err == nil {
			_ = l.Close()
			ports = append(ports, port)
		}
	}
	release()
	return nil, nil, fmt.Errorf("no %d free ports between %d and %d on 127.0.0.1", n, lowestPort, top)
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// outgoingPorts is where the kernel's range for outgoing connections begins.
func outgoingPorts() int {
	const elsewhere = 49152 // RFC 6335, section 6; what macOS does
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return elsewhere
	}
	if words := strings.Fields(string(b)); len(words) > 0 {
		// A machine whose range begins very low leaves no room below it.
		if low, err := strconv.Atoi(words[0]); err == nil && low > lowestPort+1000 {
			return low
		}
	}
	return elsewhere
}

// lock takes an exclusive lock on a file and waits for it as long as ctx lives; waiting says what one waits for.
func lock(ctx context.Context, path, waiting string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for told := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			fmt.Fprintln(os.Stderr, "devstack: waits:", waiting)
			told = true
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
