package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"leasehold/internal/lab"
)

// patience is the limit for what is waited for and not measured.
const patience = 20 * time.Second

// mysqld are the servers behind the VIP, real or not; *lab.MariaDB is the real one.
type mysqld interface {
	Start(host string) error
	WaitReady(ctx context.Context, host string) error
	Process(host string) *lab.Process
	Checks(host string) []string
}

// network is the test network with everything running on it. Its methods may be
// called by several goroutines at once.
type network struct {
	lab    *lab.Lab
	obs    *lab.Observer
	sql    *lab.MySQLProber // nil with stand-ins
	binary string
	mysqld mysqld
	real   bool // mysqld is a MariaDB
	fenced bool
	ttl    time.Duration
	etcd   *members

	mu        sync.Mutex
	daemons   map[string]*lab.Process
	unplugged map[string]bool
	off       map[string]bool
	apart     bool
}

// build makes the network in a place and starts the servers; no node runs yet. The
// caller closes the lab; on error there is none.
func build(ctx context.Context, p place, o Options, fenced bool) (*network, error) {
	l, err := lab.New(ctx, p.lab())
	if err != nil {
		return nil, err
	}
	n := &network{
		lab: l, binary: o.Binary, fenced: fenced, ttl: fencedTTL,
		daemons: map[string]*lab.Process{}, unplugged: map[string]bool{}, off: map[string]bool{},
	}
	if !fenced {
		n.ttl = unfencedTTL
	}
	if err := n.furnish(ctx, o); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// furnish starts what the network has besides the nodes.
func (n *network) furnish(ctx context.Context, o Options) error {
	access, err := certificates(n.lab)
	if err != nil {
		return err
	}
	n.etcd = newMembers(n.lab, access)
	mysqlHosts := []string{hostA, hostB}
	if o.NoMySQL {
		n.mysqld = &standIns{lab: n.lab, binary: o.Binary, running: map[string]*lab.Process{}}
		for _, h := range mysqlHosts {
			if _, err := n.lab.HostDir(h); err != nil {
				return err
			}
			if err := errors.Join(n.mysqld.Start(h), n.mysqld.WaitReady(ctx, h)); err != nil {
				return err
			}
		}
	} else {
		db, err := n.lab.StartMariaDB(ctx, lab.MariaDBConfig{Hosts: mysqlHosts})
		if err != nil {
			return err
		}
		n.mysqld, n.real = db, true
	}
	for _, h := range nodes() {
		if err := n.configure(h); err != nil {
			return err
		}
	}
	if n.real {
		if n.sql, err = n.lab.StartMySQLProber(n.lab.VIP.Addr(), slice); err != nil {
			return err
		}
	}
	n.obs, err = n.lab.Observe(mysqlHosts...)
	return err
}

// close ends everything and removes it.
func (n *network) close() error {
	var err error
	if n.etcd != nil {
		err = n.etcd.close()
	}
	return errors.Join(err, n.lab.Close())
}

// startNode starts the node of a host, unless it runs: one process, as the unit
// starts it.
func (n *network) startNode(host string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.daemons[host]; p != nil && p.Running() {
		return nil
	}
	p, err := n.lab.StartDaemon(host, n.binary)
	if err == nil {
		n.daemons[host] = p
	}
	return err
}

// node returns the latest process of a host's node; nil before the first.
func (n *network) node(host string) *lab.Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.daemons[host]
}

// startMySQL starts the server of a host, unless it runs.
func (n *network) startMySQL(host string) error {
	if host == witness {
		return nil
	}
	if p := n.mysqld.Process(host); p != nil && p.Running() {
		return nil
	}
	return n.mysqld.Start(host)
}

// plug puts the cable of a host in, or pulls it.
func (n *network) plug(host string, in bool) error {
	do := n.lab.CablePull
	if in {
		do = n.lab.CablePlug
	}
	if err := do(host); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unplugged[host] = !in
	return nil
}

// part has the two MySQL hosts not reach each other, or again.
func (n *network) part(apart bool) error {
	do := n.lab.Join
	if apart {
		do = n.lab.Isolate
	}
	if err := do(hostA, hostB); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.apart = apart
	return nil
}

// powerOff ends a host: cable dead, every process killed, and what is in memory
// only forgotten.
func (n *network) powerOff(host string) error {
	if err := n.lab.PowerOff(host); err != nil {
		return err
	}
	n.mu.Lock()
	n.off[host] = true
	n.mu.Unlock()
	err := os.RemoveAll(n.lab.RunDir(host))
	if n.fenced && host != witness {
		bpf, berr := n.lab.BPFDir(host)
		err = errors.Join(err, berr, os.RemoveAll(bpf))
	}
	return err
}

// powerOn starts a host again, with all that is to run on it.
func (n *network) powerOn(host string) error {
	if err := errors.Join(n.lab.PowerOn(host), n.configure(host), n.startMySQL(host), n.startNode(host)); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.off[host] = false
	return nil
}

// mend connects what is not connected, and starts what does not run.
func (n *network) mend() error {
	errs := []error{n.part(false)}
	for _, h := range nodes() {
		n.mu.Lock()
		off := n.off[h]
		n.mu.Unlock()
		if off {
			errs = append(errs, n.powerOn(h))
		}
		errs = append(errs, n.plug(h, true), n.startMySQL(h), n.startNode(h))
	}
	return errors.Join(errs...)
}

// leasehold runs an operator's command on a host, and returns what it says.
func (n *network) leasehold(ctx context.Context, host string, args ...string) (string, error) {
	out, err := n.lab.Exec(ctx, host, n.binary, append(args, "--config", n.lab.ConfigFile(host))...)
	return strings.TrimSpace(out), err
}

// ready waits until everything is well: one host answers, the other could take
// over, and all of etcd's members agree on a leader. It returns who answers.
func (n *network) ready(ctx context.Context) (holder string, err error) {
	err = patiently(ctx, "the demo's network to be well", func() (bool, error) {
		holder, _ = n.obs.Prober.Answering()
		if holder == "" {
			return false, errors.New("nobody answers for the VIP")
		}
		k, err := n.etcd.keys(ctx)
		if err != nil {
			return false, err
		}
		if k.holder != holder || k.paused {
			return false, fmt.Errorf("%s answers, and etcd has %q for the holder (paused: %t)", holder, k.holder, k.paused)
		}
		for _, h := range []string{hostA, hostB} {
			if !slices.Contains(k.eligible, h) {
				return false, fmt.Errorf("%s is not eligible", h)
			}
		}
		_, err = n.etcd.leader(ctx)
		return err == nil, err
	})
	return holder, err
}
