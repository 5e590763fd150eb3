package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/vip"
	"leasehold/vip/fence"
)

// expect compares a finding with its level and words, and holds every one that
// is not ok to having a cure.
func expect(t *testing.T, got Finding, level Level, words ...string) {
	t.Helper()
	if got.Level != level || !containsAll(got.Says+" -> "+got.Cure, words) {
		t.Errorf("got  %s: %s -> %s\nwant %s with %q", got.Level, got.Says, got.Cure, level, words)
	}
	if (got.Cure == "") != (got.Level == levelOK) {
		t.Errorf("%s: %s: cure %q", got.Level, got.Says, got.Cure)
	}
}

// parsed is the good configuration, with other keys in place of the ttl's line.
func parsed(t *testing.T, keys string) *Config {
	t.Helper()
	cfg, err := parse(with(t, "ttl: 3s", keys))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDoctorRights(t *testing.T) {
	status := func(caps ...int) string {
		var set uint64
		for _, c := range caps {
			set |= 1 << c
		}
		return fmt.Sprintf("Name:\tx\nCapEff:\t%016x\n", set)
	}
	all := status(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_BPF)
	unit := func(caps string) string {
		return "LoadState=loaded\nUser=leasehold\nAmbientCapabilities=" + caps + "\nCapabilityBoundingSet=" + caps + "\n"
	}
	for name, tc := range map[string]struct {
		rights rights
		keys   string
		level  Level
		words  []string
	}{
		"root":               {rights{self: status(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN)}, "ttl: 3s", levelOK, []string{"this command has what it needs"}},
		"nobody":             {rights{self: status()}, "ttl: 3s", levelWarn, []string{"this command has no CAP_NET_ADMIN", "sudo leasehold doctor"}},
		"daemon, all":        {rights{self: all, daemon: all, unit: unit("cap_net_admin")}, "ttl: 3s", levelOK, []string{"the daemon has"}},
		"daemon, no bpf":     {rights{self: all, daemon: status(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)}, "ttl: 3s", levelWarn, []string{"the daemon has no CAP_BPF", "only the kernel's address lifetimes", "systemctl edit leasehold"}},
		"daemon, bpf needed": {rights{self: all, daemon: status(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)}, "ttl: 1s", levelFail, []string{"this host may not hold"}},
		"daemon, bpf unused": {rights{self: all, daemon: status(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)}, "fence: off", levelOK, nil},
		"daemon, no raw":     {rights{self: all, daemon: status(unix.CAP_NET_ADMIN, unix.CAP_BPF)}, "ttl: 3s", levelFail, []string{"no CAP_NET_RAW"}},
		"unit, all":          {rights{self: all, unit: unit("cap_net_admin cap_net_raw cap_bpf")}, "ttl: 3s", levelOK, []string{"the unit has"}},
		"unit of before":     {rights{self: all, unit: unit("cap_net_admin cap_net_raw")}, "fence: required", levelFail, []string{"the unit has no CAP_BPF"}},
		"unit of root":       {rights{self: all, unit: "LoadState=loaded\nUser=\nAmbientCapabilities=\nCapabilityBoundingSet=cap_sys_admin cap_net_admin cap_net_raw\n"}, "ttl: 3s", levelOK, nil},
		"no unit":            {rights{self: all, unit: "LoadState=not-found\n"}, "ttl: 3s", levelOK, []string{"this command"}},
		"nothing readable":   {rights{}, "ttl: 3s", levelWarn, []string{"this command has no"}},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, capabilityFindings(parsed(t, tc.keys), tc.rights)[0], tc.level, tc.words...)
		})
	}
	two := capabilityFindings(parsed(t, "ttl: 3s"), rights{self: status(), daemon: all})
	if len(two) != 2 {
		t.Fatalf("got %v", two)
	}
	expect(t, two[1], levelWarn, "this command has not", "sudo")
}

