package vip

import (
	"errors"
	"slices"
	"sync"
	"time"

	"leasehold/internal/boottime"
	"leasehold/vip/fence"
)

// A guard is what ends a tenure in the kernel, whatever becomes of this process.
// Bind and Extend arm it, Release shuts it after the resets and before the
// addresses go.
type guard interface {
	// arm passes the VIPs' frames until then and no longer. It fails with
	// ErrClaimed, for the VIPs that the kernel shut; the others are armed.
	arm(until boottime.Instant) error
	// reopen is arm for claimed VIPs too.
	reopen(until boottime.Instant) error
	// shut passes nothing any more when it has returned nil.
	shut() error
	// shutOne is shut for one VIP, by its place in the specs.
	shutOne(i int) error
	// lifetime returns the kernel lifetime of an address that is armed until then.
	lifetime(now, until boottime.Instant) (seconds uint32, ok bool)
	// limit is when an address that is armed until then must have gone.
	limit(until boottime.Instant) boottime.Instant
	lateness() time.Duration
	// fences returns what the kernel says of the fences, by the VIPs' places in
	// the specs; nothing without a fence.
	fences() []fence.State
	close()
}

// lifetimesOnly is the guard of a host without a fence: the kernel lifetimes of
// the addresses are all that ends a VIP when this process cannot.
type lifetimesOnly struct{}

func (lifetimesOnly) arm(boottime.Instant) error    { return nil }
func (lifetimesOnly) reopen(boottime.Instant) error { return nil }
func (lifetimesOnly) shut() error                   { return nil }
func (lifetimesOnly) shutOne(int) error             { return nil }
func (lifetimesOnly) lateness() time.Duration       { return lateness }
func (lifetimesOnly) fences() []fence.State         { return nil }
func (lifetimesOnly) close()                        {}

func (lifetimesOnly) lifetime(now, until boottime.Instant) (uint32, bool) {
	return Lifetime(now, until)
}

func (lifetimesOnly) limit(until boottime.Instant) boottime.Instant { return until }

// fenceGuard has one fence per VIP. A fence is nil while the VIP's device does
// not exist: there is nothing to bind it to either.
type fenceGuard struct {
	specs  []Spec
	config fence.Config // but for what differs by VIP

	mu  sync.Mutex // held while a fence is used: a closed one must not be
	all []*fence.Fence
}

func newFenceGuard(specs []Spec, c fence.Config) *fenceGuard {
	return &fenceGuard{specs: specs, config: c, all: make([]*fence.Fence, len(specs))}
}

// open opens the fences of the VIPs whose device exists and closes those of the
// others. One that is pinned is adopted as it is, a new one is shut.
func (g *fenceGuard) open(r *reading) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, sp := range g.specs {
		_, exists := r.links[sp.Device]
		switch {
		case !exists && g.all[i] != nil:
			_ = g.all[i].Close() // the device took the programs along
			g.all[i] = nil
		case exists && g.all[i] == nil:
			c := g.config
			c.Addr, c.Device = sp.Prefix.Addr(), sp.Device
			f, err := fence.Open(c)
			if err != nil {
				return err
			}
			g.all[i] = f
		}
	}
	return nil
}

// each does something with every fence, and returns what failed.
func (g *fenceGuard) each(do func(*fence.Fence) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, f := range g.all {
		if f != nil {
			errs = append(errs, do(f))
		}
	}
	return errors.Join(errs...)
}

func (g *fenceGuard) arm(until boottime.Instant) error {
	return g.each(func(f *fence.Fence) error { return again(f, f.Arm, until) })
}

func (g *fenceGuard) reopen(until boottime.Instant) error {
	return g.each(func(f *fence.Fence) error { return again(f, f.Reopen, until) })
}

// again arms, a second time where another process has changed the deadline: an
// operator's release shut the fence while this host holds the tenure. What was
// taken away is put back, as an address is.
func again(f *fence.Fence, arm func(boottime.Instant) error, until boottime.Instant) error {
	err := arm(until)
	if !errors.Is(err, fence.ErrTaken) {
		return err
	}
	if err := f.Shut(); err != nil {
		return err
	}
	return arm(until)
}

func (g *fenceGuard) shut() error    { return g.each((*fence.Fence).Shut) }
func (g *fenceGuard) check() error   { return g.each((*fence.Fence).Check) }
func (g *fenceGuard) rebuild() error { return g.each((*fence.Fence).Rebuild) }
func (g *fenceGuard) tend() error    { return g.each((*fence.Fence).Tend) }

func (g *fenceGuard) shutOne(i int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[i] == nil {
		return nil
	}
	return g.all[i].Shut()
}

func (g *fenceGuard) lifetime(now, until boottime.Instant) (uint32, bool) {
	return fencedLifetime(now, until)
}

func (g *fenceGuard) limit(until boottime.Instant) boottime.Instant { return until.Add(beyond) }

func (g *fenceGuard) lateness() time.Duration { return 0 }

func (g *fenceGuard) fences() []fence.State {
	g.mu.Lock()
	defer g.mu.Unlock()
	states := make([]fence.State, len(g.all))
	for i, f := range g.all {
		if f != nil {
			states[i] = f.State()
		}
	}
	return states
}

// close lets go of the fences, which stay as they are.
func (g *fenceGuard) close() {
	_ = g.each((*fence.Fence).Close) // file descriptors; what is in the kernel stays
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.all)
}

// missingDevices returns the devices without which a fence cannot be.
func (g *fenceGuard) missingDevices() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var missing []string
	for i, f := range g.all {
		if f == nil && !slices.Contains(missing, g.specs[i].Device) {
			missing = append(missing, g.specs[i].Device)
		}
	}
	return missing
}
