package fence

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// both opens the fences of both VIPs.
func both(t testing.TB, dir string, k Kind) map[netip.Addr]*Fence {
	t.Helper()
	return map[netip.Addr]*Fence{
		vip4: open(t, Config{Dir: dir, Addr: vip4, Kind: k}),
		vip6: open(t, Config{Dir: dir, Addr: vip6, Kind: k}),
	}
}

func TestOpenAndShut(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, client := hosts[0], hosts[1]
		fences := both(t, bpffs(t), k)
		here.addVIP(t) // after the fence, as a holder does
		here.serve(t, vip4, vip6)
		for _, a := range []netip.Addr{vip4, vip6} {
			f := fences[a]
			check := func(who string, all []question) {
				for _, q := range all {
					t.Run(fmt.Sprintf("%s/%s/%s", a, who, q.name), func(t *testing.T) {
						ok(t, f.Shut())
						q.silent(t)
						ok(t, f.Arm(in(time.Hour)))
						q.answered(t)
						ok(t, f.Shut())
						q.silent(t)
						ok(t, f.Arm(in(-300*time.Millisecond))) // a store that is late
						q.silent(t)
					})
				}
			}
			check("wire", client.questions(t, a, here.mac))
			check("lo", here.questions(t, a, [6]byte{}))
		}
	})
}

// While the VIPs are fenced, nobody notices at the host's own addresses.
func TestOtherAddresses(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, client := hosts[0], hosts[1]
		both(t, bpffs(t), k)
		here.addVIP(t)
		here.serve(t)
		client.serve(t)
		for _, way := range []struct {
			name     string
			from, to *station
		}{{"in", client, here}, {"out", here, client}} {
			for _, a := range []netip.Addr{way.to.ip4, way.to.ip6} {
				for _, q := range way.from.questions(t, a, way.to.mac) {
					t.Run(fmt.Sprintf("%s/%s/%s", way.name, a, q.name), func(t *testing.T) { q.answered(t) })
				}
			}
		}
	})
}

// The last answer is never later than the deadline. The answer's time is the
// client's kernel's, so that no scheduler is between.
func TestDeadline(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, client := hosts[0], hosts[1]
		f := open(t, Config{Dir: bpffs(t), Addr: vip4, Kind: k})
		here.run(t, "ip", "addr", "add", prefix(vip4), "dev", dev)
		p := client.tap(t)
		ask := arpFrame(1, client.mac, client.mac, client.ip4, [6]byte{}, vip4)
		const rounds = 60
		var late []time.Duration
		for i := range rounds {
			until := in(time.Duration(20+i%7) * time.Millisecond)
			ok(t, f.Arm(until))
			var last time.Time
			for boottime.Now() < until+15e6 {
				p.send(t, ask)
				if at, answered := p.wait(t, 300*time.Microsecond, isARP(vip4)); answered {
					last = at
				}
			}
			for { // what came while nobody looked
				at, answered := p.wait(t, time.Millisecond, isARP(vip4))
				if !answered {
					break
				}
				last = at
			}
			if last.IsZero() {
				continue // this thread had no CPU while the fence was open
			}
			late = append(late, boot(last).Sub(until))
		}
		if len(late) < rounds/2 {
			t.Fatalf("answers in %d of %d rounds", len(late), rounds)
		}
		slices.Sort(late)
		t.Logf("last answer minus deadline, n=%d: min %v, median %v, max %v", len(late), late[0], late[len(late)/2], late[len(late)-1])
		if worst := late[len(late)-1]; worst > time.Millisecond {
			t.Errorf("answered %v after the deadline", worst)
		}
	})
}

// A client of a shut VIP is told by a reset.
func TestResetPasses(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, client := hosts[0], hosts[1]
		fences := both(t, bpffs(t), k)
		here.addVIP(t)
		l, err := net.Listen("tcp", ":4010")
		ok(t, err)
		defer l.Close()
		for _, a := range []netip.Addr{vip4, vip6} {
			t.Run(a.String(), func(t *testing.T) {
				ok(t, fences[a].Arm(in(time.Hour)))
				var c net.Conn
				client.do(func() { c, err = net.DialTimeout("tcp", netip.AddrPortFrom(a, 4010).String(), patience) })
				ok(t, err)
				defer c.Close()
				server, err := l.Accept()
				ok(t, err)
				ok(t, fences[a].Shut())
				_, err = server.Write([]byte("lost"))
				ok(t, err)
				ok(t, c.SetReadDeadline(time.Now().Add(silence)))
				if n, err := c.Read(make([]byte, 10)); err == nil {
					t.Fatalf("%d bytes came through a shut fence", n)
				}
				ok(t, server.(*net.TCPConn).SetLinger(0))
				ok(t, server.Close())
				ok(t, c.SetReadDeadline(time.Now().Add(patience)))
				if _, err := c.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("read after the reset: %v; want ECONNRESET", err)
				}
			})
		}
	})
}

