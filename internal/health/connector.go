package health

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The process connector (linux/cn_proc.h) tells of a killed process before the
// kernel tears down its memory: 0.2 ms after the kill whatever its size, where a
// pidfd takes 70 ms per GiB. It exists only in the initial network, pid and user
// namespaces, and needs CAP_NET_ADMIN before Linux 6.6.
const (
	cnIdxProc = 1 // CN_IDX_PROC, linux/connector.h; also the multicast group
	cnValProc = 1

	procListen = 1 // PROC_CN_MCAST_LISTEN
	procIgnore = 2 // PROC_CN_MCAST_IGNORE

	procNone        = 0x00000000 // PROC_EVENT_NONE: the answer to procListen
	procNonzeroExit = 0x20000000 // PROC_EVENT_NONZERO_EXIT: only in filters
	procCoredump    = 0x40000000
	procExit        = 0x80000000

	// Layout of a message: nlmsghdr, cn_msg, proc_event.
	nlHeader   = 16
	cnHeader   = 20
	eventStart = nlHeader + cnHeader
	eventAck   = eventStart + 16 // err, where what is procNone
	eventPid   = eventStart + 16
	eventTgid  = eventStart + 20
	eventCode  = eventStart + 24 // exit_code, where what is procExit
	eventSize  = 24              // up to and with tgid, the least we read

	maxMessage = 512 // a proc message is 76 bytes
)

// ackTimeout bounds the wait for the connector's answer. In some namespaces it
// never answers. The answer is made within the send, so it is there already.
const ackTimeout = 250 * time.Millisecond

// procEvent is what the connector tells of one thread.
type procEvent struct {
	what uint32
	pid  int // the thread
	tgid int // its process
	code int // exit_code, a wait(2) status; 0 for a core dump
	lost bool
}

// fatal reports whether e means that the whole process is dying: a thread that
// was ended by a signal takes all others along, and so does a core dump, which
// is reported before it is written. Threads that end normally carry code 0.
func (e procEvent) fatal() bool {
	return e.what == procCoredump || e.what == procExit && e.code&0x7f != 0
}

// cause says how the process ended, as far as e knows.
func (e procEvent) cause() string {
	switch {
	case e.what == procCoredump:
		return "crashed, dumping core"
	case e.code&0x7f != 0:
		return fmt.Sprintf("killed by signal %d", e.code&0x7f)
	default:
		return fmt.Sprintf("exit code %d", e.code>>8&0xff)
	}
}

// parseProcEvent reads one message of the connector. ok is false for a message
// that is not a well-formed one of it.
func parseProcEvent(b []byte) (e procEvent, ok bool) {
	le := binary.NativeEndian
	if len(b) < eventStart+eventSize || int64(le.Uint32(b)) > int64(len(b)) ||
		le.Uint32(b[nlHeader:]) != cnIdxProc || le.Uint32(b[nlHeader+4:]) != cnValProc {
		return procEvent{}, false
	}
	e.what = le.Uint32(b[eventStart:])
	if e.what == procNone {
		e.code = int(le.Uint32(b[eventAck:])) // an errno
		return e, true
	}
	e.pid, e.tgid = int(le.Uint32(b[eventPid:])), int(le.Uint32(b[eventTgid:]))
	if e.what == procExit {
		if len(b) < eventCode+4 {
			return procEvent{}, false
		}
		e.code = int(le.Uint32(b[eventCode:]))
	}
	return e, true
}

// connector is a socket to the process connector that hears of one process only.
type connector struct {
	file *os.File
}

