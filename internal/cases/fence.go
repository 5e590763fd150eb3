package cases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"

	"leasehold/internal/lab"
)

// fenced are the cases of the fence and of hosts that claim the VIP: F1 to F3.
func fenced() []Case {
	return []Case{
		{"F1", "a third host announces the VIP", "stays, announced again in 200 ms", foreignClaim},
		{"F1", "the same in a pause", "stays, announced again in 200 ms", foreignClaimInPause},
		{"F2", "a third host answers at an unclean take-over", "nothing bound, its MAC in status", duplicate},
		{"F3", "the holder's fence is taken away by hand", "address deleted, back in 1 s", fenceRemoved},
	}
}

// loop is what status has of a host's daemon.
type loop struct {
	Role    string `json:"role"`
	Failing string `json:"failing"`
	Claims  *struct {
		Count uint64 `json:"count"`
		MAC   string `json:"mac"`
	} `json:"claims"`
}

// loop reads the status of a host's daemon as an operator's script would.
func (s *Site) loop(ctx context.Context, host string) (loop, error) {
	var status struct {
		Services []struct {
			Daemon struct {
				Loop loop `json:"loop"`
			} `json:"daemon"`
		} `json:"services"`
	}
	out, err := s.Leasehold(ctx, host, "status", "-f", "json") // its exit status says how HA is, too
	if jerr := json.Unmarshal([]byte(out), &status); jerr != nil || len(status.Services) != 1 {
		return loop{}, fmt.Errorf("status on host %s: %w: %s", host, errors.Join(err, jerr), out)
	}
	return status.Services[0].Daemon.Loop, nil
}

func foreignClaim(ctx context.Context, s *Site) (Measured, error) {
	before, err := s.loop(ctx, lab.A)
	if err != nil {
		return Measured{}, err
	}
	rival, err := s.Host(lab.C)
	if err != nil {
		return Measured{}, err
	}
	m, err := s.fault(ctx, func() error { return s.Claim(lab.C, s.VIP.Addr()) }, s.during(ctx, s.TTL))
	m.Took = 0
	ours := slices.IndexFunc(m.Claims, func(c lab.ARPFrame) bool { return c.Port == lab.A })
	if ours < 0 || m.Claims[ours].At.Sub(m.From) > removal {
		err = errors.Join(err, fmt.Errorf("host a has not announced the VIP again within %v: %+v", removal, m.Claims))
	} else {
		m.Note = fmt.Sprintf("announced again after %s", short(m.Claims[ours].At.Sub(m.From)))
	}
	if m.Path() != lab.A || late(m.Report, removal) {
		err = errors.Join(err, fmt.Errorf("answered by %s, %v without service; want a, at most %v", m.Path(), m.Gap.Length(), removal))
	}
	after, serr := s.loop(ctx, lab.A)
	var had uint64
	if before.Claims != nil {
		had = before.Claims.Count
	}
	if after.Claims == nil || after.Claims.Count != had+1 || after.Claims.MAC != rival.MAC().String() {
		err = errors.Join(err, serr, fmt.Errorf("status counts %+v after %d before; want one more, from %s", after.Claims, had, rival.MAC()))
	}
	return m, errors.Join(err, never(m.Report))
}

func foreignClaimInPause(ctx context.Context, s *Site) (Measured, error) {
	if out, err := s.Leasehold(ctx, lab.A, "pause", "--for", "1h"); err != nil {
		return Measured{}, fmt.Errorf("pause: %w: %s", err, out)
	}
	if err := s.waitTTL(ctx, time.Hour); err != nil {
		return Measured{}, err
	}
	m, err := foreignClaim(ctx, s)
	out, rerr := s.Leasehold(ctx, lab.A, "resume")
	if rerr != nil {
		rerr = fmt.Errorf("resume: %w: %s", rerr, out)
	}
	return m, errors.Join(err, rerr, s.waitTTL(ctx, 0))
}

