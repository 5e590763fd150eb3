package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-semver/semver"
	"github.com/hashicorp/go-hclog"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/embed"
)

const (
	// again is how often a member that waits looks whether it still has to.
	again = 300 * time.Millisecond
	// againRefused is how often it does when a human has to change something: to
	// check the data takes a moment each time.
	againRefused = 5 * time.Second
	// clockLimit is how far clocks may be apart at the first start.
	clockLimit = time.Minute
)

// errNoSpace ends a member whose disk is nearly full; it is to be started again,
// and then waits for space.
var errNoSpace = errors.New("stopped before the disk is full")

// Run runs the member until ctx ends, and returns nil then: leadership was handed
// over, and the data are on the disk. It waits for what a start needs for as long
// as that takes, and tells in the log, in the state beside the data and through
// tell what for. An error means that the member has ended by itself, and the
// process should, to be started again.
func Run(ctx context.Context, c Config, tell func(State), log hclog.Logger) (err error) {
	l, err := takeLock(c.Dir, c.Version)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", c.Dir, err)
	}
	defer func() { err = errors.Join(err, l.close()) }()
	m := &process{c: c, lock: l, tell: tell, log: log}
	d, err := m.prepare(ctx)
	if err != nil || d.move == wait { // ctx is over
		return err
	}
	return m.serve(ctx, d)
}

// process is the member's process, from its start to its end.
type process struct {
	c    Config
	lock *lock
	tell func(State)
	log  hclog.Logger
	door *door

	quiet atomic.Bool // etcd's log says no more than debug
}

// say publishes what the member does, and logs it when it is news.
func (m *process) say(state, why string, level hclog.Level) {
	if m.lock.state.State == state && m.lock.state.Why == why {
		return
	}
	if err := m.lock.say(state, why); err != nil {
		m.log.Warn("state not written", "file", LockFile(m.c.Dir), "err", err)
	}
	m.log.Log(level, "member "+state, "why", why)
	m.tell(m.lock.state)
}

// prepare waits until the member may start, and returns how; a decision to wait
// when ctx ended before. The peer port is free again then.
func (m *process) prepare(ctx context.Context) (d decision, err error) {
	defer func() {
		if m.door != nil {
			err = errors.Join(err, m.door.close())
		}
	}()
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return decision{}, nil
		case <-rest.C:
		}
		d := m.look(ctx)
		switch d.move {
		case wait:
			m.say(Waiting, d.why, hclog.Info)
			rest.Reset(again)
		case refuse:
			m.say(Waiting, d.why, hclog.Error)
			rest.Reset(againRefused)
		default:
			for _, n := range d.notes {
				m.log.Warn("configuration", "note", n)
			}
			return d, nil
		}
	}
}

// look finds out what there is, and decides.
func (m *process) look(ctx context.Context) decision {
	if d := m.space(); d != nil {
		return *d
	}
	client, err := m.c.client() // each time: the certificates may be what somebody has to put right
	if err != nil {
		return refusal("certificates: %v", err)
	}
	h, err := m.c.here()
	if err != nil {
		return refusal("%v", err)
	}
	if err := m.ports(ctx, h.data); err != nil {
		return refusal("%v", err)
	}
	return decide(&m.c, h, m.c.askOthers(ctx, client))
}

// space waits while the disk is nearly full.
func (m *process) space() *decision {
	free, err := Free(m.c.Dir)
	switch {
	case err != nil:
		d := refusal("%v", err)
		return &d
	case free < StartReserve:
		return &decision{why: fmt.Sprintf("the disk of %s has %d MB free, and a member needs %d: etcd ends in the middle of a write when there is none; free some, it starts by itself then",
			m.c.Dir, free>>20, StartReserve>>20)}
	}
	return nil
}

// here reads what this host has.
func (c *Config) here() (here, error) {
	var h here
	var err error
	if h.record, err = ReadRecord(c.Dir); err != nil {
		return h, fmt.Errorf("the record of what the data are: %w; remove the file if the data are known to be this node's", err)
	}
	if h.data = HasData(c.Dir); h.data {
		if h.id, h.broken = readIdentity(c.Dir); h.broken == nil {
			h.broken = checkDB(c.Dir, h.id.last)
		}
	}
	return h, nil
}

