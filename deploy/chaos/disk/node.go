package disk

import (
	"context"
	"path"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file or folder of the disk.
type node struct {
	*fs.LoopbackNode
	d *Disk
}

// WrapChild makes every node that the loopback finds one of ours.
func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{ops.(*fs.LoopbackNode), n.d}
}

func (n *node) path(name string) string { return path.Join(n.Path(nil), name) }

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	p := n.path(name)
	if errno := n.d.verdict(Space, p); errno != fs.OK {
		return nil, nil, 0, errno
	}
	n.d.hear(p) // of a file before it
	in, h, fl, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return in, n.d.wrap(h, p), fl, errno
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, fl, errno := n.LoopbackNode.Open(ctx, flags)
	return n.d.wrap(h, n.path("")), fl, errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.d.verdict(Space, n.path(name)); errno != fs.OK {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

func (n *node) Rename(ctx context.Context, name string, to fs.InodeEmbedder, as string, flags uint32) syscall.Errno {
	if errno := n.d.hear(n.path(name)); errno != fs.OK {
		return errno
	}
	return n.LoopbackNode.Rename(ctx, name, to, as, flags)
}

func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, fl, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if list, ok := h.(listing); ok {
		h = &folder{list, n.d, n.path("")}
	}
	return h, fl, errno
}

func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	errno := n.LoopbackNode.Statfs(ctx, out)
	if n.d.full() {
		out.Bfree, out.Bavail = 0, 0
	}
	return errno
}

// file is an open file. path is where it stood when it was opened.
type file struct {
	*fs.LoopbackFile
	d    *Disk
	path string
}

func (d *Disk) wrap(h fs.FileHandle, path string) fs.FileHandle {
	if f, ok := h.(*fs.LoopbackFile); ok {
		return &file{f, d, path}
	}
	return h
}

func (f *file) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if f.d.verdict(Write, f.path) != fs.OK {
		return uint32(len(data)), fs.OK
	}
	return f.LoopbackFile.Write(ctx, data, off)
}

// Writev is what the kernel asks for when the data came in pieces.
func (f *file) Writev(ctx context.Context, data [][]byte, off int64) (n uint32, errno syscall.Errno) {
	for _, b := range data {
		w, errno := f.Write(ctx, b, off+int64(n))
		if n += w; errno != fs.OK || int(w) < len(b) {
			return n, errno
		}
	}
	return n, fs.OK
}

func (f *file) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if errno := f.d.hear(f.path); errno != fs.OK {
		return errno
	}
	if errno := f.d.verdict(Sync, f.path); errno != fs.OK {
		return errno
	}
	return f.LoopbackFile.Fsync(ctx, flags)
}

func (f *file) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if errno := f.d.verdict(Space, f.path); errno != fs.OK {
		return errno
	}
	return f.LoopbackFile.Allocate(ctx, off, size, mode)
}

// listing is what the loopback opens a folder as.
type listing interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	fs.FileFsyncdirer
}

// folder is an open folder.
type folder struct {
	listing
	d    *Disk
	path string
}

func (f *folder) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	if errno := f.d.verdict(Sync, f.path); errno != fs.OK {
		return errno
	}
	return f.listing.Fsyncdir(ctx, flags)
}
