package vip

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// Another host claims a VIP that is ours: it is told at once, the kernel shuts
// the fence, and only Defend opens it again.
func TestClaimWhileHolding(t *testing.T) { eachGuard(t, testClaimWhileHolding) }

func testClaimWhileHolding(t *testing.T, newSet setMaker) {
	for name, address := range map[string]string{"IPv4": vip4, "IPv6": vip6} {
		t.Run(name, func(t *testing.T) {
			p := network(t)
			s := newSet(t, spec4, spec6)
			run(t, s)
			c := newClient(t, p)
			bind(t, s, 30*time.Second)
			fenced := s.State().Fence.Kind != ""
			if err := s.Announce(t.Context()); err != nil {
				t.Fatal(err)
			}
			start := in(0)
			c.claim(t, address)
			waitChanged(t, s, func(st State) bool { return st.Claim.Count > 0 })
			st := s.State()
			t.Logf("seen after %s", st.Claim.At.Sub(start))
			want := Claim{Count: 1, At: st.Claim.At, MAC: c.mac.String(), Addr: netip.MustParseAddr(address), Device: dev}
			if st.Claim != want || st.Claim.At < start || st.Claim.At > in(0) {
				t.Errorf("Claim = %+v; want %+v", st.Claim, want)
			}
			if st.Fence.Claimed != fenced || (fenced && st.Fence.Until != 0) {
				t.Errorf("Fence = %+v; want it shut by the claim", st.Fence)
			}
			if got := c.answered(t, address, 100*time.Millisecond); got == fenced {
				t.Errorf("answered for after the claim: %v; want %v", got, !fenced)
			}
			if err := s.Extend(t.Context(), in(30*time.Second)); errors.Is(err, ErrClaimed) != fenced || (err != nil) != fenced {
				t.Errorf("Extend() = %v; want ErrClaimed %v", err, fenced)
			}
			if err := s.Bind(t.Context(), in(30*time.Second), false); errors.Is(err, ErrClaimed) != fenced || (err != nil) != fenced {
				t.Errorf("Bind() = %v; want ErrClaimed %v", err, fenced)
			}
			if err := s.Defend(t.Context(), in(30*time.Second)); err != nil {
				t.Fatal(err)
			}
			st = s.State()
			if st.Claim.Defended < st.Claim.At || st.Fence.Claimed || !st.Bound || (fenced && st.Fence.Until < in(0)) {
				t.Errorf("State() after Defend = %+v; want open", st)
			}
			if !c.answered(t, address, patience) {
				t.Error("not answered for after Defend")
			}
		})
	}
}

// Answers to claims leave once a second at most; the last one that was asked for
// does leave.
func TestDefenceIsPaced(t *testing.T) { eachGuard(t, testDefenceIsPaced) }

func testDefenceIsPaced(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4)
	run(t, s)
	c := newClient(t, p)
	bind(t, s, 30*time.Second)
	frames := capture(t, p)
	request := "arp request " + vip4
	start := time.Now()
	const claims = 5
	for n := range claims {
		c.claim(t, vip4)
		await(t, "the claim is seen", func() bool { return s.State().Claim.Count > uint64(n) })
		if err := s.Defend(t.Context(), in(30*time.Second)); err != nil {
			t.Fatal(err)
		}
		if !c.answered(t, vip4, patience) {
			t.Fatal("not answered for after Defend")
		}
		time.Sleep(oneClaim) // a claim that comes sooner is the same one
	}
	await(t, "the answer that was put off", func() bool { return frames.count(request) >= 2 })
	var sent []time.Time
	for _, f := range frames.all() {
		if f.what == request {
			sent = append(sent, f.at)
		}
	}
	// Some slack: the times are those of the reader.
	if most := 1 + int(time.Since(start)/(defendInterval-200*time.Millisecond)); len(sent) > most {
		t.Errorf("%d announcements for %d claims within %s; want %d at most", len(sent), claims, time.Since(start), most)
	}
	release(t, s)
	if st := s.State(); st.Claim.Count != claims || st.Claim.Defended < st.Claim.At {
		t.Errorf("Claim = %+v; want %d, settled", st.Claim, claims)
	}
	if d, due := s.nextAnnouncement(); due {
		t.Errorf("an announcement is due in %s after Release", d)
	}
}

// A claim is one only while the VIP is ours, and not from ourselves.
func TestWhatIsNoClaim(t *testing.T) { eachGuard(t, testWhatIsNoClaim) }

func testWhatIsNoClaim(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4, spec6)
	run(t, s)
	c := newClient(t, p)
	heard := func() { // what was sent before has been heard: a claim that counts comes after it
		bind(t, s, 30*time.Second)
		n := s.State().Claim.Count
		c.claim(t, vip4)
		await(t, "a claim while holding", func() bool { return s.State().Claim.Count > n })
	}
	c.claim(t, vip4) // the holder announces itself to a standby
	c.claim(t, vip6)
	time.Sleep(oneClaim)
	heard()
	if n := s.State().Claim.Count; n != 1 {
		t.Errorf("%d claims; want 1: a standby heard the holder", n)
	}
	release(t, s)
	bind(t, s, 30*time.Second)
	if err := s.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !c.answered(t, vip4, patience) {
		t.Fatal("not answered for")
	}
	time.Sleep(oneClaim)
	heard()
	if n := s.State().Claim.Count; n != 2 {
		t.Errorf("%d claims; want 2: our own announcement is none", n)
	}
}

// Claims are heard on a device that was made anew.
func TestClaimOnADeviceMadeAnew(t *testing.T) { eachGuard(t, testClaimOnADeviceMadeAnew) }

func testClaimOnADeviceMadeAnew(t *testing.T, newSet setMaker) {
	needKernel(t)
	s := newSet(t, spec4)
	run(t, s)
	for round := range uint64(2) {
		p := network(t)
		await(t, "link up", func() bool { return s.State().LinkUp })
		bind(t, s, 30*time.Second)
		c := newClient(t, p)
		await(t, "the claim is heard", func() bool {
			c.claim(t, vip4)
			return s.State().Claim.Count > round
		})
		release(t, s)
		ip(t, nil, "link", "del", dev)
		await(t, "link gone", func() bool { return !s.State().LinkUp })
	}
}

// The VIP is missing too when claims are answered: it stays shut until Bind.
func TestDefendWithoutTheVIP(t *testing.T) { eachGuard(t, testDefendWithoutTheVIP) }

func testDefendWithoutTheVIP(t *testing.T, newSet setMaker) {
	p := network(t)
	s := newSet(t, spec4)
	run(t, s)
	c := newClient(t, p)
	bind(t, s, 30*time.Second)
	c.claim(t, vip4)
	await(t, "the claim is seen", func() bool { return s.State().Claim.Count > 0 })
	ip(t, nil, "addr", "del", vip4+"/24", "dev", dev)
	if err := s.Defend(t.Context(), in(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if st := s.State(); st.Fence.Claimed || st.Fence.Until != 0 || st.Claim.Defended < st.Claim.At || st.Bound {
		t.Errorf("State() = %+v; want shut, the claim settled", st)
	}
	bind(t, s, 30*time.Second)
	if !c.answered(t, vip4, patience) {
		t.Error("not answered for after Bind")
	}
}
