package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"leasehold/election"
)

// memberFlags are the flags of the commands below member.
type memberFlags struct {
	format  string
	yes     bool
	timeout time.Duration
}

func (a *app) memberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "member",
		Short: "Show and change the etcd cluster whose members Leasehold runs",
		Long: `Show and change the etcd cluster that the nodes run themselves (etcd.embedded in the
configuration). Each change is refused when it could cost the cluster its majority.
An etcd that runs by itself is managed with etcdctl member.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_ = c.Help() // writes to our own stream
			return usagef("member: say what: list, add, remove, replace or wipe")
		},
	}
	cmd.AddCommand(a.memberListCommand(), a.memberAddCommand(), a.memberRemoveCommand(), a.memberReplaceCommand(), a.memberWipeCommand())
	return cmd
}

func (a *app) memberListCommand() *cobra.Command {
	var flags memberFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the etcd members, and where the cluster and the configuration differ",
		Long: `Show etcd's list of its members with what each says of itself now: its state, version
and size, how far it is behind, its alarms; and where etcd.embedded.members of this
node's configuration differs. A * marks this host's.

Exit codes: 0 all is well · 6 something is wrong (a member does not answer or is not
started, an alarm, lists that differ) · 1 no member could be asked · 2 as everywhere.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.memberList(c.Context(), flags) },
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.Flags().StringVarP(&flags.format, "format", "f", "table", "table or json")
	completeFormat(cmd)
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 3*time.Second, "how long to wait for each member")
	return cmd
}

func (a *app) memberList(ctx context.Context, flags memberFlags) error {
	if flags.format != "table" && flags.format != "json" {
		return usagef("member list: format %q%s; it is table or json", flags.format, didYouMean(flags.format, []string{"table", "json"}))
	}
	cfg, err := a.loadEmbedded("member list", flags.timeout)
	if err != nil {
		return err
	}
	s := assessMembership(localMembers(cfg).gather(ctx, cfg, flags.timeout))
	if s.ExitCode == exitRuntime {
		return a.nobodyAnswers("member list", cfg, s)
	}
	if flags.format == "json" {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		if err := e.Encode(s); err != nil {
			return fmt.Errorf("member list: %w", err)
		}
		return exitWith(s.ExitCode, nil)
	}
	var out strings.Builder
	s.render(&out, terminalWidth())
	_, err = io.WriteString(a.out, out.String())
	return exitWith(s.ExitCode, err)
}

// loadEmbedded reads the configuration of a node that runs a member.
func (a *app) loadEmbedded(what string, timeout time.Duration) (*Config, error) {
	if timeout <= 0 {
		return nil, usagef("%s: --timeout must be over 0", what)
	}
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	if cfg.Etcd.Embedded == nil {
		return nil, usagef("%s: %s has etcd.endpoints, an etcd that runs by itself: etcdctl --endpoints %s member list (add, remove) manages it; "+
			"members that the nodes run are written as etcd.embedded", what, cfg.File, strings.Join(cfg.Etcd.Endpoints, ","))
	}
	return cfg, nil
}

// nobodyAnswers says that no member could be asked, and what is known all the same.
func (a *app) nobodyAnswers(what string, cfg *Config, s MembersStatus) error {
	here := "the one here is not running: systemctl start leasehold-etcd"
	if p, ok, err := readProcess(cfg.Etcd.Embedded.Dir); err != nil {
		here = "the one here cannot be looked at: " + err.Error()
	} else if ok {
		here = fmt.Sprintf("the one here (pid %d) is %s%s", p.PID, p.State, because(clean(p.Why)))
	}
	return fmt.Errorf("%s: %s at %s; %s", what, s.Summary, strings.Join(cfg.Etcd.Endpoints, " "), here)
}

// membersNow is the cluster as it is, for a command that changes it.
func (a *app) membersNow(ctx context.Context, what string, cfg *Config, timeout time.Duration) (MembersStatus, error) {
	s := assessMembership(localMembers(cfg).gather(ctx, cfg, timeout))
	if s.ExitCode == exitRuntime {
		return s, a.nobodyAnswers(what, cfg, s)
	}
	return s, nil
}

// withMembers opens the way to the members that answer, for a change.
func (a *app) withMembers(ctx context.Context, timeout time.Duration, cfg *Config, s MembersStatus, do func(context.Context, *election.Cluster) error) error {
	some := *cfg
	some.Etcd.Endpoints = nil
	for _, m := range s.Members {
		if m.well() && !m.learner {
			some.Etcd.Endpoints = append(some.Etcd.Endpoints, m.asked.URL)
		}
	}
	return a.withEtcd(ctx, timeout, &some, do)
}

// patiently repeats what etcd refuses for now only, until the context ends.
func patiently(ctx context.Context, step time.Duration, do func() error) error {
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		err := do()
		if err == nil || !election.EtcdWantsPatience(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// patience is how often a change is tried that etcd refuses for now.
const patience = 500 * time.Millisecond

// confirm has the operator type a name, after telling what that means.
func (a *app) confirm(what string, yes bool, name, means string) error {
	if yes {
		return nil
	}
	line, err := a.typed(fmt.Sprintf("%s\nType %s to go on: ", means, name))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if line != name {
		return fmt.Errorf("%s: not confirmed, nothing was changed; type %s, or give --yes", what, name)
	}
	return nil
}

// completeEtcdMember offers the members of the configuration to the shell.
func (a *app) completeEtcdMember(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	cfg, err := a.load()
	if err != nil || len(args) > 0 || cfg.Etcd.Embedded == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, len(cfg.Etcd.Embedded.Members))
	for i, m := range cfg.Etcd.Embedded.Members {
		names[i] = m.Name
	}
	return slices.Clip(names), cobra.ShellCompDirectiveNoFileComp
}

// sayAll prints lines on standard output.
func (a *app) sayAll(lines ...string) error {
	for _, l := range lines {
		if _, err := fmt.Fprintln(a.out, l); err != nil {
			return err
		}
	}
	return nil
}
