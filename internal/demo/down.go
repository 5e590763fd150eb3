package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// downLimit is how long a demo may take to end: processes, mounts, namespaces.
const downLimit = 30 * time.Second

// Down removes a demo that runs or is kept, or what a killed one has left, and says
// on w what it did. Where there is none it changes nothing.
func Down(ctx context.Context, name string, w io.Writer) error {
	if err := needRoot(); err != nil {
		return err
	}
	p := place{name}
	lock, ended, err := p.takeOver(ctx)
	if err != nil {
		return err
	}
	found, err := p.clear()
	if err = errors.Join(err, p.unlock(lock)); err != nil {
		return err
	}
	say := "nothing to remove: there is no demo called " + name
	if found || ended {
		say = "removed: " + name + ", with its processes, namespaces and files"
	}
	_, err = fmt.Fprintln(w, say)
	return err
}

// takeOver gets the lock, and before that ends the demo that has it.
func (p place) takeOver(ctx context.Context) (lock *os.File, ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	err = await(ctx, "the demo to end", func() (bool, error) {
		lock, err = p.lock()
		if !errors.Is(err, errBusy) {
			return true, err
		}
		if ended {
			return false, nil
		}
		ended, err = p.terminate()
		return false, err
	})
	return lock, ended, err
}

// terminate asks the process that has the lock to end. asked is false when none
// has it any more.
func (p place) terminate() (asked bool, err error) {
	pid := p.owner()
	if pid == 0 {
		return false, fmt.Errorf("%s names no process", p.lockFile())
	}
	process, err := os.FindProcess(pid) // by a pidfd: from here on the number is nobody else's
	if err != nil {
		return false, fmt.Errorf("find process %d: %w", pid, err)
	}
	defer func() { _ = process.Release() }()
	// It had the lock when the file was read; if it still has, the pidfd is its.
	lock, err := p.lock()
	if err == nil {
		return false, p.unlock(lock)
	}
	if !errors.Is(err, errBusy) {
		return false, err
	}
	if p.owner() != pid {
		return false, fmt.Errorf("the lock has passed to process %d", p.owner())
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		return false, fmt.Errorf("end process %d: %w", pid, err)
	}
	return true, nil
}
