// Package disk is a folder on a disk that fails on demand: a FUSE file system that passes everything through to another
// folder, but for what a test has it refuse. For tests, on machines that let this user mount.
//
// A write fails as it does behind a page cache: the bytes are taken and lost, and who wrote them hears of it at the next
// fsync of the file, or at the latest when the file or a folder above it gets its name.
package disk

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Op is what a fault makes fail.
type Op int

const (
	Write Op = iota // bytes written to a file
	Sync            // fsync and fdatasync, of files and folders
	Space           // new files and folders, wherever, and bytes written; nothing is free either
)

// Fault is one way to fail. It lasts until Mend.
type Fault struct {
	Op    Op
	Errno syscall.Errno
	Under string // part of the paths that it strikes; "" is everywhere
	Times int    // how often it strikes; 0 is always
}

// Disk is a mounted folder.
type Disk struct {
	server *fuse.Server
	guard  *exec.Cmd
	alive  io.Closer // the guard unmounts once this end of its input is gone

	mu     sync.Mutex
	fault  *Fault
	failed int
	lost   map[string]syscall.Errno // files that lack bytes, and nobody has heard of it
}

// Mount shows what the folder backing holds at the folder at. However this process ends, at is unmounted after it. An
// error says why this machine has no such disk.
func Mount(backing, at string) (*Disk, error) {
	root, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return nil, err
	}
	loopback, ok := root.(*fs.LoopbackNode)
	if !ok {
		return nil, fmt.Errorf("%T is not a loopback", root)
	}
	d := &Disk{lost: map[string]syscall.Errno{}, guard: exec.Command("sh", "-c", `cat >/dev/null; umount -l "$0" 2>/dev/null; true`, at)}
	d.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt from the terminal is not for it
	if d.alive, err = d.guard.StdinPipe(); err != nil {
		return nil, err
	}
	if err := d.guard.Start(); err != nil {
		return nil, err
	}
	top := &node{loopback, d}
	loopback.RootData.RootNode = top
	d.server, err = fs.Mount(at, top, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "agentrisk-chaos", Name: "chaos", DirectMount: true, MaxWrite: 1 << 20, DisableXAttrs: true,
		DisabledCapabilities: fuse.CAP_PASSTHROUGH, // the kernel would write past us
	}})
	if err != nil {
		_ = d.alive.Close()
		_ = d.guard.Wait()
		return nil, err
	}
	return d, nil
}

// Close unmounts, whoever still uses the folder.
func (d *Disk) Close() error {
	err := d.server.Unmount()
	_ = d.alive.Close()
	if wait := d.guard.Wait(); err == nil || wait != nil {
		return wait
	}
	return nil // in use: the guard has unmounted it lazily
}

// Break makes the disk fail from now on.
func (d *Disk) Break(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.failed = &f, 0
}

// Mend makes the disk whole again and returns how often it failed.
func (d *Disk) Mend() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = nil
	return d.failed
}

// verdict is what becomes of an operation on a path.
func (d *Disk) verdict(op Op, path string) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.fault
	switch {
	case f == nil, f.Times > 0 && d.failed >= f.Times:
		return fs.OK
	case f.Op == Space && op == Space:
	case f.Op == op, f.Op == Space && op == Write:
		if !strings.Contains(path, f.Under) {
			return fs.OK
		}
	default:
		return fs.OK
	}
	d.failed++
	if op == Write {
		d.lost[path] = f.Errno
	}
	return f.Errno
}

// hear tells once of what was lost at a path or below it.
func (d *Disk) hear(path string) (errno syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, e := range d.lost {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(d.lost, p)
			errno = e
		}
	}
	return errno
}

// full reports whether a fault has taken all room, to somebody who asks before writing: that is a way to fail.
func (d *Disk) full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault == nil || d.fault.Op != Space {
		return false
	}
	d.failed++
	return true
}
