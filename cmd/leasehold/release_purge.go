package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"leasehold/election"
	"leasehold/vip"
	"leasehold/vip/fence"
	"leasehold/vrrpcompat"
)

// purge takes everything of Leasehold off this host, for uninstalling it: the
// VIPs, also those of services that are configured no more, then their fences
// (without one a VIP would be answered for), then what the daemon keeps in the
// run_dir. What is not there is not missed.
func (a *app) purge(ctx context.Context, cfg *Config) error {
	if err := vip.CheckCapabilities(); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	had := exists(cfg.RunDir)
	lock, err := lockRunDir(ctx, cfg.RunDir, 0)
	if err != nil {
		return fmt.Errorf("release: %w; stop it first (systemctl disable --now leasehold), or hand over with leasehold switchover", err)
	}
	defer func() { _ = lock.Close() }() // gives the lock back, and nothing was written
	gone, err := purgeVIPs(ctx, cfg)
	if err == nil {
		var fences []string
		fences, err = vip.Purge(cfg.BPFDir)
		gone = append(gone, fences...)
	}
	if err == nil {
		var links []string
		links, err = purgeVMACs(cfg)
		gone = append(gone, links...)
	}
	if err == nil { // while a VIP is left, what names it stays as well
		var files []string
		files, err = purgeRunDir(cfg)
		if had {
			gone = append(gone, files...)
		}
	}
	for _, what := range gone {
		if _, e := fmt.Fprintf(a.out, "removed %s\n", what); e != nil {
			return errors.Join(err, e)
		}
	}
	if err != nil {
		return fmt.Errorf("release --purge: %w", err)
	}
	if len(gone) == 0 {
		_, err = fmt.Fprintln(a.out, "nothing of Leasehold was on this host")
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// purgeVIPs takes away every VIP that is or was ours, and its fence.
func purgeVIPs(ctx context.Context, cfg *Config) (gone []string, err error) {
	specs, err := everySpec(cfg)
	if err != nil || len(specs) == 0 {
		return nil, err
	}
	before, err := vip.Read(specs)
	if err != nil {
		return nil, err
	}
	pinned, err := fence.List(cfg.BPFDir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, releaseBudget)
	defer cancel()
	if err := vip.Forget(ctx, cfg.BPFDir, specs, hclog.NewNullLogger()); err != nil {
		return nil, err
	}
	for _, c := range before {
		gone = append(gone, fmt.Sprintf("%s from %s%s", c.Prefix, c.Device, labelText(c.Label)))
	}
	for _, addr := range pinned {
		gone = append(gone, fmt.Sprintf("the fence of %s", addr))
	}
	return gone, nil
}

// purgeVMACs removes the interfaces with a virtual MAC address.
func purgeVMACs(cfg *Config) (gone []string, err error) {
	for i := range cfg.Services {
		v := cfg.Services[i].VRRP
		if dev := v.vmac(); dev != "" && deviceExists(dev) {
			if err := vrrpcompat.RemoveVMAC(v.Interface, v.Router.VRID, v.Router.IPv6()); err != nil {
				return gone, err
			}
			gone = append(gone, "the interface "+dev)
		}
	}
	return gone, nil
}

// everySpec returns the VIPs of the configuration, those that a state file names
// besides, and those that only a fence is left of.
func everySpec(cfg *Config) ([]vip.Spec, error) {
	var specs []vip.Spec
	known := map[netip.Addr]bool{}
	add := func(s vip.Spec) {
		if !known[s.Prefix.Addr()] {
			known[s.Prefix.Addr()] = true
			specs = append(specs, s)
		}
	}
	for i := range cfg.Services {
		for _, s := range cfg.Services[i].specs() {
			add(s)
		}
	}
	for _, s := range savedStates(cfg.RunDir) {
		for _, text := range s.VIPs {
			if spec, err := vip.ParseSpec(text); err == nil { // else no daemon wrote it
				add(spec)
			}
		}
	}
	pinned, err := fence.List(cfg.BPFDir)
	if err != nil {
		return nil, fmt.Errorf("%w; run as root", err)
	}
	for _, addr := range pinned {
		// The device does not matter: a VIP is taken off wherever it is.
		add(vip.Spec{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Device: "lo"})
	}
	return specs, nil
}

// savedStates reads the state files that the daemon left, by their paths, as the
// user that the run_dir belongs to. What is none is left alone.
func savedStates(dir string) map[string]*election.Saved {
	uid := os.Geteuid()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err == nil {
		uid = int(st.Uid)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil // the pattern is good but for a run_dir with brackets in it
	}
	all := map[string]*election.Saved{}
	for _, path := range files {
		s, err := election.ReadSavedOf(path, uid)
		if err == nil && s.Service+".json" == filepath.Base(path) {
			all[path] = s
		}
	}
	return all
}

// purgeRunDir removes what the daemon keeps: the state files, the socket, the
// lock that the caller has, and the directory when nothing else is in it.
func purgeRunDir(cfg *Config) (gone []string, err error) {
	paths := []string{socketPath(cfg.RunDir)}
	for i := range cfg.Services {
		paths = append(paths, filepath.Join(cfg.RunDir, cfg.Services[i].Name+".json"))
	}
	for path, s := range savedStates(cfg.RunDir) {
		if !slices.Contains(cfg.serviceNames(), s.Service) {
			paths = append(paths, path)
		}
	}
	for _, path := range append(paths, filepath.Join(cfg.RunDir, "lock")) {
		switch err := os.Remove(path); {
		case err == nil:
			gone = append(gone, path)
		case !errors.Is(err, fs.ErrNotExist):
			return gone, err
		}
	}
	switch err := os.Remove(cfg.RunDir); {
	case err == nil:
		gone = append(gone, cfg.RunDir)
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, fs.ErrPermission):
		return gone, err
	}
	return gone, nil
}
