package fence

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"leasehold/internal/boottime"
)

// own are the sides of eth0.
func own(t testing.TB) [2]side {
	t.Helper()
	l, err := netlink.LinkByName(dev)
	ok(t, err)
	return device{index: l.Attrs().Index}.sides()
}

// damages are ways to take a part of the fence away.
func damages(dir string) []struct {
	name string
	kind Kind // "": both
	want string
	do   func(*testing.T, *Fence)
} {
	pinOf := func(t *testing.T, f *Fence) string { t.Helper(); return f.place.side(own(t)[1]) }
	return []struct {
		name string
		kind Kind
		want string
		do   func(*testing.T, *Fence)
	}{
		{"detached", TCX, "eth0 egress: detached", func(t *testing.T, f *Fence) {
			l, err := link.LoadPinnedLink(pinOf(t, f), nil)
			ok(t, err)
			ok(t, errors.Join(l.Detach(), l.Close()))
		}},
		{"program replaced", TCX, "eth0 egress: another program", func(t *testing.T, f *Fence) {
			l, err := link.LoadPinnedLink(pinOf(t, f), nil)
			ok(t, err)
			p := foreignProgram(t)
			ok(t, errors.Join(l.Update(p), l.Close()))
		}},
		{"filter deleted", Clsact, "eth0 egress: not attached", func(t *testing.T, _ *Fence) {
			(&station{}).run(t, "tc", "filter", "del", "dev", dev, "egress")
		}},
		{"qdisc deleted", Clsact, "eth0 ingress: not attached, eth0 egress: not attached", func(t *testing.T, _ *Fence) {
			(&station{}).run(t, "tc", "qdisc", "del", "dev", dev, "clsact")
		}},
		{"unpinned", "", "eth0 egress: not pinned", func(t *testing.T, f *Fence) {
			ok(t, os.Remove(pinOf(t, f)))
		}},
		{"deadline unpinned", "", "the deadline is not pinned", func(t *testing.T, f *Fence) {
			ok(t, os.Remove(f.place.deadline()))
		}},
		{"everything unpinned", "", "the deadline is not pinned, eth0 ingress: not pinned, eth0 egress: not pinned, lo ingress: not pinned, lo egress: not pinned", func(t *testing.T, f *Fence) {
			ok(t, os.RemoveAll(dir))
			_ = f
		}},
		{"device made anew", "", "eth0 ingress: not attached, eth0 egress: not attached", func(t *testing.T, _ *Fence) {
			renew(t)
		}},
	}
}

// renew deletes eth0 and makes it again.
func renew(t testing.TB) {
	t.Helper()
	here := &station{}
	here.run(t, "ip", "link", "del", dev)
	here.run(t, "ip", "link", "add", dev, "type", "veth", "peer", "name", "far0")
	here.run(t, "ip", "link", "set", dev, "up")
}

func foreignProgram(t testing.TB) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "somebody", Type: ebpf.SchedCLS, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdictNext), asm.Return()}})
	ok(t, err)
	t.Cleanup(func() { ok(t, p.Close()) })
	return p
}

// What is missing is seen and put back, shut; by Rebuild, and by Open after a
// crash.
func TestRebuild(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		for _, d := range damages("") {
			if d.kind != "" && d.kind != k {
				continue
			}
			t.Run(d.name, func(t *testing.T) {
				lan(t, 2)
				dir := bpffs(t)
				f := open(t, Config{Dir: dir, Addr: vip4, Kind: k})
				ok(t, f.Check())
				for _, d := range damages(dir) {
					if d.name != filepath.Base(t.Name()) && strings.ReplaceAll(d.name, " ", "_") != filepath.Base(t.Name()) {
						continue
					}
					ok(t, f.Arm(in(time.Hour)))
					d.do(t, f)
					err := f.Check()
					if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), d.want) {
						t.Errorf("Check() = %v; want %q", err, d.want)
					}
					ok(t, f.Tend()) // leaves it to Rebuild
					ok(t, f.Rebuild())
					ok(t, f.Check())
					if s := f.State(); s.Until != 0 {
						t.Errorf("rebuilt open: %+v", s)
					}
					ok(t, f.Arm(in(time.Hour)))
					d.do(t, f)
					ok(t, f.Close())
					g := open(t, Config{Dir: dir, Addr: vip4, Kind: k})
					ok(t, g.Check())
					if s := g.State(); s.Until != 0 && d.name != "program replaced" {
						t.Errorf("opened what was incomplete: %+v", s)
					}
				}
			})
		}
	})
}