// A standby is an ordinary client of the VIP that another host holds, and learns
// its MAC.
func TestStandbyIsClient(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 3)
		here, holder, other := hosts[0], hosts[1], hosts[2]
		both(t, bpffs(t), k)
		holder.addVIP(t)
		holder.serve(t, vip4, vip6)
		for _, a := range []netip.Addr{vip4, vip6} {
			for _, q := range here.questions(t, a, holder.mac) {
				t.Run(a.String()+"/"+q.name, func(t *testing.T) { q.answered(t) })
			}
		}
		p := holder.tap(t)
		for name, frame := range map[string][]byte{
			vip4.String() + "/garp request": arpFrame(1, holder.mac, holder.mac, vip4, [6]byte{}, vip4),
			vip4.String() + "/garp reply":   arpFrame(2, holder.mac, holder.mac, vip4, holder.mac, vip4),
			vip6.String() + "/na":           holder.advertise(vip6),
		} {
			t.Run(name, func(t *testing.T) {
				a, _, _ := strings.Cut(name, "/")
				here.run(t, "ip", "neigh", "replace", a, "lladdr", net.HardwareAddr(other.mac[:]).String(), "dev", dev, "nud", "stale")
				await(t, "the holder's mac", func() bool {
					p.send(t, frame)
					return strings.Contains(here.run(t, "ip", "neigh", "show", a, "dev", dev), net.HardwareAddr(holder.mac[:]).String())
				})
			})
		}
	})
}

// A standby may be the router of the VIP's clients.
func TestStandbyForwards(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 3)
		here, holder, guest := hosts[0], hosts[1], hosts[2]
		fences := both(t, bpffs(t), k)
		holder.addVIP(t)
		holder.serve(t, vip4, vip6)
		here.bridgeTo(t, guest, "10.9.0.1/24", "10.9.0.2/24")
		for _, f := range fences {
			ok(t, f.Tend())
		}
		if d := fences[vip4].State().Devices; !slices.Contains(d, "br7") {
			t.Fatalf("fenced devices: %v; want br7 among them", d)
		}
		guest.run(t, "ip", "addr", "flush", "dev", dev)
		guest.run(t, "ip", "route", "add", "10.20.8.0/24", "via", "10.9.0.1")
		holder.run(t, "ip", "route", "add", "10.9.0.0/24", "via", here.ip4.String())
		here.run(t, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
		for _, q := range []question{
			{"udp", func(_ testing.TB, wait time.Duration) bool { return guest.askUDP(vip4, wait) }},
			{"tcp", func(_ testing.TB, wait time.Duration) bool { return guest.askTCP(vip4, wait) }},
		} {
			t.Run(q.name, func(t *testing.T) { q.answered(t) })
		}
	})
}

// bridgeTo makes br7, an Ethernet device that is not the VIP's, with a guest on it.
func (s *station) bridgeTo(t testing.TB, guest *station, own, addr string) {
	t.Helper()
	s.run(t, "ip", "link", "add", "br7", "type", "bridge", "mcast_snooping", "0")
	t.Cleanup(func() { _, _ = s.try("ip", "link", "del", "br7") })
	s.run(t, "ip", "link", "add", "port7", "type", "veth", "peer", "name", "far7")
	t.Cleanup(func() { _, _ = s.try("ip", "link", "del", "port7") })
	move(t, "far7", guest)
	s.run(t, "ip", "link", "set", "port7", "master", "br7", "up")
	s.run(t, "ip", "link", "set", "br7", "up")
	s.run(t, "ip", "addr", "add", own, "dev", "br7")
	guest.run(t, "ip", "link", "set", "far7", "up")
	guest.run(t, "ip", "addr", "add", addr, "dev", "far7")
}

// Linux answers ARP for the VIP on every device.
func TestOtherDevice(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, guest := hosts[0], hosts[1]
		f := open(t, Config{Dir: bpffs(t), Addr: vip4, Kind: k})
		here.run(t, "ip", "addr", "add", prefix(vip4), "dev", dev)
		here.serve(t, vip4)
		here.bridgeTo(t, guest, "10.9.0.1/24", "10.9.0.2/24")
		p := guest.tapOn(t, "far7")
		mac := [6]byte{2, 7, 7, 7, 7, 7}
		arp := question{"arp", func(t testing.TB, wait time.Duration) bool {
			t.Helper()
			p.send(t, arpFrame(1, mac, mac, netip.MustParseAddr("10.9.0.77"), [6]byte{}, vip4))
			_, answered := p.wait(t, wait, isARP(vip4))
			return answered
		}}
		guest.run(t, "ip", "route", "replace", vip4.String(), "via", "10.9.0.1")
		udp := question{"udp", func(_ testing.TB, wait time.Duration) bool { return guest.askUDP(vip4, wait) }}
		arp.answered(t) // br7 is not fenced yet: the kernel does answer there
		udp.answered(t)
		ok(t, f.Tend())
		arp.silent(t)
		udp.silent(t)
		ok(t, f.Arm(in(time.Hour)))
		arp.answered(t)
		udp.answered(t)
		here.run(t, "ip", "link", "del", "br7")
		ok(t, f.Tend())
		if d := f.State().Devices; !slices.Equal(d, []string{dev, "lo"}) {
			t.Errorf("fenced devices: %v; want eth0 and lo", d)
		}
		if s, err := f.place.sides(); err != nil || len(s) != 4 {
			t.Errorf("pinned: %v, %v; want 4", s, err)
		}
		if s := f.State(); s.Until == 0 || s.Claimed {
			t.Errorf("state %+v; want open", s)
		}
	})
}

