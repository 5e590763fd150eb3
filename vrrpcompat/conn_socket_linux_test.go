package vrrpcompat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
)

// ip runs an ip(8) command on a host.
func ip(t *testing.T, l *lab.Lab, host string, args ...string) {
	t.Helper()
	if _, err := l.Exec(t.Context(), host, "ip", args...); err != nil {
		t.Fatal(err)
	}
}

// wire1 is the address of lab.A on the wire of secondWire.
var wire1 = netip.MustParseAddr("10.20.9.50")

// secondWire gives lab.A an eth1, whose other end is its far1.
func secondWire(t *testing.T, l *lab.Lab) {
	t.Helper()
	ip(t, l, lab.A, "link", "add", "eth1", "type", "veth", "peer", "far1")
	ip(t, l, lab.A, "link", "set", "eth1", "up")
	ip(t, l, lab.A, "link", "set", "far1", "up")
	ip(t, l, lab.A, "addr", "add", wire1.String()+"/24", "dev", "eth1")
}

// listening is Listen on a host.
func listening(t *testing.T, l *lab.Lab, host, ifname string, c Config, own netip.Addr) (conn *Conn, err error) {
	t.Helper()
	inside := l.Do(host, func() error {
		conn, err = Listen(ifname, c, own, SocketOptions{})
		return nil
	})
	if inside != nil {
		t.Fatal(inside)
	}
	return conn, err
}

// pending returns what a Conn has received and not read.
func pending(t *testing.T, c *Conn) []Packet {
	t.Helper()
	var all []Packet
	for {
		n, ended := 0, error(nil)
		var buf [MaxPacket + 1]byte
		err := c.in.raw.Control(func(fd uintptr) { n, _, ended = unix.Recvfrom(int(fd), buf[:], unix.MSG_DONTWAIT) })
		switch {
		case err != nil:
			t.Fatal(err)
		case errors.Is(ended, unix.EAGAIN):
			return all
		case ended != nil:
			t.Fatal(ended)
		}
		all = append(all, Packet{Data: bytes.Clone(buf[:n])})
	}
}

// await polls until ok, and fails the test after patience.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if err := lab.Wait(t.Context(), patience, what, func() (bool, error) { return ok(), nil }); err != nil {
		t.Fatal(err)
	}
}

// TestConnHearsItsRouterOnly: not what this host said itself, nothing of another
// router, of another interface, or to another kind of destination.
func TestConnHearsItsRouterOnly(t *testing.T) {
	l := twoHosts(t)
	secondWire(t, l)
	unicast := func(c Config, peer netip.Addr) Config { c.Peers = []netip.Addr{peer}; return c }
	ah := base()
	ah.Auth = Auth{AuthAH, "s3cret"}
	other := base()
	other.VRID = 52

	on := func(host, ifname string, c Config, own netip.Addr) *Conn {
		return listenOn(t, l, host, ifname, c, own, SocketOptions{})
	}
	heard := map[string]*Conn{
		"the router": on(lab.A, "eth0", base(), hostA),
		"in unicast": on(lab.A, "eth0", unicast(base(), hostB), hostA),
		"with AH":    on(lab.A, "eth0", ah, hostA),
	}
	deaf := map[string]*Conn{
		"another router":              on(lab.A, "eth0", other, hostA),
		"another router with AH":      on(lab.A, "eth0", func() Config { c := ah; c.VRID = 52; return c }(), hostA),
		"another interface":           on(lab.A, "eth1", base(), wire1),
		"another one in unicast":      on(lab.A, "eth1", unicast(base(), hostB), hostA),
		"the sender":                  on(lab.B, "eth0", base(), hostB),
		"the sender in unicast":       on(lab.B, "eth0", unicast(base(), hostA), hostB),
		"another router of the peers": on(lab.B, "eth0", other, hostB),
	}
	for _, c := range []Config{base(), unicast(base(), hostA), ah} {
		(&speaker{t: t, conn: on(lab.B, "eth0", c, hostB), codec: newCodec(t, c, hostB)}).say(100)
	}
	configs := map[string]Config{"the router": base(), "in unicast": unicast(base(), hostB), "with AH": ah}
	for name, c := range heard {
		var got []Packet
		await(t, name+" hears", func() bool { got = append(got, pending(t, c)...); return len(got) > 0 })
		if a, why := newCodec(t, configs[name], hostA).ParseAdvert(got[0]); len(got) != 1 || why != Accepted || a.Source != hostB {
			t.Errorf("%s hears %d packets, the first %+v: %s; want one, accepted", name, len(got), a, why)
		}
	}
	for name, c := range deaf {
		if got := pending(t, c); len(got) > 0 {
			t.Errorf("%s hears %x", name, got[0].Data)
		}
	}
}

