package vrrpcompat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// openEndpoint opens a socket that can send to c's destinations on an interface,
// and hears what a filter passes.
func openEndpoint(device string, c Config, filter []unix.SockFilter) (*endpoint, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return nil, explainSocket("find it", err)
	}
	e := &endpoint{device: device, index: link.Attrs().Index}
	fd, err := unix.Socket(socketFamily(c), unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, socketProtocol(c))
	if err != nil {
		return nil, explainSocket("open a raw socket", err)
	}
	for _, o := range e.options(c, filter) {
		if err := o.set(fd); err != nil && (!o.optional || !errors.Is(err, unix.ENOPROTOOPT)) {
			return nil, errors.Join(explainSocket("set "+o.name, err), unix.Close(fd))
		}
	}
	f := os.NewFile(uintptr(fd), "vrrp")
	defer f.Close()
	if e.conn, err = net.FilePacketConn(f); err != nil {
		return nil, fmt.Errorf("hand the socket to the runtime: %w", err)
	}
	raw, err := e.conn.(*net.IPConn).SyscallConn()
	if err != nil {
		return nil, errors.Join(err, e.conn.Close())
	}
	e.raw = raw
	return e, nil
}

func socketFamily(c Config) int {
	if c.IPv6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func socketProtocol(c Config) int {
	if c.Auth.Type == AuthAH {
		return protocolAH
	}
	return protocolVRRP
}

// An option is one of socket(7), ip(7), ipv6(7).
type option struct {
	name     string
	set      func(fd int) error
	optional bool // an old kernel does not have it, and it goes without
}

func number(name string, level, opt, value int) option {
	return option{name: name, set: func(fd int) error { return unix.SetsockoptInt(fd, level, opt, value) }}
}

// priorityControl is TC_PRIO_CONTROL of linux/pkt_sched.h: the host's own queues
// let adverts pass before bulk traffic.
const priorityControl = 7

// options returns what a socket needs that sends, in the order in which they
// are to be set: IP_TOS sets the priority too.
func (e *endpoint) options(c Config, filter []unix.SockFilter) []option {
	all := []option{
		{name: "SO_ATTACH_FILTER", set: func(fd int) error { return setFilter(fd, filter) }},
		{name: "SO_BINDTODEVICE", set: func(fd int) error { return unix.BindToDevice(fd, e.device) }},
	}
	if !c.IPv6() {
		return append(all,
			number("IP_HDRINCL", unix.SOL_IP, unix.IP_HDRINCL, 1),
			option{name: "IP_MULTICAST_IF", set: func(fd int) error {
				return unix.SetsockoptIPMreqn(fd, unix.SOL_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(e.index)})
			}},
			number("IP_MULTICAST_LOOP", unix.SOL_IP, unix.IP_MULTICAST_LOOP, 0),
			number("IP_MULTICAST_ALL", unix.SOL_IP, unix.IP_MULTICAST_ALL, 0),
			number("SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, priorityControl),
		)
	}
	all6 := number("IPV6_MULTICAST_ALL", unix.SOL_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	all6.optional = true // Linux 4.20
	return append(all,
		number("IPV6_CHECKSUM", unix.SOL_RAW, unix.IPV6_CHECKSUM, vrrpChecksum),
		number("IPV6_MULTICAST_IF", unix.SOL_IPV6, unix.IPV6_MULTICAST_IF, e.index),
		number("IPV6_MULTICAST_LOOP", unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
		all6,
		number("IPV6_MULTICAST_HOPS", unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, maxTTL),
		number("IPV6_UNICAST_HOPS", unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, int(c.TTL)),
		number("IPV6_TCLASS", unix.SOL_IPV6, unix.IPV6_TCLASS, tosControl),
		// The link-local address of the interface itself is not on that of use_vmac.
		number("IPV6_FREEBIND", unix.SOL_IPV6, unix.IPV6_FREEBIND, 1),
		number("IPV6_RECVHOPLIMIT", unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1),
		number("IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1),
		number("SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, priorityControl),
	)
}

// listen makes the socket hear what is for router c.
func (e *endpoint) listen(c Config, own netip.Addr) (err error) {
	at := c.Group
	if c.Unicast() {
		at = own
	}
	ended := e.raw.Control(func(fd uintptr) {
		// What came in before it was bound is of every interface, to any address.
		if err = e.bind(int(fd), at); err == nil {
			err = drain(int(fd))
		}
	})
	return errors.Join(err, ended)
}

// bind binds the socket to an address, and joins it if it is a group.
func (e *endpoint) bind(fd int, at netip.Addr) error {
	var join, bind error
	if at.Is4() {
		if at.IsMulticast() {
			join = unix.SetsockoptIPMreqn(fd, unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: at.As4(), Ifindex: int32(e.index)})
		}
		bind = unix.Bind(fd, &unix.SockaddrInet4{Addr: at.As4()})
	} else {
		if at.IsMulticast() {
			join = unix.SetsockoptIPv6Mreq(fd, unix.SOL_IPV6, unix.IPV6_ADD_MEMBERSHIP, &unix.IPv6Mreq{Multiaddr: at.As16(), Interface: uint32(e.index)})
		}
		bind = unix.Bind(fd, &unix.SockaddrInet6{Addr: at.As16(), ZoneId: uint32(e.index)})
	}
	return errors.Join(explainSocket("join "+at.String(), join), explainSocket("bind to "+at.String(), bind))
}

// drain throws away what the socket has received.
func drain(fd int) error {
	var b [1]byte
	for {
		switch _, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT); {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("empty the socket: %w", err)
		}
	}
}

// explainSocket adds to the error of a step what to do about it. It returns nil
// for nil.
func explainSocket(step string, err error) error {
	const text = "%s: %w: %s"
	var missing netlink.LinkNotFoundError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing), errors.Is(err, unix.ENODEV):
		return fmt.Errorf(text, step, err, "adverts would have no way; write interface with one of those that ip link shows")
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf(text, step, err, "protocol 112 is for raw sockets, which need CAP_NET_RAW; run as root, or set AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in the unit")
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf(text, step, err, "this kernel runs without IPv6, and the VIPs are; boot it without ipv6.disable=1")
	default:
		return fmt.Errorf("%s: %w", step, err)
	}
}

// hopLimit reads the int of a control message, in the order of this machine.
func hopLimit(b []byte) uint8 { return uint8(binary.NativeEndian.Uint32(b)) }
