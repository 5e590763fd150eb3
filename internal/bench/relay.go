package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's process connector, with which both daemons learn of the death of
// mysqld, answers only sockets of the initial network namespace; the hosts of
// the test network are namespaces of their own. On a real host it is there. So
// that neither daemon is measured without what it would have, every connector
// socket that a daemon opens is opened for it outside, by seccomp's user
// notification: nothing else of the daemon changes.

// relayCommand is the first argument with which this program starts another one
// under the relay.
const relayCommand = "relay"

// relay opens connector sockets for the programs that are started under it.
type relay struct {
	path     string
	listener *net.UnixListener
	wg       sync.WaitGroup
}

// newRelay listens on a socket of the file system. Run serves it.
func newRelay(path string) (*relay, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for programs that start: %w", err)
	}
	return &relay{path: path, listener: l}, nil
}

// Run serves the programs until ctx ends and the last of them has ended.
func (r *relay) Run(ctx context.Context) error {
	defer r.wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = r.listener.Close() })
	defer stop()
	for {
		conn, err := r.listener.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for a program that starts: %w", err)
		}
		fd, err := receive(conn)
		_ = conn.Close()
		if err != nil {
			return fmt.Errorf("take over a program's notifications: %w", err)
		}
		r.wg.Go(func() { serve(fd) })
	}
}

// receive reads one file descriptor.
func receive(conn *net.UnixConn) (int, error) {
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return -1, err
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, errors.New("no file descriptor came")
}

// notification is struct seccomp_notif of linux/seccomp.h.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

// notifyAddFD is struct seccomp_notif_addfd.
type notifyAddFD struct {
	id                           uint64
	flags, src, target, newFlags uint32
}

// notifyReply is struct seccomp_notif_resp.
type notifyReply struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// serve opens the sockets of one program until it has ended.
func serve(fd int) {
	defer func() { _ = unix.Close(fd) }()
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); errors.Is(err, unix.EINTR) {
			continue
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return // POLLHUP: nobody is left
		}
		var n notification
		if err := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
			continue // the caller was killed meanwhile
		}
		open(fd, n)
	}
}

// open answers one call of socket(2) with a socket of this process's namespace.
func open(fd int, n notification) {
	sock, err := unix.Socket(unix.AF_NETLINK, int(n.args[1]), unix.NETLINK_CONNECTOR)
	if err == nil {
		defer func() { _ = unix.Close(sock) }()
		add := notifyAddFD{id: n.id, flags: unix.SECCOMP_ADDFD_FLAG_SEND, src: uint32(sock), newFlags: uint32(n.args[1]) & unix.O_CLOEXEC}
		err = ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&add))
	}
	if err != nil {
		// Then the daemon goes without, and says so in its log.
		reply := notifyReply{id: n.id, errno: -int32(unix.EPROTONOSUPPORT)}
		_ = ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&reply))
	}
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// Relay becomes the program that the arguments name, when they are those of a
// program to be started under the relay; else it returns false. Commands and
// tests that call Run must begin with it, as Run starts them again so.
func Relay(args []string) (bool, error) {
	if len(args) < 4 || args[1] != relayCommand {
		return false, nil
	}
	return true, become(args[2], args[3], args[3:])
}

// become sends the notifications of this thread's calls to the relay at path,
// and becomes the program. It returns only when that did not work.
func become(path, program string, args []string) error {
	runtime.LockOSThread() // the filter is the thread's, and so is what it becomes
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("reach the relay: %w", err)
	}
	fd, err := filter()
	if err != nil {
		return fmt.Errorf("filter the calls of socket(2): %w", err)
	}
	if _, _, err := conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil); err != nil {
		return fmt.Errorf("hand over the notifications: %w", err)
	}
	return fmt.Errorf("start %s: %w", program, unix.Exec(program, args, os.Environ()))
}

// filter makes every socket(AF_NETLINK, …, NETLINK_CONNECTOR) of this thread, and
// of what it becomes, a notification on the file descriptor that it returns.
func filter() (int, error) {
	const nr, arg0, arg2 = 0, 16, 32 // offsets in struct seccomp_data, low words
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(is uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: is, Jf: skip}
	}
	code := []unix.SockFilter{
		load(nr), unless(unix.SYS_SOCKET, 5),
		load(arg0), unless(unix.AF_NETLINK, 3),
		load(arg2), unless(unix.NETLINK_CONNECTOR, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
