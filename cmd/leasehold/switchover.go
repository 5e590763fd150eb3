package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"leasehold/election"
)

func (a *app) switchoverCommand() *cobra.Command {
	var to string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "switchover [--to NODE] [service]",
		Short: "Hand the VIP over to another node",
		Long: `Ask the holder to hand the VIP over, to the best eligible standby or to the one
named, and wait until that has happened. Refused while HA is paused, and when
nobody eligible is there to take it. MySQL itself (read_only, replication) is
not touched: do that first.`,
		Args: oneService,
		RunE: func(c *cobra.Command, args []string) error { return a.switchover(c.Context(), to, timeout, args) },
	}
	cmd.ValidArgsFunction = a.completeService
	cmd.Flags().StringVar(&to, "to", "", "the node that shall hold it (default: the best eligible standby)")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for the hand-over")
	// It fails only for a flag that does not exist, which the tests would see.
	_ = cmd.RegisterFlagCompletionFunc("to", a.completeMember)
	return cmd
}

func (a *app) switchover(ctx context.Context, to string, timeout time.Duration, args []string) error {
	return a.withService(ctx, timeout, args, func(ctx context.Context, cfg *Config, c *election.Cluster, svc *Service) error {
		v, err := election.Read(ctx, c, svc.Name)
		if err != nil {
			return etcdTrouble(cfg, "switchover "+svc.Name, err)
		}
		if holds(v) && to == v.Holder.Node {
			_, err := fmt.Fprintf(a.out, "%s holds %s already\n", to, svc.Name)
			return err
		}
		if err := refuseSwitchover(v, svc.Name, to); err != nil {
			return err
		}
		begin := time.Now()
		if err := election.RequestSwitchover(ctx, c, svc.Name, election.SwitchoverValue{To: to, By: operator(os.Getenv)}); err != nil {
			return etcdTrouble(cfg, "switchover "+svc.Name, err)
		}
		return a.awaitSwitchover(ctx, cfg, c, svc, v.Holder.HolderValue, to, begin)
	})
}

// refuseSwitchover says why there can be no switchover, and who could take over.
func refuseSwitchover(v election.View, service, to string) error {
	if v.Pause != nil {
		return fmt.Errorf("switchover %s: HA is paused, and a pause keeps the VIP where it is; type: leasehold resume %s", service, service)
	}
	if !holds(v) {
		return fmt.Errorf("switchover %s: nobody holds the VIP, so nobody can hand it over; the first eligible node takes it by itself, see leasehold status", service)
	}
	able := eligibleOthers(v)
	list := "eligible: " + strings.Join(able, ", ")
	if len(able) == 0 {
		list = "no other node is eligible, see leasehold status for why"
	}
	m := v.Member(to)
	switch {
	case to == "" && len(able) == 0:
		return fmt.Errorf("switchover %s: %s; the VIP stays on %s", service, list, v.Holder.Node)
	case to == "":
		return nil
	case m == nil:
		return fmt.Errorf("switchover %s: no node %q is registered%s; %s", service, to, didYouMean(to, able), list)
	case !m.Eligible:
		return fmt.Errorf("switchover %s: %s is not eligible: %s; %s", service, to, clean(m.Why), list)
	}
	return nil
}

// eligibleOthers are the nodes that could take over from the holder, best first.
func eligibleOthers(v election.View) []string {
	var names []string
	for _, m := range v.Members {
		if m.Eligible && (v.Holder == nil || m.Node != v.Holder.Node) {
			names = append(names, m.Node)
		}
	}
	return slices.Clip(names)
}

func (a *app) awaitSwitchover(ctx context.Context, cfg *Config, c *election.Cluster, svc *Service, before election.HolderValue, to string, begin time.Time) error {
	v, ok, err := await(ctx, 20*time.Millisecond, reading(c, svc.Name), func(v election.View) bool {
		return holds(v) && v.Holder.Epoch > before.Epoch
	})
	took := time.Since(begin).Round(time.Millisecond)
	switch {
	case err != nil:
		return etcdTrouble(cfg, "see what became of the switchover of "+svc.Name, err)
	case !ok && holds(v):
		return fmt.Errorf("switchover %s: %s still holds the VIP after %s; see its daemon's log, and leasehold status for why it does not let go", svc.Name, v.Holder.Node, took)
	case !ok:
		return fmt.Errorf("switchover %s: %s has let go, and nobody has taken over after %s; see leasehold status", svc.Name, before.Node, took)
	}
	if _, err := fmt.Fprintf(a.out, "%s holds %s now, epoch %d (%s from the request)\n", v.Holder.Node, svc.Name, v.Holder.Epoch, took); err != nil {
		return err
	}
	if to != "" && v.Holder.Node != to {
		return fmt.Errorf("switchover %s: %s was asked for, and %s was there first; see leasehold status for what kept %s", svc.Name, to, v.Holder.Node, to)
	}
	return nil
}
