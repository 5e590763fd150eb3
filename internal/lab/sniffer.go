package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ARPFrame is one ARP frame as it came into a port of the switch, before any
// cut: what the host on that port sent. A neighbour solicitation or advertisement
// of IPv6 is one too, in the words of ARP: see parseNDP.
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

// Sniffer records the ARP frames, and those of IPv6 that do the same, on all
// ports of the switch.
type Sniffer struct {
	tap *tap

	mu     sync.Mutex
	frames []ARPFrame
}

// StartSniffer begins to record; it goes on until it is stopped or the lab
// closes.
func (l *Lab) StartSniffer() (*Sniffer, error) {
	s := &Sniffer{}
	var err error
	if s.tap, err = l.startTap(onlyNeighbours(), s.take); err != nil {
		return nil, fmt.Errorf("start the sniffer: %w", err)
	}
	return s, nil
}

// onlyNeighbours passes ARP frames, and the solicitations and advertisements that
// are IPv6's ARP.
func onlyNeighbours() []unix.SockFilter {
	const next, kind = 14 + 6, 14 + 40 // RFC 8200 section 3
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12}, // EtherType
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_ARP, Jt: 6},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IPV6, Jf: 6},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: next},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_ICMPV6, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: kind},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: solicitation, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: advertisement, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

func (s *Sniffer) take(port string, at time.Time, frame []byte) {
	f, ok := parseARP(frame)
	if !ok {
		f, ok = parseNDP(frame)
	}
	if !ok {
		return
	}
	f.Port, f.At = port, at
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = append(s.frames, f)
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
func (s *Sniffer) Stop() error { return s.tap.end() }
