package lab

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// at returns a moment n milliseconds after an arbitrary beginning.
func at(n int) time.Time { return time.Unix(1000, 0).Add(time.Duration(n) * time.Millisecond) }

func TestProbesSince(t *testing.T) {
	p := &Prober{probes: []Probe{{Sent: at(0)}, {Sent: at(2)}, {Sent: at(4)}}}
	for from, want := range map[int]int{-1: 3, 0: 3, 1: 2, 4: 1, 5: 0} {
		if got := p.Since(at(from)); len(got) != want {
			t.Errorf("Since(%d ms) returned %d probes, want %d", from, len(got), want)
		}
	}
	p.probes[1].Answered, p.waiting = at(3), 2
	for before, want := range map[int][2]int{0: {0, 0}, 1: {1, 1}, 4: {2, 1}, 5: {3, 2}} {
		if sent, lost := p.Count(at(before)); [2]int{sent, lost} != want {
			t.Errorf("Count(%d ms) = %d, %d; want %v", before, sent, lost, want)
		}
	}
}

func TestReportSummarize(t *testing.T) {
	answered := func(sent, after int, by string) Probe {
		return Probe{Sent: at(sent), Answered: at(sent + after), By: by}
	}
	lost := func(sent int) Probe { return Probe{Sent: at(sent)} }
	for name, c := range map[string]struct {
		probes []Probe
		want   Report // Sent, Lost, Gap, Latency
		path   string
	}{
		"all answered": {
			[]Probe{answered(0, 1, A), answered(10, 1, A), answered(20, 1, A), answered(30, 1, A)},
			Report{Sent: 3, Gap: Gap{From: at(1), To: at(11)}, Latency: time.Millisecond},
			"a",
		},
		"moved": {
			[]Probe{answered(0, 1, A), lost(10), lost(12), answered(25, 2, B), answered(30, 1, B)},
			Report{Sent: 4, Lost: 2, Gap: Gap{From: at(1), To: at(27)}, Latency: 2 * time.Millisecond, Outage: 17 * time.Millisecond},
			"a → b",
		},
		"gone for good": {
			[]Probe{answered(0, 1, A), answered(10, 1, A), lost(20), lost(30)},
			Report{Sent: 3, Lost: 2, Gap: Gap{From: at(11), To: at(35), Open: true}, Latency: time.Millisecond, Outage: 15 * time.Millisecond},
			"a",
		},
		"late answers are not lost": { // the queue of an unresolved neighbour
			[]Probe{answered(0, 1, A), answered(10, 18, B), answered(20, 8, B)},
			Report{Sent: 2, Gap: Gap{From: at(1), To: at(28)}, Latency: 18 * time.Millisecond},
			"a → b",
		},
		"the prober was held up": {
			[]Probe{answered(0, 1, A), answered(30, 1, A)},
			Report{Sent: 1, Gap: Gap{From: at(1), To: at(31)}, Latency: time.Millisecond},
			"a",
		},
		"never there": {
			[]Probe{lost(10)},
			Report{Sent: 1, Lost: 1, Gap: Gap{From: at(5), To: at(35), Open: true}, Outage: 25 * time.Millisecond},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := Summarize(c.probes, at(5), at(35))
			if r.Sent != c.want.Sent || r.Lost != c.want.Lost || r.Gap != c.want.Gap || r.Latency != c.want.Latency || r.Path() != c.path {
				t.Errorf("sent %d, lost %d, gap %v, latency %v, path %q; want %d, %d, %v, %v, %q",
					r.Sent, r.Lost, r.Gap, r.Latency, r.Path(), c.want.Sent, c.want.Lost, c.want.Gap, c.want.Latency, c.path)
			}
			if r.Outage != c.want.Outage {
				t.Errorf("outage %v, want %v", r.Outage, c.want.Outage)
			}
		})
	}
}

