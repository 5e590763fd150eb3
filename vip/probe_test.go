package vip

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Another host has the VIP: nothing is bound, whatever was there before.
func TestBindFindsADuplicate(t *testing.T) { eachGuard(t, testBindFindsADuplicate) }

func testBindFindsADuplicate(t *testing.T, newSet setMaker) {
	for name, c := range map[string]struct{ address, theirs string }{
		"IPv4": {vip4, vip4 + "/24"},
		"IPv6": {vip6, vip6 + "/64"},
	} {
		t.Run(name, func(t *testing.T) {
			p := network(t)
			before := routes(t)
			s := newSet(t, spec4, spec6)
			run(t, s)
			bind(t, s, 30*time.Second)
			take(t, p, c.theirs, "far0")
			err := s.Bind(t.Context(), in(30*time.Second), true)
			var duplicate *DuplicateError
			if !errors.As(err, &duplicate) {
				t.Fatalf("Bind() = %v; want a DuplicateError", err)
			}
			if want := (DuplicateError{netip.MustParseAddr(c.address), dev, newClient(t, p).mac.String()}); *duplicate != want {
				t.Errorf("%+v; want %+v", *duplicate, want)
			}
			if c := copies(t, spec4, spec6); len(c) != 0 {
				t.Errorf("copies %v; want none", c)
			}
			if f := s.State().Fence; f.Until != 0 {
				t.Errorf("fence %+v; want it shut", f)
			}
			if after := routes(t); after != before {
				t.Errorf("routes:\n%s\nwant those of before:\n%s", after, before)
			}
			ip(t, p, "addr", "del", c.theirs, "dev", "far0")
			if err := s.Bind(t.Context(), in(30*time.Second), true); err != nil {
				t.Errorf("Bind() = %v when the other host had given it up", err)
			}
			release(t, s)
		})
	}
}

// take gives an address to a peer, and returns when it answers for it. For IPv6 that
// is a moment after the address is there: the kernel joins the group in which it is
// asked on another thread (addrconf_dad_work in net/ipv6/addrconf.c).
func take(t *testing.T, p *peer, prefix, device string) {
	t.Helper()
	addr := netip.MustParsePrefix(prefix).Addr()
	if addr.Is4() {
		ip(t, p, "addr", "add", prefix, "dev", device)
		return
	}
	ip(t, p, "addr", "add", prefix, "dev", device, "nodad")
	group, err := ndp.SolicitedNodeMulticast(addr)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the peer to join "+group.String(), func() bool {
		var groups []byte
		p.do(func() { groups, err = os.ReadFile("/proc/thread-self/net/igmp6") })
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(strings.Split(string(groups), "\n"), func(line string) bool {
			return strings.Contains(line, device) && strings.Contains(line, hex.EncodeToString(group.AsSlice()))
		})
	})
}

// Another router has the VIP, and the same virtual MAC address: asked from the
// interface with that address nobody would hear it.
func TestBindBesideTheSameMAC(t *testing.T) { eachGuard(t, testBindBesideTheSameMAC) }

