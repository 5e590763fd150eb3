package fence

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// A tap sends and receives whole frames on a host's eth0.
type tap struct{ fd int }

func (s *station) tap(t testing.TB) *tap { t.Helper(); return s.tapOn(t, dev) }

func (s *station) tapOn(t testing.TB, name string) *tap {
	t.Helper()
	var fd int
	var err error
	s.do(func() {
		var i *net.Interface
		if i, err = net.InterfaceByName(name); err != nil {
			return
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return
		}
		err = errors.Join(
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		)
	})
	ok(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return &tap{fd}
}

func (p *tap) send(t testing.TB, frame []byte) {
	t.Helper()
	// ENOBUFS: this host's own fence dropped it.
	if _, err := unix.Write(p.fd, frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("send %x: %v", frame, err)
	}
}

// receive returns the next frame, and when the kernel got it, on CLOCK_REALTIME;
// nil after wait.
func (p *tap) receive(t testing.TB, wait time.Duration) ([]byte, time.Time) {
	t.Helper()
	tv := unix.NsecToTimeval(max(wait, time.Microsecond).Nanoseconds())
	ok(t, unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	buf, control := make([]byte, 2048), make([]byte, 128)
	n, cn, _, _, err := unix.Recvmsg(p.fd, buf, control, 0)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil, time.Time{}
	}
	ok(t, err)
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	ok(t, err)
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS {
			ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			return buf[:n], time.Unix(ts.Unix())
		}
	}
	t.Fatal("frame without a timestamp")
	return nil, time.Time{}
}

// wait returns when a frame that is wanted came; false when none did.
func (p *tap) wait(t testing.TB, wait time.Duration, want func([]byte) bool) (time.Time, bool) {
	t.Helper()
	for end := time.Now().Add(wait); time.Now().Before(end); {
		if f, at := p.receive(t, time.Until(end)); f != nil && want(f) {
			return at, true
		}
	}
	return time.Time{}, false
}

// isARP is a reply of the address.
func isARP(a netip.Addr) func([]byte) bool {
	return func(f []byte) bool {
		return len(f) >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 && slices.Equal(f[28:32], a.AsSlice())
	}
}

// isNA is an advertisement of the address.
func isNA(a netip.Addr) func([]byte) bool {
	return func(f []byte) bool {
		return len(f) >= 78 && f[12] == 0x86 && f[20] == protocolICMPv6 && f[54] == 136 && slices.Equal(f[62:78], a.AsSlice())
	}
}

// A question is one to the VIP, by what it is asked in. It returns false when no
// answer came in time.
type question struct {
	name string
	ask  func(t testing.TB, wait time.Duration) bool
}

const (
	portUDP = 4001
	portTCP = 4002
)

// serve answers UDP and TCP on the host's eth0 addresses.
func (s *station) serve(t testing.TB, addrs ...netip.Addr) {
	t.Helper()
	for _, a := range append(addrs, s.ip4, s.ip6) {
		var u net.PacketConn
		var l net.Listener
		var err1, err2 error
		s.do(func() {
			u, err1 = net.ListenPacket("udp", netip.AddrPortFrom(a, portUDP).String())
			l, err2 = net.Listen("tcp", netip.AddrPortFrom(a, portTCP).String())
		})
		ok(t, errors.Join(err1, err2))
		ended := make(chan struct{}, 2)
		t.Cleanup(func() { u.Close(); l.Close(); <-ended; <-ended })
		go func() { echo(u); ended <- struct{}{} }()
		go func() { accept(l); ended <- struct{}{} }()
	}
}

func echo(u net.PacketConn) {
	buf := make([]byte, 100)
	for {
		n, from, err := u.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = u.WriteTo(buf[:n], from) // lost where the fence is shut
		}
	}
}

func accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