// TestConnChecksumIPv6: the kernel makes it.
func TestConnChecksumIPv6(t *testing.T) {
	l := twoHosts(t)
	ours, theirs := base(), base()
	ours.VIPs = addrs("fd00:20:8::188")
	theirs.VIPs = ours.VIPs
	ours.Peers, theirs.Peers = []netip.Addr{global6B}, []netip.Addr{global6A}
	from := listenOn(t, l, lab.A, "eth0", ours, global6A, SocketOptions{})
	to := &speaker{t: t, conn: listenOn(t, l, lab.B, "eth0", theirs, global6B, SocketOptions{}), codec: newCodec(t, theirs, global6B)}
	b := newCodec(t, ours, global6A).AppendAdvert(nil, 100, global6B)
	b[vrrpChecksum] ^= 0xff
	if err := from.Send(b, global6B); err != nil {
		t.Fatal(err)
	}
	a, why, ok := to.hear(patience)
	if !ok || why != Accepted || a.Source != global6A || a.Destination != global6B || a.TTL != 255 {
		t.Errorf("heard %t, %+v: %s; want it accepted", ok, a, why)
	}
}

// advertOnWire1 is the frame of an advert from another host on that wire.
func advertOnWire1(t *testing.T) []byte {
	t.Helper()
	codec := newCodec(t, base(), netip.MustParseAddr("10.20.9.27"))
	codec.NextRound()
	f := binary.BigEndian.AppendUint16([]byte{0x01, 0, 0x5e, 0, 0, 0x12, 0x02, 0, 0, 0, 0, 1}, unix.ETH_P_IP)
	return codec.AppendAdvert(f, 100, group4())
}

// TestListenAmidAdverts: what comes in on another interface while the socket is
// made, and is not bound yet, is not heard.
func TestListenAmidAdverts(t *testing.T) {
	l := twoHosts(t)
	secondWire(t, l)
	flooded := listenOn(t, l, lab.A, "eth1", base(), wire1, SocketOptions{})
	f, fd := advertOnWire1(t), packetSocket(t, l, lab.A, "far1")
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = unix.Write(fd, f) // a full queue is what is wanted
			}
		}
	}()
	defer func() { close(stop); <-ended; unix.Close(fd) }()
	await(t, "the flood is heard on its own interface", func() bool { return len(pending(t, flooded)) > 0 })
	for range 300 {
		c, err := listening(t, l, lab.A, "eth0", base(), hostA)
		if err != nil {
			t.Fatal(err)
		}
		if got := pending(t, c); len(got) > 0 {
			t.Fatalf("heard %x of another interface", got[0].Data)
		}
		c.Close()
	}
}