// A VIP on a macvlan is reached by the interface below as well, whose type is that of
// a container's here: what the host answers leaves by whichever its routes say.
func TestMacvlan(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, peer := hosts[0], hosts[1]
		here.run(t, "ip", "link", "add", "vrrp.51", "link", dev, "address", "00:00:5e:00:01:33", "type", "macvlan", "mode", "vepa")
		here.run(t, "ip", "link", "set", "vrrp.51", "up")
		f := open(t, Config{Dir: bpffs(t), Addr: vip4, Device: "vrrp.51", Kind: k})
		if d := f.State().Devices; !slices.Contains(d, "vrrp.51") || !slices.Contains(d, dev) {
			t.Errorf("fenced devices: %v; want vrrp.51 and %s", d, dev)
		}
		// What another router with the same MAC address says never gets to the macvlan.
		virtual := [6]byte{0x00, 0x00, 0x5e, 0x00, 0x01, 0x33}
		ok(t, f.Arm(in(time.Hour)))
		peer.tap(t).send(t, arpFrame(1, virtual, virtual, vip4, [6]byte{}, vip4))
		await(t, "the claim of another router", func() bool { return f.State().Claimed })
		// What goes out is none.
		ok(t, f.Shut())
		ok(t, f.Arm(in(time.Hour)))
		here.tap(t).send(t, arpFrame(1, virtual, virtual, vip4, [6]byte{}, vip4))
		peer.questions(t, here.ip4, here.mac)[0].answered(t) // the frame went before this
		if s := f.State(); s.Claimed {
			t.Errorf("an announcement that goes out is a claim: %+v", s)
		}
	})
}

// A foreign claim shuts the fence in the kernel.
func TestClaim(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, thief := hosts[0], hosts[1]
		fences := both(t, bpffs(t), k)
		here.addVIP(t)
		p, own := thief.tap(t), here.tap(t)
		for _, c := range []struct {
			name  string
			addr  netip.Addr
			frame []byte
		}{
			{"garp request", vip4, arpFrame(1, thief.mac, thief.mac, vip4, [6]byte{}, vip4)},
			{"garp reply", vip4, arpFrame(2, thief.mac, thief.mac, vip4, thief.mac, vip4)},
			{"arp request", vip4, arpFrame(1, thief.mac, thief.mac, vip4, [6]byte{}, here.ip4)},
			{"na", vip6, thief.advertise(vip6)},
		} {
			t.Run(c.name, func(t *testing.T) {
				f := fences[c.addr]
				ok(t, f.Shut())
				before := f.State().Claims
				p.send(t, c.frame)
				thief.questions(t, here.ip4, here.mac)[0].answered(t) // the frame was taken before this
				if s := f.State(); s.Claims != before || s.Claimed {
					t.Fatalf("a claim of a shut fence counts: %+v", s)
				}
				ok(t, f.Arm(in(time.Hour)))
				own.send(t, arpFrame(1, here.mac, here.mac, vip4, [6]byte{}, vip4))
				own.send(t, here.advertise(vip6))
				p.send(t, arpFrame(1, thief.mac, thief.mac, netip.IPv4Unspecified(), [6]byte{}, vip4))
				for _, q := range thief.questions(t, c.addr, here.mac)[:2] {
					q.answered(t)
				}
				if s := f.State(); s.Claimed {
					t.Fatalf("own frames or a probe are a claim: %+v", s)
				}
				f.claimed(t, p, c.frame, thief, before)
			})
		}
	})
}

