package election

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// etcdServer is one etcd member on loopback, a child process of the test.
type etcdServer struct {
	url  string // of its clients
	peer string
	dir  string
	args []string
	tls  *tls.Config // how the test asks it

	mu  sync.Mutex
	cmd *exec.Cmd
}

// needEtcd returns the path of etcd. Without one a test is skipped on a
// developer's machine, and fails where CI is set.
func needEtcd(tb testing.TB) string {
	tb.Helper()
	path, err := exec.LookPath("etcd")
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		tb.Fatalf("CI is set, so this test must run: %v; install etcd-server", err)
	default:
		tb.Skipf("%v; install etcd-server", err)
	}
	return path
}

// freePort returns a port that nobody listens on.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// newEtcd prepares the members of one cluster without starting them.
func newEtcd(tb testing.TB, n int, args ...string) []*etcdServer {
	tb.Helper()
	needEtcd(tb)
	var all []*etcdServer
	var cluster []string
	for i := range n {
		s := &etcdServer{
			url: fmt.Sprintf("http://127.0.0.1:%d", freePort(tb)), peer: fmt.Sprintf("http://127.0.0.1:%d", freePort(tb)),
			dir: filepath.Join(tb.TempDir(), "etcd"),
		}
		all = append(all, s)
		cluster = append(cluster, fmt.Sprintf("m%d=%s", i, s.peer))
		tb.Cleanup(func() { s.kill(tb) })
	}
	for i, s := range all {
		s.args = append([]string{
			"--name", fmt.Sprintf("m%d", i), "--data-dir", s.dir,
			"--listen-peer-urls", s.peer, "--initial-advertise-peer-urls", s.peer,
			"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new",
			"--heartbeat-interval", "100", "--election-timeout", "500",
			"--logger", "zap", "--log-outputs", "stderr", "--log-level", "error",
		}, args...)
	}
	return all
}

// startEtcd starts a cluster of n members and waits until it has a leader.
func startEtcd(tb testing.TB, n int, args ...string) []*etcdServer {
	tb.Helper()
	all := newEtcd(tb, n, args...)
	for _, s := range all {
		s.start(tb)
	}
	for _, s := range all {
		s.ready(tb)
	}
	return all
}

// start starts the member, at first or again, and does not wait for it.
func (s *etcdServer) start(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := exec.Command(needEtcd(tb), append(s.args, "--listen-client-urls", s.url, "--advertise-client-urls", s.url)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(s.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	s.cmd = cmd
}

func (s *etcdServer) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		tb.Fatalf("%s does not run", s.url)
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		tb.Errorf("signal %v to etcd %s: %v", sig, s.url, err)
	}
}

// kill ends the member, if it runs, and waits until it is gone.
func (s *etcdServer) kill(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
	if tb.Failed() {
		b, _ := os.ReadFile(s.dir + ".log")
		tb.Logf("%s wrote last:\n%s", s.url, b[max(0, len(b)-1500):])
	}
}

// ready waits until the member answers a linearizable read.
func (s *etcdServer) ready(tb testing.TB) {
	tb.Helper()
	cli := s.client(tb)
	eventually(tb, 20*time.Second, "etcd "+s.url+" answers", func() bool {
		ctx, cancel := context.WithTimeout(tb.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := cli.Get(ctx, "x")
		return err == nil
	})
}

// client returns a plain client, for what an operator or a stranger does.
func (s *etcdServer) client(tb testing.TB) *clientv3.Client {
	tb.Helper()
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{s.url}, TLS: s.tls, Logger: zap.NewNop()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cli.Close() })
	return cli
}

// eventually polls until cond holds and returns how long that took.
func eventually(tb testing.TB, limit time.Duration, what string, cond func() bool) time.Duration {
	tb.Helper()
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Since(start) > limit {
			tb.Fatalf("not within %v: %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(start)
}

// shared is one etcd for all tests that do it no harm. They have a service each.
type shared struct {
	once   sync.Once
	server *etcdServer
	dir    string
}

var common shared

// sharedEtcd returns the shared etcd, started at the first call. TestMain ends it.
func sharedEtcd(tb testing.TB) *etcdServer {
	tb.Helper()
	needEtcd(tb)
	common.once.Do(func() {
		dir, err := os.MkdirTemp("", "leasehold-etcd-") //nolint:usetesting // it outlives the test that comes first
		if err != nil {
			tb.Fatal(err)
		}
		peer := fmt.Sprintf("http://127.0.0.1:%d", freePort(tb))
		common.dir = dir
		common.server = &etcdServer{url: fmt.Sprintf("http://127.0.0.1:%d", freePort(tb)), dir: filepath.Join(dir, "etcd"), args: []string{
			"--data-dir", filepath.Join(dir, "etcd"), "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", "default=" + peer, "--heartbeat-interval", "100", "--election-timeout", "500",
			"--logger", "zap", "--log-outputs", "stderr", "--log-level", "error",
		}}
		common.server.start(tb)
	})
	if common.server == nil {
		tb.Fatal("the shared etcd could not be started")
	}
	common.server.ready(tb)
	return common.server
}

func (s *shared) close() {
	if s.server == nil {
		return
	}
	if c := s.server.cmd; c != nil {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
