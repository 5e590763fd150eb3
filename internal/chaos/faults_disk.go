package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// diskSize is what a member of etcd has: much more than it needs.
const diskSize = "size=2g"

// diskOf is where the lab has the data of the member on a host.
func (w *world) diskOf(host string) (string, error) {
	dir, err := w.HostDir(host)
	return filepath.Join(dir, "etcd"), err
}

// mountDisk gives a member of etcd a file system of its own, which goes with the
// lab.
func (w *world) mountDisk(host string) error {
	dir, err := w.diskOf(host)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, diskSize)
	}
	if err != nil {
		return fmt.Errorf("a disk for etcd on host %s: %w", host, err)
	}
	return nil
}

// fillDisk makes the disk of a member as small as what is on it, and has etcd
// write: what it has allocated ahead carries it for a while, then it exits.
func fillDisk(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts, e.Recovery = []Part{member(e.On)}, memberBack
	dir, err := w.diskOf(e.On)
	if err != nil {
		return nil, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("look at the disk of etcd on host %s: %w", e.On, err)
	}
	used := (fs.Blocks - fs.Bfree) * uint64(fs.Bsize)
	err = unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", used))
	if err == nil {
		e.Note = w.ballast(ctx, e.For)
	}
	return func(context.Context) error {
		return unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, diskSize)
	}, err
}

// ballast writes some megabytes to etcd, for half of a time at most.
func (w *world) ballast(ctx context.Context, length time.Duration) string {
	const most = 24
	ctx, cancel := context.WithTimeout(ctx, length/2)
	defer cancel()
	value := make([]byte, 1<<20)
	for i := range most {
		if w.etcd.Put(ctx, w.ledger.member(), "/chaos/ballast", value) != nil || ctx.Err() != nil {
			return fmt.Sprintf("%d MB written", i) // the disk is full, or etcd is in other trouble
		}
	}
	return fmt.Sprintf("%d MB written", most)
}
