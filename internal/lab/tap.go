package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tap is a packet socket on all ports of the switch, and who reads it.
type tap struct {
	fd    int
	ports map[int]string
	r     *reader
	end   func() error
}

// startTap hands every frame that passes a filter to take, where it comes into the
// switch, with its port and the time when the kernel received it, until it is
// ended or the lab closes.
func (l *Lab) startTap(filter []unix.SockFilter, take func(port string, at time.Time, frame []byte)) (*tap, error) {
	t := &tap{ports: map[int]string{}}
	links, err := l.net.swNL.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the switch's ports: %w", err)
	}
	for _, link := range links {
		if link.Type() == "veth" {
			t.ports[link.Attrs().Index] = link.Attrs().Name
		}
	}
	err = l.net.sw.do(func() error {
		t.fd, err = packetSocket(filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	if t.r, err = startReader([]int{t.fd}, func(now time.Time) error { return t.drain(now, take) }); err != nil {
		return nil, errors.Join(err, unix.Close(t.fd))
	}
	t.end = sync.OnceValue(t.r.stop)
	if err := l.onClose(t.end); err != nil {
		return nil, errors.Join(err, t.end())
	}
	return t, nil
}

func (t *tap) drain(now time.Time, take func(string, time.Time, []byte)) error {
	buf, oob := make([]byte, 256), make([]byte, 128)
	for {
		n, oobn, from, ok, err := receive(t.fd, buf, oob)
		if err != nil && !errors.Is(err, unix.ENETDOWN) { // a port went down: the socket goes on
			return fmt.Errorf("listen on the switch: %w", err)
		}
		if err == nil && !ok {
			return nil
		}
		link, isLink := from.(*unix.SockaddrLinklayer)
		if err != nil || !isLink || t.ports[link.Ifindex] == "" {
			continue
		}
		take(t.ports[link.Ifindex], received(oob[:oobn], now), buf[:n])
	}
}

// packetSocket returns a packet socket on all interfaces that gets what a filter
// passes. It is bound to all protocols and filters, because a socket for one
// protocol is served after the bridge has taken the frame from its port, see
// __netif_receive_skb_core in net/core/dev.c.
func packetSocket(filter []unix.SockFilter) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		roomy(fd),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)}),
	)
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

// received returns when the kernel received a frame, on the clock of time.Now.
// The kernel stamps with the wall clock, so the age of the stamp is what counts;
// one that is out of bounds, as after a step of the wall clock, is not used.
func received(oob []byte, read time.Time) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return read
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SO_TIMESTAMPNS || len(m.Data) < 16 {
			continue
		}
		stamp := time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		if age := read.Round(0).Sub(stamp); age > -time.Second && age < 10*time.Second {
			return read.Add(-age)
		}
	}
	return read
}
