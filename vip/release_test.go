package vip

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReleaseResetsClients(t *testing.T) { eachGuard(t, testReleaseResetsClients) }

func testReleaseResetsClients(t *testing.T, newSet setMaker) {
	for name, c := range map[string]struct{ spec, network string }{
		"IPv4":                        {spec4, "tcp4"},
		"IPv4 on a listener of [::]":  {spec4, "tcp"},
		"IPv6":                        {spec6, "tcp6"},
		"IPv6 on a dual-stack socket": {spec6, "tcp"},
	} {
		t.Run(name, func(t *testing.T) {
			p := network(t)
			s := newSet(t, c.spec)
			bind(t, s, 30*time.Second)
			client, server := session(t, p, c.spec, c.network)
			other, _ := session(t, p, map[bool]string{true: real4, false: real6}[c.spec == spec4]+" dev eth0", c.network)
			release(t, s)
			if err := readError(t, client); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("client: %v; want ECONNRESET", err)
			}
			if err := readError(t, server); !errors.Is(err, unix.ECONNABORTED) {
				t.Errorf("server: %v; want ECONNABORTED", err)
			}
			if _, err := other.Write([]byte("x")); err != nil {
				t.Errorf("session on the host's own address: %v", err)
			}
		})
	}
}

func TestReleaseLeavesListeners(t *testing.T) { eachGuard(t, testReleaseLeavesListeners) }

func testReleaseLeavesListeners(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4)
	bind(t, s, 30*time.Second)
	l, err := net.Listen("tcp4", vip4+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	release(t, s)
	bind(t, s, 30*time.Second)
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatalf("listener on the VIP is gone: %v", err)
	}
	c.Close()
}

// After by no frame of a VIP may leave, so no reset either.
func TestReleaseAfterTheDeadlineResetsNothing(t *testing.T) {
	eachGuard(t, testReleaseAfterTheDeadlineResetsNothing)
}

func testReleaseAfterTheDeadlineResetsNothing(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4)
	bind(t, s, 30*time.Second)
	client, _ := session(t, p, spec4, "tcp")
	if err := s.Release(t.Context(), in(0)); err != nil {
		t.Fatal(err)
	}
	if c := copies(t, spec4); len(c) != 0 {
		t.Errorf("copies %v; want none", c)
	}
	if err := client.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := client.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("client: %v; want silence", err)
	}
}

func TestReleaseOfManySessions(t *testing.T) {
	p := network(t)
	s := newSet(t, spec4)
	bind(t, s, 30*time.Second)
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	const sessions = 200
	var clients []net.Conn
	for range sessions {
		var c net.Conn
		p.do(func() { c, err = net.DialTimeout("tcp", net.JoinHostPort(vip4, port), patience) })
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
	}
	start := time.Now()
	release(t, s)
	t.Logf("Release with %d sessions took %s", sessions, time.Since(start))
	for i, c := range clients {
		if err := readError(t, c); !errors.Is(err, unix.ECONNRESET) {
			t.Fatalf("client %d: %v; want ECONNRESET", i, err)
		}
	}
}

// P1 and P2 of the acceptance table, and what else operators leave behind.
func TestSweepRemovesStrays(t *testing.T) { eachGuard(t, testSweepRemovesStrays) }