// duplicate: a third host has taken the VIP when the holder is lost. Whoever
// takes over asks first.
func duplicate(ctx context.Context, s *Site) (Measured, error) {
	rival, err := s.Host(lab.C)
	if err != nil {
		return Measured{}, err
	}
	m := Measured{Report: lab.Report{From: time.Now()}}
	if err := s.Daemon(lab.A).Kill(); err != nil {
		return m, err
	}
	own := s.VIP.Addr().String() + "/32"
	if _, err := s.Exec(ctx, lab.C, "ip", "addr", "add", own, "dev", "eth0"); err != nil {
		return m, err
	}
	err = lab.Wait(ctx, generous, "status on b to name "+rival.MAC().String(), func() (bool, error) {
		l, err := s.loop(ctx, lab.B)
		return strings.Contains(l.Failing, rival.MAC().String()), err
	})
	err = errors.Join(err, s.quiet(ctx, 2*s.TTL))
	gone := time.Now()
	_, derr := s.Exec(ctx, lab.C, "ip", "addr", "del", own, "dev", "eth0")
	err = errors.Join(err, derr, s.Obs.Prober.WaitAnswer(ctx, lab.B, generous))
	back := time.Since(gone)
	if back > s.TTL+time.Second {
		err = errors.Join(err, fmt.Errorf("up %v after the other host had let it go, want at most ttl + 1s", back))
	}
	m, err = s.report(ctx, m, err)
	m.Note = fmt.Sprintf("silent while it was answered, up %s after", short(back))
	// While it asks, b has the address in its kernel, behind the shut fence: it is
	// what answers that counts.
	for _, to := range m.Moves {
		if to.To == lab.B && to.At.Before(gone) {
			err = errors.Join(err, fmt.Errorf("host b answered %v before host c had let it go", gone.Sub(to.At)))
		}
	}
	for _, a := range m.Duals { // a and c may: the VIP is still a's when c takes it
		if slices.ContainsFunc(a.By, func(c lab.Claimant) bool { return c.Host == lab.B }) {
			err = errors.Join(err, fmt.Errorf("host b answered beside another: %+v", a))
		}
	}
	m.Sent = 0 // nobody of ours answers for as long as the case wants
	return m, err
}

// fenceRemoved: without a fence nothing would end the tenure in time, so the
// address goes first, then the fence is built anew, shut, then it is opened.
func fenceRemoved(ctx context.Context, s *Site) (Measured, error) {
	var gone, back time.Time
	m, err := s.fault(ctx, func() error { return s.unfence(ctx, lab.A) }, func() error {
		return lab.Wait(ctx, generous, "the VIP to be deleted on host a, and put back", func() (bool, error) {
			for _, i := range s.Obs.Kernel.Intervals() {
				if i.Host == lab.A && !i.To.IsZero() {
					gone = i.To
				}
				if i.Host == lab.A && i.To.IsZero() && !gone.IsZero() && i.From.After(gone) {
					back = i.From
				}
			}
			return !back.IsZero() && back.After(s.unfenced), nil
		})
	})
	m.Took = 0
	if err == nil {
		m.Note = fmt.Sprintf("deleted after %s, back %s later", short(gone.Sub(m.From)), short(back.Sub(gone)))
	}
	if m.Path() != lab.A || back.Sub(gone) > time.Second {
		err = errors.Join(err, fmt.Errorf("answered by %s, the address was away for %v; want a, at most 1s", m.Path(), back.Sub(gone)))
	}
	return m, errors.Join(err, never(m.Report))
}

// unfence detaches the fence of a host from its devices and leaves the pins, as a
// stranger with bpftool or tc would.
func (s *Site) unfence(ctx context.Context, host string) error {
	dir, err := s.BPFDir(host)
	if err != nil {
		return err
	}
	pins, err := filepath.Glob(filepath.Join(dir, "*", "[0-9]*_*"))
	if err != nil {
		return err
	}
	s.unfenced = time.Now()
	detached := 0
	for _, pin := range pins {
		l, err := link.LoadPinnedLink(pin, nil)
		if err != nil {
			continue // a program: it is attached by tc
		}
		if err := errors.Join(l.Detach(), l.Close()); err != nil {
			return fmt.Errorf("detach %s: %w", pin, err)
		}
		detached++
	}
	if detached > 0 {
		return nil
	}
	_, err = s.Exec(ctx, host, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	return err
}
