package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// queryTimeout ends one try of the MySQL prober.
const queryTimeout = 500 * time.Millisecond

// MySQLProber asks the MariaDB behind the VIP for its server_id, over a new
// connection each time. Its tries do not wait for each other, so one that hangs
// does not hide that the next is answered.
type MySQLProber struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	end    func() error

	mu     sync.Mutex
	probes []Probe
}

// StartMySQLProber asks from the client, every so often (20 ms when it is 0),
// until it is stopped or the lab closes.
func (l *Lab) StartMySQLProber(vip netip.Addr, every time.Duration) (*MySQLProber, error) {
	if !vip.IsValid() {
		vip = l.VIP.Addr()
	}
	if every == 0 {
		every = 20 * time.Millisecond
	}
	ids := map[int]string{}
	for _, s := range l.net.seats {
		if s.Addr.IsValid() {
			ids[serverID(s.Host)] = s.Key
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &MySQLProber{cancel: cancel}
	p.end = sync.OnceValue(func() error { cancel(); p.wg.Wait(); return nil })
	p.wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			p.mu.Lock()
			number := len(p.probes)
			p.probes = append(p.probes, Probe{Sent: time.Now()})
			p.mu.Unlock()
			p.wg.Go(func() { p.ask(ctx, l, vip, number, ids) })
		}
	})
	if err := l.onClose(p.end); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

func (p *MySQLProber) ask(ctx context.Context, l *Lab, vip netip.Addr, number int, ids map[int]string) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	id, err := l.Query(ctx, Client, vip.String())
	if err != nil {
		return // no answer, and that is recorded
	}
	by := ids[id]
	if by == "" {
		by = fmt.Sprintf("server %d", id)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probes[number].Answered, p.probes[number].By = time.Now(), by
}

// Probes returns the probes so far, in the order of sending.
func (p *MySQLProber) Probes() []Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.probes)
}

// Stop ends the prober, tries under way included; its probes stay.
func (p *MySQLProber) Stop() error { return p.end() }