func testBindBesideTheSameMAC(t *testing.T, newSet setMaker) {
	for name, c := range map[string]struct{ link, mac, vip string }{
		"IPv4": {"vrrp.51", "00:00:5e:00:01:33", vip4 + "/32"},
		"IPv6": {"vrrp6.51", "00:00:5e:00:02:33", vip6 + "/128"},
	} {
		t.Run(name, func(t *testing.T) {
			p := network(t)
			ip(t, nil, "link", "add", c.link, "link", dev, "address", c.mac, "type", "macvlan", "mode", "vepa")
			ip(t, nil, "link", "set", c.link, "up")
			ip(t, p, "link", "add", c.link, "link", "far0", "address", c.mac, "type", "macvlan", "mode", "private")
			ip(t, p, "link", "set", c.link, "up")
			p.do(func() { // else its own MAC address answers as well
				if err := os.WriteFile("/proc/sys/net/ipv4/conf/far0/arp_ignore", []byte("1"), 0o600); err != nil {
					t.Error(err)
				}
			})
			s := newSet(t, c.vip+" dev "+c.link)
			run(t, s)
			bind(t, s, 30*time.Second)
			take(t, p, c.vip, c.link)
			var duplicate *DuplicateError
			if err := s.Bind(t.Context(), in(30*time.Second), true); !errors.As(err, &duplicate) || duplicate.MAC != c.mac {
				t.Errorf("Bind() = %v; want a DuplicateError with %s", err, c.mac)
			}
			ip(t, p, "addr", "del", c.vip, "dev", c.link)
			if err := s.Bind(t.Context(), in(30*time.Second), true); err != nil {
				t.Errorf("Bind() = %v when the other router had given it up", err)
			}
			before := s.State().Claim.Count
			far := newClient(t, p)
			far.mac, _ = net.ParseMAC(c.mac)
			address, _, _ := strings.Cut(c.vip, "/")
			far.claim(t, address)
			await(t, "the claim to be heard", func() bool { return s.State().Claim.Count > before })
			release(t, s)
		})
	}
}

// Nobody answers: bound after the wait, and what was said before it is no answer.
func TestProbeWithoutAnAnswer(t *testing.T) { eachGuard(t, testProbeWithoutAnAnswer) }

func testProbeWithoutAnAnswer(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4, spec6)
	run(t, s)
	c := newClient(t, p)
	c.claim(t, vip4)
	c.claim(t, vip6)
	start := time.Now()
	if err := s.Bind(t.Context(), in(30*time.Second), true); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < defaultProbe {
		t.Errorf("Bind with a probe took %s; want %s at least", took, defaultProbe)
	}
	if !s.State().Bound || !c.answered(t, vip4, patience) || !c.answered(t, vip6, patience) {
		t.Errorf("State() = %+v; want bound, and answered for", s.State())
	}
}

// A process that did not get to run until the time was over has not read the answer,
// and must not take that for silence.
func TestProbeReadLate(t *testing.T) { eachGuard(t, testProbeReadLate) }

func testProbeReadLate(t *testing.T, newSet setMaker) {
	for name, c := range map[string]struct{ spec, theirs string }{
		"IPv4": {spec4, vip4 + "/24"},
		"IPv6": {spec6, vip6 + "/64"},
	} {
		t.Run(name, func(t *testing.T) {
			far := network(t)
			s := newSet(t, c.spec)
			take(t, far, c.theirs, "far0")
			p, err := s.startProbe()
			defer p.end()
			if err != nil {
				t.Fatal(err)
			}
			for _, snd := range p.senders {
				for _, e := range snd.ears {
					readable(t, e)
				}
			}
			p.deadline = time.Now().Add(-time.Millisecond)
			var duplicate *DuplicateError
			if err := p.wait(t.Context()); !errors.As(err, &duplicate) {
				t.Errorf("wait() = %v when the answer was not read in time; want a DuplicateError", err)
			}
		})
	}
}

// readable waits until there is something to be read.
func readable(t *testing.T, e *ear) {
	t.Helper()
	raw, err := e.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = errors.Join(raw.Control(func(fd uintptr) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	}), err)
	if err != nil || n == 0 {
		t.Fatalf("no answer came in %s: %v", patience, err)
	}
}

func TestProbeUnderACancelledContext(t *testing.T) { eachGuard(t, testProbeUnderACancelledContext) }

func testProbeUnderACancelledContext(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Bind(ctx, in(30*time.Second), true); !errors.Is(err, context.Canceled) {
		t.Errorf("Bind() = %v; want that it was cancelled", err)
	}
	if c := copies(t, spec4); len(c) != 0 {
		t.Errorf("copies %v; want none", c)
	}
}

