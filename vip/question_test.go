package vip

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// A client is a packet socket of the peer, which asks for addresses and claims
// them.
type client struct {
	conn *packet.Conn
	mac  net.HardwareAddr
}

func newClient(t testing.TB, p *peer) *client {
	t.Helper()
	c := &client{}
	var err error
	p.do(func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("far0"); err == nil {
			c.mac = ifi.HardwareAddr
			c.conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	return c
}

func (c *client) send(t testing.TB, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		if _, err := c.conn.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]}); err != nil {
			t.Fatal(err)
		}
	}
}

// answered asks for an address again and again, and reports whether somebody
// answered a question of this call within that time.
func (c *client) answered(t testing.TB, address string, within time.Duration) bool {
	t.Helper()
	ip := netip.MustParseAddr(address)
	question, err := probeFrame(c.mac, ip)
	if err != nil {
		t.Fatal(err)
	}
	for c.heard(t, ip, time.Now().Add(time.Millisecond)) { // answers to earlier questions
	}
	for end := time.Now().Add(within); time.Now().Before(end); {
		c.send(t, question)
		if c.heard(t, ip, time.Now().Add(5*time.Millisecond)) {
			return true
		}
	}
	return false
}

// heard reads until an answer comes, or the time is over.
func (c *client) heard(t testing.TB, ip netip.Addr, until time.Time) bool {
	t.Helper()
	b := make([]byte, 2048)
	for {
		if err := c.conn.SetReadDeadline(until); err != nil {
			t.Fatal(err)
		}
		n, _, err := c.conn.ReadFrom(b)
		if err != nil {
			return false
		}
		if _, ok := parseClaim(b[:n], c.mac, []netip.Addr{ip}); ok {
			return true
		}
	}
}

// claim says once that the peer has the address, as a host does that has just got
// it.
func (c *client) claim(t testing.TB, address string) {
	t.Helper()
	c.send(t, claimFrames(t, c.mac, address)[0])
}

func claimFrames(t testing.TB, mac net.HardwareAddr, address string) [][]byte {
	t.Helper()
	ip := netip.MustParseAddr(address)
	if ip.Is4() {
		frames, err := gratuitous(mac, ip)
		if err != nil {
			t.Fatal(err)
		}
		return frames
	}
	all := netip.IPv6LinkLocalAllNodes()
	advert := &ndp.NeighborAdvertisement{
		Override: true, TargetAddress: ip,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	}
	message, err := ndp.MarshalMessageChecksum(advert, ip, all)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := (&ethernet.Frame{
		Destination: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, Source: mac,
		EtherType: ethernet.EtherTypeIPv6, Payload: ip6Packet(ip, all, message),
	}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{frame}
}