// ports tries the ports before anything is started. Without data the peer port
// stays open, and tells the others that this member waits.
func (m *process) ports(ctx context.Context, data bool) error {
	own := m.c.own().Addr.String()
	for _, u := range m.c.listenClients() {
		l, err := m.c.listen(ctx, u.Hostname(), m.c.ClientPort)
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	switch {
	case m.door != nil:
		return nil
	case data:
		l, err := m.c.listen(ctx, own, m.c.PeerPort)
		if err != nil {
			return err
		}
		return l.Close()
	}
	var err error
	m.door, err = m.c.openDoor(ctx)
	return err
}

// portProblem says why a port cannot be had, and what to do.
func portProblem(addr string, port int, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is no address of this host: write the address that it has into etcd.embedded.members, or bring the interface up (ip addr)", addr)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d of %s is taken by another program (ss -ltnp sport = :%d tells which): stop it, or choose other ports with client_port and peer_port on every node", port, addr, port)
	}
	return fmt.Errorf("listen on %s: %w", net.JoinHostPort(addr, fmt.Sprint(port)), err)
}

func etcdVersion() string { return version.Version }

// newer reports whether version a has a higher major or minor number than b. Data
// of a patch release can be read by every other of its minor one.
func newer(a, b string) bool {
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	return errA == nil && errB == nil && (va.Major > vb.Major || va.Major == vb.Major && va.Minor > vb.Minor)
}

// serve runs etcd until ctx ends, or until it ends by itself.
func (m *process) serve(ctx context.Context, d decision) error {
	m.say(Starting, map[move]string{found: "a new cluster", join: "joins the cluster", resume: "returns to the cluster"}[d.move], hclog.Info)
	conf, err := m.c.embed(d, newZap(m.log, &m.quiet))
	if err != nil {
		return err
	}
	e, err := embed.StartEtcd(conf)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	r := Record{Node: m.c.Name, Cluster: e.Server.Cluster().ID().String(), Member: e.Server.MemberID().String(), Etcd: etcdVersion()}
	if err := r.write(m.c.Dir); err != nil {
		m.log.Warn("record not written", "file", recordFile(m.c.Dir), "err", err)
	}
	err = m.watch(ctx, e)
	if !errors.Is(err, errEnded) {
		m.stop(e, err)
	}
	return err
}

// errEnded says that etcd has ended by itself.
var errEnded = errors.New("etcd has ended by itself; its last lines above say why")

// watch waits for the end, and keeps an eye on disk and quota.
func (m *process) watch(ctx context.Context, e *embed.Etcd) error {
	ready := e.Server.ReadyNotify()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	q := newQuota(e.Server, m.c.Quota, m.log)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
			ready = nil
			m.say(Running, "", hclog.Info)
		case err := <-e.Err():
			return fmt.Errorf("%w: %w", errEnded, err)
		case <-e.Server.StopNotify():
			return errEnded
		case <-tick.C:
			free, err := Free(m.c.Dir)
			switch {
			case err != nil:
				m.log.Warn("free space not known", "err", err)
			case free < Reserve:
				return fmt.Errorf("%w: %d MB free where %s is, %d are kept", errNoSpace, free>>20, m.c.Dir, Reserve>>20)
			}
			q.look(ctx)
		}
	}
}

// stop hands leadership over, then ends etcd: clients of the other members notice
// 50 to 80 ms of it (measured at an election timeout of 1 s), and not a timeout.
func (m *process) stop(e *embed.Etcd, why error) {
	reason := "asked to"
	if why != nil {
		reason = why.Error()
	}
	m.say(Stopping, reason, hclog.Info)
	m.quiet.Store(true)
	if err := e.Server.TryTransferLeadershipOnShutdown(); err != nil {
		m.log.Warn("leadership not handed over", "err", err)
	}
	e.Close()
	m.log.Info("member stopped")
}
