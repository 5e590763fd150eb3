package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv6"
)

// sendTimeout bounds a send into a full queue. A frame is sent again later.
const sendTimeout = 20 * time.Millisecond

// A sender is the open packet sockets of one device, and the frames to send.
// Opening one takes 0.1 ms, closing one up to 15 ms (RCU), so both are done
// long before they matter.
type sender struct {
	link link
	raw  *packet.Conn // sends ARP
	asks *packet.Conn // sends probes of either family; raw, but where the port is another device
	ndp  *ndp.Conn    // nil without IPv6 VIPs
	ears []*ear       // one per family
	// frames has the ARP frames, adverts the NDP messages, probes the frames of
	// duplicate detection, by VIP.
	frames  map[netip.Addr][][]byte
	adverts map[netip.Addr]*ndp.NeighborAdvertisement
	probes  map[netip.Addr][]byte
}

// openSender opens the sockets for the VIPs of a device. It fails without
// CAP_NET_RAW, and when the device has gone.
func openSender(device string, l link, specs []Spec) (*sender, error) {
	s := &sender{
		link:    l,
		frames:  make(map[netip.Addr][][]byte),
		adverts: make(map[netip.Addr]*ndp.NeighborAdvertisement),
		probes:  make(map[netip.Addr][]byte),
	}
	if err := s.open(device, specs); err != nil {
		return nil, errors.Join(fmt.Errorf("open packet sockets on %s: %w", device, err), s.close())
	}
	return s, nil
}

func (s *sender) open(device string, specs []Spec) (err error) {
	// Without a name: it would go through a cache of interface indexes that is
	// up to a minute old (ipv6ZoneCache in x/net/internal/socket), wrong after
	// the device was made anew. The index in the control message is enough.
	ifi := &net.Interface{Index: s.link.index, HardwareAddr: s.link.hardware, MTU: 1500}
	// Not arp.Dial: it fails on a device that has no IPv4 address yet, and its
	// socket receives every ARP frame. Protocol 0 receives none, packet(7).
	if s.raw, err = packet.Listen(ifi, packet.Raw, 0, nil); err != nil {
		return err
	}
	s.asks = s.raw
	if wire := s.link.wire; wire.index != s.link.index {
		ifi := &net.Interface{Index: wire.index, HardwareAddr: wire.hardware, MTU: 1500}
		if s.asks, err = packet.Listen(ifi, packet.Raw, 0, nil); err != nil {
			s.asks = nil
			return err
		}
	}
	for _, addrs := range byFamily(specs, device) {
		e, err := openEar(s.link.wire, addrs)
		if err != nil {
			return err
		}
		s.ears = append(s.ears, e)
		for _, ip := range addrs {
			if s.probes[ip], err = probeFrame(s.link.wire.hardware, ip); err != nil {
				return err
			}
			if ip.Is4() {
				s.frames[ip], err = gratuitous(s.link.hardware, ip)
			} else {
				err = s.addNDP(ifi, ip, isRouter(device))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sender) addNDP(ifi *net.Interface, ip netip.Addr, router bool) error {
	if s.ndp == nil {
		conn, _, err := ndp.Listen(ifi, ndp.Unspecified)
		if err != nil {
			return err
		}
		s.ndp = conn
		var none ipv6.ICMPFilter
		none.SetAll(true) // it is never read from
		if err := conn.SetICMPFilter(&none); err != nil {
			return err
		}
	}
	s.adverts[ip] = &ndp.NeighborAdvertisement{
		Router:        router,
		Override:      true,
		TargetAddress: ip,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: s.link.hardware}},
	}
	return nil
}

// gratuitous returns the two frames that announce ip: an ARP request as in RFC
// 5227 section 2.3, and a reply whose target hardware address is the sender's
// own. Linux takes a gratuitous reply within locktime (1 s) only so
// (arp_is_garp in net/ipv4/arp.c), and some routers heed only one of the two.
func gratuitous(hardware net.HardwareAddr, ip netip.Addr) ([][]byte, error) {
	var frames [][]byte
	for _, p := range []struct {
		op     arp.Operation
		target net.HardwareAddr
	}{{arp.OperationRequest, make(net.HardwareAddr, 6)}, {arp.OperationReply, hardware}} {
		message, err := arp.NewPacket(p.op, hardware, ip, p.target, ip)
		if err != nil {
			return nil, err
		}
		frame, err := arpFrame(hardware, message)
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
	return frames, nil
}

// arpFrame returns an ARP message as a broadcast.
func arpFrame(source net.HardwareAddr, message *arp.Packet) ([]byte, error) {
	payload, err := message.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return (&ethernet.Frame{
		Destination: ethernet.Broadcast,
		Source:      source,
		EtherType:   ethernet.EtherTypeARP,
		Payload:     payload,
	}).MarshalBinary()
}

// isRouter returns the Router flag of RFC 4861 section 4.4: does this device
// forward IPv6?
func isRouter(device string) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + device + "/forwarding")
	return err == nil && strings.TrimSpace(string(b)) != "0"
}

// send announces one VIP once.
func (s *sender) send(ip netip.Addr) error {
	deadline := time.Now().Add(sendTimeout) // the socket's clock, not a lease's
	if ip.Is4() {
		if err := s.raw.SetWriteDeadline(deadline); err != nil {
			return err
		}
		for _, frame := range s.frames[ip] {
			if _, err := s.raw.WriteTo(frame, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.ndp.SetWriteDeadline(deadline); err != nil {
		return err
	}
	control := &ipv6.ControlMessage{HopLimit: ndp.HopLimit, Src: ip.AsSlice(), IfIndex: s.link.index}
	return s.ndp.WriteTo(s.adverts[ip], control, netip.IPv6LinkLocalAllNodes())
}

func (s *sender) close() error {
	var errs []error
	if s.asks != nil && s.asks != s.raw {
		errs = append(errs, s.asks.Close())
	}
	if s.raw != nil {
		errs = append(errs, s.raw.Close())
	}
	for _, e := range s.ears {
		errs = append(errs, e.conn.Close())
	}
	if s.ndp != nil {
		errs = append(errs, s.ndp.Close())
	}
	return errors.Join(errs...)
}
