package vip

import (
	"strings"
	"testing"
	"time"
)

// The times are logged, not judged: the machine is shared.
func TestVIPDeletedIsSeen(t *testing.T) {
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

func TestStrayIsSeen(t *testing.T) {
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
func TestDeviceCreatedLater(t *testing.T) {
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

// A refresh is no news.
func TestExtendIsNoChange(t *testing.T) {
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
