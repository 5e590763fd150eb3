package vrrpcompat

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// SocketOptions is what a Conn can have besides what Config says. The zero value
// is right but for use_vmac.
type SocketOptions struct {
	// Via is the interface that multicast adverts leave by where it is not the one
	// that they come in by: that of OpenVMAC. Unicast ones leave by the interface
	// itself all the same: answers to its address go to its MAC address, and so
	// keepalived insists on vmac_xmit_base there.
	Via string
}

// A Conn is the raw sockets of one virtual router on one interface. Receive is for
// one goroutine at a time; Send and Close are for any.
type Conn struct {
	v6      bool
	in, out *endpoint
	control []byte // of what is sent over IPv6: the source address
	oob     []byte // of what was received over IPv6
}

// Listen opens the sockets of router c on an interface, for adverts from own, which
// must be one of this host's addresses (SourceAddr finds one). What it hears is the
// router's alone: of this interface, this VRID, with or without authentication
// header as c has it, and to the group in multicast, to own in unicast, as with
// keepalived; never what this host sent itself. It needs CAP_NET_RAW.
//
// The sockets hold on to the interface and not to its name: see Gone.
func Listen(ifname string, c Config, own netip.Addr, o SocketOptions) (*Conn, error) {
	c, own = c.WithDefaults(), own.WithZone("")
	if !own.IsValid() || own.Is4() == c.IPv6() {
		return nil, fmt.Errorf("router %d on %s: the source (%s) is no address of the VIPs' family: an advert travels in the family of its VIPs; write one of this host's", c.VRID, ifname, own)
	}
	conn := &Conn{v6: c.IPv6()}
	if err := conn.open(ifname, c, own, o); err != nil {
		return nil, errors.Join(fmt.Errorf("router %d on %s: %w", c.VRID, ifname, err), conn.Close())
	}
	return conn, nil
}

func (c *Conn) open(ifname string, cfg Config, own netip.Addr, o SocketOptions) (err error) {
	if c.in, err = openEndpoint(ifname, cfg, onlyRouter(cfg)); err != nil {
		return err
	}
	if err := hasAddress(own, c.in.index); err != nil {
		return err
	}
	if err := c.in.listen(cfg, own); err != nil {
		return err
	}
	c.out = c.in
	if o.Via != "" && o.Via != ifname && !cfg.Unicast() {
		if c.out, err = openEndpoint(o.Via, cfg, deaf()); err != nil {
			return err
		}
	}
	if c.v6 {
		c.control = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: own.As16(), Ifindex: uint32(c.out.index)})
		c.oob = make([]byte, controlSize)
	}
	return nil
}

// controlSize holds the hop limit and the destination of a packet, with room.
const controlSize = 128

// Receive waits for a packet and reads it into buf, of at least MaxPacket+1
// octets, which the packet's Data is a part of. After Close the error is
// net.ErrClosed. Any other says that the socket is of no more use.
func (c *Conn) Receive(buf []byte) (Packet, error) {
	for {
		var n, oobn int
		var from unix.Sockaddr
		var err error
		wait := c.in.raw.Read(func(fd uintptr) bool {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, c.oob, 0)
			return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		})
		switch {
		case wait != nil:
			return Packet{}, fmt.Errorf("receive adverts on %s: %w", c.in.device, wait)
		case unreached(err):
			continue
		case err != nil:
			return Packet{}, fmt.Errorf("receive adverts on %s: %w", c.in.device, err)
		}
		p := Packet{Data: buf[:n]}
		if c.v6 {
			p.readControl(c.oob[:oobn])
			if a, ok := from.(*unix.SockaddrInet6); ok {
				p.Src = netip.AddrFrom16(a.Addr)
			}
		}
		return p, nil
	}
}

// unreached reports whether an error is what an ICMP message said of something
// that was sent before, and nothing about the socket: a host whose keepalived is
// dead answers an advert that way (RFC 4443 section 3.4 for IPv6).
func unreached(err error) bool {
	for _, icmp := range []error{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EPROTO, unix.EHOSTDOWN, unix.ENOPROTOOPT, unix.EMSGSIZE, unix.EACCES, unix.EOPNOTSUPP} {
		if errors.Is(err, icmp) {
			return true
		}
	}
	return false
}

// readControl reads what RFC 3542 has beside the message.
func (p *Packet) readControl(b []byte) {
	for len(b) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil || h.Level != unix.SOL_IPV6 {
			return
		}
		switch {
		case h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			p.HopLimit = hopLimit(data)
		case h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			p.Dst = netip.AddrFrom16([16]byte(data))
		}
		b = rest
	}
}

// Send sends an advert, as Codec.AppendAdvert makes it, to one of the codec's
// Destinations. It never waits: where the network has no room or no way (EAGAIN,
// ENOBUFS, ENETUNREACH) that is an error, and the advert is lost.
func (c *Conn) Send(b []byte, to netip.Addr) error {
	var err error
	ended := c.out.raw.Control(func(fd uintptr) {
		if c.v6 {
			_, err = unix.SendmsgN(int(fd), b, c.control, &unix.SockaddrInet6{Addr: to.As16(), ZoneId: uint32(c.out.index)}, unix.MSG_DONTWAIT)
		} else {
			err = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: to.As4()})
		}
	})
	if err == nil {
		err = ended
	}
	if err != nil {
		return fmt.Errorf("send an advert to %s by %s: %w", to, c.out.device, err)
	}
	return nil
}

// Gone reports whether an interface of the sockets is no more there, or another
// one has its name: then nothing is heard any more, without an error. A new Conn
// is needed.
func (c *Conn) Gone() bool {
	for _, e := range []*endpoint{c.in, c.out} {
		if i, err := net.InterfaceByName(e.device); err != nil || i.Index != e.index {
			return true
		}
	}
	return false
}

// Close closes the sockets, and ends a Receive.
func (c *Conn) Close() error {
	var errs []error
	if c.in != nil {
		errs = append(errs, c.in.conn.Close())
	}
	if c.out != nil && c.out != c.in {
		errs = append(errs, c.out.conn.Close())
	}
	return errors.Join(errs...)
}

// An endpoint is one socket on one interface.
type endpoint struct {
	device string
	index  int
	conn   net.PacketConn
	raw    syscall.RawConn
}