// With the device gone there is nothing to fence; when it is back there is.
func TestDeviceGone(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here := hosts[0]
		dir := bpffs(t)
		f := open(t, Config{Dir: dir, Addr: vip4, Kind: k})
		index := own(t)[0].index
		here.run(t, "ip", "link", "del", dev)
		if err := f.Check(); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "eth0 does not exist") {
			t.Errorf("Check() = %v; want ErrMissing", err)
		}
		if err := f.Rebuild(); err == nil || !strings.Contains(err.Error(), "eth0 does not exist") {
			t.Errorf("Rebuild() = %v; want that the device does not exist", err)
		}
		if _, err := Open(Config{Dir: dir, Addr: vip4, Device: dev}); err == nil || !strings.Contains(err.Error(), "eth0 does not exist") {
			t.Errorf("Open() = %v; want that the device does not exist", err)
		}
		here.run(t, "ip", "link", "add", dev, "index", fmt.Sprint(index), "type", "veth", "peer", "name", "far0")
		if err := f.Check(); !errors.Is(err, ErrMissing) {
			t.Errorf("Check() = %v after the same index came back; want ErrMissing", err)
		}
		ok(t, f.Rebuild())
		ok(t, f.Check())
	})
}

// The programs follow the device's MAC, by Tend, and leave the deadline alone.
func TestMACChanges(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, peer := hosts[0], hosts[1]
		f := open(t, Config{Dir: bpffs(t), Addr: vip4, Kind: k})
		until := in(time.Hour)
		ok(t, f.Arm(until))
		old, now := here.mac, [6]byte{2, 1, 2, 3, 4, 5}
		here.run(t, "ip", "link", "set", dev, "address", net.HardwareAddr(now[:]).String())
		ok(t, f.Tend())
		ok(t, f.Check())
		p := peer.tap(t)
		p.send(t, arpFrame(1, now, now, vip4, [6]byte{}, vip4)) // reflected by the wire
		peer.questions(t, here.ip4, now)[0].answered(t)
		if s := f.State(); s.Claimed || s.Until != until {
			t.Errorf("own frame: %+v; want open until %d", s, until)
		}
		p.send(t, arpFrame(1, old, old, vip4, [6]byte{}, vip4))
		await(t, "the claim by the old mac", func() bool { return f.State().Claimed })
	})
}

func TestArm(t *testing.T) {
	lan(t, 2)
	dir := bpffs(t)
	f := open(t, Config{Dir: dir, Addr: vip4})
	if s := f.State(); s.Until != 0 || s.Kind != TCX {
		t.Fatalf("new: %+v; want shut, tcx", s)
	}
	for _, until := range []boottime.Instant{in(time.Hour), in(time.Minute), in(2 * time.Hour), boottime.Now() - 1} {
		ok(t, f.Arm(until))
		if s := f.State(); s.Until != until {
			t.Errorf("deadline %d; want %d", s.Until, until)
		}
	}
	for _, until := range []boottime.Instant{0, 1, -5} {
		if err := f.Arm(until); err == nil {
			t.Errorf("Arm(%d) = nil; want an error", until)
		}
	}
	ok(t, ShutPinned(dir, vip4))
	if s := f.State(); s.Until != 0 {
		t.Errorf("after ShutPinned: %+v; want shut", s)
	}
	for _, arm := range []func(boottime.Instant) error{f.Arm, f.Reopen} {
		if err := arm(in(time.Hour)); !errors.Is(err, ErrTaken) {
			t.Errorf("Arm() after another process shut it = %v; want ErrTaken", err)
		}
	}
	ok(t, f.Shut())
	ok(t, f.Arm(in(time.Hour)))
	ok(t, f.Close())
	ok(t, f.Close())
	if s := f.State(); s.Until != 0 || s.Kind != TCX {
		t.Errorf("closed: %+v", s)
	}
	for name, err := range map[string]error{"Arm": f.Arm(in(1)), "Shut": f.Shut(), "Check": f.Check(), "Tend": f.Tend(), "Rebuild": f.Rebuild()} {
		if !errors.Is(err, errClosed) {
			t.Errorf("%s() = %v; want that it is closed", name, err)
		}
	}
}

// Everything at the same time; for the race detector.
func TestConcurrent(t *testing.T) {
	lan(t, 2)
	f := open(t, Config{Dir: bpffs(t), Addr: vip4})
	var all sync.WaitGroup
	for _, do := range []func(){
		func() { _ = f.Arm(in(time.Second)) },
		func() { _ = f.Shut() },
		func() { f.State() },
		func() { ok(t, f.Check()) },
		func() { ok(t, f.Tend()) },
		func() { ok(t, f.Rebuild()) },
	} {
		all.Go(func() {
			for range 20 {
				do()
			}
		})
	}
	all.Wait()
	ok(t, f.Check())
}

func BenchmarkArm(b *testing.B) {
	lan(b, 2)
	f := open(b, Config{Dir: bpffs(b), Addr: vip4})
	until := in(time.Hour)
	for b.Loop() {
		until++
		if err := f.Arm(until); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeep(b *testing.B) {
	for _, k := range []Kind{TCX, Clsact} {
		lan(b, 2)
		dir := bpffs(b)
		f := open(b, Config{Dir: dir, Addr: vip4, Kind: k})
		for name, do := range map[string]func() error{
			"check": f.Check,
			"tend":  f.Tend,
			"adopt": func() error { return adopt(dir, 1) },
		} {
			b.Run(string(k)+"/"+name, func(b *testing.B) {
				for b.Loop() {
					ok(b, do())
				}
			})
		}
		_, _ = Purge(dir)
		(&station{}).run(b, "ip", "link", "del", dev)
	}
}
