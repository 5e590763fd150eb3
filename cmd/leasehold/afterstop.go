package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/vip"
)

// releaseAfterStop is what ExecStopPost= of the unit runs, after every end of the
// daemon. It takes the VIPs away only where the daemon is gone for good and has
// left some that no pause keeps.
func (a *app) releaseAfterStop(ctx context.Context, getenv func(string) string) error {
	result := getenv("SERVICE_RESULT")
	if result == "" {
		return usagef("release: --after-stop is for ExecStopPost= of the systemd unit, where $SERVICE_RESULT says how the daemon ended; leave it out")
	}
	if comesBack(result, getenv("EXIT_CODE"), getenv("EXIT_STATUS")) {
		_, err := fmt.Fprintf(a.out, "the daemon ended by itself (%s): VIPs are left to the next one\n", result)
		return err
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	lock, err := lockRunDir(ctx, cfg.RunDir, 0)
	if errors.Is(err, errLocked) {
		_, err := fmt.Fprintf(a.out, "%v: VIPs are left to it\n", err)
		return err
	}
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	defer func() { _ = lock.Close() }() // gives the lock back, and nothing was written
	var errs []error
	for i := range cfg.Services {
		if err := a.releaseLeft(ctx, cfg, &cfg.Services[i]); err != nil {
			errs = append(errs, fmt.Errorf("release %s: %w", cfg.Services[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// comesBack reports whether systemd starts the daemon again, by what it says of
// its end, systemd.exec(5): with Restart=always it does, but after a stop. That
// ends in success, or in a timeout where the daemon hung and was killed. A
// daemon that an early signal ended, before it listened to any, is a success to
// systemd as well; but no stop sends these.
func comesBack(result, code, status string) bool {
	switch result {
	case "success":
		return code == "killed" && slices.Contains([]string{"HUP", "PIPE"}, status)
	case "timeout":
		return false
	}
	return true
}

// releaseLeft takes the VIPs of one service off this host, unless a pause keeps
// them there.
func (a *app) releaseLeft(ctx context.Context, cfg *Config, s *Service) error {
	saved, err := election.ReadSaved(filepath.Join(cfg.RunDir, s.Name+".json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		fmt.Fprintf(a.err, "leasehold: %v; not believed, so no pause is known of\n", err)
	case saved.Service == s.Name && saved.Node == cfg.Node && saved.Long() && saved.Held(boottime.Now()):
		_, err := fmt.Fprintf(a.out, "%s: HA is paused, its VIPs stay\n", s.Name)
		return err
	}
	copies, err := vip.Read(s.specs())
	if err != nil || len(copies) == 0 {
		return err // as after every stop in order
	}
	return a.releaseService(ctx, cfg, s)
}