func testSweepRemovesStrays(t *testing.T, newSet setMaker) {
	for name, add := range map[string][]string{
		"no mask, labelled (ifconfig eth0:1 VIP)": {"addr", "add", vip4 + "/8", "brd", "+", "dev", dev, "label", "eth0:1"},
		"ifcfg-eth0:1":                {"addr", "add", vip4 + "/24", "dev", dev, "label", "eth0:1"},
		"no mask (ip addr add VIP)":   {"addr", "add", vip4, "dev", dev},
		"/8 without a label":          {"addr", "add", vip4 + "/8", "dev", dev},
		"another label":               {"addr", "add", vip4 + "/24", "dev", dev, "label", "eth0:7"},
		"another device":              {"addr", "add", vip4 + "/24", "dev", "lo", "label", "lo:1"},
		"point to point":              {"addr", "add", vip4, "peer", "10.99.0.1/32", "dev", dev, "label", "eth0:1"},
		"IPv6, another prefix length": {"-6", "addr", "add", vip6 + "/48", "dev", dev, "nodad", "valid_lft", "99", "preferred_lft", "99"},
		"IPv6":                        {"-6", "addr", "add", vip6 + "/64", "dev", dev, "nodad"},
	} {
		t.Run(name, func(t *testing.T) {
			network(t)
			before := routes(t)
			s := newSet(t, spec4, spec6)
			ip(t, nil, add...)
			if strings.Contains(name, "/8") && !strings.Contains(routes(t), "10.0.0.0/8") {
				t.Fatal("the stray brought no 10/8 route")
			}
			if err := s.Sweep(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if c := s.State().Copies; len(c) != 0 {
				t.Errorf("copies %v; want none", c)
			}
			if after := routes(t); after != before {
				t.Errorf("routes after the sweep:\n%s\nwant those of before:\n%s", after, before)
			}
		})
	}
}

// The holder's own copies stay, and so does a session on them.
func TestSweepKeepsRight(t *testing.T) { eachGuard(t, testSweepKeepsRight) }

func testSweepKeepsRight(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4, spec6)
	bind(t, s, 30*time.Second)
	before := routes(t)
	client, server := session(t, p, spec4, "tcp")
	ip(t, nil, "addr", "add", vip4+"/8", "dev", dev, "label", "eth0:1")
	ip(t, nil, "addr", "add", vip4+"/32", "dev", "lo")
	if err := s.Sweep(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if st := s.State(); !st.Bound || len(st.Copies) != 2 {
		t.Errorf("State() = %+v; want bound, without strays", st)
	}
	if after := routes(t); after != before {
		t.Errorf("routes after the sweep:\n%s\nwant those of before:\n%s", after, before)
	}
	if _, err := server.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// Addresses that are no VIP stay, whatever they look like.
func TestOtherAddressesStay(t *testing.T) { eachGuard(t, testOtherAddressesStay) }

func testOtherAddressesStay(t *testing.T, newSet setMaker) {
	network(t)
	for _, a := range []string{"10.20.8.187/24", "10.20.8.18/24", "10.20.8.190/8", "192.0.2.188/32"} {
		ip(t, nil, "addr", "add", a, "dev", dev, "label", "eth0:1")
	}
	ip(t, nil, "-6", "addr", "add", "fd00:20:8::187/64", "dev", dev, "nodad")
	before := ip(t, nil, "-o", "addr", "show", "dev", dev)
	s := newSet(t, spec4, spec6)
	bind(t, s, 30*time.Second)
	if err := s.Sweep(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	release(t, s)
	if err := s.Sweep(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if after := ip(t, nil, "-o", "addr", "show", "dev", dev); after != before {
		t.Errorf("addresses\n%s\nwant\n%s", after, before)
	}
}

func TestOwnAddress(t *testing.T) { eachGuard(t, testOwnAddress) }

func testOwnAddress(t *testing.T, newSet setMaker) {
	for name, text := range map[string]string{
		"IPv4": real4 + " dev eth0",
		"IPv6": real6 + " dev eth0",
		"IPv4 with another prefix length and label": "10.20.8.50/16 dev eth0 label eth0:1",
	} {
		t.Run(name, func(t *testing.T) {
			network(t)
			ip(t, nil, "addr", "add", "10.20.8.51/24", "dev", dev) // a second address changes nothing
			before := ip(t, nil, "-o", "addr", "show", "dev", dev)
			s := newSet(t, text)
			if err := OwnAddress(s.specs); !errors.Is(err, ErrOwnAddress) {
				t.Errorf("OwnAddress() = %v; want ErrOwnAddress", err)
			}
			for what, err := range map[string]error{
				"Bind":    s.Bind(t.Context(), in(30*time.Second), false),
				"Extend":  s.Extend(t.Context(), in(30*time.Second)),
				"Release": s.Release(t.Context(), in(time.Second)),
				"Sweep":   s.Sweep(t.Context(), false),
			} {
				if err == nil {
					t.Errorf("%s: no error", what)
				}
			}
			if after := ip(t, nil, "-o", "addr", "show", "dev", dev); after != before {
				t.Errorf("addresses\n%s\nwant\n%s", after, before)
			}
		})
	}
	t.Run("left over", func(t *testing.T) {
		network(t)
		ip(t, nil, "addr", "add", vip4+"/24", "dev", dev, "label", "eth0:1")
		if err := OwnAddress(specs(t, spec4)); err != nil {
			t.Errorf("OwnAddress() = %v; want nil", err)
		}
	})
}

// Our own copy that somebody made permanent on a device without other addresses
// looks like the host's, but we know that we bound it.
func TestReleaseOfAPermanentVIP(t *testing.T) { eachGuard(t, testReleaseOfAPermanentVIP) }

func testReleaseOfAPermanentVIP(t *testing.T, newSet setMaker) {
	wire(t)
	s := newSet(t, spec4b)
	bind(t, s, 30*time.Second)
	ip(t, nil, "addr", "replace", "10.20.8.189/24", "dev", dev)
	release(t, s)
	if c := copies(t, spec4b); len(c) != 0 {
		t.Errorf("copies %v; want none", c)
	}
}

func TestReleaseUnderACancelledContext(t *testing.T) { eachGuard(t, testReleaseUnderACancelledContext) }

func testReleaseUnderACancelledContext(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4)
	bind(t, s, 30*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Release(ctx, in(time.Second)); err != nil {
		t.Errorf("Release() = %v; want nil", err)
	}
}