func TestDoctorKernel(t *testing.T) {
	expect(t, kernelFinding("6.18.1", ""), levelOK, "Linux 6.18.1")
	expect(t, kernelFinding("6.18.1", "CONFIG_INET_DIAG_DESTROY=y\n"), levelOK)
	expect(t, kernelFinding("4.18.0", "# CONFIG_INET_DIAG_DESTROY is not set\n"), levelWarn, "cannot reset TCP sessions")
	expect(t, clockFinding(12, nil), levelOK, "12 ppm")
	expect(t, clockFinding(-6000, nil), levelFail, "-6000 ppm", "maxslewrate")
	expect(t, clockFinding(0, errors.New("adjtimex: EPERM")), levelFail, "would go unnoticed")
}

func TestDoctorFence(t *testing.T) {
	yes := func(string) (bool, error) { return true, nil }
	no := func(string) (bool, error) { return false, nil }
	expect(t, bpffsFinding(vip.FenceAuto, "/x", yes), levelOK, "/x is on a bpffs")
	expect(t, bpffsFinding(vip.FenceAuto, "/x", no), levelWarn, "/x is not on a bpffs", "only the kernel's address lifetimes", "mount -t bpf bpf /sys/fs/bpf")
	expect(t, bpffsFinding(vip.FenceRequired, "/x", no), levelFail, "may not hold")
	expect(t, bpffsFinding(vip.FenceAuto, "/x", func(string) (bool, error) { return false, unix.EACCES }), levelWarn, "sudo")
	expect(t, bpffsFinding(vip.FenceAuto, "/x", func(string) (bool, error) { return false, unix.EIO }), levelWarn, "input/output error", defaultBPFDir)

	refused := func() (fence.Kind, error) { return "", fmt.Errorf("%w: make a map: no such thing", fence.ErrRefused) }
	expect(t, bpfFinding(vip.FenceAuto, func() (fence.Kind, error) { return fence.Clsact, nil }), levelOK, "attached by clsact")
	expect(t, bpfFinding(vip.FenceAuto, refused), levelWarn, "refuses the fence: make a map: no such thing:", "fence: off", "3s")
	expect(t, bpfFinding(vip.FenceRequired, refused), levelFail, "may not hold")

	addr, now := netip.MustParseAddr("10.20.8.188"), boottime.Instant(time.Hour)
	pinned := func(s fence.State, err error, running bool) Finding {
		return pinnedFinding(fenceOf{addr, s, err}, now, running)
	}
	on := []string{"lo", "eth0"}
	expect(t, pinned(fence.State{Kind: fence.TCX, Until: now.Add(2100 * time.Millisecond), Devices: on}, nil, true), levelOK, "is open, 2.1s left, tcx on lo, eth0")
	expect(t, pinned(fence.State{Kind: fence.TCX, Devices: on}, nil, true), levelOK, "is shut, tcx on")
	expect(t, pinned(fence.State{}, nil, true), levelFail, "attached to no device")
	expect(t, pinned(fence.State{Claimed: true, ClaimMAC: [6]byte{2, 0, 0, 0, 0, 11}, Devices: on}, nil, true), levelFail, "02:00:00:00:00:0b")
	expect(t, pinned(fence.State{}, fs.ErrNotExist, true), levelFail, "is missing though the daemon runs")
	expect(t, pinned(fence.State{}, fs.ErrNotExist, false), levelOK, "when it starts")
	expect(t, pinned(fence.State{}, fmt.Errorf("%w: layout 2", fence.ErrForeign), false), levelFail, "layout 2", "release --purge")
	expect(t, pinned(fence.State{}, unix.EACCES, true), levelWarn, "sudo")
	expect(t, pinned(fence.State{}, unix.EIO, true), levelFail, "input/output error")

	expect(t, refusedFinding(addr, "fence of 10.20.8.188: no fence: missing CAP_BPF"), levelWarn, "to the daemon: missing CAP_BPF: only", "unit")
	left := leftFindings(parsed(t, "ttl: 3s"), []netip.Addr{addr, netip.MustParseAddr("10.20.8.77")})
	if len(left) != 1 {
		t.Fatalf("got %v", left)
	}
	expect(t, left[0], levelWarn, "10.20.8.77 is left over", "release --purge")
}

