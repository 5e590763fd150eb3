package deploy_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"leasehold/internal/sdlab"
)

// startEtcd runs Debian's etcd on host, inside the network namespace ns where one
// is named, and returns the client URL. The member ends with the test.
func startEtcd(t *testing.T, ns, host, clientPort, peerPort string) string {
	t.Helper()
	need(t, "etcd", "etcdctl")
	client := "http://" + net.JoinHostPort(host, clientPort)
	peer := "http://" + net.JoinHostPort(host, peerPort)
	argv := []string{
		"etcd", "--name=e", "--data-dir=" + filepath.Join(t.TempDir(), "etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=e=" + peer,
	}
	etcdctl := []string{"etcdctl", "--endpoints=" + client, "endpoint", "health"}
	if ns != "" {
		in := []string{"ip", "netns", "exec", ns}
		argv, etcdctl = append(in, argv...), append(slices.Clip(in), etcdctl...)
	}
	var log strings.Builder
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &log, &log
	// It ends with the test process too, should that be killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // "killed"
		if t.Failed() {
			t.Logf("etcd:\n%s", log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := sdlab.Wait(ctx, func() (bool, error) {
		probe := exec.CommandContext(ctx, etcdctl[0], etcdctl[1:]...)
		probe.Env = append(os.Environ(), "ETCDCTL_API=3")
		return probe.Run() == nil, nil
	}); err != nil {
		t.Fatalf("etcd on %s: %v", client, err)
	}
	return client
}

// freePort returns a TCP port of 127.0.0.1 that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestEtcdRole runs etcd-role.sh against an etcd with auth enabled, and tries what
// the user may do and what it may not.
func TestEtcdRole(t *testing.T) {
	url := startEtcd(t, "", "127.0.0.1", freePort(t), freePort(t))
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(user string, argv ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "ETCDCTL_API=3", "ETCDCTL_ENDPOINTS="+url)
		if user != "" {
			cmd.Env = append(cmd.Env, "ETCDCTL_USER="+user)
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(user string, argv ...string) string {
		t.Helper()
		out, err := run(user, argv...)
		if err != nil {
			t.Fatalf("as %q, %v: %v\n%s", user, argv, err, out)
		}
		return out
	}

	must("", "./etcd-role.sh", password)
	must("", "etcdctl", "user", "add", "root:r")
	must("", "etcdctl", "user", "grant-role", "root", "root")
	must("", "etcdctl", "auth", "enable")
	// Again, now that it takes root, and with another password.
	if err := os.WriteFile(password, []byte("second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must("root:r", "./etcd-role.sh", password)
	must("root:r", "./etcd-role.sh") // without a password: changes nothing
	user := "leasehold:second"

	// All that the daemon and its commands do, in its words and in etcdctl's.
	granted := must(user, "etcdctl", "lease", "grant", "60")
	var lease string
	if _, err := fmt.Sscanf(granted, "lease %s granted", &lease); err != nil {
		t.Fatalf("lease grant: %v: %s", err, granted)
	}
	for _, may := range [][]string{
		{"put", "--lease=" + lease, "/leasehold/mysql/holder", "{}"},
		{"get", "--prefix", "/leasehold/"},
		{"lease", "keep-alive", "--once", lease},
		{"lease", "timetolive", lease, "--keys"},
		{"lease", "revoke", lease},
		{"put", "/leasehold/mysql/pause", ""},
		{"del", "/leasehold/mysql/pause"},
		{"endpoint", "status"},
	} {
		must(user, append([]string{"etcdctl"}, may...)...)
	}

	foreign := must("root:r", "etcdctl", "lease", "grant", "60")
	if _, err := fmt.Sscanf(foreign, "lease %s granted", &lease); err != nil {
		t.Fatal(err)
	}
	must("root:r", "etcdctl", "put", "--lease="+lease, "/other", "1")
	for _, mayNot := range [][]string{
		{"put", "/other", "2"},
		{"get", "/other"},
		{"get", "--prefix", "/lease"},
		{"put", "/leasehold", "1"}, // beside the prefix, not below it
		{"put", "/leasehold0", "1"},
		{"del", "/other"},
		{"lease", "revoke", lease},
		{"user", "list"},
		{"auth", "disable"},
	} {
		out, err := run(user, append([]string{"etcdctl"}, mayNot...)...)
		if err == nil || !strings.Contains(out, "permission denied") {
			t.Errorf("etcdctl %v: %v, want permission denied; printed %s", mayNot, err, out)
		}
	}
	for _, old := range []string{"leasehold:first", ""} {
		if out, err := run(old, "etcdctl", "get", "/leasehold/x"); err == nil {
			t.Errorf("get as %q went through: %s", old, out)
		}
	}
}
