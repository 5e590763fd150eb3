package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	if relayed, err := Relay(os.Args); relayed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestBenchQuick holds that the benchmark itself works: every system meets its
// faults and is put back, and nobody's VIP is on two hosts unless it is known.
func TestBenchQuick(t *testing.T) {
	t.Parallel()
	labtest.Require(t, slices.Concat(lab.NeedsNetwork, lab.NeedsEtcd, lab.NeedsMariaDB, lab.NeedsKeepalived)...)
	r, err := Run(t.Context(), Options{Binary: labtest.Binary(t), Quick: true, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	r.Print(t.Output())
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	for _, c := range r.contenders {
		if c.cost.holder.rss == 0 || c.cost.standby.rss == 0 {
			t.Errorf("%s: cost %+v, want some memory for both daemons", c.name, c.cost)
		}
		for _, round := range c.faults["mysqld killed"] {
			if round.Path != "a → b" || round.Outage <= 0 {
				t.Errorf("%s: mysqld killed: %+v, want the VIP to move from a to b", c.name, round)
			}
		}
	}
	if n := twice(r.contenders[2].faults["daemon killed"]); n != 1 {
		t.Errorf("a killed keepalived: two hosts in %d of 1 rounds, want 1: are its processes killed, and is that seen?", n)
	}
}

func TestPrint(t *testing.T) {
	rounds := []Round{{Outage: 3001 * time.Millisecond}, {Outage: 12 * time.Millisecond}, {Outage: 3333 * time.Millisecond, Two: true}}
	r := &Result{Options: Options{Rounds: 3, Quiet: 30 * time.Second}, machine: "2 cores"}
	for _, name := range []string{"Leasehold", "keepalived as set", "keepalived fast"} {
		c := newContender(name, nil)
		for _, f := range faults() {
			c.faults[f.name] = rounds
		}
		c.cost = cost{holder: usage{cpu: 12345 * time.Millisecond, rss: 100 << 20}}
		r.contenders = append(r.contenders, c)
	}
	var out bytes.Buffer
	r.Print(&out)
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
			t.Errorf("%d columns, want at most 100: %s", n, line)
		}
	}
	for _, want := range []string{"3001 (12.0–3333) *", "median < 50: NOT met", "max < 3100: NOT met", "1 of 3", "12.35 s, 100.0 MB"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "mysqld killed: two hosts answered in 1 of 3 rounds") {
		t.Errorf("Err() = %v, want that two hosts answered", err)
	}
}

func TestMedian(t *testing.T) {
	for want, rounds := range map[time.Duration][]time.Duration{2: {2}, 3: {2, 4}, 4: {1, 4, 100}} {
		if got := median(rounds); got != want {
			t.Errorf("median(%v) = %v, want %v", rounds, got, want)
		}
	}
}

func TestParseStat(t *testing.T) {
	// A name may hold blanks and parentheses; 1 + 2 + 30 + 40 ticks.
	got, err := parseStat("77 (a) b) S 1 77 77 0 -1 4194560 500 0 0 0 1 2 30 40 20 0 1 0 12345 1000 100 18446744073709551615")
	if err != nil || got != 730*time.Millisecond {
		t.Errorf("parseStat = %v, %v, want 730ms", got, err)
	}
	if _, err := parseStat("77 (a) S 1"); err == nil {
		t.Error("parseStat of a short line: no error")
	}
	if got := parseRSS("VmHWM:\t  9 kB\nVmRSS:\t  2048 kB\n"); got != 2<<20 {
		t.Errorf("parseRSS = %d, want %d", got, 2<<20)
	}
}

// TestUsageCountsChildren holds that what a child has used is its parent's use.
func TestUsageCountsChildren(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sleep 60 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		for child := range strings.FieldsSeq(string(children)) {
			_ = exec.Command("kill", child).Run()
		}
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(10 * time.Second)
	for {
		all, err := usageOf(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		own, err := ownUsage(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if all.rss > own.rss {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the memory of parent and child is %d, of the parent alone %d", all.rss, own.rss)
		}
		time.Sleep(time.Millisecond)
	}
}
