package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Impairment is what happens to the frames on the way from one host to another;
// the other direction is not touched. An empty From or To means every host.
type Impairment struct {
	From, To string
	Lose     int           // percent of the frames, at random; 100 cuts the way
	Delay    time.Duration // of all that From sends: To must be empty, and Lose 0
}

// Impair replaces every cut, loss and delay of the switch, those of Cut and Lose
// as well. A frame is lost when one of them loses it, and waits for the longest
// delay of its sender.
func (l *Lab) Impair(ctx context.Context, all []Impairment) error {
	var rules []rule
	delays := map[string]time.Duration{}
	for _, i := range all {
		switch {
		case i.Delay > 0 && i.From != "" && i.To == "" && i.Lose == 0:
			delays[i.From] = max(delays[i.From], i.Delay)
		case i.Delay == 0 && i.Lose >= 1 && i.Lose <= 100:
			rules = append(rules, rule{i.From, i.To, i.Lose, ""})
		default:
			return fmt.Errorf("impair: %+v makes no sense: want 1 to 100 %% to be lost, or a delay of what one host sends", i)
		}
	}
	n := l.net
	n.detours.mu.Lock()
	defer n.detours.mu.Unlock()
	if err := n.openDetours(l, delays); err != nil {
		return err
	}
	err := n.change(ctx, func(_ []rule, next ...rule) []rule { return next }, rules...)
	return errors.Join(err, n.closeDetours(func(host string) bool { return delays[host] == 0 }))
}

// detours are the hosts whose frames are delayed.
type detours struct {
	mu     sync.Mutex
	open   map[string]*detour
	closes bool // they are closed with the lab
}

// openDetours begins the delays that are new, before the rules that need them.
func (n *network) openDetours(l *Lab, delays map[string]time.Duration) error {
	if len(delays) > 0 && !n.detours.closes {
		n.detours.open, n.detours.closes = map[string]*detour{}, true
		err := l.onClose(func() error {
			n.detours.mu.Lock()
			defer n.detours.mu.Unlock()
			return n.closeDetours(func(string) bool { return true })
		})
		if err != nil {
			return err
		}
	}
	for host, delay := range delays {
		if d := n.detours.open[host]; d != nil {
			d.delay.Store(int64(delay))
			continue
		}
		d, err := n.startDetour(host, n.mark(host), delay)
		if err != nil {
			return err
		}
		n.detours.open[host] = d
	}
	n.faults.mu.Lock()
	defer n.faults.mu.Unlock()
	n.faults.delayed = nil
	for host := range delays {
		n.faults.delayed = append(n.faults.delayed, host)
	}
	slices.Sort(n.faults.delayed)
	return nil
}

// closeDetours ends delays, after the rules that needed them.
func (n *network) closeDetours(over func(host string) bool) error {
	var errs []error
	for host, d := range n.detours.open {
		if over(host) {
			errs = append(errs, d.stop())
			delete(n.detours.open, host)
		}
	}
	return errors.Join(errs...)
}

// mark is what the delayed frames of a host carry: its number among the seats.
func (n *network) mark(host string) int {
	return 1 + slices.IndexFunc(n.seats, func(s *seat) bool { return s.Key == host })
}
