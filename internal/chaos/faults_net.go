package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"leasehold/internal/lab"
)

// begin brings a fault about and returns how to end it, nil when it is over at
// once. It fills in the hosts that were meant, what the fault hurts and what else
// the judge must know. The context bounds it.
type begin func(ctx context.Context, w *world, e *Event) (end, error)

type end func(ctx context.Context) error

// wire impairs the switch for as long as the fault lasts, beside the others.
func (w *world) wire(ctx context.Context, e *Event, all ...lab.Impairment) (end, error) {
	set := func(ctx context.Context, change func()) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		change()
		var sum []lab.Impairment
		for _, more := range w.wires {
			sum = append(sum, more...)
		}
		return w.Impair(ctx, sum)
	}
	err := set(ctx, func() { w.wires[e] = all })
	return func(ctx context.Context) error {
		return set(ctx, func() { delete(w.wires, e) })
	}, err
}

// way is one or both directions between two hosts: 0 both, 1 from x, 2 to x.
func way(x, y string, direction, percent int) []lab.Impairment {
	there, back := lab.Impairment{From: x, To: y, Lose: percent}, lab.Impairment{From: y, To: x, Lose: percent}
	switch direction {
	case 1:
		return []lab.Impairment{there}
	case 2:
		return []lab.Impairment{back}
	}
	return []lab.Impairment{there, back}
}

// everywhere is what a fault of a host's whole connection hurts.
func everywhere(w *world, host string) []Part {
	hurts := []Part{link(host, lab.Client)}
	for _, m := range members() {
		if m != host {
			hurts = append(hurts, link(host, m))
		}
	}
	for _, n := range w.nodes {
		if n == host {
			hurts = append(hurts, node(host))
		}
	}
	return hurts
}

// isolate cuts a host off from all others; its carrier stays. The holder goes on
// with nobody to ask until its tenure ends.
func isolate(ctx context.Context, w *world, e *Event) (end, error) {
	e.Hurts = everywhere(w, e.On)
	return w.wire(ctx, e, way(e.On, "", 0, 100)...)
}

// cutEtcd cuts a node off from the other members of etcd; clients reach it.
func cutEtcd(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts = []Part{node(e.On)}
	var cuts []lab.Impairment
	for _, m := range members() {
		if m != e.On {
			cuts = append(cuts, way(e.On, m, e.Arg, 100)...)
			e.Hurts = append(e.Hurts, link(e.On, m))
		}
	}
	return w.wire(ctx, e, cuts...)
}

// cutHosts cuts two hosts off from each other: with Arg 1 only one way.
func cutHosts(ctx context.Context, w *world, e *Event) (end, error) {
	e.Hurts = []Part{link(e.On, e.Peer)}
	return w.wire(ctx, e, way(e.On, e.Peer, e.Arg, 100)...)
}

// cutClient hides a node from the client. Nobody is asked to notice that.
func cutClient(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts = []Part{link(e.On, lab.Client), service}
	return w.wire(ctx, e, way(e.On, lab.Client, e.Arg, 100)...)
}

// lose loses a share of all frames of a host, both ways.
func lose(ctx context.Context, w *world, e *Event) (end, error) {
	e.Hurts = append(everywhere(w, e.On), member(e.On), service)
	return w.wire(ctx, e, way(e.On, "", 0, e.Arg)...)
}

// delay has all that a host sends come late.
func delay(ctx context.Context, w *world, e *Event) (end, error) {
	e.Hurts = append(everywhere(w, e.On), member(e.On), service)
	return w.wire(ctx, e, lab.Impairment{From: e.On, Delay: time.Duration(e.Arg) * time.Millisecond})
}

// unplug pulls the cable of a host for as long as the last of such faults lasts.
func (w *world) unplug(host string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cables[host]++
	return w.CablePull(host)
}

func (w *world) plug(host string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cables[host]--; w.cables[host] > 0 {
		return nil
	}
	return w.CablePlug(host)
}

func pullCable(_ context.Context, w *world, e *Event) (end, error) {
	e.Hurts = everywhere(w, e.On)
	return func(context.Context) error { return w.plug(e.On) }, w.unplug(e.On)
}

// linkDown takes eth0 down with its addresses on it.
func linkDown(ctx context.Context, w *world, e *Event) (end, error) {
	e.Hurts = everywhere(w, e.On)
	return w.down(ctx, e.On, "ip link set eth0 down")
}

// ifdown takes the addresses along, the host's own as well.
func ifdown(ctx context.Context, w *world, e *Event) (end, error) {
	e.Hurts = everywhere(w, e.On)
	return w.down(ctx, e.On, "ip addr flush dev eth0; ip link set eth0 down")
}

func (w *world) down(ctx context.Context, host, how string) (end, error) {
	w.mu.Lock()
	w.links[host]++
	w.mu.Unlock()
	_, err := w.Exec(ctx, host, "sh", "-c", how)
	return func(ctx context.Context) error { return w.up(ctx, host) }, err
}

// up ends a down; the last one brings the link and the host's own address back.
func (w *world) up(ctx context.Context, host string) error {
	w.mu.Lock()
	w.links[host]--
	last := w.links[host] == 0
	w.mu.Unlock()
	if !last {
		return nil
	}
	h, err := w.Host(host)
	if err != nil {
		return err
	}
	_, err = w.Exec(ctx, host, "sh", "-c", "ip link set eth0 up; ip addr replace "+h.Addr.String()+" dev eth0")
	return err
}

// powerOff ends everything on a host at once; what /run and the bpffs had is gone
// when the host comes back.
func powerOff(_ context.Context, w *world, e *Event) (end, error) {
	e.Hurts = append(everywhere(w, e.On), member(e.On))
	e.Recovery = 3 * time.Second // mysqld starts, and two checks are good
	var units []*unit
	for _, what := range []string{"daemon ", "mysqld ", "etcd "} {
		if u := w.units[what+e.On]; u != nil {
			units = append(units, u)
		}
	}
	err := w.unplug(e.On)
	for _, u := range units {
		err = errors.Join(err, u.fall((*lab.Process).Kill))
	}
	err = errors.Join(err, w.PowerOff(e.On), w.forget(e.On))
	return func(ctx context.Context) error {
		errs := []error{w.plug(e.On)}
		for _, u := range units {
			errs = append(errs, u.rise(ctx))
		}
		return errors.Join(errs...)
	}, err
}

// forget removes what a host keeps in memory.
func (w *world) forget(host string) error {
	errs := []error{os.RemoveAll(w.RunDir(host)), os.MkdirAll(w.RunDir(host), 0o750)}
	if w.units["daemon "+host] != nil {
		dir, err := w.BPFDir(host)
		if err == nil {
			err = os.RemoveAll(dir)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// flushRules does what a reload of the firewall does.
func flushRules(ctx context.Context, w *world, e *Event) (end, error) {
	_, err := w.Exec(ctx, e.On, "nft", "flush", "ruleset")
	return nil, err
}

// hogs are busy loops, more of them than the machine has processors.
func hogs(_ context.Context, w *world, e *Event) (end, error) {
	e.Hurts = []Part{service}
	var loops []*lab.Process
	var errs []error
	for i := range e.Arg {
		p, err := w.Start(lab.Client, fmt.Sprintf("hog%d", i), nil, "sh", "-c", "while :; do :; done")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		loops = append(loops, p)
	}
	return func(context.Context) error {
		var errs []error
		for _, p := range loops {
			errs = append(errs, p.Kill())
		}
		return errors.Join(errs...)
	}, errors.Join(errs...)
}
