package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// EmbeddedOptions say what to measure.
type EmbeddedOptions struct {
	Binary string        // the leasehold binary
	Rounds int           // per fault, default 20
	TTL    time.Duration // default 2s, that of a configuration with a member
	Faults []string      // by their names; default all
	Quiet  time.Duration // how long the witness is looked at; default 60s
	Log    io.Writer     // a line per fault; default none
}

func (o *EmbeddedOptions) defaults() {
	if o.Rounds == 0 {
		o.Rounds = 20
	}
	if o.TTL == 0 {
		o.TTL = 2 * time.Second
	}
	if o.Quiet == 0 {
		o.Quiet = time.Minute
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
}

// memberFault is a fault of a host that runs an etcd member besides.
type memberFault struct {
	name   string
	leader string // where etcd's leader is brought before
	stays  bool   // the VIP stays on host a, and not a probe may be lost
	stops  bool   // the daemon on host a is asked to end
	do     func(context.Context, *nodes) error
}

func memberFaults() []memberFault {
	off := func(host string) func(context.Context, *nodes) error {
		return func(_ context.Context, n *nodes) error { return n.PowerOff(host) }
	}
	return []memberFault{
		{name: "holder lost, leads etcd", leader: lab.A, do: off(lab.A)},
		{name: "holder lost, leader elsewhere", leader: lab.C, do: off(lab.A)},
		{name: "standby lost, leads etcd", leader: lab.B, stays: true, do: off(lab.B)},
		{name: "witness lost, leads etcd", leader: lab.C, stays: true, do: off(lab.C)},
		{
			name: "holder stopped, leads etcd", leader: lab.A, stops: true,
			do: func(_ context.Context, n *nodes) error { return n.daemons[lab.A].Term() },
		},
	}
}

// nodes is a test network with what a user has who has no etcd: two hosts with a
// VIP and a witness, one "leasehold run" on each, which runs the member.
type nodes struct {
	*lab.Lab
	binary  string
	etcd    *lab.Etcd
	obs     *lab.Observer
	daemons map[string]*lab.Process
}

func memberHosts() []string { return []string{lab.A, lab.B, lab.C} }

func openNodes(ctx context.Context, l *lab.Lab, o EmbeddedOptions) (*nodes, error) {
	n := &nodes{Lab: l, binary: o.Binary, daemons: map[string]*lab.Process{}}
	n.etcd = l.OwnEtcd(func(host string) *lab.Process { return n.daemons[host] })
	for _, h := range memberHosts() {
		c, err := l.NodeConfig(h, n.etcd)
		if err != nil {
			return nil, err
		}
		c.TTL = o.TTL
		text := c.YAML()
		if h == lab.C {
			text, _, _ = strings.Cut(text, "services:")
		}
		if err := errors.Join(l.WriteConfig(h, text), n.start(h)); err != nil {
			return nil, err
		}
	}
	if err := n.etcd.WaitReady(ctx); err != nil {
		return nil, err
	}
	var err error
	n.obs, err = l.Observe(hosts()...)
	return n, err
}

func (n *nodes) start(host string) error {
	if p := n.daemons[host]; p != nil && p.Running() {
		return nil
	}
	p, err := n.StartDaemon(host, n.binary)
	n.daemons[host] = p
	return err
}

// settle has everything run, the VIP on host a, the other one eligible, and etcd's
// leader where the fault wants it.
func (n *nodes) settle(ctx context.Context, leader string) error {
	for _, h := range memberHosts() {
		if err := errors.Join(n.PowerOn(h), n.start(h)); err != nil {
			return err
		}
	}
	if err := n.etcd.WaitReady(ctx); err != nil {
		return err
	}
	eligible := func(host string) error {
		h, err := n.Host(host)
		if err != nil {
			return err
		}
		return lab.Wait(ctx, generous, h.Name+" to be eligible", func() (bool, error) {
			out, err := n.etcd.Ctl(ctx, "get", "--print-value-only", "/leasehold/mysql/members/"+h.Name)
			return strings.Contains(out, `"eligible":true`), err
		})
	}
	if err := errors.Join(eligible(lab.A), eligible(lab.B)); err != nil {
		return err
	}
	if err := n.obs.Prober.WaitAnswer(ctx, "", generous); err != nil {
		return err
	}
	if who, _ := n.obs.Prober.Answering(); who != lab.A {
		a, err := n.Host(lab.A)
		if err != nil {
			return err
		}
		out, err := n.Exec(ctx, lab.A, n.binary, "switchover", "--to", a.Name, "--config", n.ConfigFile(lab.A))
		if err != nil {
			return fmt.Errorf("switchover: %w: %s", err, out)
		}
		if err := n.obs.Prober.WaitAnswer(ctx, lab.A, generous); err != nil {
			return err
		}
	}
	if err := eligible(lab.B); err != nil {
		return err
	}
	return lab.Wait(ctx, generous, "etcd's leader on host "+leader, func() (bool, error) {
		err := n.etcd.MoveLeader(ctx, leader) // the holder's daemon may move it the other way at the same time
		return err == nil, err
	})
}

// Embedded measures what the loss of hosts costs that run etcd's members besides,
// and what a witness costs. It needs what package lab needs, and builds one test
// network that is gone when it returns. When it ends early the result has the
// rounds so far.
func Embedded(ctx context.Context, o EmbeddedOptions) (_ *EmbeddedResult, err error) {
	o.defaults()
	// On a real disk: etcd waits for it, and what it writes there is counted.
	l, err := lab.New(ctx, lab.Config{Dir: os.TempDir()})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, l.Logs(15))
		}
		err = errors.Join(err, l.Close())
	}()
	n, err := openNodes(ctx, l, o)
	if err != nil {
		return nil, err
	}
	r := &EmbeddedResult{EmbeddedOptions: o, rounds: map[string][]lab.Report{}, machine: machine(ctx, o.Binary)}
	if o.Quiet > 0 {
		if err := n.settle(ctx, lab.B); err != nil {
			return r, fmt.Errorf("settle: %w", err)
		}
		if r.cost, err = n.witness(ctx, o.Quiet); err != nil {
			return r, err
		}
	}
	for i := range o.Rounds {
		for _, f := range memberFaults() {
			if len(o.Faults) > 0 && !slices.Contains(o.Faults, f.name) {
				continue
			}
			if err := r.round(ctx, n, f); err != nil {
				return r, fmt.Errorf("%s, round %d: %w", f.name, i+1, err)
			}
		}
	}
	return r, nil
}