// TestConnOutlivesICMP: a host without a router answers adverts with ICMP, and
// where that gets to the socket, Receive goes on all the same.
func TestConnOutlivesICMP(t *testing.T) {
	l := twoHosts(t)
	for name, c := range map[string]struct {
		own, peer netip.Addr
		vips      []netip.Addr
	}{
		"IPv4": {hostA, hostB, base().VIPs},
		"IPv6": {global6A, global6B, addrs("fd00:20:8::188")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := base()
			cfg.VIPs, cfg.Peers, cfg.Version = c.vips, []netip.Addr{c.peer}, Version3
			r := &speaker{t: t, conn: listenOn(t, l, lab.A, "eth0", cfg, c.own, SocketOptions{}), codec: newCodec(t, cfg, c.own)}
			r.say(100)
			// Linux hands ICMP errors to connected raw sockets only (raw_err, rawv6_err):
			// that they are not heard otherwise is not promised anywhere.
			err := r.conn.in.raw.Control(func(fd uintptr) {
				var to unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(c.peer.AsSlice()[:4])}
				if c.peer.Is6() {
					to = &unix.SockaddrInet6{Addr: c.peer.As16()}
				}
				if err := unix.Connect(int(fd), to); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			r.say(100)
			await(t, "the answer of ICMP", func() bool { return queued(t, r.conn, unix.POLLERR) })
			if a, why, ok := r.hear(10 * time.Millisecond); ok {
				t.Errorf("heard %+v: %s; want nothing", a, why)
			}
			peer := cfg
			peer.Peers = []netip.Addr{c.own}
			there := &speaker{t: t, conn: listenOn(t, l, lab.B, "eth0", peer, c.peer, SocketOptions{}), codec: newCodec(t, peer, c.peer)}
			there.say(100)
			if _, why, ok := r.hear(patience); !ok || why != Accepted {
				t.Errorf("the next advert: heard %t, %s; want it accepted", ok, why)
			}
		})
	}
}

// queued reports whether poll(2) says something of a socket at once.
func queued(t *testing.T, c *Conn, what int16) bool {
	t.Helper()
	var p []unix.PollFd
	if err := c.in.raw.Control(func(fd uintptr) {
		p = []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, 0); err != nil && !errors.Is(err, unix.EINTR) {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return p[0].Revents&what != 0
}

// TestConnClose: Close ends a Receive, and nothing is left open, neither of a Conn
// nor of a Listen that failed.
func TestConnClose(t *testing.T) {
	l := twoHosts(t)
	six := base()
	six.VIPs = addrs("fd00:20:8::188")
	before := openFiles(t)
	for range 20 {
		for own, cfg := range map[netip.Addr]Config{hostA: base(), local6A: six} {
			c, err := listening(t, l, lab.A, "eth0", cfg, own)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() {
				_, err := c.Receive(make([]byte, MaxPacket+1))
				ended <- err
			}()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Fatalf("Receive() = %v; want net.ErrClosed", err)
			}
			if err := c.Send([]byte{0}, own); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("Send() = %v; want net.ErrClosed", err)
			}
			if _, err := listening(t, l, lab.A, "eth0", cfg, other(own)); err == nil {
				t.Fatal("Listen from an address of another host succeeds")
			}
		}
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files open, %d before", after, before)
	}
}

func other(own netip.Addr) netip.Addr {
	if own.Is4() {
		return other4
	}
	return other6
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestConnGone: an interface that was made anew is another one.
func TestConnGone(t *testing.T) {
	l := twoHosts(t)
	secondWire(t, l)
	c := listenOn(t, l, lab.A, "eth1", base(), wire1, SocketOptions{})
	gone := func() (yes bool) {
		if err := l.Do(lab.A, func() error { yes = c.Gone(); return nil }); err != nil {
			t.Fatal(err)
		}
		return yes
	}
	if gone() {
		t.Error("Gone() while it is there")
	}
	ip(t, l, lab.A, "link", "set", "eth1", "down")
	ip(t, l, lab.A, "link", "set", "eth1", "up")
	if gone() {
		t.Error("Gone() after down and up")
	}
	fd := packetSocket(t, l, lab.A, "far1")
	defer unix.Close(fd)
	await(t, "it hears after down and up", func() bool {
		_, err := unix.Write(fd, advertOnWire1(t))
		return err == nil && len(pending(t, c)) > 0
	})
	ip(t, l, lab.A, "link", "del", "eth1")
	if !gone() {
		t.Error("not Gone() when it is deleted")
	}
	if err := c.Send(make([]byte, 40), group4()); !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.ENXIO) {
		t.Errorf("Send() = %v; want that there is no way", err)
	}
	secondWire(t, l)
	if !gone() {
		t.Error("not Gone() when another one has its name")
	}
}
