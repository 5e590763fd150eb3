package bench

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"leasehold/internal/boottime"
	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// TestFailoverQuick holds that the measurement itself works: a fault reaches both
// systems, each VIP goes to the other host, and a killed keepalived is seen to
// leave its VIPs on two.
func TestFailoverQuick(t *testing.T) {
	t.Parallel() // these tests mostly wait, and quote no times
	labtest.Require(t, slices.Concat(lab.NeedsNetwork, lab.NeedsEtcd, lab.NeedsKeepalived)...)
	var out bytes.Buffer
	r, err := Failover(t.Context(), FailoverOptions{
		Binary: labtest.Binary(t), Rounds: 1, Faults: []string{"daemon killed"},
		TTLs: []time.Duration{time.Second, 3 * time.Second}, Log: t.Output(), Out: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Print(t.Output())
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if slices.Contains(r.rounds["daemon killed"][0].back[:2], true) {
		t.Error("two hosts answered for Leasehold's VIPs while all was repaired")
	}
	rounds := r.rounds["daemon killed"][0].rounds
	if len(rounds) != 4 {
		t.Fatalf("%d columns, want 4", len(rounds))
	}
	for i, round := range rounds {
		if ours := i < 2; round.Two == ours || ours && (round.Path != "a → b" || round.Outage <= 0) {
			t.Errorf("%s: %+v, want a → b and two hosts only under keepalived", r.columns[i], round)
		}
	}
}

// TestQuietQuick holds that every phase runs and is repaired, and that renewals
// are seen in the fence.
func TestQuietQuick(t *testing.T) {
	t.Parallel()
	labtest.Require(t, slices.Concat(lab.NeedsNetwork, lab.NeedsEtcd)...)
	r, err := Quiet(t.Context(), QuietOptions{
		Binary: labtest.Binary(t), For: 5 * time.Second, Phases: []string{"cpu", "leader"},
		TTLs: []time.Duration{3 * time.Second}, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Print(t.Output())
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if len(r.rows) != 2 {
		t.Fatalf("%d rows, want 2", len(r.rows))
	}
	for _, row := range r.rows {
		if row.asked == 0 || len(row.apart) == 0 {
			t.Errorf("%s: %d questions, %d renewals, want some of both", row.phase, row.asked, len(row.apart))
		}
	}
	if _, err := Quiet(t.Context(), QuietOptions{Phases: []string{"idel"}}); err == nil || !strings.Contains(err.Error(), "idle, cpu") {
		t.Errorf("a phase that is not there: %v, want those that are", err)
	}
}

// TestPacketsQuick holds that packets pass what they are measured with.
func TestPacketsQuick(t *testing.T) {
	labtest.Require(t, lab.NeedsNetwork...)
	r, err := Packets(t.Context(), PacketOptions{Rounds: 1, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	r.Print(t.Output())
	for i, f := range fencings() {
		if len(r.samples[i]) != 1 || r.samples[i][0].rtt <= 0 || r.samples[i][0].send <= 0 {
			t.Errorf("%s: %+v, want one sample with times", f.name, r.samples[i])
		}
	}
}

// frames are ARP questions and answers of the VIP at milliseconds: "?" asks, a
// letter answers the latest question.
func frames(base time.Time, addr netip.Addr, script map[int]string) []lab.ARPFrame {
	asker := netip.MustParseAddr("10.20.8.200")
	var all []lab.ARPFrame
	for _, at := range slices.Sorted(maps.Keys(script)) {
		for i, r := range script[at] {
			f := lab.ARPFrame{At: base.Add(time.Duration(at)*time.Millisecond + time.Duration(i)*time.Microsecond)}
			if r == '?' {
				f.Port, f.SenderIP, f.TargetIP = "observer", asker, addr
			} else {
				f.Port, f.Reply, f.SenderIP, f.TargetIP, f.SenderMAC = string(r), true, addr, asker, string(r)
			}
			all = append(all, f)
		}
	}
	return all
}

func TestSilences(t *testing.T) {
	base, addr := time.Now(), vip(0)
	for name, test := range map[string]struct {
		script map[int]string
		want   silence
	}{
		"always answered":       {map[int]string{0: "?a", 10: "?a", 900: "?a"}, silence{asked: 3}},
		"shut and open again":   {map[int]string{0: "?a", 10: "?", 20: "?", 30: "?a"}, silence{asked: 4, shuts: 1, longest: 20 * time.Millisecond}},
		"moved without a gap":   {map[int]string{0: "?a", 10: "?b"}, silence{asked: 2, moves: 1}},
		"moved, silent between": {map[int]string{0: "?a", 10: "?", 30: "?b"}, silence{asked: 3, moves: 1, longest: 20 * time.Millisecond}},
		"two answer":            {map[int]string{0: "?ab", 10: "?a"}, silence{asked: 2, twice: 1}},
		"silent to the end":     {map[int]string{0: "?a", 500: "?"}, silence{asked: 2, shuts: 1, longest: 500 * time.Millisecond}},
		"answer on its way":     {map[int]string{0: "?a", 950: "?"}, silence{asked: 1}},
		"prober without CPU":    {map[int]string{0: "?a", 700: "?a"}, silence{asked: 2}},
	} {
		if got := silences(frames(base, addr, test.script), addr, base.Add(time.Second)); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestAnsweredTwice(t *testing.T) {
	base, addr := time.Now(), vip(0)
	for name, test := range map[string]struct {
		script map[int]string
		want   bool
	}{
		"one after the other": {map[int]string{0: "?a", 10: "?", 20: "?b", 30: "?b"}, false},
		"to and fro":          {map[int]string{0: "?a", 10: "?b", 20: "?a"}, true},
		"the same question":   {map[int]string{0: "?a", 10: "?ab"}, true},
	} {
		if got := answeredTwice(frames(base, addr, test.script), addr); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

// TestRenewalsOf: each deadline is 490 ms less 5 ms after its renewal was sent.
func TestRenewalsOf(t *testing.T) {
	at := func(milli int) boottime.Instant { return boottime.Instant(time.Duration(milli) * time.Millisecond) }
	usable := 485099009 * time.Nanosecond // 500 ms × 0.99/1.01 − 5 ms
	var seen []armed
	for _, sent := range []int{1000, 1100, 1320} {
		seen = append(seen, armed{at: at(sent + 3), until: at(sent).Add(usable)})
	}
	got := renewalsOf(seen, 500*time.Millisecond)
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	if got.late != 1 || len(got.took) != 3 || round(got.took[0]) != 3*time.Millisecond || len(got.apart) != 2 ||
		got.apart[1] != 220*time.Millisecond || round(got.least) != 262*time.Millisecond {
		t.Errorf("%+v, want one of two late, 220 ms at most apart, 3 ms each, 262 ms left at the least", got)
	}
	if got := renewalsOf(nil, time.Second); got.late != 0 || len(got.apart) != 0 {
		t.Errorf("no renewals: %+v", got)
	}
}

func TestPrintFailover(t *testing.T) {
	r := &FailoverResult{
		FailoverOptions: FailoverOptions{TTLs: []time.Duration{time.Second}},
		columns:         []string{"ttl 1s", "keepalived"}, rounds: map[string][]shot{}, machine: "2 cores",
	}
	for i, leader := range []string{lab.A, lab.B, lab.C} {
		r.rounds["host lost"] = append(r.rounds["host lost"], shot{leader: leader, rounds: []Round{
			{Outage: time.Duration(900+i) * time.Millisecond}, {Outage: time.Millisecond, Two: i == 2},
		}, back: []bool{false, i == 1}})
	}
	var out bytes.Buffer
	r.Print(&out)
	for _, want := range []string{
		"| fault | n | Leasehold ttl 1s | keepalived |\n| --- | --- | --- | --- |\n",
		"| host lost | 3 | 901 (900–902) | two hosts! 1 of 3 |\n",
		"| - etcd's leader elsewhere | 2 | 902 (901–902) | two hosts! 1 of 2 |\n",
		"| - etcd's leader too | 1 | 900 (900–900) | 1.0 (1.0–1.0) |\n",
		"| host lost | 3 | 0 | 1 |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
	before, _, _ := strings.Cut(out.String(), "| fault")
	for line := range strings.Lines(before) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 130 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if err := r.Err(); err != nil {
		t.Errorf("Err() = %v, but only keepalived was on two hosts", err)
	}
	r.rounds["host lost"][0].rounds[0].Two = true
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "host lost: two hosts answered in 1 of 3 rounds") {
		t.Errorf("Err() = %v, want that two hosts answered", err)
	}
}