// questions asks an address of the station with that MAC, without resolving it
// first but where that is the question. The own host's MAC is the zero one.
func (s *station) questions(t testing.TB, a netip.Addr, mac [6]byte) []question {
	t.Helper()
	var all []question
	if mac != [6]byte{} {
		s.run(t, "ip", "neigh", "replace", a.String(), "lladdr", net.HardwareAddr(mac[:]).String(), "dev", dev, "nud", "permanent")
		p := s.tap(t)
		if a.Is4() {
			all = append(all, question{"arp", func(t testing.TB, wait time.Duration) bool {
				t.Helper()
				p.send(t, arpFrame(1, s.mac, s.mac, s.ip4, [6]byte{}, a))
				_, answered := p.wait(t, wait, isARP(a))
				return answered
			}})
		} else {
			all = append(all, question{"neighbour solicitation", func(t testing.TB, wait time.Duration) bool {
				t.Helper()
				p.send(t, s.solicit(mac, a))
				_, answered := p.wait(t, wait, isNA(a))
				return answered
			}})
		}
	}
	all = append(all,
		question{"ping", func(_ testing.TB, wait time.Duration) bool { return s.ping(a, wait) }},
		question{"udp", func(_ testing.TB, wait time.Duration) bool { return s.askUDP(a, wait) }},
		question{"tcp", func(_ testing.TB, wait time.Duration) bool { return s.askTCP(a, wait) }},
	)
	return all
}

// solicit is a unicast neighbour solicitation with a right checksum.
func (s *station) solicit(to [6]byte, target netip.Addr) []byte {
	f := nd(s.mac, 135, s.ip6, target, target, 255)
	copy(f, to[:])
	f[54+24], f[54+25] = 1, 1 // source link-layer address
	copy(f[54+26:], s.mac[:])
	return checksum6(f)
}

// advertise is an unsolicited advertisement of the address to all.
func (s *station) advertise(target netip.Addr) []byte {
	f := nd(s.mac, 136, target, netip.IPv6LinkLocalAllNodes(), target, 255)
	copy(f, []byte{0x33, 0x33, 0, 0, 0, 1})
	copy(f[54+26:], s.mac[:])
	return checksum6(f)
}

// checksum6 fills in the checksum of an ICMPv6 message, RFC 4443 section 2.3.
func checksum6(f []byte) []byte {
	sum := uint32(protocolICMPv6) + uint32(len(f)-54)
	for i := 22; i+1 < len(f); i += 2 {
		if i != 56 {
			sum += uint32(f[i])<<8 | uint32(f[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	f[56], f[57] = byte(^sum>>8), byte(^sum)
	return f
}

func (s *station) ping(a netip.Addr, wait time.Duration) bool {
	// An echo request with the number 1, and its checksum for IPv4; for IPv6 the
	// kernel fills it in.
	proto, request, reply := "ip4:icmp", []byte{8, 0, 0xf7, 0xfe, 0, 0, 0, 1}, byte(0)
	if a.Is6() {
		proto, request, reply = "ip6:ipv6-icmp", []byte{128, 0, 0, 0, 0, 0, 0, 1}, 129
	}
	var c net.Conn
	var err error
	s.do(func() { c, err = net.Dial(proto, a.String()) })
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Write(request); err != nil {
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	for buf := make([]byte, 100); ; {
		n, err := c.Read(buf)
		if err != nil {
			return false
		}
		message := buf[:n]
		if a.Is4() && n > ip4Len { // Read leaves the IPv4 header
			message = buf[ip4Len:n]
		}
		if len(message) >= 8 && message[0] == reply {
			return true
		}
	}
}

func (s *station) askUDP(a netip.Addr, wait time.Duration) bool {
	var c net.Conn
	var err error
	s.do(func() { c, err = net.Dial("udp", netip.AddrPortFrom(a, portUDP).String()) })
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Write([]byte("?")); err != nil {
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	_, err = c.Read(make([]byte, 10))
	return err == nil
}

func (s *station) askTCP(a netip.Addr, wait time.Duration) bool {
	var c net.Conn
	var err error
	s.do(func() { c, err = net.DialTimeout("tcp", netip.AddrPortFrom(a, portTCP).String(), wait) })
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// answered asks until there is an answer.
func (q question) answered(t testing.TB) {
	t.Helper()
	await(t, q.name+" is answered", func() bool { return q.ask(t, patience/5) })
}

// silent asks once.
func (q question) silent(t testing.TB) {
	t.Helper()
	if q.ask(t, silence) {
		t.Errorf("%s is answered; want none", q.name)
	}
}

// boot is a moment of CLOCK_REALTIME on CLOCK_BOOTTIME.
func boot(at time.Time) boottime.Instant {
	before := boottime.Now()
	now := time.Now()
	after := boottime.Now()
	return (before + (after-before)/2).Add(at.Sub(now.Round(0)))
}
