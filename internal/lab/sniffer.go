package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ARPFrame is one ARP frame as it came into a port of the switch, before any
// cut: what the host on that port sent.
type ARPFrame struct {
	At        time.Time // when the kernel received it
	Port      string    // the key of the host on the port
	Reply     bool
	SenderMAC string
	SenderIP  netip.Addr
	TargetMAC string
	TargetIP  netip.Addr
}

// Claims reports whether the frame says that its sender has ip: every ARP frame
// says so of its sender address, see RFC 826; only RFC 5227 probes leave it out.
func (f ARPFrame) Claims(ip netip.Addr) bool { return f.SenderIP == ip }

// Gratuitous reports whether the frame is an announcement: it claims and asks
// for the same address, see RFC 5227 section 3.
func (f ARPFrame) Gratuitous() bool { return f.SenderIP == f.TargetIP }

// Sniffer records the ARP frames on all ports of the switch.
type Sniffer struct {
	fd    int
	ports map[int]string
	r     *reader
	end   func() error

	mu     sync.Mutex
	frames []ARPFrame
}

// StartSniffer begins to record; it goes on until it is stopped or the lab
// closes.
func (l *Lab) StartSniffer() (*Sniffer, error) {
	s := &Sniffer{ports: map[int]string{}}
	links, err := l.net.swNL.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the switch's ports: %w", err)
	}
	for _, link := range links {
		if link.Type() == "veth" {
			s.ports[link.Attrs().Index] = link.Attrs().Name
		}
	}
	err = l.net.sw.do(func() error {
		s.fd, err = packetSocket(onlyARP())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start the sniffer: %w", err)
	}
	if s.r, err = startReader([]int{s.fd}, s.drain); err != nil {
		return nil, errors.Join(err, unix.Close(s.fd))
	}
	s.end = sync.OnceValue(s.r.stop)
	if err := l.onClose(s.end); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// onlyARP passes ARP frames.
func onlyARP() []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12}, // EtherType
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_ARP, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
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

func (s *Sniffer) drain(now time.Time) error {
	buf, oob := make([]byte, 256), make([]byte, 128)
	for {
		n, oobn, from, ok, err := receive(s.fd, buf, oob)
		if err != nil && !errors.Is(err, unix.ENETDOWN) { // a port went down: the socket goes on
			return fmt.Errorf("sniff: %w", err)
		}
		if err == nil && !ok {
			return nil
		}
		link, isLink := from.(*unix.SockaddrLinklayer)
		if err != nil || !isLink || s.ports[link.Ifindex] == "" {
			continue
		}
		f, ok := parseARP(buf[:n])
		if !ok {
			continue
		}
		f.Port, f.At = s.ports[link.Ifindex], received(oob[:oobn], now)
		s.mu.Lock()
		s.frames = append(s.frames, f)
		s.mu.Unlock()
	}
}

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

// parseARP reads an Ethernet frame with ARP for IPv4, see RFC 826.
func parseARP(b []byte) (f ARPFrame, ok bool) {
	const header, size = 14, 28
	if len(b) < header+size || binary.BigEndian.Uint32(b[header:]) != 0x00010800 || b[header+4] != 6 || b[header+5] != 4 {
		return f, false
	}
	b = b[header:]
	return ARPFrame{
		Reply:     binary.BigEndian.Uint16(b[6:]) == 2,
		SenderMAC: net.HardwareAddr(b[8:14]).String(), SenderIP: netip.AddrFrom4([4]byte(b[14:18])),
		TargetMAC: net.HardwareAddr(b[18:24]).String(), TargetIP: netip.AddrFrom4([4]byte(b[24:28])),
	}, true
}

// Frames returns all frames so far, in the order in which they came.
func (s *Sniffer) Frames() []ARPFrame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.frames)
}

// Take returns the frames so far, in the order in which they came, and forgets
// them.
func (s *Sniffer) Take() []ARPFrame {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.frames
	s.frames = nil
	return taken
}

// Stop reads what is there and ends the sniffer; its frames stay.
func (s *Sniffer) Stop() error { return s.end() }
