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
	tap *tap
	vip netip.Addr

	mu     sync.Mutex
	voices []Voice
}

// StartVoices begins to record who speaks as an IPv4 address, the lab's VIP when
// it is the zero Addr, until it is stopped or the lab closes.
func (l *Lab) StartVoices(vip netip.Addr) (*Voices, error) {
	if !vip.IsValid() {
		vip = l.VIP.Addr()
	}
	v := &Voices{vip: vip}
	var err error
	if v.tap, err = l.startTap(speaksAs(vip), v.take); err != nil {
		return nil, fmt.Errorf("record who speaks as %s: %w", vip, err)
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

func (v *Voices) take(port string, at time.Time, frame []byte) {
	voice, ok := v.parse(frame)
	if !ok {
		return
	}
	voice.Port, voice.At = port, at
	v.mu.Lock()
	defer v.mu.Unlock()
	v.voices = append(v.voices, voice)
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
func (v *Voices) Stop() error { return v.tap.end() }
