package vip

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

func TestBind(t *testing.T) { eachGuard(t, testBind) }

func testBind(t *testing.T, newSet setMaker) {
	network(t)
	before := routes(t)
	s := newSet(t, spec4, spec6, spec4b)
	bind(t, s, 3500*time.Millisecond)

	st := s.State()
	if !st.Known || !st.LinkUp || !st.Bound || st.Permanent || len(st.Copies) != 3 {
		t.Errorf("State() = %+v; want 3 copies, bound", st)
	}
	lifetime := 3 * time.Second // of 3.5 s
	if st.Fence.Kind != "" {
		lifetime = 5 * time.Second
	}
	if left := st.KernelUntil.Sub(in(0)); left <= lifetime-time.Second || left > lifetime {
		t.Errorf("KernelUntil in %s; want %s from the bind", left, lifetime)
	}
	for _, c := range st.Copies {
		if !c.Right || c.Permanent || c.ValidLft > lifetime || c.ValidLft < lifetime-time.Second || c.PreferredLft != c.ValidLft {
			t.Errorf("copy %+v; want right, with %s", c, lifetime)
		}
	}
	if got := routes(t); !strings.Contains(got, "local "+vip6+" dev eth0") {
		t.Errorf("no local route of %s after Bind:\n%s", vip6, got)
	}
	shown := ip(t, nil, "-o", "addr", "show", "dev", dev)
	for _, want := range []string{
		vip4 + "/24 scope global secondary dynamic eth0:1\\",
		"10.20.8.189/24 scope global secondary dynamic eth0\\",
		real4 + " brd 10.20.8.255 scope global eth0\\",
		vip6 + "/64 scope global nodad dynamic noprefixroute",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("ip addr shows\n%swant %q", shown, want)
		}
	}
	release(t, s)
	if c := copies(t, spec4, spec6, spec4b); len(c) != 0 {
		t.Errorf("after Release: %v; want none", c)
	}
	if after := routes(t); after != before {
		t.Errorf("routes after release:\n%s\nwant those of before:\n%s", after, before)
	}
	if st := s.State(); st.Bound || !st.KernelUntil.IsZero() {
		t.Errorf("State() after Release = %+v; want not bound", st)
	}
}

func TestBindIsIdempotent(t *testing.T) { eachGuard(t, testBindIsIdempotent) }

func testBindIsIdempotent(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4, spec6)
	bind(t, s, 60*time.Second)
	bind(t, s, 2500*time.Millisecond) // may shorten
	for _, c := range s.State().Copies {
		if c.ValidLft > 4*time.Second { // 2 s without a fence
			t.Errorf("copy %+v; want 4s at most", c)
		}
	}
	if n := len(s.State().Copies); n != 2 {
		t.Errorf("%d copies; want 2", n)
	}
}

func TestKernelRemovesTheVIPAfterItsLifetime(t *testing.T) {
	network(t)
	s := newSet(t, spec4, spec6)
	run(t, s)
	until := in(1300 * time.Millisecond)
	if err := s.Bind(t.Context(), until, false); err != nil {
		t.Fatal(err)
	}
	kernelUntil := s.State().KernelUntil
	early := false
	await(t, "removal by the kernel", func() bool {
		gone := len(s.State().Copies) == 0
		early = early || (!s.State().Bound && in(0) < kernelUntil)
		return gone
	})
	if late := in(0).Sub(until); late > s.Lateness()+2*time.Second || early {
		t.Errorf("gone %s after the deadline, early: %v; want at most %s", late, early, s.Lateness())
	}
}

func TestExtendKeepsTheSession(t *testing.T) { eachGuard(t, testExtendKeepsTheSession) }

