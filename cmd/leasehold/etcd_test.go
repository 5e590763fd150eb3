package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"leasehold/election"
)

// etcdServer runs an etcd for one test, and returns its endpoint and a client.
func etcdServer(t *testing.T) (string, *clientv3.Client) {
	t.Helper()
	path, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("needs etcd: apt install etcd-server")
	}
	dir := t.TempDir()
	client, peer := freeURL(t), freeURL(t)
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--data-dir", filepath.Join(dir, "data"), "--unsafe-no-fsync",
		"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
		"--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: an error by design
		out.Close()
	})
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{client}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cli.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, err := cli.Get(ctx, "x"); err != nil; _, err = cli.Get(ctx, "x") {
		if ctx.Err() != nil {
			log, _ := os.ReadFile(out.Name())
			t.Fatalf("etcd does not start: %v\n%s", err, log)
		}
	}
	return client, cli
}

// freeURL returns a URL on this host that nobody listens on.
func freeURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// put writes a key as a daemon would.
func put(t *testing.T, cli *clientv3.Client, key string, value any, lease clientv3.LeaseID) {
	t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Put(t.Context(), key, string(b), clientv3.WithLease(lease)); err != nil {
		t.Fatal(err)
	}
}

// The commands against a real etcd whose keys the test writes, as daemons on
// other hosts would.
func TestCommandsWithEtcd(t *testing.T) {
	endpoint, cli := etcdServer(t)
	file := configFile(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), `"http://127.0.0.1:1", "http://127.0.0.1:2"`, `"`+endpoint+`"`, 1))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	step := func(want int, contains string, args ...string) {
		t.Helper()
		code, stdout, stderr := leasehold(t, append(args, "-c", file)...)
		if code != want || !strings.Contains(stdout+stderr, contains) {
			t.Errorf("%v: exit code %d, want %d, and %q in:\n%s%s", args, code, want, contains, stdout, stderr)
		}
	}
	keys := election.KeysOf("mysql")
	step(exitNoHolder, "no daemon is registered in etcd", "status")
	step(exitFine, "mysql is not paused", "resume")
	step(exitRuntime, "nobody can hand it over", "switchover")
	step(exitFine, "released already", "release", "--force")
	step(exitFine, "Epoch", "history")
	step(exitFine, "nobody holds its VIP", "pause", "--for", "1h", "--reason", "disk swap")
	step(exitNoHolder, "disk swap", "status")
	step(exitFine, "no longer paused", "resume")

	lease, err := cli.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	holder := election.HolderValue{Node: "db20-030", TTL: election.Seconds(4 * time.Second), Epoch: 7, VIPs: []string{"10.20.8.188/24"}, Since: time.Now()}
	put(t, cli, keys.Holder(), holder, lease.ID)
	put(t, cli, keys.Tenure(), election.TenureValue{Epoch: 7, Node: "db20-030", Lease: election.LeaseID(lease.ID), State: election.TenureHeld}, 0)
	put(t, cli, keys.Member("db20-030"), election.MemberValue{Node: "db20-030", Priority: 100, Eligible: true}, lease.ID)
	put(t, cli, keys.History(7), election.HistoryValue{Epoch: 7, From: "db20-024", To: "db20-030", Why: "mysqld ended", GapMS: 31}, 0)
	step(exitFine, "db20-030 holds the VIP", "status")
	step(exitFine, "mysqld ended", "history")
	step(exitFine, `"why": "mysqld ended"`, "history", "-f", "json")
	step(exitRuntime, "no other node is eligible", "switchover")
	step(exitFine, "holds mysql already", "switchover", "--to", "db20-030")
	step(exitRuntime, "has not followed yet", "pause", "--for", "1h", "--timeout", "500ms")
	step(exitPaused, "HA is paused until", "status")
	step(exitFine, "db20-030 holds its VIP", "resume")
	step(exitRuntime, "is registered in etcd", "release", "--force")
	if _, err := cli.Delete(t.Context(), keys.Member("db20-030")); err != nil {
		t.Fatal(err)
	}
	step(exitWrong, "release --force mysql", "status")
	step(exitRuntime, "not confirmed, nothing was changed", "release", "--force")
	step(exitFine, "the tenure of db20-030 is released", "release", "--force", "--yes")
	step(exitNoHolder, "nobody holds the VIP", "status")

	// A stranger's keys are shown, and break nothing.
	for i, value := range []string{"", "\x00\xff", `{"node":7}`, strings.Repeat("x", 10<<10)} {
		for _, key := range []string{keys.Holder(), keys.Tenure(), keys.Pause(), keys.Switchover(), keys.Member(fmt.Sprint(i)), keys.History(int64(i))} {
			if _, err := cli.Put(t.Context(), key, value); err != nil {
				t.Fatal(err)
			}
		}
		step(exitWrong, "WRONG", "status")
		step(exitFine, "Epoch", "history")
	}
}
