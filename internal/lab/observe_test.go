package lab_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// vip adds ("add") or deletes ("del") the VIP on a host by hand.
func vip(t *testing.T, l *lab.Lab, verb, host string) {
	t.Helper()
	must2(l.Exec(t.Context(), host, "ip", "addr", verb, l.VIP.String(), "dev", "eth0"))(t)
}

// announce sends a gratuitous ARP request from a host, as arping -U does.
func announce(t *testing.T, l *lab.Lab, host string) {
	t.Helper()
	must2(l.Exec(t.Context(), host, "arping", "-q", "-U", "-c1", "-w1", "-I", "eth0", l.VIP.Addr().String()))(t)
}

func TestObserveMove(t *testing.T) {
	l := labtest.Start(t, lab.Config{}, []string{"arping"})
	ctx := t.Context()
	vip(t, l, "add", lab.A)
	obs := must2(l.Observe())(t)
	check(t, obs.Prober.WaitAnswer(ctx, lab.A, 5*time.Second))
	begin := time.Now()
	vip(t, l, "del", lab.A)
	if holders := must2(l.Holders(lab.A, lab.B))(t); len(holders) != 0 {
		t.Errorf("kernels with the VIP after its deletion: %v", holders)
	}
	vip(t, l, "add", lab.B)
	announce(t, l, lab.B)
	check(t, obs.Prober.WaitAnswer(ctx, lab.B, 5*time.Second))
	all, err := obs.Stop()
	check(t, err)
	r := obs.Report(begin, all.To)
	t.Log(r)
	if r.Path() != "a → b" || len(r.Duals) != 0 || r.Overlap() != 0 || len(r.Held) != 2 {
		t.Errorf("a clean move: %v, duals %v, held %v; want a → b, no dual, no overlap, two intervals", r, r.Duals, r.Held)
	}
	if r.Gap.Length() < time.Millisecond || r.Gap.Length() > time.Second || r.Gap.Open || r.Lost == 0 {
		t.Errorf("gap %v (open %t), %d lost; want some milliseconds and some probes", r.Gap.Length(), r.Gap.Open, r.Lost)
	}
	if len(r.Claims) == 0 || r.Claims[0].Port != lab.B || r.Claims[0].SenderMAC != "02:00:0a:14:08:1b" {
		t.Errorf("announcements: %v, want one of host b", r.Claims)
	}
}

func TestObserveLostAnnouncement(t *testing.T) {
	l := labtest.Start(t, lab.Config{})
	vip(t, l, "add", lab.A)
	obs := must2(l.Observe())(t)
	check(t, obs.Prober.WaitAnswer(t.Context(), lab.A, 5*time.Second))
	vip(t, l, "del", lab.A)
	vip(t, l, "add", lab.B)
	// Nobody tells the client: its neighbour entry points to a, while the ARP
	// prober on the same wire is answered by b.
	answeredByB := func() (bool, error) {
		answers := lab.ARPAnswers(obs.Wire.Frames(), l.VIP.Addr())
		return slices.ContainsFunc(answers, func(a lab.ARPAnswer) bool {
			return len(a.By) == 1 && a.By[0].Host == lab.B && time.Since(a.Asked) > 200*time.Millisecond
		}), nil
	}
	check(t, lab.Wait(t.Context(), 5*time.Second, "ARP answers of b", answeredByB))
	r, err := obs.Stop()
	check(t, err)
	if !r.Gap.Open || r.Path() != "a" || r.Gap.Length() < 200*time.Millisecond {
		t.Errorf("announcement lost: %v, want an open gap of 200 ms or more", r)
	}
}

func TestObserveDual(t *testing.T) {
	l := labtest.Start(t, lab.Config{})
	vip(t, l, "add", lab.A)
	obs := must2(l.Observe())(t)
	check(t, obs.Prober.WaitAnswer(t.Context(), lab.A, 5*time.Second))
	vip(t, l, "add", lab.B)
	check(t, lab.Wait(t.Context(), 5*time.Second, "ten dual answers", func() (bool, error) {
		now := time.Now()
		return len(obs.Report(now.Add(-time.Minute), now).Duals) >= 10, nil
	}))
	vip(t, l, "del", lab.A)
	r, err := obs.Stop()
	check(t, err)
	t.Log(r)
	if r.Overlap() < 80*time.Millisecond || len(r.Overlaps) != 1 || r.Overlaps[0].Hosts != [2]string{lab.A, lab.B} {
		t.Errorf("overlap %v in %v, want one of a and b, as long as ten answers", r.Overlap(), r.Overlaps)
	}
	if by := r.Duals[0].By; len(by) != 2 || by[0].MAC == by[1].MAC {
		t.Errorf("dual answer by %v, want two MACs", by)
	}
}