// round brings one fault about, and waits for what shall follow.
func (r *EmbeddedResult) round(ctx context.Context, n *nodes, f memberFault) error {
	if err := n.settle(ctx, f.leader); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	from := time.Now()
	if err := f.do(ctx, n); err != nil {
		return err
	}
	after := 300 * time.Millisecond
	if f.stays {
		after = r.TTL + 2*time.Second // longer than a tenure that is not renewed would last
	} else if err := n.obs.Prober.WaitAnswer(ctx, lab.B, generous); err != nil {
		return err
	}
	if err := n.obs.Prober.Watch(ctx, after); err != nil {
		return err
	}
	to := time.Now()
	if err := n.obs.Prober.Watch(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	if f.stops { // and takes its member along, which takes longer
		_ = n.daemons[lab.A].Wait(ctx) // its exit status is not the question
	}
	report := n.obs.Report(from, to)
	r.rounds[f.name] = append(r.rounds[f.name], report)
	fmt.Fprintf(r.Log, "%s: %v\n", f.name, report)
	return nil
}

// upkeep is what the processes of a witness took while nothing happened: the daemon
// and its member.
type upkeep struct {
	usage
	lasted time.Duration
	wrote  int64 // bytes that went to the disk
}

// witness looks at the witness for d.
func (n *nodes) witness(ctx context.Context, d time.Duration) (upkeep, error) {
	pid := n.daemons[lab.C].Pid()
	before, err := usageOf(pid)
	if err != nil {
		return upkeep{}, err
	}
	wrote, err := writtenBy(pid)
	if err != nil {
		return upkeep{}, err
	}
	from := time.Now()
	if err := lab.Pass(ctx, d); err != nil {
		return upkeep{}, err
	}
	after, err := usageOf(pid)
	if err != nil {
		return upkeep{}, err
	}
	total, err := writtenBy(pid)
	return upkeep{usage{cpu: after.cpu - before.cpu, rss: after.rss}, time.Since(from), total - wrote}, err
}

// writtenBy adds up what a process and its children have had written to disks, see
// write_bytes in proc_pid_io(5).
func writtenBy(pid int) (int64, error) {
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, fmt.Errorf("what process %d has written: %w", pid, err)
	}
	var sum int64
	for line := range strings.Lines(string(io)) {
		var v int64
		if n, _ := fmt.Sscanf(line, "write_bytes: %d", &v); n == 1 {
			sum += v
		}
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(text)) {
			id, err := strconv.Atoi(child)
			if err != nil {
				return 0, fmt.Errorf("read %s: %w", list, err)
			}
			v, err := writtenBy(id)
			if err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, nil
}