// The filter in the kernel and the parser agree on what a claim is.
func TestClaims(t *testing.T) {
	own := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	other := net.HardwareAddr{2, 0, 0, 0, 0, 2}
	v4, v6 := netip.MustParseAddr(vip4), netip.MustParseAddr(vip6)
	third := netip.MustParseAddr("10.20.8.190")
	message := func(op arp.Operation, sender, target netip.Addr) []byte {
		m, err := arp.NewPacket(op, other, sender, own, target)
		if err != nil {
			t.Fatal(err)
		}
		f, err := arpFrame(other, m)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	probe := func(mac net.HardwareAddr, a netip.Addr) []byte {
		f, err := probeFrame(mac, a)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	changed := func(f []byte, at int, to byte) []byte {
		f = slices.Clone(f)
		f[at] = to
		return f
	}
	advert := claimFrames(t, other, vip6)[0]
	for name, c := range map[string]struct {
		frame []byte
		addrs []netip.Addr
		want  bool
	}{
		"gratuitous request":      {claimFrames(t, other, vip4)[0], []netip.Addr{v4}, true},
		"gratuitous reply":        {claimFrames(t, other, vip4)[1], []netip.Addr{v4}, true},
		"of the second VIP":       {claimFrames(t, other, vip4)[1], []netip.Addr{third, v4}, true},
		"request for another":     {message(arp.OperationRequest, v4, third), []netip.Addr{v4}, true},
		"answer":                  {message(arp.OperationReply, v4, third), []netip.Addr{v4}, true},
		"of another address":      {claimFrames(t, other, "10.20.8.190")[0], []netip.Addr{v4}, false},
		"our own":                 {claimFrames(t, own, vip4)[0], []netip.Addr{v4}, false},
		"question":                {message(arp.OperationRequest, third, v4), []netip.Addr{v4}, false},
		"probe":                   {probe(other, v4), []netip.Addr{v4}, false},
		"advertisement":           {advert, []netip.Addr{v6}, true},
		"of the second IPv6 VIP":  {advert, []netip.Addr{netip.MustParseAddr("fd00:20:8::189"), v6}, true},
		"of another IPv6 address": {claimFrames(t, other, "fd00:20:8::189")[0], []netip.Addr{v6}, false},
		"our own advertisement":   {claimFrames(t, own, vip6)[0], []netip.Addr{v6}, false},
		"solicitation":            {probe(other, v6), []netip.Addr{v6}, false},
		"from another link":       {changed(advert, offHopLimit, 64), []netip.Addr{v6}, false},
		"no ICMP":                 {changed(advert, offNext, 17), []netip.Addr{v6}, false},
		"cut off":                 {advert[:70], []netip.Addr{v6}, false},
		"ARP cut off":             {claimFrames(t, other, vip4)[0][:30], []netip.Addr{v4}, false},
		"empty":                   {nil, []netip.Addr{v4}, false},
	} {
		raw, err := claimFilter(own, c.addrs)
		if err != nil {
			t.Fatal(err)
		}
		program, ok := bpf.Disassemble(raw)
		if !ok {
			t.Fatal("the filter cannot be disassembled")
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := vm.Run(c.frame); err != nil || (n > 0) != c.want {
			t.Errorf("%s: the filter passes %d bytes, %v; want passed %v", name, n, err, c.want)
		}
		got, ok := parseClaim(c.frame, own, c.addrs)
		if ok != c.want || (ok && got.mac.String() != other.String()) {
			t.Errorf("%s: parseClaim() = %v, %v; want %v of %s", name, got, ok, c.want, other)
		}
	}
}

func FuzzParseClaim(f *testing.F) {
	f.Add([]byte(nil))
	for _, a := range []string{vip4, vip6} {
		for _, frame := range claimFrames(f, net.HardwareAddr{2, 0, 0, 0, 0, 2}, a) {
			f.Add(frame)
		}
	}
	own := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	addrs := []netip.Addr{netip.MustParseAddr(vip4), netip.MustParseAddr(vip6)}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if c, ok := parseClaim(frame, own, addrs); ok && (!slices.Contains(addrs, c.addr) || slices.Equal(c.mac, own)) {
			t.Errorf("parseClaim(%x) = %v", frame, c)
		}
	})
}
