package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Advert is what the lab reads of a VRRP advertisement, taken where it came into
// the switch, before any cut: only what tells who speaks in which router, and how
// it puts it. Nothing of it is checked.
type Advert struct {
	At       time.Time  // when the kernel received it
	Port     string     // the key of the host on the port
	From     netip.Addr // of the packet
	AH       bool       // behind an authentication header of RFC 2402
	Version  uint8
	VRID     uint8
	Priority uint8 // 0: it leaves
}

// Adverts records the VRRP advertisements on all ports of the switch.
type Adverts struct {
	tap *tap

	mu      sync.Mutex
	adverts []Advert
}

// StartAdverts begins to record; it goes on until it is stopped or the lab
// closes.
func (l *Lab) StartAdverts() (*Adverts, error) {
	a := &Adverts{}
	var err error
	if a.tap, err = l.startTap(onlyVRRP(), a.take); err != nil {
		return nil, fmt.Errorf("record VRRP: %w", err)
	}
	return a, nil
}

// The numbers of protocols that golang.org/x/sys/unix has no names for.
const protocolVRRP = 112 // RFC 9568 section 5.1.1.4

// onlyVRRP passes IPv4 packets of VRRP and of the authentication header, and IPv6
// packets of VRRP.
func onlyVRRP() []unix.SockFilter {
	const protocol, next = 14 + 9, 14 + 6 // RFC 791 section 3.1, RFC 8200 section 3
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12}, // EtherType
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IP, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: protocol},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_AH, Jt: 4},
		{Code: unix.BPF_JMP | unix.BPF_JA, K: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IPV6, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: next},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolVRRP, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

func (a *Adverts) take(port string, at time.Time, frame []byte) {
	adv, ok := parseAdvert(frame)
	if !ok {
		return
	}
	adv.Port, adv.At = port, at
	a.mu.Lock()
	defer a.mu.Unlock()
	a.adverts = append(a.adverts, adv)
}

// parseAdvert reads an Ethernet frame. The first three octets of VRRP are the same
// in all versions: RFC 3768 section 5.3, RFC 9568 section 5.2.
func parseAdvert(b []byte) (a Advert, ok bool) {
	const header, ip6 = 14, 40
	if len(b) < header+20 {
		return a, false
	}
	kind, b := binary.BigEndian.Uint16(b[12:]), b[header:]
	switch kind {
	case unix.ETH_P_IP:
		size := int(b[0]&0xf) * 4
		a.From = netip.AddrFrom4([4]byte(b[12:16]))
		a.AH = b[9] == unix.IPPROTO_AH
		if a.AH {
			size += 24 // with HMAC-MD5-96, RFC 2402 section 2
		}
		b = b[min(size, len(b)):]
	case unix.ETH_P_IPV6:
		if len(b) < ip6 {
			return a, false
		}
		a.From = netip.AddrFrom16([16]byte(b[8:24]))
		b = b[ip6:]
	default:
		return a, false
	}
	if len(b) < 3 {
		return a, false
	}
	a.Version, a.VRID, a.Priority = b[0]>>4, b[1], b[2]
	return a, true
}

// Since returns the adverts that were received from a moment on, in the order in
// which they came.
func (a *Adverts) Since(from time.Time) []Advert {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.adverts), func(x Advert) bool { return x.At.Before(from) })
}

// Stop reads what is there and ends the record; what was heard stays. It returns
// an error when frames may have been missed.
func (a *Adverts) Stop() error { return a.tap.end() }
