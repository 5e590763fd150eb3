package lab_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestEtcd(t *testing.T) {
	l := labtest.Start(t, lab.Config{}, lab.NeedsEtcd)
	ctx := t.Context()
	start := time.Now()
	etcd := must2(l.StartEtcd(ctx, lab.EtcdConfig{Election: 500 * time.Millisecond, Heartbeat: 50 * time.Millisecond}))(t)
	t.Logf("ready in %v", time.Since(start))

	check(t, etcd.MoveLeader(ctx, lab.B))
	if out := must2(etcd.Ctl(ctx, "put", "/x", "1"))(t); strings.TrimSpace(out) != "OK" {
		t.Errorf("etcdctl put: %q, want OK", out)
	}
	start = time.Now()
	check(t, etcd.Process(lab.B).Kill())
	check(t, etcd.WaitReady(ctx))
	t.Logf("leader killed, next one after %v", time.Since(start))
	if leader := must2(etcd.Leader(ctx))(t); leader == lab.B {
		t.Error("the killed member is the leader")
	}
	start = time.Now()
	check(t, etcd.Start(lab.B))
	check(t, etcd.WaitReady(ctx))
	t.Logf("restarted in %v", time.Since(start))
	if out := must2(etcd.CtlAt(ctx, lab.B, []string{lab.B}, "get", "/x", "--print-value-only"))(t); strings.TrimSpace(out) != "1" {
		t.Errorf("etcdctl get on the restarted member: %q, want 1", out)
	}
	lease := strings.Fields(must2(etcd.Ctl(ctx, "lease", "grant", "60"))(t))[1]
	check(t, etcd.RevokeLease(ctx, lease))
}

func TestMariaDB(t *testing.T) {
	l := labtest.Start(t, lab.Config{}, lab.NeedsMariaDB)
	ctx := t.Context()
	start := time.Now()
	db := must2(l.StartMariaDB(ctx, lab.MariaDBConfig{}))(t)
	t.Logf("two servers ready in %v", time.Since(start))

	vip := l.VIP.Addr().String()
	must2(l.Exec(ctx, lab.A, "ip", "addr", "add", l.VIP.String(), "dev", "eth0", "label", "eth0:1"))(t)
	if id := must2(l.Query(ctx, lab.Client, vip))(t); id != 50 {
		t.Errorf("server_id at the VIP: %d, want 50 (host a)", id)
	}
	start = time.Now()
	check(t, db.Process(lab.A).Kill())
	t.Logf("killed in %v", time.Since(start))
	start = time.Now()
	check(t, db.Start(lab.A))
	check(t, db.WaitReady(ctx, lab.A))
	t.Logf("restarted after a kill in %v", time.Since(start))
	start = time.Now()
	check(t, db.Process(lab.A).Stop(ctx))
	t.Logf("stopped in %v", time.Since(start))
}

func TestKeepalived(t *testing.T) {
	l := labtest.Start(t, lab.Config{}, lab.NeedsKeepalived)
	ctx := t.Context()
	conf := l.KeepalivedConfig()
	conf.Advert = 200 * time.Millisecond
	conf.Version = 3
	p := must2(l.StartKeepalived(lab.A, conf.Text()))(t)
	start := time.Now()
	has := func() (bool, error) {
		out, err := l.Exec(ctx, lab.A, "ip", "addr", "show", "dev", "eth0")
		return strings.Contains(out, l.VIP.String()), err
	}
	check(t, lab.Wait(ctx, 10*time.Second, "keepalived to take the VIP", has))
	t.Logf("VIP up after %v", time.Since(start))
	check(t, p.Stop(ctx))
	if up := must2(has())(t); up {
		t.Error("keepalived stopped, its VIP is still there")
	}
}

func TestDaemon(t *testing.T) {
	l := labtest.Start(t, lab.Config{})
	conf := must2(l.NodeConfig(lab.A, nil))(t)
	check(t, l.WriteConfig(lab.A, conf.YAML()))
	// A stand-in for the binary: it writes its arguments and its config.
	script := l.Dir() + "/leasehold"
	writeScript(t, script, "#!/bin/sh\necho \"$1\" \"$2\"\ncat \"$3\"\nexec sleep 1000\n")
	p := must2(l.StartDaemon(lab.A, script))(t)
	check(t, lab.Wait(t.Context(), 5*time.Second, "the daemon's output", func() (bool, error) {
		return strings.Contains(p.Tail(20), "run --config\nnode: db20-024\n"), nil
	}))
	check(t, p.Stop(t.Context()))
}
