package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"leasehold/internal/certs"
)

// configEnv has this test's binary run a member, in a process of its own as it
// will be.
const configEnv = "LEASEHOLD_TEST_MEMBER"

func TestMain(m *testing.M) {
	if text := os.Getenv(configEnv); text != "" {
		os.Exit(runMember(text))
	}
	goleak.VerifyTestMain(m)
}

func runMember(text string) int {
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := hclog.New(&hclog.LoggerOptions{Output: os.Stderr})
	if err := Run(ctx, c, func(State) {}, log); err != nil {
		log.Error("ended", "err", err)
		return 1
	}
	return 0
}

// cluster is some members on loopback addresses of their own.
type cluster struct {
	t     *testing.T
	peers []Peer
	ports [2]int // of clients, of peers
	dir   string
	procs map[string]*exec.Cmd
	logs  map[string]string
}

// clusters gives each cluster of this test a net of its own.
var clusters atomic.Int32

func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), procs: map[string]*exec.Cmd{}, logs: map[string]string{}}
	net := byte(clusters.Add(1))
	for i, n := range names {
		c.peers = append(c.peers, Peer{n, netip.AddrFrom4([4]byte{127, byte(os.Getpid()%200 + 1), net, byte(i + 1)})})
	}
	c.ports = [2]int{freePort(t, c.peers[0].Addr), freePort(t, c.peers[0].Addr)}
	t.Cleanup(func() {
		for name := range c.procs {
			c.kill(name, syscall.SIGKILL)
		}
		if t.Failed() {
			for name, log := range c.logs {
				b, _ := os.ReadFile(log)
				t.Logf("--- %s\n%s", name, b)
			}
		}
	})
	return c
}

func freePort(t *testing.T, addr netip.Addr) int {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// config is that of one member, with some things changed.
func (c *cluster) config(name string, edits ...func(*Config)) Config {
	conf := Config{
		Name: name, Peers: c.peers, Dir: filepath.Join(c.dir, name, "etcd"), ClientPort: c.ports[0], PeerPort: c.ports[1],
		Heartbeat: 20 * time.Millisecond, Election: 200 * time.Millisecond, Quota: 64 << 20, Version: "test",
	}
	for _, e := range edits {
		e(&conf)
	}
	return conf
}

func (c *cluster) start(name string, edits ...func(*Config)) {
	c.t.Helper()
	b, err := json.Marshal(c.config(name, edits...))
	if err != nil {
		c.t.Fatal(err)
	}
	c.logs[name] = filepath.Join(c.dir, name+".log")
	out, err := os.OpenFile(c.logs[name], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), configEnv+"="+string(b))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.procs[name] = cmd
}

// kill ends a member's process with a signal, and waits for its end.
func (c *cluster) kill(name string, sig syscall.Signal) {
	if cmd := c.procs[name]; cmd != nil {
		_ = cmd.Process.Signal(sig) // it may have ended
		_ = cmd.Wait()              // killed: an error by design
		delete(c.procs, name)
	}
}

// until waits for what a member's process says of itself.
func (c *cluster) until(name, state, why string) State {
	c.t.Helper()
	var s State
	c.wait(fmt.Sprintf("%s to be %s: %s", name, state, why), func() bool {
		s, _ = ReadState(c.config(name).Dir)
		return s.State == state && strings.Contains(s.Why, why)
	})
	return s
}

func (c *cluster) wait(what string, cond func() bool) {
	c.t.Helper()
	limit := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(limit) {
			var states []string
			for _, p := range c.peers {
				s, ok := ReadState(c.config(p.Name).Dir)
				states = append(states, fmt.Sprint(p.Name, ": ", s, ok))
			}
			c.t.Fatalf("waited in vain for %s; %v", what, states)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *cluster) client(name string) *clientv3.Client {
	c.t.Helper()
	conf := c.config(name)
	u := conf.url(conf.own().Addr, conf.ClientPort)
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{u.String()}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cli.Close() })
	return cli
}

