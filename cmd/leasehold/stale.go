package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
	"leasehold/vip"
)

// forgetBudget bounds how long a start is held up by what an earlier
// configuration left.
const forgetBudget = time.Second

// forgetter takes VIPs off this host, with their fences; vip.Forget is one.
type forgetter func(ctx context.Context, bpfDir string, specs []vip.Spec, log hclog.Logger) error

// forgetStale takes away the VIPs that the state files in the run_dir name and the
// configuration does not: it was changed while no daemon ran, or for a reload. It
// returns, per service, those that it could not take away, for the state file to
// go on naming them. The caller has the lock on the run_dir.
func forgetStale(ctx context.Context, cfg *Config, forget forgetter, log hclog.Logger) map[string][]string {
	left := map[string][]string{}
	files, err := filepath.Glob(filepath.Join(cfg.RunDir, "*.json"))
	if err != nil {
		log.Warn("state files of earlier runs", "err", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		specs, err := staleSpecs(cfg, file, name)
		if err != nil {
			log.Warn("VIPs of an earlier run, if there are any, are not looked for", "err", err)
			continue
		}
		if err := forgetAll(ctx, cfg, forget, specs, log.With("service", name)); err != nil {
			log.Error("VIPs that the configuration does not name any more are left, and tried again at the next start", "service", name, "err", err)
			left[name] = specTexts(specs)
			continue
		}
		if !cfg.has(name) {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				log.Warn("state file of a service that is not configured any more", "err", err)
			}
		}
	}
	return left
}

func (c *Config) has(service string) bool {
	for i := range c.Services {
		if c.Services[i].Name == service {
			return true
		}
	}
	return false
}

// staleSpecs reads the VIPs of a state file whose addresses no service has.
func staleSpecs(cfg *Config, file, name string) ([]vip.Spec, error) {
	s, err := election.ReadSaved(file)
	if err != nil {
		return nil, err
	}
	if s.Service != name {
		return nil, fmt.Errorf("%s: about service %.64q: not believed", file, s.Service)
	}
	named := map[netip.Addr]bool{}
	for i := range cfg.Services {
		for _, v := range cfg.Services[i].VIPs {
			named[v.Spec.Prefix.Addr()] = true
		}
	}
	var stale []vip.Spec
	for _, text := range s.VIPs {
		spec, err := vip.ParseSpec(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if !named[spec.Prefix.Addr()] {
			stale = append(stale, spec)
		}
	}
	return stale, nil
}

func forgetAll(ctx context.Context, cfg *Config, forget forgetter, specs []vip.Spec, log hclog.Logger) error {
	if len(specs) == 0 {
		return nil
	}
	log.Warn("VIPs that the configuration does not name any more are taken away", "vips", specTexts(specs))
	ctx, cancel := context.WithTimeout(ctx, forgetBudget)
	defer cancel()
	return forget(ctx, cfg.BPFDir, specs, log.Named("vip"))
}

func specTexts(specs []vip.Spec) []string {
	out := make([]string, len(specs))
	for i, s := range specs {
		out[i] = s.String()
	}
	return out
}
