package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"leasehold/internal/lab"
)

// world is the network with everything that runs on it, and who watches it.
type world struct {
	*lab.Lab
	o      Options
	nodes  []string // hosts with a daemon
	etcd   *lab.Etcd
	db     *lab.MariaDB
	obs    *lab.Observer
	voices *lab.Voices
	ledger *ledger
	gates  *gates
	units  map[string]*unit // "daemon a"

	mu      sync.Mutex
	wires   map[*Event][]lab.Impairment
	cables  map[string]int // pulled so many times
	links   map[string]int // eth0 set down so many times
	journal []*Event
	exits   []Exit
	usage   []Usage

	members map[uint64]string // etcd's ids
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// Exit is a process that ended although no fault wanted it to.
type Exit struct {
	At   time.Time
	Unit string
	Tail string
}

const (
	// election is etcd's election timeout: what a LAN should have.
	election = 500 * time.Millisecond
	// generous is the limit for what is waited for and not judged.
	generous = 40 * time.Second
)

// openWorld builds everything and returns when the VIP is answered and all nodes
// are eligible. The lab must be closed by the caller, after close.
func openWorld(ctx context.Context, l *lab.Lab, o Options) (*world, error) {
	w := &world{
		Lab: l, o: o, nodes: []string{lab.A, lab.B, lab.C}[:o.Nodes],
		units: map[string]*unit{}, wires: map[*Event][]lab.Impairment{}, cables: map[string]int{}, links: map[string]int{},
	}
	var err error
	for _, h := range members() {
		if err := w.mountDisk(h); err != nil {
			return nil, err
		}
	}
	// Debian's etcd 3.4 asks before it campaigns only when told to; without that a
	// member that comes back from a partition makes the leader step down.
	if w.etcd, err = l.StartEtcd(ctx, lab.EtcdConfig{Election: election, ExtraArgs: []string{"--pre-vote"}}); err != nil {
		return nil, err
	}
	if w.db, err = l.StartMariaDB(ctx, lab.MariaDBConfig{Hosts: w.nodes}); err != nil {
		return nil, err
	}
	if w.members, err = w.memberIDs(ctx); err != nil {
		return nil, err
	}
	if w.obs, err = l.Observe(w.nodes...); err != nil {
		return nil, err
	}
	if w.voices, err = l.StartVoices(l.VIP.Addr()); err != nil {
		return nil, err
	}
	if err := w.startDaemons(); err != nil {
		return nil, err
	}
	hosts := map[string]string{}
	for _, h := range w.nodes {
		hosts[w.name(h)] = h
	}
	if w.gates, err = watchGates(l, w.nodes); err != nil {
		return nil, err
	}
	w.ledger = openLedger(w.etcd, hosts)
	watching, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.wg.Go(func() { w.revive(watching) })
	if err := w.settled(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// startDaemons writes the configs, starts a daemon on every node, and takes all
// processes under care.
func (w *world) startDaemons() error {
	for i, h := range w.nodes {
		c, err := w.NodeConfig(h, w.etcd)
		if err != nil {
			return err
		}
		c.TTL, c.Checks, c.Priority = w.o.TTL, w.db.Checks(h), 100-10*i
		c.Extra = fmt.Sprintf("    fence: %s\n", w.o.Fence)
		if err := w.WriteConfig(h, c.YAML()); err != nil {
			return err
		}
		w.care("daemon", h, nil, func() (*lab.Process, error) { return w.StartDaemon(h, w.o.Binary) })
		if err := w.units["daemon "+h].start(); err != nil {
			return err
		}
		w.care("mysqld", h, w.db.Process(h), func() (*lab.Process, error) {
			err := w.db.Start(h)
			return w.db.Process(h), err
		})
	}
	for _, h := range members() {
		w.care("etcd", h, w.etcd.Process(h), func() (*lab.Process, error) {
			err := w.etcd.Start(h)
			return w.etcd.Process(h), err
		})
	}
	return nil
}

func (w *world) care(what, host string, p *lab.Process, begin func() (*lab.Process, error)) {
	name := what + " " + host
	w.units[name] = &unit{name: name, begin: begin, p: p}
}

// close ends the watching; processes and instruments end with the lab.
func (w *world) close() {
	w.stop()
	w.wg.Wait()
	w.ledger.close()
	w.gates.close()
}

// revive starts again what ended by itself, as systemd would, and notes it.
func (w *world) revive(ctx context.Context) {
	for lab.Pass(ctx, 100*time.Millisecond) == nil {
		for _, u := range w.units {
			old := u.process()
			ended, err := u.revive()
			if !ended {
				continue
			}
			e := Exit{At: time.Now(), Unit: u.name, Tail: old.Tail(8)}
			if err != nil {
				e.Tail += "\n" + err.Error()
			}
			w.mu.Lock()
			w.exits = append(w.exits, e)
			w.mu.Unlock()
		}
	}
}

// name returns the name of the node on a host.
func (w *world) name(host string) string {
	h, err := w.Host(host)
	if err != nil {
		return host
	}
	return h.Name
}

// resolve returns the host that a plan means.
func (w *world) resolve(ctx context.Context, role string) string {
	switch role {
	case holder:
		return w.holder()
	case standby:
		now := w.holder()
		for _, h := range w.nodes {
			if h != now {
				return h
			}
		}
	case leader:
		return w.leader(ctx)
	}
	return role
}

// holder returns the node that answered last, or else the one in etcd.
func (w *world) holder() string {
	if host, at := w.obs.Prober.Answering(); time.Since(at) < 500*time.Millisecond {
		return host
	}
	if h := w.ledger.now().Holder; h != "" {
		return h
	}
	return w.nodes[0]
}

func (w *world) memberIDs(ctx context.Context) (map[uint64]string, error) {
	ids := map[uint64]string{}
	for _, h := range members() {
		s, err := w.etcd.Status(ctx, h)
		if err != nil {
			return nil, err
		}
		ids[s.Member] = h
	}
	return ids, nil
}

// leader returns the host of etcd's leader, as the first member that answers
// says.
func (w *world) leader(ctx context.Context) string {
	for _, h := range members() {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		s, err := w.etcd.Status(ctx, h)
		cancel()
		if err == nil && w.members[s.Leader] != "" {
			return w.members[s.Leader]
		}
	}
	return members()[0]
}

// leasehold runs an operator's command on a host.
func (w *world) leasehold(ctx context.Context, host string, args ...string) (string, error) {
	return w.Exec(ctx, host, w.o.Binary, append(args, "--config", w.ConfigFile(host))...)
}

// settled waits until the VIP is answered, and all nodes are eligible.
func (w *world) settled(ctx context.Context) error {
	return errors.Join(w.obs.Prober.WaitAnswer(ctx, "", generous), w.allEligible(ctx))
}

func (w *world) allEligible(ctx context.Context) error {
	return lab.Wait(ctx, generous, "all nodes to be eligible", func() (bool, error) {
		p := w.ledger.now()
		if len(p.Eligible) == len(w.nodes) && p.Holder != "" && !p.Paused {
			return true, nil
		}
		return false, fmt.Errorf("etcd has holder %q, eligible %v, paused %t", p.Holder, p.Eligible, p.Paused)
	})
}

// ctl runs etcdctl as an operator who knows which member answers.
func (w *world) ctl(ctx context.Context, args ...string) (string, error) {
	return w.etcd.CtlAt(ctx, lab.Client, []string{w.ledger.member()}, args...)
}
