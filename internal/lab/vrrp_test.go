package lab_test

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// keepalivedPair starts two keepaliveds that advertise each 100 ms, in version 3,
// and waits until one has the VIP of the lab.
func keepalivedPair(t *testing.T, l *lab.Lab) (a, b *lab.Process) {
	t.Helper()
	conf := l.KeepalivedConfig()
	conf.Advert, conf.Version, conf.Priority = 100*time.Millisecond, 3, 150
	if l.VIP.Addr().Is6() {
		conf.VIPs = []string{l.VIP.String() + " dev eth0"}
	}
	a = must2(l.StartKeepalived(lab.A, conf.Text()))(t)
	check(t, l.WaitHeld(t.Context(), 10*time.Second, lab.A))
	conf.Priority = 100
	b = must2(l.StartKeepalived(lab.B, conf.Text()))(t)
	return a, b
}

// from returns who has sent adverts with a priority since then.
func from(a *lab.Adverts, since time.Time) []string {
	var ports []string
	for _, x := range a.Since(since) {
		if x.Priority > 0 && !slices.Contains(ports, x.Port) {
			ports = append(ports, x.Port)
		}
	}
	slices.Sort(ports)
	return ports
}

// What routers say is recorded, and cut while all else passes: then both have the
// VIP.
func TestCutVRRP(t *testing.T) {
	l := labtest.Start(t, lab.Config{}, lab.NeedsKeepalived)
	ctx := t.Context()
	adverts := must2(l.StartAdverts())(t)
	keepalivedPair(t, l)
	since := time.Now()
	speaks := func(who ...string) func() (bool, error) {
		return func() (bool, error) { return slices.Equal(from(adverts, since), who), nil }
	}
	check(t, lab.Wait(ctx, 10*time.Second, "an advert of a", speaks(lab.A)))
	x := adverts.Since(since)[0]
	if want := (lab.Advert{At: x.At, Port: lab.A, From: netip.MustParseAddr("10.20.8.50"), Version: 3, VRID: 51, Priority: 150}); x != want || x.At.Before(since) {
		t.Errorf("heard %+v, want %+v", x, want)
	}
	check(t, l.CutVRRP(ctx, lab.B, lab.A))
	check(t, l.CutVRRP(ctx, lab.A, lab.B))
	check(t, lab.Wait(ctx, 10*time.Second, "adverts of both", speaks(lab.A, lab.B)))
	if !reaches(t, l, lab.A, lab.B) {
		t.Error("host a does not reach b when only VRRP is cut")
	}
	check(t, l.Heal(ctx))
	check(t, l.WaitHeld(ctx, 10*time.Second, lab.A))
	since = time.Now()
	check(t, lab.Wait(ctx, 10*time.Second, "adverts of a alone", speaks(lab.A)))
	check(t, adverts.Stop())
}

// Of an IPv6 VIP too it is seen that two answer; and a keepalived that was killed
// leaves it behind, and can be started again.
func TestObserveDual6(t *testing.T) {
	l := labtest.Start(t, lab.Config{VIP: netip.MustParsePrefix("fd00:20:8::188/64"), IPv6: true}, lab.NeedsKeepalived)
	ctx := t.Context()
	obs := must2(l.Observe())(t)
	a, _ := keepalivedPair(t, l)
	check(t, obs.Prober.WaitAnswer(ctx, lab.A, 5*time.Second))
	alone := obs.Report(time.Now().Add(-time.Hour), time.Now())
	if len(alone.Duals) > 0 || alone.Asked == 0 || len(alone.Claims) == 0 {
		t.Errorf("with one holder: %d of %d questions answered by two, %d announcements", len(alone.Duals), alone.Asked, len(alone.Claims))
	}
	check(t, a.SignalGroup(syscall.SIGKILL))
	<-a.Done()
	check(t, lab.Wait(ctx, 10*time.Second, "ten dual answers", func() (bool, error) {
		return len(obs.Report(time.Now().Add(-time.Minute), time.Now()).Duals) >= 10, nil
	}))
	conf := l.KeepalivedConfig()
	conf.Advert, conf.Version, conf.Priority, conf.VIPs = 100*time.Millisecond, 3, 150, []string{l.VIP.String() + " dev eth0"}
	must2(l.StartKeepalived(lab.A, conf.Text()))(t)
	check(t, l.WaitHeld(ctx, 10*time.Second, lab.A))
	_, err := obs.Stop()
	check(t, err)
}