func TestMySQLProber(t *testing.T) {
	l := labtest.Start(t, lab.Config{}, lab.NeedsMariaDB)
	db := must2(l.StartMariaDB(t.Context(), lab.MariaDBConfig{Hosts: []string{lab.A}}))(t)
	vip(t, l, "add", lab.A)
	start := time.Now()
	p := must2(l.StartMySQLProber(l.VIP.Addr(), 0))(t)
	answered := func(since time.Time) func() (bool, error) {
		return func() (bool, error) {
			return slices.ContainsFunc(p.Probes(), func(p lab.Probe) bool { return p.By == lab.A && p.Sent.After(since) }), nil
		}
	}
	check(t, lab.Wait(t.Context(), 5*time.Second, "an answer", answered(start)))
	check(t, db.Process(lab.A).Kill())
	check(t, db.Start(lab.A))
	check(t, db.WaitReady(t.Context(), lab.A))
	check(t, lab.Wait(t.Context(), 5*time.Second, "an answer", answered(time.Now())))
	check(t, p.Stop())
	r := lab.Summarize(p.Probes(), start, time.Now())
	t.Log(r)
	if r.Path() != lab.A || r.Lost == 0 {
		t.Errorf("MariaDB restarted: %v, want lost probes and host a throughout", r)
	}
}

func TestPowerOff(t *testing.T) {
	l := labtest.Start(t, lab.Config{})
	p := must2(l.Start(lab.A, "sleep", nil, "sleep", "1000"))(t)
	vip(t, l, "add", lab.A)
	check(t, l.WaitHeld(t.Context(), time.Second, lab.A))
	before := must2(l.Addrs(t.Context(), lab.B))(t)
	check(t, l.PowerOff(lab.A))
	if p.Running() {
		t.Error("a process runs on a host without power")
	}
	check(t, l.WaitHeld(t.Context(), time.Second))
	check(t, l.PowerOn(lab.A))
	vip(t, l, "add", lab.B)
	vip(t, l, "del", lab.B)
	if after := must2(l.Addrs(t.Context(), lab.B))(t); !slices.Equal(before, after) {
		t.Errorf("addresses of b: %v, before %v", after, before)
	}
	if routes := must2(l.Routes(t.Context(), lab.B))(t); !slices.Contains(routes, "10.20.8.0/24 dev eth0 proto kernel scope link src 10.20.8.27") {
		t.Errorf("routes of b: %v, want its own network", routes)
	}
}

func TestObserveIPv6(t *testing.T) {
	l := labtest.Start(t, lab.Config{IPv6: true, VIP: netip.MustParsePrefix("fd00:20:8::188/64")})
	vip(t, l, "add", lab.B)
	obs := must2(l.Observe())(t)
	check(t, obs.Prober.WaitAnswer(t.Context(), lab.B, 5*time.Second))
	vip(t, l, "del", lab.B)
	check(t, l.WaitHeld(t.Context(), time.Second))
	r, err := obs.Stop()
	check(t, err)
	if r.Path() != lab.B || len(r.Held) != 1 || r.Held[0].Host != lab.B || r.Held[0].To.IsZero() {
		t.Errorf("%v, held %v; want b, for a time that has ended", r, r.Held)
	}
}

func TestCapture(t *testing.T) {
	if !named(t) {
		t.Skip("tcpdump sets its groups, which a user namespace forbids")
	}
	l := labtest.Start(t, lab.Config{}, []string{"tcpdump"})
	file := filepath.Join(t.TempDir(), "switch.pcap")
	p := must2(l.Capture(file))(t)
	check(t, lab.Wait(t.Context(), 10*time.Second, "frames", func() (bool, error) {
		reaches(t, l, lab.A, lab.B)
		info, err := os.Stat(file)
		return err == nil && info.Size() > 100, nil
	}))
	check(t, p.Stop(t.Context()))
}

func TestSession(t *testing.T) {
	l := labtest.Start(t, lab.Config{})
	vip(t, l, "add", lab.A)
	s := must2(l.OpenSession(t.Context(), l.VIP.Addr()))(t)
	echoed := func() (bool, error) { _, n := s.LastEcho(); return n >= 3, nil }
	check(t, lab.Wait(t.Context(), 5*time.Second, "three echoes", echoed))
	// b answers for the VIP all at once: it knows no such session, and resets it.
	vip(t, l, "del", lab.A)
	vip(t, l, "add", lab.B)
	announce(t, l, lab.B)
	select {
	case <-s.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the session did not end")
	}
	if _, err := s.Ended(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the session ended with %v, want a reset", err)
	}
}

// BenchmarkObserve says what the instruments cost: CPU seconds per second.
func BenchmarkObserve(b *testing.B) {
	l := labtest.Start(b, lab.Config{})
	obs, err := l.Observe()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := l.Exec(b.Context(), lab.A, "ip", "addr", "add", l.VIP.String(), "dev", "eth0"); err != nil {
		b.Fatal(err)
	}
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := obs.Prober.Watch(b.Context(), time.Second); err != nil {
			b.Fatal(err)
		}
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	cpu := func(r syscall.Rusage) int64 { return r.Utime.Nano() + r.Stime.Nano() }
	b.ReportMetric(float64(cpu(after)-cpu(before))/float64(b.Elapsed().Nanoseconds()), "cpu")
}
