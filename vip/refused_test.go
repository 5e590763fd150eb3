package vip

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/hashicorp/go-hclog"
)

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

// What was a VIP is the host's own address by now: its fence goes, or it would be
// silent for ever.
func TestForgetTheHostsOwnAddress(t *testing.T) {
	p := wire(t)
	dir := bpffs(t)
	fencedSet(t, dir, spec4b)
	c := newClient(t, p)
	ip(t, nil, "addr", "add", "10.20.8.189/24", "dev", dev)
	if c.answered(t, "10.20.8.189", silence) {
		t.Error("answered for behind the shut fence")
	}
	if err := Forget(t.Context(), dir, specs(t, spec4b), hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	if !c.answered(t, "10.20.8.189", patience) {
		t.Error("not answered for")
	}
}

// Sweep of everything shuts the fence as well.
func TestSweepShutsTheFence(t *testing.T) {
	p := network(t)
	s := fencedSet(t, bpffs(t), spec4)
	c := newClient(t, p)
	bind(t, s, 30*time.Second)
	if err := s.Sweep(t.Context(), false); err != nil {
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
