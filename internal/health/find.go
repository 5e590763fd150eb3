package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// find looks for the configured process.
func (p Process) find(ctx context.Context) (*target, error) {
	switch {
	case p.Socket != "":
		return findBySocket(ctx, p.Socket)
	case p.Pidfile != "":
		return findByPidfile(p.Pidfile)
	default:
		return findByName(p.Name)
	}
}

// findBySocket returns the process that listens on a unix socket: the one that
// called listen(2), which is whom SO_PEERCRED names.
func findBySocket(ctx context.Context, path string) (*target, error) {
	pid, pidfd, err := socketPeer(ctx, path)
	if err != nil {
		return nil, err
	}
	var t *target
	if pidfd >= 0 {
		t, err = newTarget(pid, pidfd)
	} else if t, err = openTarget(pid); err == nil {
		// Linux before 6.5. The number may have been given to another process
		// between the two calls; if the socket still names it now, it was not.
		var again, other int
		again, other, err = socketPeer(ctx, path)
		if other >= 0 {
			_ = unix.Close(other)
		}
		if err == nil && again != pid {
			err = fmt.Errorf("the process behind the socket has just changed")
		}
		if err != nil {
			t.close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if pid == 1 && t.comm == "systemd" {
		t.close()
		return nil, fmt.Errorf("%s was opened by systemd (socket activation), so it does not lead to mysqld: use pidfile or name", path)
	}
	return t, nil
}

// socketPeer connects to a unix socket and returns the pid of the process that
// listens there and, where the kernel has SO_PEERPIDFD, a pidfd of it, else -1.
func socketPeer(ctx context.Context, path string) (pid, pidfd int, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return 0, -1, dialError(path, err)
	}
	defer func() { _ = conn.Close() }() // nothing was sent
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, -1, err
	}
	pidfd = -1
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		if peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); peerErr != nil {
			return
		}
		pidfd, peerErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		if peerErr != nil {
			pidfd = -1
		}
		if errors.Is(peerErr, unix.ENOPROTOOPT) {
			peerErr = nil
		}
	})
	if err = errors.Join(err, peerErr); err != nil {
		return 0, -1, fmt.Errorf("%s: the process that listened there has exited (%w)", path, err)
	}
	if peer.Pid <= 0 {
		if pidfd >= 0 {
			_ = unix.Close(pidfd)
		}
		return 0, -1, fmt.Errorf("%s: its process lives in a pid namespace that cannot be seen from here: run the daemon in the host's, or leave the process check out", path)
	}
	return int(peer.Pid), pidfd, nil
}

// dialError says in an operator's words why a connection was not made.
func dialError(where string, err error) error {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%s: nobody listens (%w)", where, unix.ECONNREFUSED)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: nobody listens (%w)", where, unix.ENOENT)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: permission denied for the daemon's user", where)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%s: its queue of connections is full", where)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the address, which is named once
	}
	return fmt.Errorf("%s: %w", where, err)
}

// findByPidfile returns the process that a pidfile names, unless the file is stale.
func findByPidfile(path string) (*target, error) {
	// O_NONBLOCK, so that a FIFO in its place cannot hang the check.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing can be lost
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("pidfile %s is not a regular file", path)
	}
	b := make([]byte, 64)
	n, err := f.Read(b)
	if err != nil && n != 0 {
		return nil, fmt.Errorf("pidfile: %w", err)
	}
	pid, err := parsePid(b[:n])
	if err != nil {
		return nil, fmt.Errorf("pidfile %s: %w", path, err)
	}
	t, err := openTarget(pid)
	if err != nil {
		return nil, fmt.Errorf("pidfile %s is stale: %w", path, err)
	}
	written := info.ModTime()
	if began := startTime(t.start); began.After(written.Add(time.Second)) && t.comm != "mysqld" && t.comm != "mariadbd" {
		err := fmt.Errorf("pidfile %s is stale: it was written %s before %s started, whose number is a used one",
			path, began.Sub(written).Round(time.Second), t)
		t.close()
		return nil, err
	}
	return t, nil
}

// userHz is the unit of start times: USER_HZ, which is 100 on every architecture
// that Go supports (asm-generic/param.h), whatever the kernel's own HZ.
const userHz = 100

// startTime turns a start time in ticks since boot into one of the wall clock as
// it is now. If somebody has set the clock since, it is off by as much as files'
// times from before are, which is why a name that fits outweighs it.
func startTime(ticks uint64) time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Time{} // before any file, so that nothing is called stale
	}
	up := time.Duration(ts.Nano())
	return time.Now().Add(time.Duration(ticks)*(time.Second/userHz) - up)
}

// findByName returns the oldest process of that name.
func findByName(name string) (*target, error) {
	pids, err := pidsByName(name)
	if err != nil {
		return nil, err
	}
	var oldest *target
	found := 0
	for _, pid := range pids {
		t, err := openTarget(pid)
		if err != nil {
			continue // gone since, or a zombie
		}
		if t.comm != name || t.alive() != nil { // the number was used again since, or it is on its way out
			t.close()
			continue
		}
		found++
		if oldest == nil || t.start < oldest.start {
			t, oldest = oldest, t
		}
		if t != nil {
			t.close()
		}
	}
	if oldest == nil {
		return nil, fmt.Errorf("no process is called %s", name)
	}
	if found > 1 {
		oldest.note = fmt.Sprintf(", the oldest of %d of that name", found)
	}
	return oldest, nil
}
