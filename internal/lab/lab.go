// Package lab is the test network: hosts in network namespaces of their own on
// one switch, with the real etcd, MariaDB, keepalived and leasehold running on
// them, the faults an operator tried by hand, and instruments that watch the
// wire and the kernels from outside.
//
// It owns every process, namespace and file that it makes, and takes all of
// them away again. It knows nothing of leases or elections, and asks the
// product nothing: what it reports was seen by a client, a sniffer on the
// switch, or the kernels. It does not import package testing, so that a command
// may link it; tests use package labtest.
//
// A test of a failover, without its error handling:
//
//	l := labtest.Start(t, lab.Config{}, lab.NeedsEtcd, lab.NeedsMariaDB)
//	etcd, _ := l.StartEtcd(ctx, lab.EtcdConfig{})
//	db, _ := l.StartMariaDB(ctx, lab.MariaDBConfig{})
//	for _, host := range []string{lab.A, lab.B} {
//		conf, _ := l.NodeConfig(host, etcd)
//		conf.Checks = db.Checks(host)
//		l.WriteConfig(host, conf.YAML())
//		l.StartDaemon(host, binary)
//	}
//	obs, _ := l.Observe()
//	obs.Prober.WaitAnswer(ctx, "", 10*time.Second)
//	holder, _ := obs.Prober.Answering()
//	fault := time.Now()
//	db.Process(holder).Kill()
//	…
//	_, err := obs.Stop()
//	fmt.Println(obs.Report(fault, time.Now())) // a → b  gap 10.4 ms  lost 4/7 …
//
// What is started ends with Close at the latest: the functions called Start
// start processes and goroutines, which nothing else here does.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// The seats of the network that New builds when no hosts are given.
const (
	A      = "a"      // db20-024, 10.20.8.50: an etcd member and a MariaDB
	B      = "b"      // db20-025, 10.20.8.27: likewise
	C      = "c"      // etcd3, 10.20.8.28: the third etcd member
	Client = "client" // 10.20.8.99: a client of the service
	// observer is the seat of the ARP prober. It is apart from the client
	// because Linux learns from any ARP reply that is sent to its own MAC: the
	// prober's replies would mend a neighbour entry of the client that a lost
	// announcement had left stale.
	observer = "observer"
)

// Host is one seat: a network namespace with one interface, eth0.
type Host struct {
	Key   string       // how the lab's functions call it: "a"
	Name  string       // the node's name: "db20-024"
	Addr  netip.Prefix // its own IPv4 address; the zero Prefix means none
	Addr6 netip.Prefix // its own IPv6 address, used with Config.IPv6
}

// MAC returns the address of the host's eth0: 02:00 and the IPv4 address, so
// that a capture can be read without a table.
func (h Host) MAC() net.HardwareAddr {
	if !h.Addr.IsValid() {
		return net.HardwareAddr{0x02, 0, 0, 0, 0, 0xfe}
	}
	ip := h.Addr.Addr().As4()
	return net.HardwareAddr{0x02, 0, ip[0], ip[1], ip[2], ip[3]}
}

// DefaultHosts returns the operator's two MySQL hosts, the third etcd member
// and a client.
func DefaultHosts() []Host {
	seat := func(key, name, last string) Host {
		return Host{
			Key: key, Name: name,
			Addr:  netip.MustParsePrefix("10.20.8." + last + "/24"),
			Addr6: netip.MustParsePrefix("fd00:20:8::" + last + "/64"),
		}
	}
	return []Host{
		seat(A, "db20-024", "50"), seat(B, "db20-025", "27"),
		seat(C, "etcd3", "28"), seat(Client, "client", "99"),
	}
}

// DefaultVIP is the virtual IP of the operator's cases.
var DefaultVIP = netip.MustParsePrefix("10.20.8.188/24") //nolint:gochecknoglobals // a constant, but for the type

// Config says what network to build. The zero Config is the operator's.
type Config struct {
	Hosts []Host       // default DefaultHosts
	VIP   netip.Prefix // default DefaultVIP
	IPv6  bool         // give the hosts their IPv6 addresses too
	// Dir is where the lab makes its own directory; default /dev/shm when it
	// has 1.5 GB free (three etcd members allocate 128 MB of log each), else
	// os.TempDir.
	Dir string
	// Name is for a lab that people look into: its namespaces are called NAME-KEY,
	// and its directory is Dir itself, which must not exist. There can be one of a
	// name on a machine, and Reclaim removes what a killed one has left. Without a
	// name it gets one that nobody else uses.
	Name string
}

// Lab is one running test network. Its methods are safe for use by several
// goroutines at once.
type Lab struct {
	VIP  netip.Prefix
	dir  string
	name string // prefix of everything that has a name on the machine
	net  *network

	mu      sync.Mutex
	procs   []*Process
	mounts  []string       // of each host's bpffs
	closers []func() error // ended in reverse order
	closed  bool
}

// New builds the network: switch, hosts, addresses. Nothing runs on it yet.
// It needs CAP_SYS_ADMIN and CAP_NET_ADMIN (root), see Check. The caller must
// Close the lab; on error nothing is left behind.
func New(ctx context.Context, cfg Config) (*Lab, error) {
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = DefaultHosts()
	}
	if !cfg.VIP.IsValid() {
		cfg.VIP = DefaultVIP
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &Lab{VIP: cfg.VIP, name: cfg.Name}
	var err error
	if cfg.Name != "" {
		l.dir, err = cfg.Dir, os.Mkdir(cfg.Dir, 0o700)
	} else {
		l.name = nextName()
		l.dir, err = os.MkdirTemp(cmp.Or(cfg.Dir, fastDir()), l.name+"-")
	}
	if err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	if l.net, err = buildNetwork(l.name, cfg.Hosts, cfg.IPv6); err != nil {
		return nil, errors.Join(err, os.RemoveAll(l.dir))
	}
	return l, nil
}

// Close kills every process of the lab, stops its instruments, and removes its
// namespaces and files. It is safe to call again. Wait for the calls that use
// the lab before closing it.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	closers, procs := l.closers, l.procs
	l.mu.Unlock()

	var errs []error
	for _, f := range slices.Backward(closers) {
		errs = append(errs, f())
	}
	for _, p := range procs {
		p.end()
	}
	errs = append(errs, l.reap(), l.net.close(), removeDir(l.dir))
	return errors.Join(errs...)
}

// Dir returns the lab's directory, which Close removes.
func (l *Lab) Dir() string { return l.dir }

// HostDir returns the directory of one host in the lab's directory.
func (l *Lab) HostDir(host string) (string, error) {
	h, err := l.Host(host)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(l.dir, h.Key)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("make the directory of host %s: %w", host, err)
	}
	return dir, nil
}

// Host returns one host by its key.
func (l *Lab) Host(key string) (Host, error) {
	s, err := l.net.seat(key)
	if err != nil {
		return Host{}, err
	}
	return s.Host, nil
}

// onClose registers f to run when the lab closes, before its processes end.
func (l *Lab) onClose(f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("the lab is closed")
	}
	l.closers = append(l.closers, f)
	return nil
}

// Wait polls cond until it returns true, every 2 ms. It gives up when ctx ends
// or after limit, with an error that names what was waited for and what cond
// last said.
func Wait(ctx context.Context, limit time.Duration, what string, cond func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := cond()
		if ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last: %w)", what, context.Cause(ctx), orNotYet(err))
		case <-tick.C:
		}
	}
}

var errNotYet = errors.New("not yet")

func orNotYet(err error) error {
	if err == nil {
		return errNotYet
	}
	return err
}
