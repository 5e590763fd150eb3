package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/vip"
	"leasehold/vip/fence"
)

// fenceTry is what came of trying whether there can be a fence on this host.
type fenceTry struct {
	kind fence.Kind
	err  error
}

// tryFence changes nothing.
func tryFence(dir string) fenceTry {
	on, err := isBPFFS(dir)
	if err != nil {
		return fenceTry{err: err}
	}
	if !on {
		return fenceTry{err: fmt.Errorf("bpf_dir %s is not on a bpffs: mount -t bpf bpf /sys/fs/bpf", dir)}
	}
	kind, err := fence.Probe()
	return fenceTry{kind: kind, err: err}
}

// fenceHere says what ends a tenure of the service on this host when the daemon
// cannot, and how late.
func (s *Service) fenceHere(cfg *Config, here fenceTry) (text string, late time.Duration) {
	mode := s.vipConfig(cfg, nil).Fence
	switch {
	case mode == vip.FenceOff:
		return "off: the kernel's address lifetimes alone end a tenure, up to 1s late", lifetimeLateness
	case here.err == nil:
		return fmt.Sprintf("%s, pinned in %s: the kernel itself stops the VIP's frames at the end of a tenure", here.kind, cfg.BPFDir), fenceLateness
	case errors.Is(here.err, unix.EPERM) && os.Geteuid() != 0:
		return "cannot be tried by this user: sudo leasehold check", fenceLateness
	case mode == vip.FenceRequired:
		return "none on this host, which may not hold without: " + reason(here.err.Error()), fenceLateness
	}
	return fmt.Sprintf("none on this host: %s; the kernel's address lifetimes alone end a tenure, up to 1s late", reason(here.err.Error())), lifetimeLateness
}
