package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/vip"
	"leasehold/vip/fence"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

var testNow = time.Date(2026, 11, 22, 20, 30, 0, 0, time.UTC)

// testFacts is a service in the best of states: db20-024, this host, holds it,
// and db20-025 stands by.
func testFacts(t *testing.T) facts {
	t.Helper()
	cfg, err := parse(good)
	if err != nil {
		t.Fatal(err)
	}
	member := func(node string, lease election.LeaseID) election.Member {
		return election.Member{Lease: lease, MemberValue: election.MemberValue{
			Node: node, Priority: 100, Eligible: true, Version: "1.0", Since: testNow.Add(-3 * 24 * time.Hour),
		}}
	}
	boot := boottime.Instant(time.Hour)
	return facts{
		now: testNow, nowBoot: boot, node: "db20-024", service: &cfg.Services[0], took: 4 * time.Millisecond,
		view: election.View{
			Revision: 4711, At: boot.Add(-5 * time.Millisecond),
			Holder: &election.HolderKey{Lease: 0x694d, HolderValue: election.HolderValue{
				Node: "db20-024", TTL: election.Seconds(3 * time.Second), Epoch: 7, VIPs: []string{"10.20.8.188/24"}, Since: testNow.Add(-90 * time.Minute),
			}},
			Tenure:  &election.TenureKey{TenureValue: election.TenureValue{Epoch: 7, Node: "db20-024", Lease: 0x694d, State: election.TenureHeld, At: testNow.Add(-90 * time.Minute)}},
			Members: []election.Member{member("db20-024", 0x694d), member("db20-025", 0x694e)},
		},
		left: map[election.LeaseID]time.Duration{0x694d: 2 * time.Second, 0x694e: 3 * time.Second},
		copies: []vip.Copy{{
			Prefix: netip.MustParsePrefix("10.20.8.188/24"), Device: "eth0", Label: "eth0:1", Right: true, ValidLft: 2 * time.Second, PreferredLft: 2 * time.Second,
		}},
		fences: []fenceOf{{addr: netip.MustParseAddr("10.20.8.188"), state: fence.State{
			Kind: fence.TCX, Until: boot.Add(2100 * time.Millisecond), Devices: []string{"lo", "eth0"},
		}}},
		daemon: &daemonReply{PID: 812, Version: "1.0", Node: "db20-024", At: testNow.Add(-3 * time.Millisecond), Services: map[string]daemonService{"mysql": {
			Loop: LoopStatus{Role: "holder", LinkUp: true, Eligible: true, Epoch: 7, LeftSeconds: 1.4, Since: testNow.Add(-90 * time.Minute), Fence: LoopFence{Kind: "tcx", LeftSeconds: 2.1}},
			Checks: ChecksStatus{Known: true, Healthy: true, Why: "all checks OK", Results: []CheckStatus{
				{Name: "process", Known: true, OK: true, Detail: "pid 4223", Since: testNow.Add(-90 * time.Minute)},
				{Name: "mysql", Known: true, OK: true, Detail: "writable", Since: testNow.Add(-90 * time.Minute), At: testNow.Add(-210 * time.Millisecond), TookMS: 1.2},
			}},
		}}},
	}
}

// beside gives the service a router.
func beside(f *facts, v *LoopVRRP) {
	d := f.daemon.Services["mysql"]
	d.Loop.VRRP = v
	f.daemon.Services["mysql"] = d
}

func pauseKey(f facts, left time.Duration) *election.PauseKey {
	until := f.now.Add(left)
	return &election.PauseKey{
		PauseValue: election.PauseValue{Until: &until, Reason: "disk swap", By: "ann@db20-024"}, Left: left, Seen: f.nowBoot,
	}
}

