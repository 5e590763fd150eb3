package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/vip"
)

// releaseBudget is how long a release may take: as long as the daemon's own.
const releaseBudget = 5 * time.Second

// releaseFlags are the flags of the release command.
type releaseFlags struct {
	force   bool
	yes     bool
	purge   bool
	timeout time.Duration

	afterStop bool
}

func (a *app) releaseCommand() *cobra.Command {
	var flags releaseFlags
	cmd := &cobra.Command{
		Use:   "release [service]",
		Short: "Take every copy of the VIPs off this host, without the daemon",
		Long: `Take every copy of the VIPs off this host (any prefix length, interface or
label), with the routes that came along, of all services or of the one named.
For after an uninstall, or a daemon that cannot start. It asks nobody, changes
nothing in etcd, and is refused while the daemon runs here.

With --force the latest tenure in etcd is marked as released as well, so that
another node takes over at once instead of waiting for the tenure's end. That
is for a holder whose host is OFF: a host that is still up and has the VIP
would then be the second one with it. When this host is the holder, its VIPs
are taken off first and nothing needs to be confirmed.

With --purge everything of Leasehold is taken off this host, for uninstalling
it: the VIPs (also those that the configuration names no more), their fences,
the state for the next start. etcd keeps its keys.`,
		Args: oneService,
		RunE: func(c *cobra.Command, args []string) error { return a.release(c.Context(), flags, args) },
	}
	cmd.ValidArgsFunction = a.completeService
	cmd.Flags().BoolVar(&flags.force, "force", false, "mark the latest tenure in etcd as released; only when the holder's host is off")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "with --force: the holder's host is off, do not ask")
	cmd.Flags().BoolVar(&flags.afterStop, "after-stop", false, "for ExecStopPost= of the unit: only what a daemon that is gone for good has left, but for a pause")
	cmd.Flags().BoolVar(&flags.purge, "purge", false, "take everything of Leasehold off this host, for uninstalling it: VIPs, fences, state")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 10*time.Second, "how long to wait for etcd")
	return cmd
}

func (a *app) release(ctx context.Context, flags releaseFlags, args []string) error {
	if flags.yes && !flags.force {
		return usagef("release: --yes goes with --force only")
	}
	if flags.afterStop {
		return a.releaseAfterStop(ctx, os.Getenv)
	}
	if flags.purge && (flags.force || len(args) > 0) {
		return usagef("release: --purge is for the whole host: without a service, and without --force")
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if flags.purge {
		return a.purge(ctx, cfg)
	}
	if flags.force {
		svc, err := a.service(cfg, args)
		if err != nil {
			return err
		}
		return a.forceRelease(ctx, flags, cfg, svc)
	}
	services := cfg.Services
	if len(args) > 0 {
		one, err := a.service(cfg, args)
		if err != nil {
			return err
		}
		services = []Service{*one}
	}
	return a.releaseHere(ctx, cfg, services)
}

// releaseHere takes the VIPs of the services off this host.
func (a *app) releaseHere(ctx context.Context, cfg *Config, services []Service) (err error) {
	if err := vip.CheckCapabilities(); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	lock, err := lockRunDir(ctx, cfg.RunDir, 0)
	if err != nil {
		return fmt.Errorf("release: %w; stop it first (systemctl stop leasehold), or hand over with leasehold switchover", err)
	}
	defer func() { _ = lock.Close() }() // gives the lock back, and nothing was written
	for i := range services {
		s := &services[i]
		if err := a.releaseService(ctx, cfg, s); err != nil {
			return fmt.Errorf("release %s: %w", s.Name, err)
		}
	}
	return nil
}

func (a *app) releaseService(ctx context.Context, cfg *Config, s *Service) error {
	before, err := vip.Read(s.specs())
	if err != nil {
		return err
	}
	set, err := vip.New(s.vipConfig(cfg, hclog.NewNullLogger())) //nolint:contextcheck // it takes none: a fence is made whole, or not at all
	if err != nil {
		return err
	}
	defer set.Close()
	ctx, cancel := context.WithTimeout(ctx, releaseBudget)
	defer cancel()
	if err := set.Release(ctx, boottime.Now().Add(releaseBudget)); err != nil {
		return err
	}
	if len(before) == 0 {
		_, err = fmt.Fprintf(a.out, "%s: no VIP was on this host\n", s.Name)
		return err
	}
	for _, c := range before {
		if _, err := fmt.Fprintf(a.out, "%s: took %s off %s%s\n", s.Name, c.Prefix, c.Device, labelText(c.Label)); err != nil {
			return err
		}
	}
	return nil
}

// forceRelease marks the latest tenure in etcd as released. Where that is this
// host's, the VIPs go first: take away before inviting.
func (a *app) forceRelease(ctx context.Context, flags releaseFlags, cfg *Config, svc *Service) error {
	var v election.View
	err := a.withEtcd(ctx, flags.timeout, cfg, func(ctx context.Context, c *election.Cluster) (err error) {
		v, err = election.Read(ctx, c, svc.Name)
		return err
	})
	if err != nil {
		return etcdTrouble(cfg, "release "+svc.Name, err)
	}
	holder := latestHolder(v)
	switch {
	case holder == "":
		_, err := fmt.Fprintf(a.out, "%s: the latest tenure is released already\n", svc.Name)
		return err
	case holder == cfg.Node:
		if err := a.releaseHere(ctx, cfg, []Service{*svc}); err != nil {
			return err
		}
	case v.Member(holder) != nil:
		return fmt.Errorf("release %s: the daemon of %s is registered in etcd, so it lives, or has died within the last seconds; "+
			"use leasehold switchover while it lives, or wait until leasehold status shows it gone", svc.Name, holder)
	default:
		if err := a.confirmOff(flags.yes, holder, svc.Name); err != nil {
			return err
		}
	}
	// The clock of this etcd call starts after the operator has typed.
	return a.withEtcd(ctx, flags.timeout, cfg, func(ctx context.Context, c *election.Cluster) error {
		if err := election.ForceRelease(ctx, c, svc.Name, "released by hand", operator(os.Getenv)); err != nil {
			return etcdTrouble(cfg, "release "+svc.Name, err)
		}
		_, err := fmt.Fprintf(a.out, "%s: the tenure of %s is released; an eligible node takes over now\n", svc.Name, holder)
		return err
	})
}

// latestHolder is whose tenure a successor would have to wait for; empty: nobody's.
func latestHolder(v election.View) string {
	if v.Holder != nil && v.Holder.Node != "" {
		return v.Holder.Node
	}
	if v.Holder != nil {
		return "an unknown node"
	}
	if v.Tenure != nil && v.Tenure.State != election.TenureReleased {
		return v.Tenure.Node
	}
	return ""
}

// confirmOff has the operator type the name of the node that is off.
func (a *app) confirmOff(yes bool, holder, service string) error {
	if yes {
		return nil
	}
	line, err := a.typed(fmt.Sprintf("%s is the latest holder of %s. If that host is still up, two hosts will have the VIP.\n"+
		"Make sure that it is OFF (power, hypervisor, switch port), then type its name: ", holder, service))
	if err != nil {
		return fmt.Errorf("release %s: %w", service, err)
	}
	if line != holder {
		return fmt.Errorf("release %s: not confirmed, nothing was changed; type the name of the node, or give --yes", service)
	}
	return nil
}

// typed asks on the stream of the errors, and returns the line that is typed.
func (a *app) typed(question string) (string, error) {
	if _, err := io.WriteString(a.err, question); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(io.LimitReader(a.in, 256)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read the confirmation: %w", err)
	}
	return strings.TrimSpace(line), nil
}
