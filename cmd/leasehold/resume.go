package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"leasehold/election"
)

func (a *app) resumeCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "resume [service]",
		Short: "End a pause",
		Long: `End a pause. The holder goes back to its short lease, and its checks count again
after one full round. When the holder's daemon is not there, its tenure runs on
to its end and nobody may take over before: start the daemon, or, when that host
is off for good, see leasehold release --force.`,
		Args: oneService,
		RunE: func(c *cobra.Command, args []string) error { return a.resume(c.Context(), timeout, args) },
	}
	cmd.ValidArgsFunction = a.completeService
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for etcd and the holder")
	return cmd
}

func (a *app) resume(ctx context.Context, timeout time.Duration, args []string) error {
	return a.withService(ctx, timeout, args, func(ctx context.Context, cfg *Config, c *election.Cluster, svc *Service) error {
		v, err := election.Read(ctx, c, svc.Name)
		if err != nil {
			return etcdTrouble(cfg, "resume "+svc.Name, err)
		}
		if v.Pause == nil {
			_, err := fmt.Fprintf(a.out, "%s is not paused\n", svc.Name)
			return err
		}
		if err := election.Resume(ctx, c, svc.Name); err != nil {
			return etcdTrouble(cfg, "resume "+svc.Name, err)
		}
		return a.awaitResume(ctx, cfg, c, svc)
	})
}

// awaitResume waits until the holder is back on a short lease, or another has
// taken over.
func (a *app) awaitResume(ctx context.Context, cfg *Config, c *election.Cluster, svc *Service) error {
	v, ok, err := await(ctx, 50*time.Millisecond, reading(c, svc.Name), func(v election.View) bool {
		return !holds(v) || v.Member(v.Holder.Node) == nil || time.Duration(v.Holder.TTL) <= svc.TTL
	})
	switch {
	case err != nil:
		return etcdTrouble(cfg, "see whether the holder of "+svc.Name+" has followed", err)
	case !holds(v):
		_, err = fmt.Fprintf(a.out, "%s is no longer paused; nobody holds its VIP, and an eligible node takes it now\n", svc.Name)
		return err
	case v.Member(v.Holder.Node) == nil:
		return fmt.Errorf("resume %s: the pause is over, but the daemon of the holder %s is not there: its tenure of up to %s runs on, and until then nobody may take over; "+
			"start the daemon on %s, or, when that host is off, type: leasehold release --force %s",
			svc.Name, v.Holder.Node, time.Duration(v.Holder.TTL), v.Holder.Node, svc.Name)
	case !ok:
		return fmt.Errorf("resume %s: the pause is over, but %s has not gone back to its short lease yet; look at leasehold status and the daemon's log there", svc.Name, v.Holder.Node)
	}
	_, err = fmt.Fprintf(a.out, "%s is no longer paused; %s holds its VIP\n", svc.Name, v.Holder.Node)
	return err
}
