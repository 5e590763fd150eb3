package vrrpcompat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
)

// A frame is an Ethernet frame as it came in.
type frame []byte

const etherHeader = 14

func (f frame) to() net.HardwareAddr   { return net.HardwareAddr(f[:6]) }
func (f frame) from() net.HardwareAddr { return net.HardwareAddr(f[6:12]) }
func (f frame) is(etherType uint16) bool {
	return len(f) > etherHeader && binary.BigEndian.Uint16(f[12:]) == etherType
}

// advert returns the IP header and the VRRP message in a frame; nil: it has none.
func (f frame) advert() (ip, msg []byte) {
	switch b := f[min(len(f), etherHeader):]; {
	case f.is(unix.ETH_P_IP) && len(b) > 60 && b[ipProtocol] == protocolAH:
		return b[:ipv4Header], b[ipv4Header+ahHeader:]
	case f.is(unix.ETH_P_IP) && len(b) > ipv4Header+vrrpHeader && b[ipProtocol] == protocolVRRP:
		return b[:ipv4Header], b[ipv4Header:]
	case f.is(unix.ETH_P_IPV6) && len(b) > 40+vrrpHeader && b[6] == protocolVRRP:
		return b[:40], b[40:]
	}
	return nil, nil
}

// A tap records the frames that come in on a host's eth0.
type tap struct {
	mu     sync.Mutex
	frames []frame
}

func tapOn(t *testing.T, l *lab.Lab, host string) *tap {
	t.Helper()
	fd := packetSocket(t, l, host, "eth0")
	f := os.NewFile(uintptr(fd), "tap")
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	c, ended := &tap{}, make(chan struct{})
	go func() {
		defer close(ended)
		for {
			b := make([]byte, 2048)
			var n int
			closed := raw.Read(func(fd uintptr) bool {
				n, _, err = unix.Recvfrom(int(fd), b, 0)
				return !errors.Is(err, unix.EAGAIN)
			})
			if closed != nil {
				return
			}
			c.mu.Lock()
			c.frames = append(c.frames, b[:max(n, 0)])
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() { f.Close(); <-ended })
	return c
}

// packetSocket returns a packet socket on an interface of a host; it does not hear
// what the host sends itself.
func packetSocket(t *testing.T, l *lab.Lab, host, ifname string) (fd int) {
	t.Helper()
	err := l.Do(host, func() (err error) {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}))
	})
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func (c *tap) all() []frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames)
}

// check holds the frames of our router against what RFC 9568 and keepalived want.
func (c *tap) check(t *testing.T, codec *Codec) {
	t.Helper()
	n := 0
	for _, f := range c.all() {
		ip, msg := f.advert()
		if ip == nil || msg[vrrpVRID] != codec.cfg.VRID {
			continue
		}
		n++
		if bad := checkFrame(f, ip, codec); bad != "" {
			t.Fatalf("%s: frame %x", bad, f)
		}
	}
	if n == 0 {
		t.Error("none of our adverts was on the wire")
	}
}

func checkFrame(f frame, ip []byte, codec *Codec) string {
	to := codec.Destinations()[0]
	mac := lab.DefaultHosts()[1].MAC()
	ttl, tos, src, dst := ip[ipTTL], ip[ipTOS], netip.AddrFrom4([4]byte(ip[ipSource:])), netip.AddrFrom4([4]byte(ip[ipTarget:]))
	if !codec.cfg.Unicast() { // RFC 1112 section 6.4
		mac = net.HardwareAddr{0x01, 0, 0x5e, 0, 0, 0x12}
	}
	if codec.v6 {
		ttl, tos = ip[7], ip[0]<<4|ip[1]>>4
		src, dst = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		if !codec.cfg.Unicast() { // RFC 2464 section 7
			mac = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 0x12}
		}
	}
	switch {
	case ttl != codec.cfg.TTL:
		return fmt.Sprintf("TTL %d; want %d", ttl, codec.cfg.TTL)
	case tos != 0xc0:
		return fmt.Sprintf("TOS %#x; want 0xc0", tos)
	case src != codec.own || dst != to:
		return fmt.Sprintf("from %s to %s; want from %s to %s", src, dst, codec.own, to)
	case f.to().String() != mac.String():
		return fmt.Sprintf("to MAC %s; want %s", f.to(), mac)
	}
	return ""
}
