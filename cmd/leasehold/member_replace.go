package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"
)

func (a *app) memberReplaceCommand() *cobra.Command {
	var flags memberFlags
	cmd := &cobra.Command{
		Use:   "replace NAME [ADDRESS]",
		Short: "Give a lost member a new place in the etcd cluster",
		Long: `Take the member NAME out of the etcd cluster and add it anew, at the address that it
has in the configuration, or at ADDRESS: for a host that was lost for good, or a data
directory that is gone or corrupt, since a member cannot come back without its data.
Type it on another node. Refused while that member answers, while another one does not,
and without a majority. Its name has to be typed, or --yes given.`,
		Args: func(c *cobra.Command, args []string) error { return exactly(c, args, "NAME", "[ADDRESS]") },
		RunE: func(c *cobra.Command, args []string) error { return a.memberReplace(c.Context(), flags, args) },
	}
	cmd.ValidArgsFunction = a.completeEtcdMember
	changeTimeout(cmd, &flags)
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	return cmd
}

func (a *app) memberReplace(ctx context.Context, flags memberFlags, args []string) error {
	what := "member replace " + args[0]
	cfg, err := a.loadEmbedded(what, flags.timeout)
	if err != nil {
		return err
	}
	s, err := a.membersNow(ctx, what, cfg, flags.timeout)
	if err != nil {
		return err
	}
	m, err := s.wanted(what, args[0])
	if err != nil {
		if c := cfg.Etcd.Embedded.own(args[0]); c != nil { // taken out before, and not added
			return fmt.Errorf("%w; to add it: leasehold member add %s %s", err, c.Name, c.Addr)
		}
		return err
	}
	addr, err := replacementAddr(cfg, m, args[1:])
	if err != nil {
		return usagef("%s: %w", what, err)
	}
	if err := s.refuseReplace(m, addr); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := s.refuseNew(cfg, m.Name, addr, m); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	means := fmt.Sprintf("%s (%s) loses its place in the cluster for good, and gets a new one at %s. Data that are left on its host are of no use then.", m.Name, m.ID, addr)
	if err := a.confirm(what, flags.yes, m.Name, means); err != nil {
		return err
	}
	return a.carryOutReplace(ctx, what, flags, cfg, s, m, addr)
}

// replacementAddr is where a replaced member will be: where it is told to, else
// where the configuration has it, which it will start with, else where it was.
func replacementAddr(cfg *Config, m *EtcdMemberStatus, args []string) (netip.Addr, error) {
	if len(args) > 0 {
		return parseMemberAddr(args[0])
	}
	if c := cfg.Etcd.Embedded.own(m.Name); c != nil {
		return c.Addr, nil
	}
	return parseMemberAddr(m.host())
}

// carryOutReplace removes first: to add first would have the lost and the new one
// count as lost both, of three members two.
func (a *app) carryOutReplace(ctx context.Context, what string, flags memberFlags, cfg *Config, s MembersStatus, m *EtcdMemberStatus, addr netip.Addr) error {
	if err := a.removeMember(ctx, flags.timeout, cfg, s, m); err != nil {
		return fmt.Errorf("%s: %w; nothing was changed, as far as this host could see: leasehold member list tells", what, err)
	}
	id, err := a.addMember(ctx, flags.timeout, cfg, s, addr, m.learner)
	if err != nil {
		return fmt.Errorf("%s: it is out of the cluster, and could not be added anew: %w; to finish type: leasehold member add %s %s", what, err, m.Name, addr)
	}
	want := s.addresses()
	want[m.Name] = addr.String()
	lines := append([]string{fmt.Sprintf("%s is member %x now, no longer %s; it is not started yet.", m.Name, id, m.ID)}, whatToWrite(cfg, want)...)
	lines = append(lines,
		fmt.Sprintf("On %s (%s), where data of before are left: leasehold member wipe", m.Name, addr),
		"and then: systemctl start leasehold-etcd",
	)
	if cfg.Etcd.TLS() && m.host() != addr.String() {
		lines = append(lines, fmt.Sprintf("Its certificate needs the new address: leasehold certs --renew %s=%s", m.Name, addr))
	}
	if m.learner {
		lines = append(lines, fmt.Sprintf("It has no vote, as before; when it has caught up: leasehold member add %s %s", m.Name, addr))
	}
	return a.sayAll(lines...)
}
