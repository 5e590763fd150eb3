package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// need returns the path of a program. Without it a test is skipped on a
// developer's machine, and fails where CI is set.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("CI is set, so this test must run: %v; install etcd-server and etcd-client", err)
	default:
		t.Skipf("%v; install etcd-server and etcd-client", err)
	}
	return path
}

// freeURL returns an https URL that nobody listens on.
func freeURL(t *testing.T, addr netip.Addr) string {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "https://" + l.Addr().String()
}

// startMembers runs an etcd member for each node, which talk TLS to their clients and
// to each other, and ask both for a certificate. It returns their clients' URLs.
func startMembers(t *testing.T, dir string, nodes []Node) (urls []string) {
	t.Helper()
	etcd, data := need(t, "etcd"), t.TempDir()
	var peers, cluster []string
	for _, n := range nodes {
		urls, peers = append(urls, freeURL(t, n.Addrs[0])), append(peers, freeURL(t, n.Addrs[0]))
		cluster = append(cluster, n.Name+"="+peers[len(peers)-1])
	}
	for i, n := range nodes {
		in := func(name string) string { return filepath.Join(dir, name) }
		cmd := exec.Command(etcd, "--name", n.Name, "--data-dir", filepath.Join(data, n.Name),
			"--listen-client-urls", urls[i], "--advertise-client-urls", urls[i],
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new",
			"--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn",
			"--client-cert-auth", "--trusted-ca-file", in("ca.pem"), "--cert-file", in(CertFile(n.Name)), "--key-file", in(KeyFile(n.Name)),
			"--peer-client-cert-auth", "--peer-trusted-ca-file", in("ca.pem"), "--peer-cert-file", in(CertFile(n.Name)), "--peer-key-file", in(KeyFile(n.Name)))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		log, err := os.Create(filepath.Join(data, n.Name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed: an error by design
			log.Close()
			if t.Failed() {
				b, _ := os.ReadFile(log.Name())
				t.Logf("%s wrote last:\n%s", n.Name, b[max(0, len(b)-1500):])
			}
		})
	}
	return urls
}

// health asks all members with a node's files, of which each may be left out.
func health(t *testing.T, urls []string, ca, cert, key string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	args := []string{"--endpoints", strings.Join(urls, ","), "--dial-timeout", "1s", "--command-timeout", "2s"}
	for flag, path := range map[string]string{"--cacert": ca, "--cert": cert, "--key": key} {
		if path != "" {
			args = append(args, flag, path)
		}
	}
	cmd := exec.CommandContext(ctx, need(t, "etcdctl"), append(args, "endpoint", "health")...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Three members of Debian's etcd find together with these files, answer whoever has
// one of them, and nobody else; a renewed certificate counts without a restart.
func TestEtcd(t *testing.T) {
	need(t, "etcdctl")
	o, now := order(t), time.Now()
	o.Nodes = nil
	for i := range 3 {
		o.Nodes = append(o.Nodes, Node{fmt.Sprintf("db20-02%d", i), []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)})}})
	}
	// Valid for an hour only, so that the members' renewed ones are what is seen later.
	o.Valid = time.Hour
	carryOut(t, o, now)
	in := func(name string) string { return filepath.Join(o.Dir, name) }
	urls := startMembers(t, o.Dir, o.Nodes)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(30 * time.Second); ; <-tick.C {
		out, err := health(t, urls, in("ca.pem"), in("db20-020.pem"), in("db20-020.key"))
		if err == nil && strings.Count(out, "is healthy") == 3 {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("the members do not become healthy: %v\n%s", err, out)
		}
	}

	stranger := order(t)
	carryOut(t, stranger, now)
	out := func(name string) string { return filepath.Join(stranger.Dir, name) }
	for name, c := range map[string]struct{ ca, cert, key string }{
		"no certificate":       {in("ca.pem"), "", ""},
		"a stranger":           {in("ca.pem"), out("witness.pem"), out("witness.key")},
		"of a stranger's etcd": {out("ca.pem"), in("db20-020.pem"), in("db20-020.key")},
	} {
		if says, err := health(t, urls[:1], c.ca, c.cert, c.key); err == nil {
			t.Errorf("%s is let in: %s", name, says)
		}
	}

	o.Renew, o.Valid = true, DefaultValid
	p := carryOut(t, o, now)
	for i, url := range urls {
		client := end(t, o.Dir, "db20-021")
		client.Time = func() time.Time { return now.Add(2 * time.Hour) } // the first ones are over
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		d := tls.Dialer{Config: client}
		conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(url, "https://"))
		cancel()
		if err != nil {
			t.Errorf("%s after it was renewed (%+v): %v", o.Nodes[i].Name, p.Nodes[i], err)
			continue
		}
		conn.Close()
	}
	if says, err := health(t, urls, in("ca.pem"), in("db20-022.pem"), in("db20-022.key")); err != nil {
		t.Errorf("with renewed certificates: %v\n%s", err, says)
	}
}