func testExtendKeepsTheSession(t *testing.T, newSet setMaker) {
	for _, text := range []string{spec4, spec6} {
		t.Run(text, func(t *testing.T) {
			p := network(t)
			s := newSet(t, text)
			bind(t, s, 2*time.Second+100*time.Millisecond)
			client, server := session(t, p, text, "tcp")
			payload := bytes.Repeat([]byte("leasehold"), 1000)
			got := make(chan error, 1)
			go func() {
				_, err := io.CopyN(io.Discard, client, int64(200*len(payload)))
				got <- err
			}()
			for range 200 {
				if err := s.Extend(t.Context(), in(2*time.Second+100*time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				if _, err := server.Write(payload); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-got; err != nil {
				t.Errorf("stream under 200 refreshes: %v", err)
			}
			if st := s.State(); !st.Bound || len(st.Copies) != 1 || !st.Copies[0].Right {
				t.Errorf("State() = %+v; want bound, once", st)
			}
		})
	}
}

func TestExtendCreatesNothing(t *testing.T) { eachGuard(t, testExtendCreatesNothing) }

func testExtendCreatesNothing(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4, spec4b)
	bind(t, s, 10*time.Second)
	ip(t, nil, "addr", "del", vip4+"/24", "dev", dev)
	if err := s.Extend(t.Context(), in(20*time.Second)); !errors.Is(err, ErrNotBound) {
		t.Errorf("Extend() = %v; want ErrNotBound", err)
	}
	c := s.State().Copies
	if len(c) != 1 || c[0].ValidLft < 19*time.Second-time.Second {
		t.Errorf("copies %+v; want the other one extended", c)
	}
}

func TestPermanentIsMadeFiniteAgain(t *testing.T) { eachGuard(t, testPermanentIsMadeFiniteAgain) }

func testPermanentIsMadeFiniteAgain(t *testing.T, newSet setMaker) {
	for _, text := range []string{spec4, spec6} {
		t.Run(text, func(t *testing.T) {
			network(t)
			before := routes(t)
			s := newSet(t, text)
			run(t, s)
			bind(t, s, 60*time.Second)
			args := []string{"addr", "replace", s.specs[0].Prefix.String(), "dev", dev}
			ip(t, nil, args...)
			await(t, "State().Permanent", func() bool { return s.State().Permanent })
			if s.State().Bound {
				t.Error("Bound with a permanent lifetime")
			}
			if err := s.Extend(t.Context(), in(60*time.Second)); err != nil {
				t.Fatal(err)
			}
			if st := s.State(); st.Permanent || !st.Bound {
				t.Errorf("State() after Extend = %+v; want bound, finite", st)
			}
			release(t, s)
			if after := routes(t); after != before {
				t.Errorf("routes after release:\n%s\nwant those of before:\n%s", after, before)
			}
		})
	}
}

func TestLongerLifetimeIsCutAgain(t *testing.T) { eachGuard(t, testLongerLifetimeIsCutAgain) }

func testLongerLifetimeIsCutAgain(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, "10.20.8.188/24 dev eth0 label eth0:1")
	run(t, s)
	bind(t, s, 3*time.Second)
	ip(t, nil, "addr", "change", "10.20.8.188/24", "dev", "eth0", "valid_lft", "3600", "preferred_lft", "3600")
	await(t, "the longer lifetime is seen", func() bool { return s.State().Permanent && !s.State().Bound })
	if err := s.Extend(t.Context(), in(3*time.Second)); err != nil {
		t.Fatal(err)
	}
	if st := s.State(); !st.Bound || st.Permanent {
		t.Errorf("State() after Extend = %+v; want bound, with a lifetime that is ours", st)
	}
}

func TestNoRoom(t *testing.T) {
	network(t)
	s := newSet(t, spec4)
	for _, d := range []time.Duration{-time.Second, 0, 990 * time.Millisecond} {
		if err := s.Bind(t.Context(), in(d), false); !errors.Is(err, ErrNoRoom) {
			t.Errorf("Bind(%s) = %v; want ErrNoRoom", d, err)
		}
	}
	if c := copies(t, spec4); len(c) != 0 {
		t.Errorf("copies %v; want none", c)
	}
	bind(t, s, 5*time.Second)
	if err := s.Extend(t.Context(), in(time.Millisecond)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("Extend() = %v; want ErrNoRoom", err)
	}
}

func TestNoLink(t *testing.T) { eachGuard(t, testNoLink) }

func testNoLink(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4, "10.20.9.188/24 dev eth7")
	if err := s.Bind(t.Context(), in(5*time.Second), false); !errors.Is(err, ErrNoLink) {
		t.Errorf("Bind() = %v; want ErrNoLink", err)
	}
	ip(t, nil, "link", "set", dev, "down")
	one := newSet(t, spec4)
	if err := one.Bind(t.Context(), in(5*time.Second), false); !errors.Is(err, ErrNoLink) {
		t.Errorf("Bind() = %v; want ErrNoLink", err)
	}
	if c := copies(t, spec4); len(c) != 0 {
		t.Errorf("copies %v; want none", c)
	}
}

