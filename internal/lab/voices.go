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

// Voice is one frame that spoke as an IPv4 address: an ARP frame with it as the
// sender's, or a packet from it. It was taken where it came into the switch,
// before any cut.
type Voice struct {
	At    time.Time // when the kernel received it
	Port  string    // the key of the host on the port
	MAC   string    // the source of the frame
	ARP   bool      // an ARP frame, else an IP packet
	Claim bool      // an announcement, see ARPFrame.Gratuitous
	Reset bool      // a TCP segment with RST: it ends a session and answers nobody
}

// Voices records who speaks as an IPv4 address, frame by frame.
type Voices struct {
	fd    int
	vip   netip.Addr
	ports map[int]string
	r     *reader
	end   func() error

	mu     sync.Mutex
	voices []Voice
}

// StartVoices begins to record who speaks as an IPv4 address, the lab's VIP when
// it is the zero Addr, until it is stopped or the lab closes.
func (l *Lab) StartVoices(vip netip.Addr) (*Voices, error) {
	if !vip.IsValid() {
		vip = l.VIP.Addr()
	}
	v := &Voices{vip: vip, ports: map[int]string{}}
	links, err := l.net.swNL.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the switch's ports: %w", err)
	}
	for _, link := range links {
		if link.Type() == "veth" {
			v.ports[link.Attrs().Index] = link.Attrs().Name
		}
	}
	err = l.net.sw.do(func() error {
		v.fd, err = packetSocket(speaksAs(vip))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("record who speaks as %s: %w", vip, err)
	}
	if v.r, err = startReader([]int{v.fd}, v.drain); err != nil {
		return nil, errors.Join(err, unix.Close(v.fd))
	}
	v.end = sync.OnceValue(v.r.stop)
	if err := l.onClose(v.end); err != nil {
		return nil, errors.Join(err, v.end())
	}
	return v, nil
}

// speaksAs passes IPv4 packets whose source is the address, and ARP frames whose
// sender it is.
func speaksAs(vip netip.Addr) []unix.SockFilter {
	const (
		source = 14 + 12 // in an Ethernet frame, see RFC 791 section 3.1
		sender = 14 + 14 // see RFC 826
	)
	ip := vip.As4()
	want := binary.BigEndian.Uint32(ip[:])
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12}, // EtherType
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IP, Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: source},
		{Code: unix.BPF_JMP | unix.BPF_JA, K: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_ARP, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: sender},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: want, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

func (v *Voices) drain(now time.Time) error {
	buf, oob := make([]byte, 128), make([]byte, 128)
	for {
		n, oobn, from, ok, err := receive(v.fd, buf, oob)
		if err != nil && !errors.Is(err, unix.ENETDOWN) { // a port went down: the socket goes on
			return fmt.Errorf("record who speaks: %w", err)
		}
		if err == nil && !ok {
			return nil
		}
		link, isLink := from.(*unix.SockaddrLinklayer)
		if err != nil || !isLink || v.ports[link.Ifindex] == "" {
			continue
		}
		voice, ok := v.parse(buf[:n])
		if !ok {
			continue
		}
		voice.Port, voice.At = v.ports[link.Ifindex], received(oob[:oobn], now)
		v.mu.Lock()
		v.voices = append(v.voices, voice)
		v.mu.Unlock()
	}
}

func (v *Voices) parse(b []byte) (voice Voice, ok bool) {
	const header = 14
	if len(b) < header+20 {
		return voice, false
	}
	voice.MAC = net.HardwareAddr(b[6:12]).String()
	if binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_ARP {
		f, ok := parseARP(b)
		voice.ARP, voice.Claim = true, f.Gratuitous()
		return voice, ok && f.Claims(v.vip)
	}
	ip := b[header:]
	size := int(ip[0]&0xf) * 4
	first := binary.BigEndian.Uint16(ip[6:])&0x1fff == 0
	if ip[9] == unix.IPPROTO_TCP && first && len(ip) > size+13 {
		voice.Reset = ip[size+13]&0x04 != 0 // see RFC 9293 section 3.1
	}
	return voice, true
}

// Since returns the voices from the nth on, in the order in which they were
// read.
func (v *Voices) Since(n int) []Voice {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.voices[min(n, len(v.voices)):])
}

// Stop reads what is there and ends the record; what was heard stays. It returns
// an error when frames may have been missed.
func (v *Voices) Stop() error { return v.end() }