// put writes through a member, as soon as there is a leader.
func (c *cluster) put(name, key, value string) {
	c.t.Helper()
	cli := c.client(name)
	c.wait("a write through "+name, func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		_, err := cli.Put(ctx, key, value)
		return err == nil
	})
}

// The first start, in whatever order: alone a member waits, with a majority it
// starts, and the last one finds them. A restart needs nobody.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	c.start("b")
	c.until("b", Waiting, "2 of 3 members have to be there; missing: a (connection refused)")
	c.start("c")
	c.until("b", Running, "")
	c.until("c", Running, "")
	c.put("b", "k", "v")
	c.start("a")
	c.until("a", Running, "")
	c.put("a", "k", "w")
	for _, name := range []string{"a", "b", "c"} {
		c.kill(name, syscall.SIGTERM)
		if _, ok := ReadState(c.config(name).Dir); ok {
			t.Errorf("the lock of %s outlives its process", name)
		}
	}
	c.start("c")
	c.start("a")
	c.until("a", Running, "")
	r, err := c.client("a").Get(t.Context(), "k")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "w" {
		t.Errorf("after a restart of two: %v, %v", r, err)
	}
}

// A member whose data are gone, with and without the record of them, is refused
// with what to do, whether it can ask anybody or not. Nothing is destroyed by that.
func TestDataGone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	for _, p := range c.peers {
		c.start(p.Name)
	}
	c.put("a", "k", "v")
	for _, p := range c.peers {
		c.until(p.Name, Running, "")
	}
	c.kill("c", syscall.SIGKILL)
	conf := c.config("c")
	if err := os.RemoveAll(conf.Dir); err != nil {
		t.Fatal(err)
	}
	c.start("c")
	c.until("c", Waiting, "leasehold member replace c")
	c.kill("c", syscall.SIGTERM)
	if err := os.Remove(recordFile(conf.Dir)); err != nil {
		t.Fatal(err)
	}
	c.start("c") // as on a new disk; the others know
	c.until("c", Waiting, "leasehold member replace c")

	// Replaced, as the command does it.
	cli := c.client("a")
	l, err := cli.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range l.Members {
		if m.Name == "c" {
			if _, err := cli.MemberRemove(t.Context(), m.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.until("c", Waiting, "leasehold member add c")
	c.wait("the others to take a new member", func() bool { // not in their first seconds: etcd's HealthInterval
		_, err := cli.MemberAdd(t.Context(), []string{conf.peerURL(conf.own())})
		return err == nil
	})
	c.until("c", Running, "")
	c.put("c", "k", "w")
}

// A node that lost its disk and can reach nobody must not begin a cluster anew.
func TestNewDiskAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	c.start("a")
	c.until("a", Waiting, "2 of 3 members")
	if HasData(c.config("a").Dir) {
		t.Error("a member that waits has made data")
	}
}

// Damaged data are found before etcd panics on them, and are left as they are.
func TestDamaged(t *testing.T) {
	t.Parallel()
	log := func(dir string) string {
		files, _ := filepath.Glob(filepath.Join(walDir(dir), "*.wal"))
		return files[0]
	}
	for name, damage := range map[string]struct {
		file func(dir string) string
		at   int64
		with string
		says string
	}{
		"database":                   {dbFile, 0, strings.Repeat("garbage ", 2048), "are damaged (database"},
		"log":                        {log, 200, strings.Repeat("garbage ", 2048), "are damaged ("},
		"one bit in the log":         {log, 300, "x", "are damaged (log"},
		"log cut, as if it was torn": {log, 400, strings.Repeat("\x00", 4096), "are damaged ("},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, "a")
			c.start("a")
			c.put("a", "k", "v")
			c.kill("a", syscall.SIGTERM)
			file := damage.file(c.config("a").Dir)
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte(damage.with), damage.at)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c.start("a")
			c.until("a", Waiting, damage.says)
			after, err := os.ReadFile(file)
			if err != nil || string(after) != string(before) {
				t.Errorf("the damaged file was changed: %v", err)
			}
			if _, err := Wipe(c.config("a").Dir); !errors.Is(err, errInUse) {
				t.Errorf("wiped under a process: %v", err)
			}
			c.kill("a", syscall.SIGTERM)
			if removed, err := Wipe(c.config("a").Dir); err != nil || len(removed) != 2 {
				t.Errorf("wiped %v, %v", removed, err)
			}
		})
	}
}