// openConnector subscribes to the process connector, and waits until it has
// answered. The connector hears nothing before follow is called.
func openConnector() (_ *connector, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	c := &connector{file: os.NewFile(uintptr(fd), "process connector")}
	defer func() {
		if err != nil {
			_ = c.file.Close()
		}
	}()
	if err := c.follow(0); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}); err != nil {
		return nil, fmt.Errorf("bind netlink socket: %w", err)
	}
	if err := c.send(procListen); err != nil {
		return nil, err
	}
	if err := c.file.SetReadDeadline(time.Now().Add(ackTimeout)); err != nil {
		return nil, fmt.Errorf("set read deadline: %w", err)
	}
	for {
		e, err := c.read()
		if err != nil {
			return nil, fmt.Errorf("no answer: %w", err)
		}
		if e.what == procNone && e.code != 0 {
			return nil, fmt.Errorf("subscribe: %w", unix.Errno(e.code))
		}
		if e.what == procNone && !e.lost {
			break
		}
	}
	if err := c.file.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("set read deadline: %w", err)
	}
	// Since 6.6 the kernel can leave out the rest before it even copies it: what
	// it would cost is one skb per exiting thread of the host. Older kernels
	// ignore a message of this length. It is sent second, because with a filter
	// the answer is filtered as well.
	if err := c.send(procListen, procNonzeroExit|procCoredump); err != nil {
		return nil, err
	}
	return c, nil
}

// send sends words as the payload of one connector message.
func (c *connector) send(words ...uint32) error {
	ne := binary.NativeEndian
	b := make([]byte, 0, 64)
	b = ne.AppendUint32(b, uint32(nlHeader+cnHeader+4*len(words)))
	b = ne.AppendUint16(b, unix.NLMSG_DONE)
	b = append(b, make([]byte, 2+4+4)...) // flags, sequence, port: the kernel fills in the port
	b = ne.AppendUint32(b, cnIdxProc)
	b = ne.AppendUint32(b, cnValProc)
	b = append(b, make([]byte, 4+4)...) // sequence, ack
	b = ne.AppendUint16(b, uint16(4*len(words)))
	b = append(b, 0, 0) // flags
	for _, w := range words {
		b = ne.AppendUint32(b, w)
	}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		sendErr = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
	if err = errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("send to the process connector: %w", err)
	}
	return nil
}

// follow has the kernel drop everything but deaths of the process tgid, before
// it wakes anybody. What had arrived before stays readable.
func (c *connector) follow(tgid int) error {
	// Classic BPF loads in network order; the messages are in the host's.
	host := func(v uint32) uint32 {
		return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, v))
	}
	prog, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: eventStart, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: host(procNone), SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: host(procCoredump), SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: host(procExit), SkipTrue: 5},
		bpf.LoadAbsolute{Off: eventCode, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 3}, // a thread that ended normally
		bpf.LoadAbsolute{Off: eventTgid, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: host(uint32(tgid)), SkipTrue: 1},
		bpf.RetConstant{Val: maxMessage},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(prog))
	for i, in := range prog {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	})
	if err = errors.Join(err, setErr); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

// read waits for the next event. One with lost set says that the kernel had to
// drop some.
func (c *connector) read() (procEvent, error) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return procEvent{}, err
	}
	var b [maxMessage]byte
	for {
		var n int
		var from unix.Sockaddr
		var recvErr error
		err := raw.Read(func(fd uintptr) bool {
			n, from, recvErr = unix.Recvfrom(int(fd), b[:], 0)
			return !errors.Is(recvErr, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return procEvent{}, err
		case errors.Is(recvErr, unix.ENOBUFS):
			return procEvent{lost: true}, nil
		case errors.Is(recvErr, unix.EINTR):
			continue
		case recvErr != nil:
			return procEvent{}, recvErr
		}
		sender, ok := from.(*unix.SockaddrNetlink)
		if !ok || sender.Pid != 0 {
			continue // from a process, which may write what it likes
		}
		if e, ok := parseProcEvent(b[:n]); ok {
			return e, nil
		}
	}
}

// deliver sends events to ch until close is called, or ctx ends, or the socket
// fails, and closes ch.
func (c *connector) deliver(ctx context.Context, ch chan<- procEvent) {
	defer close(ch)
	for {
		e, err := c.read()
		if err != nil {
			return
		}
		if e.what == procNone && !e.lost {
			continue // the answer to somebody else's subscription
		}
		select {
		case ch <- e:
		case <-ctx.Done():
			return
		}
	}
}

// close unsubscribes and closes the socket, which ends deliver. Kernels before
// 6.6 count listeners, and go on making events for one that only closes.
func (c *connector) close() {
	_ = c.send(procIgnore) // nothing can be done about it, and nothing depends on it
	_ = c.file.Close()
}