// Every state is drawn into 80 columns, and has its exit code.
func TestStatusTable(t *testing.T) {
	for name, tc := range map[string]struct {
		code int
		edit func(*facts)
	}{
		"fine": {exitFine, func(*facts) {}},
		"paused": {exitPaused, func(f *facts) {
			f.view.Pause = pauseKey(*f, 42*time.Minute)
			f.left[0x694d] = 43 * time.Minute
		}},
		"standby-ill": {exitFine, func(f *facts) {
			f.view.Members[1].Eligible = false
			f.view.Members[1].Why = "mysql: dial unix /run/mysqld/mysqld.sock: connect: connection refused"
		}},
		"no-holder": {exitNoHolder, func(f *facts) {
			f.view.Holder, f.copies, f.fences[0].state.Until = nil, nil, 0
			f.view.Tenure.State = election.TenureReleased
			for i := range f.view.Members {
				f.view.Members[i].Eligible, f.view.Members[i].Why = false, "process: no process listens on /run/mysqld/mysqld.sock"
			}
			c := &f.daemon.Services["mysql"].Checks.Results[0]
			c.OK, c.Detail, c.Since = false, "no process listens on /run/mysqld/mysqld.sock", testNow.Add(-time.Minute)
		}},
		"etcd-gone": {exitEtcdUnreachable, func(f *facts) {
			f.view, f.left = election.View{}, nil
			f.etcdErr, f.took = errors.New("no etcd endpoint answers: context deadline exceeded"), 3*time.Second
		}},
		"nothing-known": {exitEtcdUnreachable, func(f *facts) {
			f.view, f.left, f.copies = election.View{}, nil, nil
			f.etcdErr, f.took = errors.New("no etcd endpoint answers: context deadline exceeded"), 3*time.Second
			f.daemon, f.daemonErr = nil, errNoDaemon
		}},
		"silent-behind-its-fence": {exitFine, func(f *facts) {
			f.view.Holder.Node, f.view.Tenure.Node = "db20-025", "db20-025"
			f.fences[0].state.Until = 0
			f.daemon.Services["mysql"] = daemonService{Loop: LoopStatus{Role: "standby", LinkUp: true, Eligible: true, Fence: LoopFence{Kind: "tcx"}}}
		}},
		"claimed": {exitWrong, func(f *facts) {
			f.fences[0].state = fence.State{Kind: fence.TCX, Claimed: true, Claims: 2, ClaimedAt: f.nowBoot.Add(-300 * time.Millisecond), ClaimMAC: [6]byte{2, 0, 0, 0, 0, 11}}
			d := f.daemon.Services["mysql"]
			d.Loop.Claims = &LoopClaims{Count: 2, At: testNow.Add(-300 * time.Millisecond), MAC: "02:00:00:00:00:0b", Addr: netip.MustParseAddr("10.20.8.188"), Device: "eth0"}
			f.daemon.Services["mysql"] = d
		}},
		"no-fence": {exitFine, func(f *facts) {
			f.fences[0] = fenceOf{addr: f.fences[0].addr, err: fs.ErrNotExist}
			d := f.daemon.Services["mysql"]
			d.Loop.Fence = LoopFence{Why: "fence of 10.20.8.188: no fence: /sys/fs/bpf/leasehold is not on a bpffs: mount -t bpf bpf /sys/fs/bpf"}
			f.daemon.Services["mysql"] = d
		}},
		"holder-elsewhere-vip-here": {exitWrong, func(f *facts) {
			f.view.Holder.Node, f.view.Tenure.Node = "db20-025", "db20-025"
		}},
		"daemon-of-holder-gone-in-pause": {exitPaused, func(f *facts) {
			f.view.Pause = pauseKey(*f, 42*time.Minute)
			f.view.Holder.Lease, f.left[0x99] = 0x99, 43*time.Minute
			f.view.Members = f.view.Members[1:]
			f.daemon, f.daemonErr = nil, errNoDaemon
		}},
		"vrrp": {exitFine, func(f *facts) {
			beside(f, &LoopVRRP{
				Mode: "full", State: "Active", Cause: "the VIP was one of our nodes' until now", Priority: 150, Source: "10.20.8.50", QuietSeconds: 2.6,
				Packets: map[string]uint64{"accepted": 3, "other_vrid": 12},
			})
		}},
		"vrrp-yields": {exitFine, func(f *facts) {
			f.copies, f.fences[0].state.Until = nil, 0
			beside(f, &LoopVRRP{
				Mode: "full", State: "Backup", Cause: "a router with a better claim is Active", Priority: 100, Source: "10.20.8.50",
				Waits: "yields to 10.20.8.27, priority 150",
			})
		}},
		"vrrp-notice": {exitWrong, func(f *facts) {
			beside(f, &LoopVRRP{
				Mode: "full", State: "Active", Cause: "no other router is Active", Priority: 150, Source: "10.20.8.50", QuietSeconds: 2.6,
				Notices: []VRRPNotice{{Name: "does_not_give_way", From: "10.20.8.27", Times: 3, What: "10.20.8.27 is Active with priority 100 and does not give way"}},
			})
		}},
		"vrrp-duplicate": {exitWrong, func(f *facts) {
			const used = "10.20.8.188 is in use on eth0 by the host with MAC 02:00:0a:14:08:28: two hosts would answer for it; take it off there"
			f.copies, f.fences[0].state.Until = nil, 0
			beside(f, &LoopVRRP{Mode: "full", State: "Active", Cause: "no other router is Active", Priority: 150, Source: "10.20.8.50", QuietSeconds: 2.6, Waits: used})
			d := f.daemon.Services["mysql"]
			d.Loop.Role, d.Loop.Waiting, d.Loop.Failing = "standby", "the tenure is held and nothing is bound: "+used, used
			f.daemon.Services["mysql"] = d
		}},
		"vrrp-holder-elsewhere-yields": {exitFine, func(f *facts) {
			f.view.Holder.Node, f.view.Tenure.Node, f.copies, f.fences[0].state.Until = "db20-025", "db20-025", nil, 0
			f.view.Members[1].VRRP = "Backup 10.20.8.51"
			f.daemon.Services["mysql"] = daemonService{Loop: LoopStatus{Role: "standby", LinkUp: true, Eligible: true, Fence: LoopFence{Kind: "tcx"}}}
		}},
		"strangers": {exitWrong, func(f *facts) {
			f.view.Strange = []string{"/leasehold/mysql/foo is not a key of Leasehold\x1b[2J"}
			f.copies = append(f.copies, vip.Copy{Prefix: netip.MustParsePrefix("10.20.8.188/8"), Device: "eth0", Label: "eth0:9", Permanent: true})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := testFacts(t)
			tc.edit(&f)
			s := assess(f)
			if s.ExitCode != tc.code {
				t.Errorf("exit code %d (%s), want %d", s.ExitCode, s.Summary, tc.code)
			}
			var out bytes.Buffer
			s.render(&out, 80)
			for line := range strings.Lines(out.String()) {
				if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			golden(t, "status-"+name+".txt", out.String())
		})
	}
}

// What is wrong here is found whatever else is the case.
func TestWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*facts)
		want string
	}{
		"holder without its VIP":      {func(f *facts) { f.copies = nil }, "is not on it as configured"},
		"VIP that has no end":         {func(f *facts) { f.copies[0].Permanent = true }, "has no end"},
		"VIP/8 on the holder":         {func(f *facts) { f.copies[0].Prefix, f.copies[0].Right = netip.MustParsePrefix("10.20.8.188/8"), false }, "stray copy"},
		"VIP with nobody as holder":   {func(f *facts) { f.view.Holder = nil }, "nobody is"},
		"stray copy, etcd gone":       {func(f *facts) { f.etcdErr, f.copies[0].Right = errors.New("gone"), false }, "stray copy"},
		"holder key of a stranger":    {func(f *facts) { f.view.Holder.Bad = "not JSON" }, "holder key is not ours"},
		"tenure key of a stranger":    {func(f *facts) { f.view.Tenure.Bad = "not JSON" }, "tenure key is not ours"},
		"daemon gone after a pause":   {func(f *facts) { f.view.Members = f.view.Members[1:] }, "release --force mysql"},
		"fence of the holder shut":    {func(f *facts) { f.fences[0].state.Until = 0 }, "the fence of 10.20.8.188 is shut: nobody answers for it"},
		"fence open, another holds":   {func(f *facts) { f.view.Holder.Node, f.copies = "db20-025", nil }, "open here for another 2.1s, and db20-025 is the holder"},
		"fence of the holder claimed": {func(f *facts) { f.fences[0].state.Claimed = true }, "announces 10.20.8.188"},
		"fence in pieces": {func(f *facts) {
			d := f.daemon.Services["mysql"]
			d.Loop.Fence.Missing = "eth0 ingress is detached"
			f.daemon.Services["mysql"] = d
		}, "the fence is not whole: eth0 ingress is detached"},
		"permanent copy behind its fence": {func(f *facts) {
			f.view.Holder.Node, f.fences[0].state.Until, f.copies[0].Permanent = "db20-025", 0, true
		}, "which is not the holder"},
		"right VIP on the wrong host": {func(f *facts) { f.node = "db20-026" }, "not the holder (db20-024 is)"},
	} {
		t.Run(name, func(t *testing.T) {
			f := testFacts(t)
			tc.edit(&f)
			s := assess(f)
			if s.ExitCode != exitWrong || !slices.ContainsFunc(s.Wrong, func(w string) bool { return strings.Contains(w, tc.want) }) {
				t.Errorf("exit code %d, wrong %q, want %q", s.ExitCode, s.Wrong, tc.want)
			}
		})
	}
}

