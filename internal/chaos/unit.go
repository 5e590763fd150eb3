package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"leasehold/internal/lab"
)

// unit is a process that runs, but for the faults that want it down: it is
// started again when the last of them has ended, or at once when it ended by
// itself, as systemd would.
type unit struct {
	name  string
	begin func() (*lab.Process, error)

	mu     sync.Mutex
	last   time.Time // when it was started again after it ended by itself
	p      *lab.Process
	down   int // faults that want it down
	frozen int // faults that want it stopped
}

// fall ends the process for as long as the fault lasts.
func (u *unit) fall(end func(*lab.Process) error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down++
	if u.p == nil || !u.p.Running() {
		return nil
	}
	if err := end(u.p); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// rise ends a fall. The last one starts the process.
func (u *unit) rise(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down--; u.down > 0 {
		return nil
	}
	// It was told to stop and may be at it, or be frozen.
	if u.p != nil && u.p.Running() {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if u.p.Wait(ctx); ctx.Err() != nil { //nolint:errcheck // its exit status is its own affair
			if err := u.p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
		}
	}
	return u.start()
}

func (u *unit) start() error {
	p, err := u.begin()
	if err != nil {
		return fmt.Errorf("start %s: %w", u.name, err)
	}
	u.p = p
	return nil
}

func (u *unit) freeze(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.frozen++
	if u.p == nil || !u.p.Running() {
		return nil
	}
	if err := u.p.Freeze(ctx); err != nil && u.p.Running() {
		return err
	}
	return nil
}

func (u *unit) thaw() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.frozen--; u.frozen > 0 || u.p == nil || !u.p.Running() {
		return nil
	}
	if err := u.p.Thaw(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// revive starts the process again when it ended although no fault wanted it to,
// and reports that; one that cannot live is started once a second.
func (u *unit) revive() (ended bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down > 0 || u.p == nil || u.p.Running() || time.Since(u.last) < time.Second {
		return false, nil
	}
	u.last = time.Now()
	return true, u.start()
}

func (u *unit) process() *lab.Process {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.p
}