// One VIP of two cannot be bound: IPv6 is disabled on the device.
func TestBindIsAllOrNothing(t *testing.T) { eachGuard(t, testBindIsAllOrNothing) }

func testBindIsAllOrNothing(t *testing.T, newSet setMaker) {
	network(t)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newSet(t, spec4, spec6)
	err := s.Bind(t.Context(), in(5*time.Second), false)
	if err == nil || !strings.Contains(err.Error(), "IPv6 is disabled on eth0") {
		t.Errorf("Bind() = %v; want that IPv6 is disabled", err)
	}
	if c := copies(t, spec4, spec6); len(c) != 0 {
		t.Errorf("copies %v; want none", c)
	}
}

// The host's own address and default route must survive whatever order the
// addresses came in and however the VIP goes.
func TestHostAddressSurvives(t *testing.T) { eachGuard(t, testHostAddressSurvives) }

func testHostAddressSurvives(t *testing.T, newSet setMaker) {
	for name, vanish := range map[string]func(*testing.T, *Set){
		"release": func(t *testing.T, s *Set) { release(t, s) },
		"expiry": func(t *testing.T, _ *Set) {
			await(t, "expiry", func() bool { return len(copies(t, spec4)) == 0 })
		},
	} {
		t.Run("VIP first/"+name, func(t *testing.T) {
			wire(t)
			s := newSet(t, spec4)
			bind(t, s, 1200*time.Millisecond)
			ip(t, nil, "addr", "add", real4, "dev", dev)
			ip(t, nil, "route", "add", "default", "via", "10.20.8.1")
			vanish(t, s)
			checkHost(t)
		})
		t.Run("host first/"+name, func(t *testing.T) {
			network(t)
			ip(t, nil, "route", "add", "default", "via", "10.20.8.1")
			s := newSet(t, spec4)
			bind(t, s, 1200*time.Millisecond)
			vanish(t, s)
			checkHost(t)
		})
	}
	t.Run("VIP first, left over, promote_secondaries=0", func(t *testing.T) {
		wire(t)
		ip(t, nil, "addr", "add", vip4+"/24", "dev", dev, "label", "eth0:1")
		ip(t, nil, "addr", "add", real4, "dev", dev)
		ip(t, nil, "route", "add", "default", "via", "10.20.8.1")
		s := newSet(t, spec4)
		if err := s.Sweep(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		checkHost(t)
	})
}

func checkHost(t *testing.T) {
	t.Helper()
	shown := ip(t, nil, "-o", "-4", "addr", "show", "dev", dev) + ip(t, nil, "route")
	for _, want := range []string{real4, "10.20.8.0/24 dev eth0 proto kernel scope link src 10.20.8.50", "default via 10.20.8.1 dev eth0"} {
		if !strings.Contains(shown, want) {
			t.Errorf("host has\n%swant %q", shown, want)
		}
	}
	if strings.Contains(shown, vip4) {
		t.Errorf("host has\n%swant no %s", shown, vip4)
	}
}

// Without a prefix of their own there is no order of addresses to respect.
func TestHostPrefixes(t *testing.T) { eachGuard(t, testHostPrefixes) }

func testHostPrefixes(t *testing.T, newSet setMaker) {
	network(t)
	before := routes(t)
	s := newSet(t, vip4+"/32 dev eth0 label eth0:1", vip6+"/128 dev eth0")
	bind(t, s, 30*time.Second)
	if err := s.Extend(t.Context(), in(20*time.Second)); err != nil {
		t.Fatal(err)
	}
	if shown := ip(t, nil, "-o", "addr", "show", "dev", dev); strings.Contains(shown, "secondary") {
		t.Errorf("ip addr shows\n%s\nwant no secondary", shown)
	}
	release(t, s)
	if after := routes(t); after != before {
		t.Errorf("routes after release:\n%s\nwant those of before:\n%s", after, before)
	}
}

// A device may have no address but its VIPs.
func TestOnlyVIPsOnTheDevice(t *testing.T) { eachGuard(t, testOnlyVIPsOnTheDevice) }

func testOnlyVIPsOnTheDevice(t *testing.T, newSet setMaker) {
	p := wire(t)
	before := routes(t)
	s := newSet(t, spec4, spec4b, spec6, "fd00:20:8::189/64 dev eth0")
	run(t, s)
	frames := capture(t, p)
	bind(t, s, 30*time.Second)
	if err := s.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	frames.want(t, "arp request "+vip4, "arp reply "+vip4, "na "+vip6)
	session(t, p, spec4, "tcp")
	session(t, p, spec6, "tcp")
	release(t, s)
	if after := routes(t); after != before {
		t.Errorf("routes after release:\n%s\nwant those of before:\n%s", after, before)
	}
}

// A process that was frozen between reading the clock and the kernel's reading
// its message must not leave the VIP up past its time, whether there is room for
// a shorter lifetime or none.
func TestFrozenWhileTheLifetimeIsSet(t *testing.T) {
	for name, c := range map[string]struct {
		freeze time.Duration
		want   time.Duration // lifetime afterwards, 0 for deleted
		err    error
	}{
		"not frozen":       {0, 5 * time.Second, nil},
		"within the slack": {400 * time.Millisecond, 5 * time.Second, nil},
		"frozen 2 s":       {2 * time.Second, 3 * time.Second, nil},
		"frozen 5 s":       {5 * time.Second, 0, ErrNoRoom},
		"past the end":     {time.Hour, 0, ErrNoRoom},
	} {
		for call, do := range map[string]func(*Set, context.Context, boottime.Instant) error{
			"Bind": func(s *Set, ctx context.Context, until boottime.Instant) error { return s.Bind(ctx, until, false) }, "Extend": (*Set).Extend,
		} {
			t.Run(name+"/"+call, func(t *testing.T) {
				network(t)
				s := newSet(t, spec4)
				if call == "Extend" {
					bind(t, s, 3*time.Second)
				}
				reads, frozen := 0, time.Duration(0)
				s.now = func() boottime.Instant {
					if reads++; reads == 2 {
						frozen = c.freeze
					}
					return boottime.Now().Add(frozen)
				}
				if err := do(s, t.Context(), in(5500*time.Millisecond)); !errors.Is(err, c.err) {
					t.Errorf("%s() = %v; want %v", call, err, c.err)
				}
				got := copies(t, spec4)
				if (len(got) > 0) != (c.want > 0) || (len(got) > 0 && (got[0].ValidLft > c.want || got[0].ValidLft < c.want-time.Second)) {
					t.Errorf("copies %+v; want lifetime %s", got, c.want)
				}
			})
		}
	}
}

// session opens a TCP session from the peer to the VIP.
func session(t *testing.T, p *peer, text, network string) (client, server net.Conn) {
	t.Helper()
	address := specs(t, text)[0].Prefix.Addr()
	host := ""
	if network == "tcp4" {
		host = "0.0.0.0"
	}
	l, err := net.Listen(network, net.JoinHostPort(host, "0")) // [::], as mysqld does
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.do(func() {
		// A single literal address: net dials it on this thread, in this namespace.
		client, err = net.DialTimeout("tcp", net.JoinHostPort(address.String(), port), patience)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// readError waits for the session's end and returns its errno.
func readError(t *testing.T, c net.Conn) error {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}
