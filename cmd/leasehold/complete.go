package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"leasehold/election"
)

// completeService offers the services of the configuration to the shell.
func (a *app) completeService(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	cfg, err := a.load()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return cfg.serviceNames(), cobra.ShellCompDirectiveNoFileComp
}

// completeFormat offers the values of --format.
func completeFormat(c *cobra.Command) {
	// It fails only for a flag that does not exist, which the tests would see.
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// completeMember offers the nodes that could take over. A shell that hangs is
// worse than no offer, so etcd has a second.
func (a *app) completeMember(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	cfg, err := a.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	svc, err := a.service(cfg, args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	err = a.withEtcd(c.Context(), time.Second, cfg, func(ctx context.Context, cl *election.Cluster) error {
		v, err := election.Read(ctx, cl, svc.Name)
		names = eligibleOthers(v)
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
