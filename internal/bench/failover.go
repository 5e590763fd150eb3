package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"leasehold/internal/lab"
)

// FailoverOptions say what to measure.
type FailoverOptions struct {
	Binary              string          // the leasehold binary
	TTLs                []time.Duration // of the services; default 500 ms, 1 s, 3 s
	Rounds              int             // per fault, default 30
	Election, Heartbeat time.Duration   // etcd's; default 250 ms and 50 ms
	Faults              []string        // by their names; default all
	Every               int             // print the table after so many rounds; default 5
	Log                 io.Writer       // a line per fault; default none
	Out                 io.Writer       // the table, as far as it is known; default none
}

func (o *FailoverOptions) defaults() {
	if len(o.TTLs) == 0 {
		o.TTLs = []time.Duration{500 * time.Millisecond, time.Second, 3 * time.Second}
	}
	if o.Rounds == 0 {
		o.Rounds = 30
	}
	if o.Election == 0 {
		o.Election, o.Heartbeat = 250*time.Millisecond, 50*time.Millisecond
	}
	if o.Every == 0 {
		o.Every = 5
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
}

// blow is a fault that ends what a host does for its VIPs. Nothing on that host
// says goodbye, so that the others find out by its silence.
type blow struct {
	name   string
	do     func(s *stand) error
	leader bool // etcd's leader is on the host in one round of three
}

func blows() []blow {
	return []blow{
		{"host lost", func(s *stand) error { return s.PowerOff(lab.A) }, true},
		{"NIC pulled", func(s *stand) error { return s.CablePull(lab.A) }, true},
		{"daemon killed", func(s *stand) error {
			daemons := s.daemons(lab.A)
			if err := s.signal(lab.A, syscall.SIGKILL); err != nil {
				return err
			}
			for _, p := range daemons {
				<-p.Done()
			}
			return nil
		}, false},
		{"daemon frozen", func(s *stand) error { return s.signal(lab.A, syscall.SIGSTOP) }, false},
	}
}

// Failover brings faults about to Leasehold at several ttls and to keepalived at
// once, and returns for how long each VIP was without service. It needs what
// package lab needs, and builds one test network that is gone when it returns.
// When it ends early the result has the rounds so far.
func Failover(ctx context.Context, o FailoverOptions) (_ *FailoverResult, err error) {
	o.defaults()
	l, err := lab.New(ctx, lab.Config{})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, l.Logs(15))
		}
		err = errors.Join(err, l.Close())
	}()
	s, err := openStand(ctx, l, standConfig{
		binary: o.Binary, ttls: o.TTLs, keepalived: true, election: o.Election, heartbeat: o.Heartbeat,
	})
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	r := &FailoverResult{FailoverOptions: o, rounds: map[string][]shot{}, machine: machine(ctx, o.Binary)}
	for _, v := range s.vips {
		r.columns = append(r.columns, v.name)
	}
	for i := range o.Rounds {
		if err := r.lap(ctx, s, i); err != nil {
			return r, fmt.Errorf("round %d: %w", i+1, err)
		}
		if (i+1)%o.Every == 0 && i+1 < o.Rounds {
			fmt.Fprintf(o.Out, "\nAfter %d of %d rounds:\n\n", i+1, o.Rounds)
			r.Print(o.Out)
		}
	}
	return r, nil
}

// lap brings every fault about once, under new probers: what they keep is read
// for each fault.
func (r *FailoverResult) lap(ctx context.Context, s *stand, i int) (err error) {
	defer func() {
		for _, v := range s.vips {
			if v.prober != nil {
				err = errors.Join(err, v.prober.Stop())
			}
		}
	}()
	for _, v := range s.vips {
		if v.prober, err = s.StartProber(lab.ProberConfig{To: v.addr, Hosts: hosts()}); err != nil {
			return err
		}
	}
	for _, b := range blows() {
		if len(r.Faults) > 0 && !slices.Contains(r.Faults, b.name) {
			continue
		}
		one := shot{leader: "any"}
		if b.leader {
			one.leader = []string{lab.A, lab.B, lab.C}[i%3]
			if err := s.etcd.MoveLeader(ctx, one.leader); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
		}
		// Renewals and advertisements have periods of up to a second. The faults
		// are spread over it, as chance would.
		if err := lab.Pass(ctx, 300*time.Millisecond+time.Duration(i)*time.Second/time.Duration(r.Rounds)); err != nil {
			return err
		}
		if err := s.blow(ctx, b, &one); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		r.rounds[b.name] = append(r.rounds[b.name], one)
		r.log(b, i, one)
	}
	return nil
}

// shot is one fault and what it did to each VIP, in the order of the columns.
type shot struct {
	rounds []Round
	back   []bool // two hosts answered while all was repaired
	leader string // the host with etcd's leader when the fault came, "any" when it was not placed
}

func (r *FailoverResult) log(b blow, i int, one shot) {
	fmt.Fprintf(r.Log, "%-14s %2d/%d  leader %-3s", b.name, i+1, r.Rounds, one.leader)
	for j, round := range one.rounds {
		two := ""
		if round.Two {
			two = " two!"
		}
		if one.back[j] {
			two += " two coming back!"
		}
		fmt.Fprintf(r.Log, "  %s: %.1f ms %s%s", r.columns[j], ms(round.Outage), round.Path, two)
	}
	fmt.Fprintln(r.Log)
}

// blow brings a fault about once, and settles. Times run until host b answers for
// every VIP and a little longer. What is thawed or plugged in again may still
// answer, so that the repair is watched as well.
func (s *stand) blow(ctx context.Context, b blow, one *shot) error {
	s.wire.Take()
	from := time.Now()
	if err := b.do(s); err != nil {
		return fmt.Errorf("bring the fault about: %w", err)
	}
	for _, v := range s.vips {
		if err := s.taken(ctx, v); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	if err := lab.Pass(ctx, late); err != nil {
		return err
	}
	to, frames := time.Now(), s.wire.Take()
	for _, v := range s.vips {
		seen := lab.Summarize(v.prober.Probes(), from, to)
		one.rounds = append(one.rounds, Round{
			Outage: seen.Gap.Length(), Path: seen.Path(), Two: answeredTwice(frames, v.addr),
		})
	}
	if err := s.settle(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	frames = s.wire.Take()
	for _, v := range s.vips {
		one.back = append(one.back, slices.ContainsFunc(lab.ARPAnswers(frames, v.addr), lab.ARPAnswer.Dual))
	}
	return nil
}

// taken waits until host b has a VIP and a client gets answers: Leasehold's from
// host b. A killed keepalived leaves host a answering as well.
func (s *stand) taken(ctx context.Context, v *tried) error {
	want := ""
	if v.ours {
		want = lab.B
	}
	err := lab.Wait(ctx, generous, "host b to have the VIP", func() (bool, error) {
		return slices.Contains(s.holders(v), lab.B), nil
	})
	if err != nil {
		return err
	}
	return v.prober.WaitAnswer(ctx, want, generous)
}

// answeredTwice reports whether two hosts answered for an address that goes from
// host a to host b: the same question, or host a again after host b had spoken.
// Kernels that both have an address are not asked: behind a fence one of them is
// silent.
func answeredTwice(frames []lab.ARPFrame, addr netip.Addr) bool {
	if slices.ContainsFunc(lab.ARPAnswers(frames, addr), lab.ARPAnswer.Dual) {
		return true
	}
	successor := false
	for _, f := range frames {
		if f.Claims(addr) && f.Port == lab.A && successor {
			return true
		}
		successor = successor || f.Claims(addr) && f.Port == lab.B
	}
	return false
}
