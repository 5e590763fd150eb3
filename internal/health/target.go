package health

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// target is one process, held by a pidfd, so that its number cannot come to mean
// another process unnoticed.
type target struct {
	pid   int
	comm  string
	start uint64   // see stat
	note  string   // for the detail: what an operator should know about how it was found
	pidfd *os.File // nonblocking, so that the netpoller waits for it
}

func (t *target) String() string { return fmt.Sprintf("%s pid %d", t.comm, t.pid) }

func (t *target) close() { _ = t.pidfd.Close() } // a pidfd has nothing to flush

// ended reports whether the process has exited, or is a zombie, as its pidfd says.
func (t *target) ended() bool {
	raw, err := t.pidfd.SyscallConn()
	if err != nil {
		return true
	}
	var over bool
	if err := raw.Control(func(fd uintptr) { over = readable(fd) }); err != nil {
		return true // closed, so nobody asks any more
	}
	return over
}

// wait returns when the process has ended or t is closed. It costs no thread.
func (t *target) wait() {
	raw, err := t.pidfd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(readable) // the only error is that t was closed
}

// readable reports whether a poll of fd says so, which is how a pidfd tells of the
// end of its process, pidfd_open(2).
func readable(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// alive returns nil while the process is there and not dying, else what happened.
func (t *target) alive() error {
	if t.ended() {
		return fmt.Errorf("%s exited", t)
	}
	s, err := readStat(t.pid)
	known := err == nil // else /proc has become hidden: the pidfd alone must do
	switch {
	case t.ended():
		return fmt.Errorf("%s exited", t)
	case known && s.start != t.start:
		return fmt.Errorf("%s exited: its number means another process now", t)
	case known && s.dying():
		return fmt.Errorf("%s is exiting", t)
	}
	return nil
}

// same reports whether both are one process.
func (t *target) same(other *target) bool { return t.pid == other.pid && t.start == other.start }

// newTarget completes a target from a pidfd that is certain to mean pid, and
// closes the pidfd when it returns an error.
func newTarget(pid, pidfd int) (*target, error) {
	if err := unix.SetNonblock(pidfd, true); err != nil {
		_ = unix.Close(pidfd)
		return nil, fmt.Errorf("set pidfd nonblocking: %w", err)
	}
	t := &target{pid: pid, pidfd: os.NewFile(uintptr(pidfd), fmt.Sprintf("pidfd %d", pid))}
	s, err := readStat(pid)
	if t.ended() {
		t.close()
		return nil, fmt.Errorf("pid %d has exited", pid)
	}
	if err != nil {
		t.close()
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("pid %d is alive but /proc hides it, so it cannot be identified: remove ProtectProc= or hidepid for the daemon", pid)
		}
		return nil, err
	}
	t.comm, t.start = oneLine(s.comm), s.start
	return t, nil
}

// openTarget takes hold of the process that has the number pid now. Whether that
// is the one that was meant must be verified after, on what it returns.
func openTarget(pid int) (*target, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("pid %d does not exist", pid)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("pid %d is a thread, not a process", pid)
	case err != nil:
		return nil, fmt.Errorf("pidfd_open %d (needs Linux 5.3): %w", pid, err)
	}
	return newTarget(pid, pidfd)
}