// A log that was cut is shorter than what its database has taken in.
func TestDatabaseAheadOfItsLog(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a")
	c.start("a")
	c.put("a", "k", "v")
	c.kill("a", syscall.SIGTERM)
	dir := c.config("a").Dir
	id, err := readIdentity(dir)
	if err != nil || id.last < 2 {
		t.Fatalf("got %+v, %v", id, err)
	}
	if err := checkDB(dir, id.last); err != nil {
		t.Errorf("good data: %v", err)
	}
	if err := checkDB(dir, 1); err == nil || !strings.Contains(err.Error(), "and the log ends at 1") {
		t.Errorf("got %v", err)
	}
}

// What is wrong with the host or its configuration is said before anything starts.
func TestRefusedHere(t *testing.T) {
	c := newCluster(t, "a")
	busy, err := net.Listen("tcp", netip.AddrPortFrom(c.peers[0].Addr, uint16(c.ports[1])).String())
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for name, tc := range map[string]struct {
		edit func(*Config)
		says string
	}{
		"an address of another host": {func(c *Config) { c.Peers = []Peer{{"a", netip.MustParseAddr("192.0.2.1")}} }, "192.0.2.1 is no address of this host"},
		"a port that is taken":       {func(*Config) {}, fmt.Sprintf("port %d of %s is taken", c.ports[1], c.peers[0].Addr)},
	} {
		t.Run(name, func(t *testing.T) {
			c.start("a", tc.edit)
			defer c.kill("a", syscall.SIGTERM)
			c.until("a", Waiting, tc.says)
			if _, err := os.Stat(c.config("a").Dir); err == nil {
				t.Error("something was made nevertheless")
			}
		})
	}
}

// The members' lists differ between two nodes that start for the first time.
func TestListsDiffer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	c.start("a")
	c.start("b", func(conf *Config) { conf.Peers = conf.Peers[:2] })
	c.until("a", Waiting, "make etcd.embedded the same on every node")
	c.until("b", Waiting, "make etcd.embedded the same on every node")
}

// Data of another cluster, and of another node, are not taken.
func TestForeignData(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	for _, p := range c.peers {
		c.start(p.Name)
	}
	for _, p := range c.peers {
		c.until(p.Name, Running, "")
	}
	other := newCluster(t, "c")
	other.start("c")
	other.until("c", Running, "")
	other.kill("c", syscall.SIGTERM)
	c.kill("c", syscall.SIGTERM)
	c.start("c", func(conf *Config) { conf.Dir = other.config("c").Dir })
	other.until("c", Waiting, "and a is in cluster")
	c.kill("c", syscall.SIGTERM)
	c.kill("b", syscall.SIGTERM)
	c.start("b", func(conf *Config) { conf.Name, conf.Peers = "c", []Peer{{"c", conf.Peers[1].Addr}, conf.Peers[0]} })
	c.until("b", Waiting, "are those of member b, and this node is c")
}

