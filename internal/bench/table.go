package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Result is what a run measured.
type Result struct {
	Options
	contenders []*contender
	machine    string
}

// Err says that two hosts answered for the VIP under Leasehold, which must not
// be. Times do not fail a run.
func (r *Result) Err() error {
	var errs []error
	ours := r.contenders[0]
	for _, f := range faults() {
		if n := twice(ours.faults[f.name]); n > 0 {
			errs = append(errs, fmt.Errorf("%s: %s: two hosts answered in %d of %d rounds", ours.name, f.name, n, r.Rounds))
		}
	}
	return errors.Join(errs...)
}

// Print writes the tables, at most 100 columns wide.
func (r *Result) Print(w io.Writer) {
	row := func(name string, cell func(c *contender) string, last string) {
		cells := make([]string, 0, len(r.contenders))
		for _, c := range r.contenders {
			cells = append(cells, fmt.Sprintf("%-20s", cell(c)))
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-16s %s %s", name, strings.Join(cells, " "), last), " "))
	}
	header := func(c *contender) string { return c.name }

	fmt.Fprintf(w, "Time without service in ms, median (min–max) of %d rounds, by UDP every 2 ms\n\n", r.Rounds)
	row("fault", header, "target (Leasehold)")
	for _, f := range faults() {
		row(f.name, func(c *contender) string { return spread(c.faults[f.name]) }, f.target.verdict(r.contenders[0].faults[f.name]))
	}
	fmt.Fprint(w, "\n* Rounds in which two hosts answered\n\n")
	row("fault", header, "")
	for _, f := range faults() {
		row(f.name, func(c *contender) string { return doubles(c.faults[f.name]) }, "")
	}
	fmt.Fprintf(w, "\nNothing happens, for %v: CPU time in s, resident memory in MB\n\n", r.Quiet)
	row("", header, "")
	row("holder", func(c *contender) string { return c.cost.holder.String() }, "")
	row("standby", func(c *contender) string { return c.cost.standby.String() }, "")
	row("etcd member", func(c *contender) string {
		if c.cost.etcd == (usage{}) {
			return "-"
		}
		return c.cost.etcd.String()
	}, "")
	fmt.Fprintf(w, "\n%s\n%s\n", notes, r.machine)
}

// notes say what the columns are.
const notes = `Leasehold: ttl 3s; mysqld's end from the kernel, a query each 500 ms; etcd election timeout 500 ms,
  etcd's leader is on the lost host in one round of three.
keepalived as set: VRRPv2, advert_int 1, vrrp_script "kill -0 PID" with interval 1 (the least that
  keepalived 2.2.7 takes), fall 1, weight 0.
keepalived fast: VRRPv3, advert_int 0.1, vrrp_track_process (mysqld's end from the kernel), weight
  0. Its process connector, and Leasehold's, is opened outside the hosts' network namespaces, where
  the kernel offers none.
mysqld killed: -9, from the kill to the first answer of the other host. daemon stopped: TERM.
daemon killed: -9 with its children, not restarted. host lost: cable dead, all on it killed.
CPU and memory: of the daemon and its children; pages that they share count for each.`

// spread is a cell of the first table.
func spread(rounds []Round) string {
	if len(rounds) == 0 {
		return "-"
	}
	sorted := outages(rounds)
	mark := ""
	if twice(rounds) > 0 {
		mark = " *"
	}
	return fmt.Sprintf("%s (%s–%s)%s", digits(median(sorted)), digits(sorted[0]), digits(sorted[len(sorted)-1]), mark)
}

// digits writes milliseconds with the precision that 2 ms between probes allow.
func digits(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.1f", ms(d))
	}
	return fmt.Sprintf("%.0f", ms(d))
}

func outages(rounds []Round) []time.Duration {
	all := make([]time.Duration, len(rounds))
	for i, r := range rounds {
		all[i] = r.Outage
	}
	slices.Sort(all)
	return all
}

// median of what is sorted and not empty.
func median(sorted []time.Duration) time.Duration {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func twice(rounds []Round) int {
	n := 0
	for _, r := range rounds {
		if r.Two {
			n++
		}
	}
	return n
}

func doubles(rounds []Round) string {
	if len(rounds) == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d", twice(rounds), len(rounds))
}

// verdict compares the rounds with the target.
func (t target) verdict(rounds []Round) string {
	if len(rounds) == 0 {
		return ""
	}
	sorted := outages(rounds)
	got, word := median(sorted), "median"
	if t.worst {
		got, word = sorted[len(sorted)-1], "max"
	}
	met := "met"
	if got >= t.limit {
		met = "NOT met"
	}
	return fmt.Sprintf("%s < %.0f: %s", word, ms(t.limit), met)
}

func (u usage) String() string {
	return fmt.Sprintf("%.2f s, %.1f MB", u.cpu.Seconds(), float64(u.rss)/(1<<20))
}

// machine says where and with what it was measured.
func machine(ctx context.Context, binary string) string {
	version := func(program string, args ...string) string {
		path := program
		if found, err := findProgram(program); err == nil {
			path = found
		}
		out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
		if err != nil && len(out) == 0 {
			return program + " unknown"
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	field := func(line string, n int) string {
		if f := strings.Fields(line); n < len(f) {
			return f[n]
		}
		return "unknown"
	}
	return fmt.Sprintf("%s; leasehold %s, etcd %s, keepalived %s,\n  MariaDB %s", kernelAndLoad(),
		field(version(binary, "version"), 1), field(version("etcd", "--version"), 2),
		field(version("keepalived", "--version"), 1), field(version("mariadbd", "--version"), 2))
}

// kernelAndLoad says on what it was measured, and what else ran.
func kernelAndLoad() string {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	load := "unknown"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Join(strings.Fields(string(text))[:3], " ")
	}
	return fmt.Sprintf("%d cores, load %s, Linux %s", runtime.NumCPU(), load, strings.TrimSpace(string(kernel)))
}
