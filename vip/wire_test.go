package vip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

// A seen is one announcement that the peer saw.
type seen struct {
	what string // "arp request 10.20.8.188"
	at   time.Time
	bad  string // what is wrong with it
}

// A sniffer is an AF_PACKET socket of the peer.
type sniffer struct {
	mu   sync.Mutex
	seen []seen
}

func capture(t testing.TB, p *peer) *sniffer {
	t.Helper()
	var fd int
	var err error
	p.do(func() {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	})
	if err != nil {
		t.Fatal(err)
	}
	// A receive timeout lets the reader look whether it should end.
	tv := unix.NsecToTimeval((20 * time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	c := &sniffer{}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer unix.Close(fd)
		b := make([]byte, 2048)
		for {
			n, from, err := unix.Recvfrom(fd, b, 0)
			at := time.Now()
			select {
			case <-stop:
				return
			default:
			}
			if err != nil {
				continue
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if s, ok := parseFrame(b[:n]); ok {
				s.at = at
				c.mu.Lock()
				c.seen = append(c.seen, s)
				c.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
	return c
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

// parseFrame picks gratuitous ARP and neighbour advertisements out, and checks
// each field.
func parseFrame(b []byte) (seen, bool) {
	var f ethernet.Frame
	if err := f.UnmarshalBinary(b); err != nil {
		return seen{}, false
	}
	switch f.EtherType {
	case ethernet.EtherTypeARP:
		var p arp.Packet
		if err := p.UnmarshalBinary(f.Payload); err != nil || p.SenderIP != p.TargetIP {
			return seen{}, false
		}
		s := seen{what: fmt.Sprintf("arp request %s", p.SenderIP)}
		want := "00:00:00:00:00:00"
		if p.Operation == arp.OperationReply {
			s.what, want = fmt.Sprintf("arp reply %s", p.SenderIP), p.SenderHardwareAddr.String()
		}
		if p.TargetHardwareAddr.String() != want || f.Destination.String() != ethernet.Broadcast.String() || f.Source.String() != p.SenderHardwareAddr.String() {
			s.bad = fmt.Sprintf("%+v in %+v", p, f)
		}
		return s, true
	case ethernet.EtherTypeIPv6:
		if len(f.Payload) < 41 || f.Payload[6] != unix.IPPROTO_ICMPV6 || f.Payload[40] != 136 {
			return seen{}, false
		}
		source, _ := netip.AddrFromSlice(f.Payload[8:24])
		target, _ := netip.AddrFromSlice(f.Payload[24:40])
		m, err := ndp.ParseMessage(f.Payload[40:])
		na, ok := m.(*ndp.NeighborAdvertisement)
		if err != nil || !ok || na.Solicited {
			return seen{}, false
		}
		s := seen{what: "na " + na.TargetAddress.String()}
		lla, _ := na.Options[0].(*ndp.LinkLayerAddress)
		if source != na.TargetAddress || target != netip.IPv6LinkLocalAllNodes() || f.Payload[7] != 255 ||
			!na.Override || na.Router || lla == nil || lla.Direction != ndp.Target || lla.Addr.String() != f.Source.String() {
			s.bad = fmt.Sprintf("%+v from %s to %s hop limit %d", na, source, target, f.Payload[7])
		}
		return s, true
	default:
		return seen{}, false
	}
}

func (c *sniffer) all() []seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

func (c *sniffer) count(what string) int {
	n := 0
	for _, s := range c.all() {
		if s.what == what {
			n++
		}
	}
	return n
}

// want waits until each was seen, and checks what was seen of them.
func (c *sniffer) want(t testing.TB, whats ...string) {
	t.Helper()
	for _, what := range whats {
		await(t, what+" on the wire", func() bool { return c.count(what) > 0 })
	}
	for _, s := range c.all() {
		if s.bad != "" && slices.Contains(whats, s.what) {
			t.Errorf("%s on the wire: %s", s.what, s.bad)
		}
	}
}
