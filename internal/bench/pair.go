package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
	"leasehold/internal/lab"
	"leasehold/vip/fence"
)

// pair is two namespaces with one cable between them, and nothing else on it.
type pair struct {
	*lab.Lab
	dir  string // for pins
	echo int    // raw ICMP socket on the near end
	udp  int    // on the near end, connected to the VIP
	far  *net.UDPConn
	port uint16
}

// openPair makes a cable from the client's namespace to host a's, beside the lab's
// switch.
func openPair(l *lab.Lab) (*pair, error) {
	p := &pair{Lab: l, echo: -1, udp: -1}
	var err error
	if p.dir, err = l.BPFDir(lab.A); err != nil {
		return nil, err
	}
	var far int
	err = l.Do(lab.A, func() error {
		far, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the namespace of host a: %w", err)
	}
	defer func() { _ = unix.Close(far) }()
	err = l.Do(lab.Client, func() error {
		cable := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: pairDevice}, PeerName: pairDevice, PeerNamespace: netlink.NsFd(far),
		}
		return errors.Join(netlink.LinkAdd(cable), setUp(nearAddr))
	})
	if err == nil {
		err = l.Do(lab.A, func() error { return setUp(farAddr, pairVIP) })
	}
	if err != nil {
		return nil, fmt.Errorf("make the pair: %w", err)
	}
	err = l.Do(lab.A, func() error {
		p.far, err = net.ListenUDP("udp4", &net.UDPAddr{IP: pairVIP.Addr().AsSlice()})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on the far end: %w", err)
	}
	p.port = p.far.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	if err := l.Do(lab.Client, p.openSockets); err != nil {
		return nil, errors.Join(fmt.Errorf("open the near end's sockets: %w", err), p.close())
	}
	return p, nil
}

// setUp gives the thread's end of the pair its addresses, and keeps IPv6 off it,
// whose neighbour discovery would be traffic of its own.
func setUp(addrs ...netip.Prefix) error {
	link, err := netlink.LinkByName(pairDevice)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		ip := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), 32)}
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

func (p *pair) openSockets() (err error) {
	if p.echo, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP); err != nil {
		return err
	}
	if p.udp, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	// A question for the MAC that comes before the other end is up is asked again
	// after a second.
	limit := unix.Timeval{Sec: 5}
	vip := pairVIP.Addr().As4()
	return errors.Join(
		unix.SetsockoptTimeval(p.echo, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.Connect(p.echo, &unix.SockaddrInet4{Addr: vip}),
		unix.Connect(p.udp, &unix.SockaddrInet4{Addr: vip, Port: int(p.port)}),
	)
}

func (p *pair) close() error {
	errs := []error{p.far.Close()}
	for _, fd := range []int{p.echo, p.udp} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// measure builds the fences, measures, and takes them away again.
func (p *pair) measure(f fencing) (s sample, err error) {
	from := time.Now()
	if err := p.Do(lab.A, func() error { return p.build(f) }); err != nil {
		return s, fmt.Errorf("build the fence: %w", err)
	}
	s.built = time.Since(from)
	defer func() {
		err = errors.Join(err, p.Do(lab.A, func() error {
			_, err := fence.Purge(p.dir)
			return err
		}))
	}()
	done := make(chan error)
	go func() {
		ahead()
		var pingErr, floodErr error
		s.rtt, pingErr = p.ping()
		s.send, floodErr = p.flood()
		done <- errors.Join(pingErr, floodErr)
	}()
	err = <-done
	return s, err
}

// build puts the fences up; closing them leaves them pinned.
func (p *pair) build(f fencing) error {
	if f.open {
		if err := p.fence(f.kind, pairVIP.Addr(), boottime.Now().Add(time.Hour)); err != nil {
			return err
		}
	}
	for _, addr := range otherVIPs[:f.shut] {
		if err := p.fence(f.kind, addr, 0); err != nil {
			return err
		}
	}
	return nil
}

func (p *pair) fence(kind fence.Kind, addr netip.Addr, until boottime.Instant) error {
	f, err := fence.Open(fence.Config{Dir: p.dir, Addr: addr, Device: pairDevice, Kind: kind})
	if err != nil {
		return err
	}
	if until != 0 {
		err = f.Arm(until)
	}
	return errors.Join(err, f.Close())
}

// ping returns the median of the round trips of some ICMP echoes. The far end's
// kernel answers within the call that sends, so that no scheduler is in it.
func (p *pair) ping() (time.Duration, error) {
	packet := make([]byte, 64)
	packet[0] = 8 // echo request, RFC 792
	buf := make([]byte, 256)
	trips := make([]time.Duration, pings)
	for i := range trips {
		binary.BigEndian.PutUint32(packet[4:], uint32(i)) // identifier and sequence
		packet[2], packet[3] = 0, 0
		binary.BigEndian.PutUint16(packet[2:], checksum(packet))
		sent := time.Now()
		if _, err := unix.Write(p.echo, packet); err != nil {
			return 0, fmt.Errorf("send an echo request: %w", err)
		}
		for {
			n, err := unix.Read(p.echo, buf)
			if err != nil {
				return 0, fmt.Errorf("no echo reply within 5s: %w", err)
			}
			// A raw socket has the IPv4 header before it, 20 bytes without options.
			if n >= 28 && buf[20] == 0 && binary.BigEndian.Uint32(buf[24:]) == uint32(i) {
				break
			}
		}
		trips[i] = time.Since(sent)
	}
	slices.Sort(trips)
	return median(trips), nil
}

// checksum is the Internet checksum of RFC 1071, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// flood returns the time that sending a datagram takes until it is in the far
// end's socket, the median of bursts. What is there is read in between, which
// does not count.
func (p *pair) flood() (time.Duration, error) {
	raw, err := p.far.SyscallConn()
	if err != nil {
		return 0, err
	}
	const burst = 100 // far below what the socket holds
	payload, buf := make([]byte, 64), make([]byte, 128)
	bursts := make([]time.Duration, datagrams/burst)
	got := 0
	for i := range bursts {
		from := time.Now()
		for range burst {
			if _, err := unix.Write(p.udp, payload); err != nil {
				return 0, fmt.Errorf("send a datagram: %w", err)
			}
		}
		bursts[i] = time.Since(from)
		var readErr error
		err := raw.Control(func(fd uintptr) {
			for readErr == nil {
				if _, _, readErr = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT); readErr == nil {
					got++
				}
			}
		})
		if err != nil || !errors.Is(readErr, unix.EAGAIN) {
			return 0, errors.Join(err, readErr)
		}
	}
	// The last ones of a burst may still be in the queue of another CPU.
	if got < datagrams*9/10 {
		return 0, fmt.Errorf("%d of %d datagrams arrived: the time to send them says nothing", got, datagrams)
	}
	slices.Sort(bursts)
	return median(bursts) / burst, nil
}
