package vip

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/internal/boottime"
	"leasehold/vip/fence"
)

// ReadFence returns what the kernel shows of the fences of the VIPs, without a
// Set: for who looks at a host from outside the daemon.
func ReadFence(bpfDir string, specs []Spec) (Fence, error) {
	states := make([]fence.State, 0, len(specs))
	var missing []string
	for _, sp := range specs {
		st, err := fence.Read(bpfDir, sp.Prefix.Addr())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, sp.Prefix.Addr().String())
		case err != nil:
			return Fence{}, fmt.Errorf("read the fence of %s: %w", sp.Prefix.Addr(), err)
		default:
			states = append(states, st)
		}
	}
	if len(states) == 0 {
		return Fence{Why: "none is pinned in " + bpfDir}, nil
	}
	f := sum(states)
	if len(missing) > 0 {
		f.Missing = "no fence of " + strings.Join(missing, ", ")
	}
	return f, nil
}

// sum returns what several fences are together.
func sum(states []fence.State) Fence {
	var f Fence
	for i, st := range states {
		if st.Kind != "" {
			f.Kind = string(st.Kind)
		}
		f.Claimed = f.Claimed || st.Claimed
		if i == 0 || st.Until < f.Until {
			f.Until = st.Until
		}
	}
	return f
}

// Purge takes away every fence that is pinned below bpfDir, and says which. The
// VIPs' addresses must have gone before.
func Purge(bpfDir string) ([]string, error) { return fence.Purge(bpfDir) }

// forgetBudget bounds how long Forget resets clients.
const forgetBudget = 250 * time.Millisecond

// Forget releases VIPs that are configured no more, and removes their fences. An
// address that is the host's own by now stays, and is answered for again.
func Forget(ctx context.Context, bpfDir string, specs []Spec, log hclog.Logger) error {
	s, err := unguarded(Config{VIPs: specs, ResetClients: true, Log: log, BPFDir: bpfDir})
	if err != nil {
		return err
	}
	defer s.Close()
	s.guard = pinnedGuard{specs: s.specs, dir: bpfDir}
	switch err := s.Release(ctx, boottime.Now().Add(forgetBudget)); {
	case errors.Is(err, ErrOwnAddress):
		s.log.Info("an address that was a vip is the host's own", "err", err)
	case err != nil:
		return err
	}
	return s.removeFences()
}

// pinnedGuard is the guard of VIPs that nobody will hold here: it can be shut.
type pinnedGuard struct {
	lifetimesOnly
	specs []Spec
	dir   string
}

func (p pinnedGuard) shut() error {
	var errs []error
	for _, sp := range p.specs {
		if ip := sp.Prefix.Addr(); fence.Pinned(p.dir, ip) {
			errs = append(errs, fence.ShutPinned(p.dir, ip))
		}
	}
	return errors.Join(errs...)
}
