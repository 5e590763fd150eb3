package vip

import (
	"errors"
	"testing"
	"time"

	"leasehold/internal/boottime"
)

func TestAnnounce(t *testing.T) { eachGuard(t, testAnnounce) }

func testAnnounce(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4, spec6)
	run(t, s)
	frames := capture(t, p)
	bind(t, s, 60*time.Second)
	start := time.Now()
	if err := s.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("Announce took %s", time.Since(start))
	frames.want(t, "arp request "+vip4, "arp reply "+vip4, "na "+vip6)

	for _, what := range []string{"arp request " + vip4, "arp reply " + vip4, "na " + vip6} {
		await(t, "4 of "+what, func() bool { return frames.count(what) >= 4 })
		n := 0
		for _, f := range frames.all() {
			if f.what != what {
				continue
			}
			// Never early; how late depends on who else uses the machine.
			if due := s.schedule.due(n); n < 4 && f.at.Sub(start) < due {
				t.Errorf("%s number %d after %s; want %s", what, n, f.at.Sub(start), due)
			}
			n++
		}
	}
	release(t, s)
	quiet := len(frames.all())
	if err := s.Announce(t.Context()); !errors.Is(err, ErrNotBound) {
		t.Errorf("Announce() after Release = %v; want ErrNotBound", err)
	}
	if n := len(frames.all()); n != quiet {
		t.Errorf("%d frames after Release", n-quiet)
	}
}

// A process that was frozen past its deadline must not announce when it thaws,
// though the last reading shows the VIP.
func TestAnnounceAfterTheDeadline(t *testing.T) { eachGuard(t, testAnnounceAfterTheDeadline) }

func testAnnounceAfterTheDeadline(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4)
	frames := capture(t, p)
	bind(t, s, 60*time.Second)
	s.setLease(boottime.Now())
	if err := s.Announce(t.Context()); !errors.Is(err, ErrNotBound) {
		t.Errorf("Announce() = %v; want ErrNotBound", err)
	}
	if n := frames.count("arp request " + vip4); n != 0 {
		t.Errorf("%d frames; want none", n)
	}
}

func TestAnnounceAgainWhenTheCarrierReturns(t *testing.T) {
	eachGuard(t, testAnnounceAgainWhenTheCarrierReturns)
}

func testAnnounceAgainWhenTheCarrierReturns(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4)
	run(t, s)
	frames := capture(t, p)
	bind(t, s, 60*time.Second)
	if err := s.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	request := "arp request " + vip4
	await(t, "the first burst", func() bool { return frames.count(request) == len(s.schedule.Burst) })
	ip(t, p, "link", "set", "far0", "down")
	await(t, "no carrier", func() bool { return !s.State().LinkUp })
	if why := s.State().LinkWhy; why != "eth0: no carrier" {
		t.Errorf("LinkWhy = %q", why)
	}
	ip(t, p, "link", "set", "far0", "up")
	await(t, "the second burst", func() bool { return frames.count(request) >= 2*len(s.schedule.Burst) })
}

func TestAnnounceWithAnotherHardwareAddress(t *testing.T) {
	eachGuard(t, testAnnounceWithAnotherHardwareAddress)
}

func testAnnounceWithAnotherHardwareAddress(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4)
	run(t, s)
	frames := capture(t, p)
	bind(t, s, 60*time.Second)
	if err := s.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	ip(t, nil, "link", "set", dev, "address", "02:00:00:00:00:77")
	request := "arp request " + vip4
	await(t, "a second burst", func() bool { return frames.count(request) > len(s.schedule.Burst) })
	frames.want(t, request)
}

func TestSchedule(t *testing.T) {
	s, err := Schedule{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 31 * time.Second, 61 * time.Second} {
		if got := s.due(n); got != want {
			t.Errorf("due(%d) = %s; want %s", n, got, want)
		}
	}
	for name, bad := range map[string]Schedule{
		"late":     {Burst: []time.Duration{time.Second}},
		"unsorted": {Burst: []time.Duration{0, 2, 1}},
		"twice":    {Burst: []time.Duration{0, 1, 1}},
		"flood":    {Refresh: time.Millisecond},
	} {
		if _, err := bad.withDefaults(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
