package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 looks for named namespaces, see ip-netns(8).
const netnsDir = "/run/netns"

// namespace is one network namespace. One thread of this process stays in it
// for as long as it lives, for two reasons: a child inherits the namespace of
// the thread that starts it, so no wrapper process is needed; and Pdeathsig,
// which ends the children of a crashed test, fires when the starting *thread*
// ends, see PR_SET_PDEATHSIG(2const), so that thread must outlive them.
type namespace struct {
	name  string
	file  *os.File // the namespace itself; nsfs
	named bool     // it is bound to netnsDir/name
	calls chan func()
	quit  chan struct{} // closed to end the thread
	done  chan struct{} // closed when the thread is gone
}

// newNamespace makes a namespace and its thread. The name under /run/netns is
// only for people (ip netns exec NAME …): where it cannot be bound, as in a
// user namespace, the network works without.
func newNamespace(name string) (*namespace, error) {
	ns := &namespace{name: name, calls: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error, 1)
	go ns.thread(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	err := ns.bindName()
	if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EROFS) {
		return nil, errors.Join(err, ns.close())
	}
	return ns, nil
}

// thread is the life of the namespace's thread. It ends locked, so that the
// runtime destroys the thread instead of using it for other goroutines.
func (ns *namespace) thread(ready chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The runtime cannot end the process's main thread, and what others
		// read in /proc/PID is the main thread's: hold it, and use the next.
		defer runtime.UnlockOSThread()
		next := make(chan error)
		go ns.thread(next)
		ready <- <-next
		return
	}
	defer close(ns.done)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		ready <- fmt.Errorf("unshare: %w", err)
		return
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	ns.file = file
	ready <- err
	if err != nil {
		return
	}
	for {
		select {
		case call := <-ns.calls:
			call()
		case <-ns.quit:
			return
		}
	}
}

// id returns what /proc/PID/ns/net leads to for a process in the namespace, see
// namespaces(7).
func (ns *namespace) id() string {
	id, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", ns.file.Fd()))
	if err != nil {
		return "" // no process has that
	}
	return id
}

func (ns *namespace) path() string { return filepath.Join(netnsDir, ns.name) }

// shareNames makes /run/netns what iproute2 makes of it at its first ip netns add
// (ip/ipnetns.c): a shared mount on itself. Were it made so later, the names that are
// there by then would lie below it, where nobody can take them away any more.
func shareNames() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(netnsDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil { // as iproute2 does
		return err
	}
	share := func() error { return unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	if err := share(); !errors.Is(err, unix.EINVAL) { // it is no mount point yet
		return err
	}
	if err := unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return share()
}

func (ns *namespace) bindName() error {
	if err := shareNames(); err != nil {
		return fmt.Errorf("name network namespace %s: %w", ns.name, err)
	}
	f, err := os.OpenFile(ns.path(), os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("name network namespace %s: %w", ns.name, err)
	}
	err = f.Close()
	if err == nil {
		from := fmt.Sprintf("/proc/self/fd/%d", ns.file.Fd())
		err = unix.Mount(from, ns.path(), "bind", unix.MS_BIND, "")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("name network namespace %s: %w", ns.name, err), os.Remove(ns.path()))
	}
	ns.named = true
	return nil
}

// unname removes a name under /run/netns; a namespace without name, thread,
// process or open file is freed by the kernel.
func unname(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	// Busy: it is mounted somewhere that cannot be reached, and goes with that.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("remove the name of a network namespace: %w", err)
	}
	return nil
}

func (ns *namespace) close() error {
	close(ns.quit)
	<-ns.done
	var err error
	if ns.named {
		err = unname(ns.path())
	}
	return errors.Join(err, ns.file.Close())
}

// onThread runs f on the namespace's own thread and returns its error. It must
// be short: all of the namespace's processes are started there.
func (ns *namespace) onThread(f func() error) error {
	result := make(chan error, 1)
	select {
	case ns.calls <- func() { result <- f() }:
		return <-result
	case <-ns.done:
		return fmt.Errorf("network namespace %s is closed", ns.name)
	}
}

// do runs f in the namespace, on the caller's goroutine; several may run at
// once, and f may block. Sockets that f opens stay in the namespace, goroutines
// that it starts run outside.
func (ns *namespace) do(f func() error) (err error) {
	runtime.LockOSThread()
	home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the thread's own namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", ns.name, err)
	}
	defer func() {
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, fmt.Errorf("leave network namespace %s: %w", ns.name, back))
			return // still locked: the thread ends with the goroutine
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// Dial connects from a host, as net.Dialer.DialContext does. addr must be a
// literal IP address and port: for these net opens the socket on the calling
// goroutine, which is what puts it in the host's namespace.
func (l *Lab) Dial(ctx context.Context, host, network, addr string) (conn net.Conn, err error) {
	s, err := l.net.seat(host)
	if err != nil {
		return nil, err
	}
	err = s.ns.do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Do runs f inside a host's network namespace, on the caller's goroutine.
// Sockets that f opens stay in the namespace; goroutines that it starts run
// outside.
func (l *Lab) Do(host string, f func() error) error {
	s, err := l.net.seat(host)
	if err != nil {
		return err
	}
	return s.ns.do(f)
}
