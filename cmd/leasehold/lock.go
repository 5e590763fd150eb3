package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// lockRunDir makes the run_dir if need be and takes the lock in it, which ends
// with the process or with Close. Only a purge removes the file; who waited for
// its lock meanwhile makes another, or two daemons would lock two files of one
// name. A lock that another has is waited for as
// long as wait: a killed daemon takes a moment to die. The error names the process
// that has it.
func lockRunDir(ctx context.Context, dir string, wait time.Duration) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make run_dir: %w", err)
	}
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := flock(ctx, f, wait); err != nil {
		defer func() { _ = f.Close() }() // the lock was not had
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w, %s (it has %s)", errLocked, lockOwner(f), path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if removed(f, path) {
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		return lockRunDir(ctx, dir, wait)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// removed reports whether the open file is no longer the one at path.
func removed(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return true
	}
	there, err := os.Lstat(path)
	return err != nil || !os.SameFile(mine, there)
}

// errLocked says that another process has the lock.
var errLocked = errors.New("another leasehold runs here")

// lockName is the file in the run_dir that is locked.
const lockName = "lock"

// ownLock is the daemon's: handed on by the process that this one was until now,
// or taken.
func ownLock(ctx context.Context, dir string, spare func() int, log hclog.Logger) (*os.File, error) {
	was, err := inherit(dir, spare)
	if err != nil {
		log.Warn("started in place of another process, without what it was to hand on", "err", err)
	}
	if was.lock == nil {
		return lockRunDir(ctx, dir, lockWait)
	}
	if err := flock(ctx, was.lock, lockWait); err != nil { // ours already
		return nil, errors.Join(fmt.Errorf("lock %s: %w", was.lock.Name(), err), was.lock.Close())
	}
	return was.lock, nil
}

// flock tries for as long as wait.
func flock(ctx context.Context, f *os.File, wait time.Duration) error {
	end := time.NewTimer(wait)
	defer end.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-end.C:
			return err
		case <-again.C:
		}
	}
}

func lockOwner(f *os.File) string {
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0) // shorter than b: io.EOF
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return "pid " + pid
	}
	return "pid unknown"
}
