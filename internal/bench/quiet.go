package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"leasehold/internal/lab"
)

// QuietOptions say what to measure.
type QuietOptions struct {
	Binary              string
	TTLs                []time.Duration // of the services; default 500 ms, 1 s, 3 s
	For                 time.Duration   // in all; default 1 h
	Phases              []string        // see Phases; default all
	Ways                []string        // how the daemons are scheduled, see Ways; default as the unit does
	Election, Heartbeat time.Duration   // etcd's; default 250 ms and 50 ms
	EtcdNice            int             // the nice value of etcd's members
	Log                 io.Writer       // a line per event; default none
	Out                 io.Writer       // the table, as far as it is known; default none
}

func (o *QuietOptions) defaults() error {
	if len(o.TTLs) == 0 {
		o.TTLs = []time.Duration{500 * time.Millisecond, time.Second, 3 * time.Second}
	}
	if o.For == 0 {
		o.For = time.Hour
	}
	if len(o.Phases) == 0 {
		o.Phases = Phases()
	}
	if len(o.Ways) == 0 {
		o.Ways = []string{"nice -15"}
	}
	for _, p := range o.Phases {
		if !slices.Contains(Phases(), p) {
			return fmt.Errorf("there is no phase %q, only %s", p, strings.Join(Phases(), ", "))
		}
	}
	for _, w := range o.Ways {
		if _, ok := launches()[w]; !ok {
			return fmt.Errorf("the daemons cannot be run %q, only %s", w, strings.Join(Ways(), ", "))
		}
	}
	if o.Election == 0 {
		o.Election, o.Heartbeat = 250*time.Millisecond, 50*time.Millisecond
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	return nil
}

// Ways are the names of the ways to schedule the daemons.
func Ways() []string { return []string{"nice -15", "nice 0", "rr"} }

// launches are the commands that start a daemon in each of these ways. Threads
// that it makes inherit them: setpriority(2) on a process that runs would reach
// one thread only.
func launches() map[string][]string {
	return map[string][]string{
		"nice -15": {"nice", "-n", "-15"}, // as deploy/leasehold.service
		"nice 0":   nil,
		"rr":       {"chrt", "--rr", "1"},
	}
}

// Quiet runs two nodes with a service of each ttl while nothing goes wrong with
// them, and returns how often a VIP was silent or moved nevertheless. It needs
// what package lab needs, and builds a test network for each way that is gone
// when it returns. When it ends early the result has what was measured so far.
func Quiet(ctx context.Context, o QuietOptions) (*QuietResult, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	r := &QuietResult{QuietOptions: o, machine: machine(ctx, o.Binary)}
	each := o.For / time.Duration(len(o.Ways)*len(o.Phases))
	for _, way := range o.Ways {
		if err := r.way(ctx, way, each); err != nil {
			return r, fmt.Errorf("%s: %w", way, err)
		}
	}
	return r, nil
}

// way measures all phases with the daemons scheduled in one way.
func (r *QuietResult) way(ctx context.Context, way string, each time.Duration) (err error) {
	l, err := lab.New(ctx, lab.Config{})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\n%s", err, l.Logs(15))
		}
		err = errors.Join(err, l.Close())
	}()
	s, err := openStand(ctx, l, standConfig{
		binary: r.Binary, launch: launches()[way], ttls: r.TTLs, election: r.Election, heartbeat: r.Heartbeat,
		etcdNice: r.EtcdNice,
	})
	if err != nil {
		return err
	}
	for _, phase := range r.Phases {
		if err := s.settle(ctx); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		if err := r.phase(ctx, s, way, phase, each); err != nil {
			return fmt.Errorf("%s: %w", phase, err)
		}
		if len(r.rows) < len(r.TTLs)*len(r.Phases)*len(r.Ways) {
			fmt.Fprintln(r.Out, "\nSo far:")
			r.Print(r.Out)
		}
	}
	return nil
}

