package chaos

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"leasehold/internal/lab"
)

// Page is what etcd had of the service at one moment.
type Page struct {
	At       time.Time
	Until    time.Time // the last reading that was the same
	Holder   string    // the host; empty: no holder key
	Epoch    int64     // of the tenure
	TTL      time.Duration
	Released bool          // the latest tenure
	Promise  time.Duration // for how long that tenure keeps others out, whatever became of the holder key
	Owner    string        // its host
	Lease    string
	Paused   bool
	Eligible []string // hosts whose member key says so
}

func (p Page) same(q Page) bool {
	return p.Holder == q.Holder && p.Epoch == q.Epoch && p.TTL == q.TTL && p.Released == q.Released && p.Promise == q.Promise && p.Owner == q.Owner &&
		p.Lease == q.Lease && p.Paused == q.Paused && slices.Equal(p.Eligible, q.Eligible)
}

// ledger follows the service's keys from outside, by linearizable reads at
// whichever member answers.
type ledger struct {
	etcd   *lab.Etcd
	hosts  map[string]string // by the node's name
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	pages []Page // one for each change
	good  string // the member that answered last
}

const (
	serviceKeys = "/leasehold/mysql/"
	readEvery   = 100 * time.Millisecond
	readTimeout = 400 * time.Millisecond
)

func openLedger(etcd *lab.Etcd, hosts map[string]string) *ledger {
	ctx, cancel := context.WithCancel(context.Background())
	l := &ledger{etcd: etcd, hosts: hosts, cancel: cancel, good: members()[0]}
	l.wg.Go(func() { l.follow(ctx) })
	return l
}

func (l *ledger) close() {
	l.cancel()
	l.wg.Wait()
}

func (l *ledger) follow(ctx context.Context) {
	for i := 0; lab.Pass(ctx, readEvery) == nil; {
		if err := l.read(ctx, members()[i]); err != nil {
			i = (i + 1) % len(members())
		}
	}
}

func (l *ledger) read(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	keys, err := l.etcd.Read(ctx, host, serviceKeys)
	if err != nil {
		return err
	}
	p := l.page(keys)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.good = host
	if n := len(l.pages); n == 0 || !p.same(l.pages[n-1]) {
		l.pages = append(l.pages, p)
	}
	l.pages[len(l.pages)-1].Until = p.At
	return nil
}

// page reads the keys; what a stranger wrote there counts as nothing.
func (l *ledger) page(keys []lab.EtcdKey) Page {
	p := Page{At: time.Now()}
	for _, k := range keys {
		name := strings.TrimPrefix(k.Key, serviceKeys)
		var v struct {
			Node, TTL, State string
			Epoch            int64
			Eligible         bool
		}
		_ = json.Unmarshal([]byte(k.Value), &v) // see above
		switch {
		case name == "pause":
			p.Paused = true
		case name == "holder":
			p.Holder, p.Lease = l.hosts[v.Node], k.Lease
			p.TTL, _ = time.ParseDuration(v.TTL)
		case name == "tenure":
			p.Epoch, p.Released, p.Owner = v.Epoch, v.State == "released", l.hosts[v.Node]
			p.Promise, _ = time.ParseDuration(v.TTL)
		case strings.HasPrefix(name, "members/") && v.Eligible:
			p.Eligible = append(p.Eligible, l.hosts[strings.TrimPrefix(name, "members/")])
		}
	}
	slices.Sort(p.Eligible)
	return p
}

// long reports whether others have to wait for longer than they do without a
// pause: the tenure was made for one, and is not released. Its holder key may be
// gone, by a revoke.
func (p Page) long(ttl time.Duration) bool { return p.Promise > 2*ttl && !p.Released && p.Owner != "" }

// now returns the latest reading.
func (l *ledger) now() Page {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pages) == 0 {
		return Page{}
	}
	return l.pages[len(l.pages)-1]
}

// member returns the member of etcd that answered last.
func (l *ledger) member() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good
}

func (l *ledger) all() []Page {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.pages)
}
