package vip

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

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