// A database that has reached its quota is compacted, and takes writes again
// without anybody's help.
func TestQuotaMended(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a")
	c.start("a", func(conf *Config) { conf.Quota = 2 << 20 })
	c.until("a", Running, "")
	cli := c.client("a")
	big := strings.Repeat("x", 100<<10)
	full := false
	for range 200 {
		if _, err := cli.Put(t.Context(), "k", big); err != nil {
			full = true
			break
		}
	}
	if !full {
		t.Fatal("20 MB went into a quota of 2")
	}
	c.put("a", "k", "v")
	a, err := cli.AlarmList(t.Context())
	if err != nil || len(a.Alarms) != 0 {
		t.Errorf("alarms %v, %v", a, err)
	}
}

// With certificates members know each other by them: clients and members of another
// CA stay outside, at the start and after it.
func TestCertificates(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	tls := func(dir string) func(*Config) {
		var nodes []certs.Node
		for _, p := range c.peers {
			nodes = append(nodes, certs.Node{Name: p.Name, Addrs: []netip.Addr{p.Addr}})
		}
		plan, err := certs.Prepare(certs.Order{Dir: dir, Nodes: nodes, Valid: time.Hour, CAValid: 2 * time.Hour}, time.Now())
		if err == nil {
			err = plan.Write()
		}
		if err != nil {
			t.Fatal(err)
		}
		return func(conf *Config) {
			conf.TLS = TLS{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, conf.Name+".pem"), Key: filepath.Join(dir, conf.Name+".key")}
		}
	}
	ours, foreign := tls(filepath.Join(c.dir, "ours")), tls(filepath.Join(c.dir, "foreign"))
	c.start("a", ours)
	c.start("b", foreign)
	c.until("a", Waiting, "b (tls: ")
	c.until("b", Waiting, "a (tls: ")
	c.kill("b", syscall.SIGTERM)
	c.start("b", ours)
	c.until("a", Running, "")
	c.until("b", Running, "")
	c.start("c", foreign)
	c.until("c", Waiting, "a (tls: ")
	c.kill("c", syscall.SIGTERM)
	c.start("c", ours)
	c.until("c", Running, "")

	for name, edit := range map[string]func(*Config){"ours": ours, "foreign": foreign} {
		conf := c.config("a", edit)
		tlsConf, err := conf.TLS.config()
		if err != nil {
			t.Fatal(err)
		}
		u := conf.url(conf.own().Addr, conf.ClientPort)
		cli, err := clientv3.New(clientv3.Config{Endpoints: []string{u.String()}, TLS: tlsConf, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err = cli.Put(ctx, "k", "v")
		cancel()
		cli.Close()
		if (err == nil) != (name == "ours") {
			t.Errorf("a client with certificates %s: %v", name, err)
		}
	}
}

// Who runs already is kept, who has ended is started again, and who is to end does.
func TestSupervisor(t *testing.T) {
	c := newCluster(t, "a")
	b, err := json.Marshal(c.config("a"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(configEnv, string(b))
	s := &Supervisor{Path: os.Args[0], Dir: c.config("a").Dir, Output: os.Stderr, Log: hclog.NewNullLogger()}
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(func() { // what a supervisor started outlives a test that failed
		if s, ok := ReadState(c.config("a").Dir); ok {
			_ = syscall.Kill(s.PID, syscall.SIGKILL)
		}
	})
	stop := run()
	first := c.until("a", Running, "")
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.wait("another process", func() bool {
		s, ok := ReadState(c.config("a").Dir)
		return ok && s.State == Running && s.PID != first.PID
	})
	stop()
	if s, ok := ReadState(c.config("a").Dir); ok {
		t.Errorf("the member outlives its supervisor's end: %+v", s)
	}

	c.start("a") // by somebody else
	there := c.until("a", Running, "")
	stop = run() // and at once told to end
	ended := make(chan struct{})
	go func() { _ = c.procs["a"].Wait(); close(ended) }() // ended by the supervisor, not by its child
	stop()
	<-ended
	delete(c.procs, "a")
	if s, ok := ReadState(c.config("a").Dir); ok {
		t.Errorf("process %d was not stopped: %+v", there.PID, s)
	}
}
