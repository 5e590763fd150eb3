package vip

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The times are logged, not judged: the machine is shared.
func TestVIPDeletedIsSeen(t *testing.T) { eachGuard(t, testVIPDeletedIsSeen) }

func testVIPDeletedIsSeen(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4, spec6)
	run(t, s)
	for _, what := range []string{vip4 + "/24", vip6 + "/64"} {
		bind(t, s, 60*time.Second)
		drain(s)
		ip(t, nil, "addr", "del", what, "dev", dev)
		start := time.Now()
		waitChanged(t, s, func(st State) bool { return !st.Bound })
		t.Logf("%s deleted: seen %s after ip(8) ended", what, time.Since(start))
	}
}

func TestStrayIsSeen(t *testing.T) { eachGuard(t, testStrayIsSeen) }

func testStrayIsSeen(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4)
	run(t, s)
	drain(s)
	ip(t, nil, "addr", "add", vip4+"/8", "dev", "lo")
	waitChanged(t, s, func(st State) bool { return len(st.Copies) == 1 && !st.Copies[0].Right && st.Copies[0].Device == "lo" })
	if err := s.Sweep(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}

func TestLinkDownIsSeen(t *testing.T) {
	p := network(t)
	s := newSet(t, spec4)
	run(t, s)
	for why, where := range map[string]struct {
		p   *peer
		dev string
	}{"eth0: no carrier": {p, "far0"}, "eth0: down": {nil, dev}} {
		drain(s)
		ip(t, where.p, "link", "set", where.dev, "down")
		start := time.Now()
		waitChanged(t, s, func(st State) bool { return !st.LinkUp && st.LinkWhy == why })
		t.Logf("%s: seen %s after ip(8) ended", why, time.Since(start))
		ip(t, where.p, "link", "set", where.dev, "up")
		waitChanged(t, s, func(st State) bool { return st.LinkUp && st.LinkWhy == "" })
	}
}

// A device that is not there yet is waited for, and found again by its name when
// it was made anew with another index; announcing works then too.
func TestDeviceCreatedLater(t *testing.T) { eachGuard(t, testDeviceCreatedLater) }

func testDeviceCreatedLater(t *testing.T, newSet setMaker) {
	needKernel(t)
	s := newSet(t, spec4, spec6)
	run(t, s)
	if st := s.State(); st.LinkUp || st.LinkWhy != "eth0 does not exist" {
		t.Errorf("State() = %+v; want that eth0 does not exist", st)
	}
	for round := range 2 {
		p := network(t)
		await(t, "link up", func() bool { return s.State().LinkUp })
		frames := capture(t, p)
		bind(t, s, 60*time.Second)
		if err := s.Announce(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		frames.want(t, "arp request "+vip4, "arp reply "+vip4, "na "+vip6)
		ip(t, nil, "link", "del", dev)
		await(t, "link gone", func() bool { return strings.Contains(s.State().LinkWhy, "does not exist") })
		if st := s.State(); st.Bound || len(st.Copies) != 0 {
			t.Errorf("State() = %+v; want nothing", st)
		}
	}
}

// Reports that were lost wake the reader too, and the socket goes on.
func TestLostReports(t *testing.T) {
	network(t)
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR)
	if err != nil {
		t.Fatal(err)
	}
	if err := socket.SetReceiveBufferSize(1, false); err != nil { // the kernel's least
		t.Fatal(err)
	}
	for range 30 {
		ip(t, nil, "addr", "add", "192.0.2.1/32", "dev", dev) // no VIP: only its loss is news
		ip(t, nil, "addr", "del", "192.0.2.1/32", "dev", dev)
	}
	w := &watcher{specs: specs(t, spec4), wake: make(chan struct{}, 1)}
	w.indexes.Store(&[]int32{})
	ended := make(chan error, 1)
	go func() { ended <- w.listen(socket) }()
	for _, what := range []string{"lost reports", "a report afterwards"} {
		select {
		case <-w.wake:
		case <-time.After(patience):
			t.Fatalf("%s did not wake", what)
		}
		if what == "lost reports" {
			ip(t, nil, "addr", "add", vip4+"/24", "dev", dev)
		}
	}
	socket.Close()
	if err := <-ended; err == nil {
		t.Error("listen() = nil on a closed socket")
	}
}

// Whoever calls what at once, the kernel and the State agree in the end.
func TestSettlesUnderConcurrentUse(t *testing.T) { eachGuard(t, testSettlesUnderConcurrentUse) }

func testSettlesUnderConcurrentUse(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4, spec6)
	run(t, s)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 20 {
				_ = s.Bind(t.Context(), in(30*time.Second), false)
				_ = s.Announce(t.Context())
				_ = s.Extend(t.Context(), in(20*time.Second))
				_ = s.Sweep(t.Context(), true)
				_ = s.State()
				_ = s.Release(t.Context(), in(time.Second))
			}
		})
	}
	wg.Wait()
	await(t, "nothing bound", func() bool { return len(s.State().Copies) == 0 })
	bind(t, s, 30*time.Second)
	await(t, "bound", func() bool { return s.State().Bound })
}

// A refresh is no news.
func TestExtendIsNoChange(t *testing.T) { eachGuard(t, testExtendIsNoChange) }

func testExtendIsNoChange(t *testing.T, newSet setMaker) {
	network(t)
	s := newSet(t, spec4)
	run(t, s)
	bind(t, s, 60*time.Second)
	at := s.State().At
	await(t, "reports of the bind", func() bool { return s.State().At > at })
	drain(s)
	at = s.State().At
	if err := s.Extend(t.Context(), in(70*time.Second)); err != nil {
		t.Fatal(err)
	}
	await(t, "report of the refresh", func() bool { return s.State().At > at })
	select {
	case <-s.Changed():
		t.Errorf("Changed after a refresh: %+v", s.State())
	case <-time.After(20 * time.Millisecond):
	}
}

func drain(s *Set) {
	select {
	case <-s.Changed():
	default:
	}
}

func waitChanged(t *testing.T, s *Set, ok func(State) bool) {
	t.Helper()
	deadline := time.After(patience)
	for !ok(s.State()) {
		select {
		case <-s.Changed():
		case <-deadline:
			t.Fatalf("no such change within %s: %+v", patience, s.State())
		}
	}
}