// The JSON is a public interface: its keys do not change by accident.
func TestStatusJSON(t *testing.T) {
	f := testFacts(t)
	f.view.Pause = pauseKey(f, time.Hour)
	b, err := json.MarshalIndent(assess(f), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status.json", string(b)+"\n")
}

func TestWorse(t *testing.T) {
	order := []int{exitFine, exitPaused, exitNoHolder, exitEtcdUnreachable, exitWrong}
	for i, a := range order {
		for j, b := range order {
			if got := worse(a, b); got != order[max(i, j)] {
				t.Errorf("worse(%d, %d) = %d", a, b, got)
			}
		}
	}
}

// A watched status goes on when etcd goes and comes, and ends with its context
// with the code of the last whole one.
func TestWatch(t *testing.T) {
	f := testFacts(t)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	from := sources{
		read: func(context.Context, string) (election.View, error) {
			if n++; n == 3 {
				cancel()
			}
			if n == 2 {
				return election.View{}, errors.New("gone")
			}
			return f.view, nil
		},
		left:   func(context.Context, election.LeaseID) (time.Duration, error) { return time.Second, nil },
		kernel: func([]vip.Spec) ([]vip.Copy, error) { return f.copies, nil },
		fences: func(*Service) []fenceOf { return f.fences },
		daemon: func(context.Context) (*daemonReply, error) { return nil, errNoDaemon },
	}
	var out bytes.Buffer
	a := &app{out: &out}
	err := a.showStatus(ctx, statusFlags{format: "table", watch: time.Millisecond, timeout: time.Second}, "db20-024", []Service{*f.service}, from)
	var code exitError
	if !errors.As(err, &code) || code != exitEtcdUnreachable || strings.Count(out.String(), "\x1b[H\x1b[2J") != 2 || !strings.Contains(out.String(), "does not answer") {
		t.Errorf("got %v after:\n%s", err, out.String())
	}
}

// An etcd that does not answer costs its timeout once, however many services
// there are, and the kernel and the daemon are asked after that.
func TestGatherWithoutEtcd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		asked := func(ctx context.Context, what string) {
			if time.Since(begin) != 3*time.Second || ctx.Err() != nil {
				t.Errorf("%s asked after %s, context %v", what, time.Since(begin), ctx.Err())
			}
		}
		from := sources{
			read: func(ctx context.Context, _ string) (election.View, error) {
				<-ctx.Done()
				return election.View{}, ctx.Err()
			},
			kernel: func([]vip.Spec) ([]vip.Copy, error) { asked(t.Context(), "kernel"); return nil, nil },
			fences: func(*Service) []fenceOf { asked(t.Context(), "fence"); return nil },
			daemon: func(ctx context.Context) (*daemonReply, error) { asked(ctx, "daemon"); return nil, errNoDaemon },
		}
		a := &app{out: io.Discard}
		code, err := a.statusOnce(t.Context(), statusFlags{format: "table", timeout: 3 * time.Second}, "db20-024", []Service{{Name: "a"}, {Name: "b"}}, from, "")
		if code != exitEtcdUnreachable || err != nil {
			t.Errorf("got %d, %v", code, err)
		}
	})
}
