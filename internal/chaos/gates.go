package chaos

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"leasehold/internal/boottime"
	"leasehold/internal/lab"
)

// Ajar is a moment at which the fences of two hosts passed the VIP's frames,
// whether or not a frame was there to be passed: what the wire does not show of a
// host that is cut off.
type Ajar struct {
	At    time.Time
	Hosts [2]string
}

// gates looks again and again at the deadlines of the fences in the kernel. It
// knows no more of them than bpftool: an array pinned as "deadline", whose first
// eight bytes are the moment on CLOCK_BOOTTIME up to which frames pass.
type gates struct {
	dirs   map[string]string // of the pins, by host
	hosts  []string
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	ajar  []Ajar
	looks int
	err   error
}

const lookEvery = 5 * time.Millisecond

func watchGates(l *lab.Lab, hosts []string) (*gates, error) {
	g := &gates{dirs: map[string]string{}, hosts: hosts}
	for _, h := range hosts {
		dir, err := l.BPFDir(h)
		if err != nil {
			return nil, err
		}
		g.dirs[h] = dir
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.wg.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				g.look()
			}
		}
	})
	return g, nil
}

func (g *gates) close() {
	g.cancel()
	g.wg.Wait()
}

// look notes each two hosts whose fences are open at once. The first is read
// again after the second: it may have been shut in between, to let the second in.
func (g *gates) look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looks++
	for i, x := range g.hosts {
		if !g.open(x) {
			continue
		}
		for _, y := range g.hosts[i+1:] {
			if g.open(y) && g.open(x) {
				g.ajar = append(g.ajar, Ajar{time.Now(), [2]string{x, y}})
			}
		}
	}
}

// open reports whether a host's fence passes frames now.
func (g *gates) open(host string) bool {
	pins, err := filepath.Glob(filepath.Join(g.dirs[host], "*", "deadline"))
	if err != nil || len(pins) == 0 {
		return false // no daemon has run there since the host was off
	}
	m, err := ebpf.LoadPinnedMap(pins[0], &ebpf.LoadPinOptions{ReadOnly: true})
	if err == nil {
		value := make([]uint64, m.ValueSize()/8)
		err = m.Lookup(uint32(0), value)
		if err = errors.Join(err, m.Close()); err == nil {
			return boottime.Instant(value[0]) > boottime.Now()
		}
	}
	if !errors.Is(err, fs.ErrNotExist) { // unpinned just now
		g.err = err
	}
	return false
}

// seen returns what was seen so far; the error says that something could not be.
func (g *gates) seen() (ajar []Ajar, looks int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ajar, g.looks, g.err
}