// phase measures one phase. One that ctx ends counts for as long as it lasted.
func (r *QuietResult) phase(ctx context.Context, s *stand, way, phase string, d time.Duration) (err error) {
	fmt.Fprintf(r.Log, "%s %s, %s, for %v\n", time.Now().Format(time.TimeOnly), way, phase, d.Round(time.Second))
	// What the start cost is over.
	if err := lab.Pass(ctx, min(3*time.Second, d/10)); err != nil {
		return err
	}
	before, err := s.elections(ctx)
	if err != nil {
		return err
	}
	fences, err := followFences(s)
	if err != nil {
		return err
	}
	s.wire.Take()
	from := time.Now()
	upto, cancel := context.WithTimeout(ctx, d)
	troubleErr := troubles()[phase](upto, s, r.Log)
	if troubleErr == nil {
		<-upto.Done()
	}
	cancel()
	end := time.Now()
	frames := s.wire.Take()
	seen, err := fences.stop()
	if err := errors.Join(troubleErr, err); err != nil {
		return err
	}
	// Also after an interrupt, which has to be able to print what it has.
	after, err := s.elections(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	still := true
	for i, v := range s.vips {
		row := quietRow{
			way: way, phase: phase, ttl: v.ttl, lasted: end.Sub(from), elections: after - before,
			silence: silences(frames, v.addr, end), renewals: renewalsOf(seen[i], v.ttl),
		}
		still = still && row.shuts == 0 && row.moves == 0
		r.rows = append(r.rows, row)
	}
	if !still {
		for _, h := range hosts() {
			fmt.Fprintf(r.Log, "--- what the daemon on host %s wrote last:\n%s\n", h, s.ours[h].Tail(6))
		}
	}
	return context.Cause(ctx)
}

// elections returns etcd's term, which grows with each election of a leader.
func (s *stand) elections(ctx context.Context) (int, error) {
	var term int
	err := lab.Wait(ctx, generous, "etcd's term", func() (bool, error) {
		out, err := s.etcd.Ctl(ctx, "endpoint", "status")
		// ADDR, ID, VERSION, DB SIZE, IS LEADER, IS LEARNER, RAFT TERM, …
		line, _, _ := strings.Cut(out, "\n")
		fields := strings.Split(line, ", ")
		if err != nil || len(fields) < 7 {
			return false, errors.Join(err, fmt.Errorf("etcdctl endpoint status: %q", out))
		}
		term, err = strconv.Atoi(fields[6])
		return err == nil, err
	})
	return term, err
}

// Phases are the names of the phases in their order.
func Phases() []string { return []string{"idle", "cpu", "compaction", "leader"} }

// troubles are the phases: each is what happens meanwhile, and ends with its
// context, having repaired what it did.
func troubles() map[string]func(context.Context, *stand, io.Writer) error {
	return map[string]func(context.Context, *stand, io.Writer) error{
		"idle":       func(context.Context, *stand, io.Writer) error { return nil },
		"cpu":        hogs,
		"compaction": compactions,
		"leader":     leaderChanges,
	}
}

// hogs are four busy loops, of the class of ordinary processes.
func hogs(ctx context.Context, s *stand, _ io.Writer) (err error) {
	for range 4 {
		p, err := s.Start(lab.Client, "hog", nil, "sh", "-c", "while :; do :; done")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Kill()) }()
	}
	<-ctx.Done()
	return nil
}

// compactions compacts etcd and defragments a member each three seconds.
func compactions(ctx context.Context, s *stand, _ io.Writer) error {
	members := []string{lab.A, lab.B, lab.C}
	for i := 0; lab.Pass(ctx, 3*time.Second) == nil; i++ {
		out, err := s.etcd.Ctl(ctx, "get", "--write-out", "fields", "/leasehold/none")
		_, revision, _ := strings.Cut(out, `"Revision" : `)
		revision, _, _ = strings.Cut(revision, "\n")
		if err == nil {
			_, err = s.etcd.Ctl(ctx, "compaction", revision)
		}
		if err == nil {
			_, err = s.etcd.CtlAt(ctx, lab.Client, members[i%3:i%3+1], "defrag")
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// leaderChanges moves etcd's leader and kills it in turn, each twenty seconds or,
// in a short phase, more often.
func leaderChanges(ctx context.Context, s *stand, log io.Writer) error {
	every := 20 * time.Second
	if end, ok := ctx.Deadline(); ok {
		every = min(every, time.Until(end)/5)
	}
	for i := 0; lab.Pass(ctx, every) == nil; i++ {
		if err := s.changeLeader(context.WithoutCancel(ctx), i%2 == 1, log); err != nil {
			return err
		}
	}
	return nil
}

// changeLeader moves the leader to another member, or kills it and starts it again
// when another one leads.
func (s *stand) changeLeader(ctx context.Context, kill bool, log io.Writer) error {
	leader := ""
	err := lab.Wait(ctx, generous, "etcd's leader", func() (_ bool, err error) {
		leader, err = s.etcd.Leader(ctx)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	if !kill {
		next := map[string]string{lab.A: lab.B, lab.B: lab.C, lab.C: lab.A}[leader]
		fmt.Fprintf(log, "%s etcd's leader moves from %s to %s\n", time.Now().Format(time.TimeOnly), leader, next)
		return s.etcd.MoveLeader(ctx, next)
	}
	fmt.Fprintf(log, "%s etcd's leader on %s killed\n", time.Now().Format(time.TimeOnly), leader)
	if err := s.etcd.Process(leader).Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-s.etcd.Process(leader).Done()
	if err := s.etcd.WaitReady(ctx); err != nil {
		return err
	}
	return errors.Join(s.etcd.Start(leader), s.etcd.WaitReady(ctx))
}