func (f *Fence) claimed(t *testing.T, p *tap, frame []byte, thief *station, before uint64) {
	t.Helper()
	var took []time.Duration
	for i := range uint64(20) {
		sent := boottime.Now()
		p.send(t, frame)
		await(t, "the claim", func() bool { return f.State().Claimed })
		s := f.State()
		if s.Claims != before+1+i || s.ClaimMAC != thief.mac || s.Until != 0 {
			t.Fatalf("claimed by %x: %+v", thief.mac, s)
		}
		took = append(took, s.ClaimedAt.Sub(sent))
		if err := f.Arm(in(time.Hour)); !errors.Is(err, ErrClaimed) {
			t.Fatalf("Arm() = %v; want ErrClaimed", err)
		}
		thief.questions(t, f.cfg.Addr, [6]byte{})[1].silent(t)
		ok(t, f.Reopen(in(time.Hour)))
		if s := f.State(); s.Claimed || s.Until == 0 {
			t.Fatalf("after Reopen: %+v", s)
		}
	}
	slices.Sort(took)
	t.Logf("shut after the claim was sent: median %v, max %v, n=%d", took[len(took)/2], took[len(took)-1], len(took))
	p.send(t, frame)
	await(t, "the claim", func() bool { return f.State().Claimed })
	ok(t, f.Shut())
	ok(t, f.Arm(in(time.Hour))) // a new tenure
}

// What the kernel cannot read does no harm, and the fence still stands after it.
func TestShortFramesOnTheWire(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, client := hosts[0], hosts[1]
		fences := both(t, bpffs(t), k)
		here.addVIP(t)
		p, own := client.tap(t), here.tap(t)
		for _, table := range tables {
			for _, c := range table.cases {
				for cut := etherLen; cut < len(c.frame); cut += 3 {
					if table.egress {
						own.send(t, c.frame[:cut])
					} else {
						p.send(t, c.frame[:cut])
					}
				}
			}
		}
		for a, f := range fences {
			ok(t, f.Check())
			q := client.questions(t, a, here.mac)[0]
			q.silent(t)
			ok(t, f.Arm(in(time.Hour)))
			q.answered(t)
		}
	})
}

// What others do to the host's network leaves the fence as it is.
func TestSurvives(t *testing.T) {
	hosts := lan(t, 2)
	here, client := hosts[0], hosts[1]
	dir := bpffs(t)
	fences := both(t, dir, TCX)
	here.addVIP(t)
	arp := client.questions(t, vip4, here.mac)[0]
	_, err := exec.LookPath("nft")
	for _, c := range []struct {
		name string
		does string
		has  bool
	}{
		{"nft flush ruleset", "nft add table inet x; nft flush ruleset", err == nil},
		{"tc qdisc del clsact", "tc qdisc add dev eth0 clsact && tc qdisc del dev eth0 clsact", true},
		{"link down and up", "ip link set eth0 down && ip link set eth0 up", true},
		{"another opens and closes it", "", true}, // and has its own programs there
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.has, "needs "+strings.Fields(c.name)[0])
			f := fences[vip4]
			if c.does == "" {
				var err error
				f, err = Open(Config{Dir: dir, Addr: vip4, Device: dev})
				ok(t, err)
			} else {
				here.run(t, "sh", "-c", c.does)
			}
			ok(t, f.Check())
			ok(t, f.Shut())
			arp.silent(t)
			ok(t, fences[vip4].Shut())
			ok(t, fences[vip4].Arm(in(time.Hour)))
			if c.does == "" {
				ok(t, f.Close())
			}
			arp.answered(t)
		})
	}
}

// An adopting Open replaces the programs under traffic: nothing is lost while the
// fence is open, nothing gets through while it is shut.
func TestAdoptUnderTraffic(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, client := hosts[0], hosts[1]
		dir := bpffs(t)
		f := open(t, Config{Dir: dir, Addr: vip4, Kind: k})
		here.run(t, "ip", "addr", "add", prefix(vip4), "dev", dev)
		p := client.tap(t)
		ask := arpFrame(1, client.mac, client.mac, client.ip4, [6]byte{}, vip4)
		for _, until := range []boottime.Instant{in(time.Hour), 0} {
			ok(t, f.Shut())
			if until != 0 {
				ok(t, f.Arm(until))
			}
			done := make(chan error, 1)
			go func() { done <- adopt(dir, 100) }()
			asked, answered := 0, 0
			for running := true; running; {
				select {
				case err := <-done:
					ok(t, err)
					running = false
				default:
				}
				p.send(t, ask)
				asked++
				wait := patience
				if until == 0 {
					wait = time.Millisecond
				}
				if _, yes := p.wait(t, wait, isARP(vip4)); yes {
					answered++
				}
			}
			t.Logf("open %t: %d of %d answered", until != 0, answered, asked)
			if want := map[bool]int{true: asked, false: 0}[until != 0]; answered != want {
				t.Errorf("open %t: %d of %d answered; want %d", until != 0, answered, asked, want)
			}
			if s := f.State(); s.Until != until {
				t.Errorf("deadline %d; want %d", s.Until, until)
			}
		}
	})
}

func adopt(dir string, times int) error {
	for range times {
		f, err := Open(Config{Dir: dir, Addr: vip4, Device: dev})
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
