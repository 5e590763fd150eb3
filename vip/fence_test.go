package vip

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	ebpflink "github.com/cilium/ebpf/link"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
	"leasehold/vip/fence"
)

// asHolder says to a test binary that it is the holder of TestKilled, and where
// its fences are.
const asHolder = "LEASEHOLD_VIP_TEST_HOLDER"

// silence is for how long it is listened that nobody answers.
const silence = 150 * time.Millisecond

// A holder that is killed answers until its deadline and no longer, though the
// address is still there.
func TestKilled(t *testing.T) {
	p := network(t)
	dir := bpffs(t)
	c := newClient(t, p)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHoldUntilKilled$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1", asUser+"=1", asHolder+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var until boottime.Instant
	lines := bufio.NewScanner(out)
	for until == 0 && lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "until "); ok {
			d, _ := strconv.ParseInt(n, 10, 64)
			until = boottime.Instant(d)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if until == 0 {
		t.Fatal("the holder did not bind")
	}
	for _, address := range []string{vip4, vip6} {
		if !c.answered(t, address, until.Sub(boottime.Now())) {
			t.Errorf("%s: the killed holder did not answer until its deadline", address)
		}
	}
	await(t, "the deadline", func() bool { return boottime.Now() >= until })
	for _, address := range []string{vip4, vip6} {
		if c.answered(t, address, silence) {
			t.Errorf("%s: the killed holder answers after its deadline", address)
		}
	}
	if late := boottime.Now().Sub(until); late < 900*time.Millisecond {
		if n := len(copies(t, spec4, spec6)); n != 2 {
			t.Errorf("%d copies %s after the deadline; want 2, it is the fence that is silent", n, late)
		}
	}
	await(t, "the end of the lifetimes", func() bool { return len(copies(t, spec4, spec6)) == 0 })
}

func TestHoldUntilKilled(t *testing.T) {
	dir := os.Getenv(asHolder)
	if dir == "" {
		t.Skip("run by TestKilled")
	}
	s := fencedSet(t, dir, spec4, spec6)
	until := in(2 * time.Second)
	if err := s.Bind(t.Context(), until, false); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("until %d\n", until)
	_, _ = os.Stdin.Read(make([]byte, 1)) // until it is killed
}

// A process that was frozen before it opens the fence opens nothing, and removes
// what it added.
func TestFrozenBeforeTheFenceIsOpened(t *testing.T) {
	for name, frozenAt := range map[string]int{"before the lifetime is set": 1, "before the fence is armed": 2} {
		t.Run(name, func(t *testing.T) {
			p := network(t)
			s := fencedSet(t, bpffs(t), spec4)
			c := newClient(t, p)
			until, reads := in(300*time.Millisecond), 0
			s.now = func() boottime.Instant {
				if reads++; reads == frozenAt {
					time.Sleep(until.Sub(boottime.Now()) + time.Millisecond)
				}
				return boottime.Now()
			}
			if err := s.Bind(t.Context(), until, false); !errors.Is(err, ErrNoRoom) {
				t.Errorf("Bind() = %v; want ErrNoRoom", err)
			}
			if got := copies(t, spec4); len(got) != 0 {
				t.Errorf("copies %v; want none", got)
			}
			if c.answered(t, vip4, silence) {
				t.Error("answered for")
			}
		})
	}
}

// A process that was frozen while it extended deletes what it finds is over.
func TestFrozenWhileExtending(t *testing.T) {
	network(t)
	s := fencedSet(t, bpffs(t), spec4)
	run(t, s)
	bind(t, s, 5*time.Second)
	until := in(300 * time.Millisecond)
	s.now = func() boottime.Instant {
		time.Sleep(until.Sub(boottime.Now()) + time.Millisecond)
		return boottime.Now()
	}
	if err := s.Extend(t.Context(), until); !errors.Is(err, ErrNoRoom) {
		t.Errorf("Extend() = %v; want ErrNoRoom", err)
	}
	if got := copies(t, spec4); len(got) != 0 {
		t.Errorf("copies %v; want none", got)
	}
}