func TestDoctorEtcd(t *testing.T) {
	good := election.Endpoint{URL: "http://a:2379", Version: "3.5.23", Cluster: 1, Member: 2, Leader: 2, Took: 2 * time.Millisecond}
	for name, tc := range map[string]struct {
		edit  func(*election.Endpoint)
		level Level
		words []string
	}{
		"leader":      {func(*election.Endpoint) {}, levelOK, []string{"http://a:2379: version 3.5.23, leader, 2ms"}},
		"follower":    {func(e *election.Endpoint) { e.Leader = 3 }, levelOK, []string{"follower"}},
		"down":        {func(e *election.Endpoint) { e.Err = errors.New("etcd http://a:2379: refused") }, levelWarn, []string{"http://a:2379: refused", "firewall"}},
		"no leader":   {func(e *election.Endpoint) { e.Leader = 0 }, levelFail, []string{"no leader", "majority"}},
		"full":        {func(e *election.Endpoint) { e.Alarms = []string{"memberID:1 alarm:NOSPACE "} }, levelFail, []string{"quota is full", "alarm disarm"}},
		"corrupt":     {func(e *election.Endpoint) { e.Alarms = []string{"memberID:1 alarm:CORRUPT "} }, levelFail, []string{"corrupt"}},
		"no rights":   {func(e *election.Endpoint) { e.ReadErr = errors.New("permission denied") }, levelFail, []string{"permission denied"}},
		"learner":     {func(e *election.Endpoint) { e.Learner = true }, levelWarn, []string{"learner"}},
		"slow":        {func(e *election.Endpoint) { e.Took = 250 * time.Millisecond }, levelWarn, []string{"250ms", "wal_fsync"}},
		"3.4.23":      {func(e *election.Endpoint) { e.Version = "3.4.23" }, levelWarn, []string{"3.4.23", "end leases early", "does not rest on it"}},
		"3.4.31":      {func(e *election.Endpoint) { e.Version = "3.4.31" }, levelOK, nil},
		"3.5.12":      {func(e *election.Endpoint) { e.Version = "3.5.12" }, levelWarn, []string{"end leases early"}},
		"3.5.13":      {func(e *election.Endpoint) { e.Version = "3.5.13" }, levelWarn, []string{"renewed a lease which is gone"}},
		"3.6.0-rc.1":  {func(e *election.Endpoint) { e.Version = "3.6.0-rc.1" }, levelOK, nil},
		"3.3.27+git":  {func(e *election.Endpoint) { e.Version = "3.3.27+git" }, levelWarn, []string{"end leases early"}},
		"no version":  {func(e *election.Endpoint) { e.Version = "3.x" }, levelOK, nil},
		"odd version": {func(e *election.Endpoint) { e.Version = "3.5.rc" }, levelOK, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := good
			tc.edit(&e)
			expect(t, endpointFinding(e), tc.level, tc.words...)
		})
	}
	down, other := good, good
	down.Err, other.Cluster = errors.New("gone"), 9
	if got := endpointFindings([]election.Endpoint{good, down}); len(got) != 2 {
		t.Errorf("one of two down: %v", got)
	}
	expect(t, endpointFindings([]election.Endpoint{down, down})[2], levelFail, "no endpoint answers a read")
	expect(t, endpointFindings([]election.Endpoint{good, other})[2], levelFail, "2 clusters")
}