func TestOverlaps(t *testing.T) {
	ip := DefaultVIP.Addr()
	held := func(host string, from, to int) Interval {
		i := Interval{Host: host, Addr: ip, From: at(from)}
		if to > 0 {
			i.To = at(to)
		}
		return i
	}
	other := held(B, 0, 100)
	other.Addr = netip.MustParseAddr("10.20.8.189")
	for name, c := range map[string]struct {
		intervals []Interval
		want      time.Duration
	}{
		"one after the other":  {[]Interval{held(A, 0, 10), held(B, 10, 20)}, 0},
		"the same host twice":  {[]Interval{held(A, 0, 10), held(A, 5, 20)}, 0},
		"another address":      {[]Interval{held(A, 0, 100), other}, 0},
		"part":                 {[]Interval{held(A, 0, 10), held(B, 7, 20)}, 3 * time.Millisecond},
		"inside":               {[]Interval{held(A, 0, 50), held(B, 7, 20)}, 13 * time.Millisecond},
		"one goes on":          {[]Interval{held(A, 0, 0), held(B, 7, 20)}, 13 * time.Millisecond},
		"both go on until now": {[]Interval{held(A, 0, 0), held(B, 90, 0)}, 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			if got := total(Overlaps(c.intervals, at(100))); got != c.want {
				t.Errorf("overlap %v, want %v", got, c.want)
			}
		})
	}
}

func TestARPAnswers(t *testing.T) {
	vip := DefaultVIP.Addr()
	asker := netip.MustParseAddr("10.20.8.200")
	ask := func(n int) ARPFrame { return ARPFrame{At: at(n), Port: observer, SenderIP: asker, TargetIP: vip} }
	reply := func(n int, host, mac string) ARPFrame {
		return ARPFrame{At: at(n), Port: host, Reply: true, SenderIP: vip, SenderMAC: mac, TargetIP: asker}
	}
	answers := ARPAnswers([]ARPFrame{
		ask(0), reply(1, A, "1"), // a alone
		ask(10), reply(11, B, "2"), // b alone: a move, not two holders
		ask(20), reply(21, A, "1"), reply(21, A, "1"), reply(22, B, "2"), // both
		ask(30),
	}, vip)
	want := []int{1, 1, 2, 0}
	if len(answers) != len(want) {
		t.Fatalf("%d answers, want %d", len(answers), len(want))
	}
	for i, a := range answers {
		if len(a.By) != want[i] || a.Dual() != (want[i] == 2) {
			t.Errorf("question %d: answered by %v, dual %t; want %d claimants", i, a.By, a.Dual(), want[i])
		}
	}
}

// TestKernelWatchOrder moves the VIP as fast as the kernel can: no overlap may
// be seen where there was none, and one of 5 ms may not be missed.
func TestKernelWatchOrder(t *testing.T) {
	if err := Check(); err != nil {
		t.Skip(err) // labtest cannot be used here; the other tests fail where they must run
	}
	l, err := New(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	w, err := l.WatchKernels([]string{A, B})
	if err != nil {
		t.Fatal(err)
	}
	set := func(host string, change func(*netlink.Handle, netlink.Link, *netlink.Addr) error) {
		t.Helper()
		s, err := l.net.seat(host)
		if err != nil {
			t.Fatal(err)
		}
		link, err := s.nl.LinkByName("eth0")
		if err == nil {
			err = change(s.nl, link, &netlink.Addr{IPNet: ipNet(l.VIP)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const moves = 300
	set(A, (*netlink.Handle).AddrAdd)
	for range moves / 2 {
		set(A, (*netlink.Handle).AddrDel)
		set(B, (*netlink.Handle).AddrAdd)
		set(B, (*netlink.Handle).AddrDel)
		set(A, (*netlink.Handle).AddrAdd)
	}
	if sum := w.Overlap(); sum != 0 {
		t.Errorf("overlap %v in %d clean moves, want 0", sum, moves)
	}
	set(B, (*netlink.Handle).AddrAdd)
	begin := time.Now()
	if err := Wait(t.Context(), time.Second, "5 ms", func() (bool, error) { return time.Since(begin) > 5*time.Millisecond, nil }); err != nil {
		t.Fatal(err)
	}
	set(A, (*netlink.Handle).AddrDel)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	if sum := w.Overlap(); sum < 4*time.Millisecond {
		t.Errorf("overlap %v, want the 5 ms that both had it", sum)
	}
	t.Logf("%d intervals seen of %d", len(w.Intervals()), moves+2)
}