// Behind a fence any time that is left is room, and none is none.
func TestFencedRoom(t *testing.T) {
	p := network(t)
	s := fencedSet(t, bpffs(t), spec4)
	run(t, s)
	c := newClient(t, p)
	for _, d := range []time.Duration{-time.Second, 0} {
		if err := s.Bind(t.Context(), in(d), false); !errors.Is(err, ErrNoRoom) {
			t.Errorf("Bind(%s) = %v; want ErrNoRoom", d, err)
		}
	}
	if late := s.Lateness(); late != 0 {
		t.Errorf("Lateness() = %s; want 0", late)
	}
	bind(t, s, 400*time.Millisecond)
	for range 20 { // as at a ttl of 500 ms
		if err := s.Extend(t.Context(), in(400*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	if !c.answered(t, vip4, 400*time.Millisecond) {
		t.Error("not answered for")
	}
	await(t, "the deadline", func() bool { return s.State().Fence.Until < in(0) })
	if c.answered(t, vip4, silence) {
		t.Error("answered for after the deadline")
	}
	if err := s.Extend(t.Context(), in(-1)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("Extend() = %v; want ErrNoRoom", err)
	}
}

// Between two lifetimes an Extend is one store: the kernel is told of the address
// only when its lifetime would end before the deadline, or far after it.
func TestExtendIsOneStore(t *testing.T) {
	network(t)
	s := fencedSet(t, bpffs(t), spec4)
	run(t, s)
	bind(t, s, 10*time.Second)
	was := s.State()
	for _, step := range []struct {
		left time.Duration
		told bool
	}{
		{10*time.Second + 100*time.Millisecond, false},
		{10*time.Second + 800*time.Millisecond, false},
		{12*time.Second + 200*time.Millisecond, true},
		{13 * time.Second, false},
		{time.Hour, true},
		{3 * time.Second, true},
	} {
		until := in(step.left)
		if err := s.Extend(t.Context(), until); err != nil {
			t.Fatal(err)
		}
		st := s.State()
		if st.Fence.Until != until {
			t.Errorf("%s: fence until %d; want %d", step.left, st.Fence.Until, until)
		}
		if told := st.KernelUntil != was.KernelUntil; told != step.told || (told && st.At == was.At) || (!told && st.At != was.At && !st.Bound) {
			t.Errorf("%s: lifetime set %v; want %v", step.left, told, step.told)
		}
		if beyond := st.KernelUntil.Sub(until); beyond < 0 || beyond > 2*time.Second {
			t.Errorf("%s: the lifetime ends %s after the deadline; want 0 to 2s", step.left, beyond)
		}
		was = st
	}
}

// What an earlier process left open stays open, and can be released without a
// Run, by a process that has bound nothing.
func TestAdoption(t *testing.T) {
	p := network(t)
	dir := bpffs(t)
	c := newClient(t, p)
	first := fencedSet(t, dir, spec4, spec6)
	until := in(30 * time.Second)
	if err := first.Bind(t.Context(), until, false); err != nil {
		t.Fatal(err)
	}
	first.Close()
	client, _ := session(t, p, spec4, "tcp")
	second := fencedSet(t, dir, spec4, spec6)
	if st := second.State(); st.Fence.Until != until || !st.Bound {
		t.Errorf("State() = %+v; want bound, the fence open until %d", st, until)
	}
	if f, err := ReadFence(dir, second.specs); err != nil || f.Kind == "" || f.Until != until {
		t.Errorf("ReadFence() = %+v, %v; want until %d", f, err, until)
	}
	if !c.answered(t, vip4, patience) || !c.answered(t, vip6, patience) {
		t.Error("not answered for")
	}
	release(t, second)
	if got := copies(t, spec4, spec6); len(got) != 0 {
		t.Errorf("copies %v; want none", got)
	}
	if f, err := ReadFence(dir, second.specs); err != nil || f.Kind == "" || f.Until != 0 {
		t.Errorf("ReadFence() = %+v, %v; want it shut", f, err)
	}
	if err := readError(t, client); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("client: %v; want ECONNRESET", err)
	}
}

// A fence that was left open without the address is shut: whoever puts the
// address there is not answered for.
func TestOpenFenceWithoutTheAddress(t *testing.T) {
	p := network(t)
	dir := bpffs(t)
	c := newClient(t, p)
	first := fencedSet(t, dir, spec4)
	bind(t, first, 30*time.Second)
	first.Close()
	ip(t, nil, "addr", "del", vip4+"/24", "dev", dev)
	second := fencedSet(t, dir, spec4)
	if f := second.State().Fence; f.Until != 0 {
		t.Errorf("Fence = %+v; want it shut", f)
	}
	ip(t, nil, "addr", "add", vip4+"/24", "dev", dev, "label", dev+":1")
	if c.answered(t, vip4, silence) {
		t.Error("answered for")
	}
}

// Another process shut the fence in front of a VIP that this host still has.
func TestShutByAnotherProcess(t *testing.T) {
	p := network(t)
	dir := bpffs(t)
	s := fencedSet(t, dir, spec4)
	run(t, s)
	c := newClient(t, p)
	bind(t, s, 30*time.Second)
	if err := fence.ShutPinned(dir, s.specs[0].Prefix.Addr()); err != nil {
		t.Fatal(err)
	}
	if c.answered(t, vip4, silence) {
		t.Error("answered for")
	}
	if err := s.Extend(t.Context(), in(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if !c.answered(t, vip4, patience) {
		t.Error("not answered for after Extend")
	}
}

// A journal keeps what a Set logs.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

// order returns the place of the first line with each text; -1 without one.
func (j *journal) order(texts ...string) []int {
	j.mu.Lock()
	defer j.mu.Unlock()
	var at []int
	for _, text := range texts {
		at = append(at, strings.Index(j.b.String(), text))
	}
	return at
}

// A fence of which something is missing: the address goes, then it is put back
// shut, then Bind opens it.
func TestFenceMissing(t *testing.T) {
	detach := func(t *testing.T, pins []string) {
		for _, pin := range pins {
			l, err := ebpflink.LoadPinnedLink(pin, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(l.(interface{ Detach() error }).Detach(), l.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		kind fence.Kind
		lose func(t *testing.T, pins []string)
	}{
		"tcx links detached":     {fence.TCX, detach},
		"one tcx link detached":  {fence.TCX, func(t *testing.T, pins []string) { detach(t, pins[:1]) }},
		"tcx pins removed":       {fence.TCX, removeAll},
		"clsact qdisc deleted":   {fence.Clsact, func(t *testing.T, _ []string) { tc(t, "qdisc", "del", "dev", dev, "clsact") }},
		"clsact filters deleted": {fence.Clsact, func(t *testing.T, _ []string) { tc(t, "filter", "del", "dev", dev, "ingress") }},
		"clsact pins removed":    {fence.Clsact, removeAll},
	} {
		t.Run(name, func(t *testing.T) {
			p := network(t)
			dir := bpffs(t)
			log := &journal{}
			s, err := New(Config{VIPs: specs(t, spec4, spec6), Fence: FenceRequired, BPFDir: dir, kind: c.kind, Log: hclog.New(&hclog.LoggerOptions{Output: log})})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			run(t, s)
			client := newClient(t, p)
			bind(t, s, 30*time.Second)
			if kind := s.State().Fence.Kind; kind != string(c.kind) {
				t.Fatalf("kind %q; want %q: %s", kind, c.kind, s.State().NoGuard)
			}
			pins, err := filepath.Glob(dir + "/*/*_*")
			if err != nil || len(pins) < 8 {
				t.Fatalf("pins %v, %v; want two on each of eth0 and lo, for each VIP", pins, err)
			}
			start := time.Now()
			c.lose(t, pins)
			await(t, "the VIPs go", func() bool { return !s.State().Bound })
			t.Logf("seen after %s", time.Since(start))
			await(t, "the fence is back", func() bool { return s.check() == nil })
			at := log.order("fence incomplete", "vip removed", "fence put back")
			if at[0] < 0 || at[1] < at[0] || at[2] < at[1] {
				t.Errorf("found, address removed, put back at %v; want in that order", at)
			}
			if st := s.State(); len(st.Copies) != 0 || st.Fence.Until != 0 || st.Fence.Missing != "" {
				t.Errorf("State() = %+v; want no copies, a whole fence, shut", st)
			}
			bind(t, s, 30*time.Second)
			if !client.answered(t, vip4, patience) || !client.answered(t, vip6, patience) {
				t.Error("not answered for after Bind")
			}
			release(t, s)
		})
	}
}

func removeAll(t *testing.T, paths []string) {
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
}

func tc(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("tc", args...).CombinedOutput(); err != nil {
		t.Fatalf("tc %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// check is what Run asks each second.
func (s *Set) check() error {
	s.op.Lock()
	defer s.op.Unlock()
	return s.guard.(*fenceGuard).check()
}

// No fence is to be had: lifetimes alone, or nothing is bound. When there is one
// again it is used, but not while a VIP is bound without.
func TestRefused(t *testing.T) {
	t.Run("auto", func(t *testing.T) {
		network(t)
		dir, mount := lateBPFFS(t)
		s := open(t, Config{VIPs: specs(t, spec4), Fence: FenceAuto, BPFDir: dir})
		run(t, s)
		st := s.State()
		if st.NoGuard != "" || st.Fence.Kind != "" || !strings.Contains(st.Fence.Why, "bpffs") || s.Lateness() != lateness {
			t.Errorf("State() = %+v; want lifetimes alone, because of the bpffs", st)
		}
		bind(t, s, 30*time.Second)
		mount()
		s.retryNow(t)
		if st := s.State(); !st.Bound || st.Fence.Kind != "" {
			t.Errorf("State() = %+v; want that a bound VIP is left as it is", st)
		}
		release(t, s)
		s.retryNow(t)
		if st := s.State(); st.Fence.Kind == "" || st.Fence.Why != "" || s.Lateness() != 0 {
			t.Errorf("State() = %+v; want a fence", st)
		}
		bind(t, s, 30*time.Second)
		release(t, s)
	})
	t.Run("required", func(t *testing.T) {
		network(t)
		dir, mount := lateBPFFS(t)
		s := fencedSet(t, dir, spec4)
		run(t, s)
		if st := s.State(); !strings.Contains(st.NoGuard, "bpffs") || st.Fence.Why == "" {
			t.Errorf("State() = %+v; want NoGuard, because of the bpffs", st)
		}
		if err := s.Bind(t.Context(), in(30*time.Second), false); !errors.Is(err, ErrNoGuard) {
			t.Errorf("Bind() = %v; want ErrNoGuard", err)
		}
		if got := copies(t, spec4); len(got) != 0 {
			t.Errorf("copies %v; want none", got)
		}
		ip(t, nil, "addr", "add", vip4+"/24", "dev", dev, "label", dev+":1")
		release(t, s) // what is there goes all the same
		mount()
		drain(s)
		s.retryNow(t)
		waitChanged(t, s, func(st State) bool { return st.NoGuard == "" && st.Fence.Kind != "" })
		bind(t, s, 30*time.Second)
		release(t, s)
	})
}

// retryNow does what Run does when guardRetry is over.
func (s *Set) retryNow(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	s.guarding.tried = 0
	s.mu.Unlock()
	s.tendGuard(t.Context())
}

// What is pinned in the fence's place and is not ours is left alone, and nothing
// is bound.
func TestForeignPin(t *testing.T) {
	for _, mode := range []FenceMode{FenceAuto, FenceRequired, FenceOff} {
		t.Run(mode.String(), func(t *testing.T) {
			network(t)
			dir := bpffs(t)
			place := dir + "/0a1408bc" // 10.20.8.188
			if err := os.MkdirAll(place, 0o700); err != nil {
				t.Fatal(err)
			}
			m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "stranger", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if err := m.Pin(place + "/deadline"); err != nil {
				t.Fatal(err)
			}
			s := open(t, Config{VIPs: specs(t, spec4), Fence: mode, BPFDir: dir})
			if st := s.State(); !strings.Contains(st.NoGuard, place) {
				t.Errorf("NoGuard = %q; want one that names %s", st.NoGuard, place)
			}
			if err := s.Bind(t.Context(), in(30*time.Second), false); !errors.Is(err, ErrNoGuard) {
				t.Errorf("Bind() = %v; want ErrNoGuard", err)
			}
			if err := os.Remove(place + "/deadline"); err != nil {
				t.Errorf("what is not ours was removed: %v", err)
			}
			if err := os.Remove(place); err != nil {
				t.Error(err)
			}
			s.retryNow(t)
			bind(t, s, 30*time.Second)
			release(t, s)
		})
	}
}

// The fence is turned off in the config: the one of the run before goes, after
// the address that it guards, and does not keep the VIP silent for ever.
func TestFenceTurnedOff(t *testing.T) {
	p := network(t)
	dir := bpffs(t)
	c := newClient(t, p)
	first := fencedSet(t, dir, spec4, spec6)
	bind(t, first, 30*time.Second)
	first.Close()
	s := open(t, Config{VIPs: specs(t, spec4, spec6), Fence: FenceOff, BPFDir: dir})
	if st := s.State(); st.NoGuard != "" || st.Fence.Kind != "" || st.Fence.Why != "turned off" || len(st.Copies) != 0 {
		t.Errorf("State() = %+v; want no fence and no copies", st)
	}
	if pins, err := os.ReadDir(dir); err != nil || len(pins) != 0 {
		t.Errorf("pins %v, %v; want none", pins, err)
	}
	bind(t, s, 30*time.Second)
	if !c.answered(t, vip4, patience) || !c.answered(t, vip6, patience) {
		t.Error("not answered for without a fence")
	}
	s.Close()
	again := open(t, Config{VIPs: specs(t, spec4, spec6), Fence: FenceOff, BPFDir: dir})
	if st := again.State(); !st.Bound {
		t.Errorf("State() = %+v; want the VIPs of the run before, which had no fence, left alone", st)
	}
}

// VIPs that are configured no more go, with their fences, and leave the others.
func TestForget(t *testing.T) {
	p := network(t)
	dir := bpffs(t)
	c := newClient(t, p)
	first := fencedSet(t, dir, spec4, spec4b, spec6)
	bind(t, first, 30*time.Second)
	first.Close()
	for range 2 { // the second time there is nothing to do
		if err := Forget(t.Context(), dir, specs(t, spec4, spec6), hclog.NewNullLogger()); err != nil {
			t.Fatal(err)
		}
		if got := copies(t, spec4, spec4b, spec6); len(got) != 1 || got[0].Prefix.Addr() != first.specs[1].Prefix.Addr() {
			t.Errorf("copies %v; want that of %s only", got, spec4b)
		}
		if !c.answered(t, "10.20.8.189", patience) {
			t.Error("the other VIP is not answered for")
		}
		pins, err := os.ReadDir(dir)
		if err != nil || len(pins) != 1 || pins[0].Name() != "0a1408bd" {
			t.Errorf("pins %v, %v; want those of 10.20.8.189 only", pins, err)
		}
	}
	f, err := ReadFence(dir, first.specs)
	if err != nil || f.Missing != "no fence of "+vip4+", "+vip6 || f.Until == 0 {
		t.Errorf("ReadFence() = %+v, %v; want that two are missing", f, err)
	}
	if f, err := ReadFence(dir, specs(t, spec4)); err != nil || f.Kind != "" || f.Why == "" {
		t.Errorf("ReadFence() = %+v, %v; want none, and why", f, err)
	}
}

// Sweep of everything shuts the fence as well.
func TestSweepShutsTheFence(t *testing.T) {
	p := network(t)
	s := fencedSet(t, bpffs(t), spec4)
	c := newClient(t, p)
	bind(t, s, 30*time.Second)
	if err := s.Sweep(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	ip(t, nil, "addr", "add", vip4+"/24", "dev", dev, "label", dev+":1")
	if c.answered(t, vip4, silence) || s.State().Fence.Until != 0 {
		t.Errorf("answered for after Sweep; fence %+v", s.State().Fence)
	}
}

func TestFenceMode(t *testing.T) {
	for _, m := range []FenceMode{FenceAuto, FenceOff, FenceRequired} {
		text, err := m.MarshalText()
		var back FenceMode
		if err != nil || back.UnmarshalText(text) != nil || back != m {
			t.Errorf("%v becomes %q, then %v", m, text, back)
		}
	}
	if err := new(FenceMode).UnmarshalText([]byte("on")); err == nil || !strings.Contains(err.Error(), "auto") {
		t.Errorf("UnmarshalText(on) = %v; want what to write instead", err)
	}
}