func TestDoctorDaemon(t *testing.T) {
	expect(t, daemonFinding(&daemonReply{PID: 7, Version: versionText()}, nil), levelOK, "pid 7")
	expect(t, daemonFinding(&daemonReply{PID: 7, Version: "0.1"}, nil), levelWarn, "runs version 0.1")
	expect(t, daemonFinding(nil, errNoDaemon), levelWarn, "not running", "systemctl enable --now")
	expect(t, daemonFinding(nil, daemonProblem("/x", context.DeadlineExceeded)), levelWarn, "does not answer within 2s", "journalctl")

	cfg := parsed(t, "ttl: 3s")
	loop := func(l LoopStatus) []Finding {
		return loopFindings(cfg, &daemonReply{Services: map[string]daemonService{"mysql": {Loop: l}}})
	}
	if got := loop(LoopStatus{Eligible: true}); len(got) != 0 {
		t.Errorf("well: %v", got)
	}
	expect(t, loop(LoopStatus{EligibleWhy: "mysql: refused"})[0], levelWarn, "not eligible: mysql: refused")
	expect(t, loop(LoopStatus{Fence: LoopFence{NoGuard: "no bpf"}})[0], levelFail, "may not hold: no bpf")
	expect(t, loop(LoopStatus{Eligible: true, Failing: "bind: no"})[0], levelFail, "bind: no")
	expect(t, loopFindings(cfg, &daemonReply{})[0], levelFail, "without the service mysql", "reload")

	dir := t.TempDir()
	expect(t, runDirFinding(filepath.Join(dir, "none")), levelOK, "not there yet")
	expect(t, stateFinding(filepath.Join(dir, "mysql.json")), levelOK)
	bad := filepath.Join(dir, "mysql.json")
	if err := os.WriteFile(bad, []byte(`{"boot":`), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, stateFinding(bad), levelWarn, "not a state file", "rm "+bad)
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", bad); err != nil {
		t.Fatal(err)
	}
	expect(t, stateFinding(bad), levelWarn, "symbolic link")
}

// The report fits into 80 columns, and ends with what it comes to. The reference
// shows it.
func TestDoctorRender(t *testing.T) {
	r := doctorReport{Findings: []Finding{
		okay("config", "/etc/leasehold/leasehold.yaml is good, node db20-024, services mysql"),
		okay("rights", "the daemon has what it needs"),
		kernelFinding("6.1.0-18-amd64", ""),
		clockFinding(12, nil),
		bpffsFinding(vip.FenceAuto, defaultBPFDir, func(string) (bool, error) { return false, nil }),
	}}
	var out strings.Builder
	if err := r.render(&out, 80); err != nil {
		t.Fatal(err)
	}
	golden(t, "doctor.txt", out.String())
	r.Findings = append(r.Findings, failure("wire", "two \x1b[2J"+strings.Repeat("hosts ", 30), "pull a plug"))
	out.Reset()
	if err := r.render(&out, 80); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 || strings.Contains(line, "\x1b") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if !strings.HasSuffix(out.String(), "\n1 broken, 1 worth a look\n") {
		t.Errorf("got\n%s", out.String())
	}
	out.Reset()
	if err := (doctorReport{Findings: r.Findings[:1]}).render(&out, 80); err != nil || !strings.HasSuffix(out.String(), "\nnothing to do\n") {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// A host whose etcd is gone is not well, and one whose configuration cannot be
// read even less: both in JSON as well.
func TestDoctorCommand(t *testing.T) {
	for name, tc := range map[string]struct {
		file string
		want []string
	}{
		"no etcd":  {configFile(t), []string{`"etcd"`, "no endpoint answers a read", `"device"`, "lhtest0, for 10.20.8.188, does not exist"}},
		"bad file": {writeFile(t, "bad.yaml", "node: a b\n", 0o600), []string{`"config"`, "bad.yaml:1: node"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := leasehold(t, "doctor", "--json", "--timeout", "500ms", "-c", tc.file)
			var r doctorReport
			if err := json.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatalf("%v in %s%s", err, stdout, stderr)
			}
			if code != exitRuntime || r.ExitCode != exitRuntime || !containsAll(stdout, tc.want) {
				t.Errorf("exit code %d, want %d and %q in\n%s", code, exitRuntime, tc.want, stdout)
			}
			for _, f := range r.Findings {
				expect(t, f, f.Level)
			}
			if code, table, _ := leasehold(t, "doctor", "--timeout", "500ms", "-c", tc.file); code != exitRuntime || !strings.Contains(table, "broken") {
				t.Errorf("exit code %d:\n%s", code, table)
			}
		})
	}
	if code, _, stderr := leasehold(t, "doctor", "--timeout", "0s"); code != exitUsage || !strings.Contains(stderr, "over 0") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
