package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"leasehold/election"
)

func (a *app) memberAddCommand() *cobra.Command {
	var flags memberFlags
	cmd := &cobra.Command{
		Use:   "add NAME ADDRESS",
		Short: "Add a member to the etcd cluster, before it is started for the first time",
		Long: `Add the node NAME at ADDRESS to the etcd cluster, and say what to write on every node
and what to start where. Until it is started the new member counts as one that is lost:
refused while a member that is there does not answer. The second member of all comes as
a learner, without a vote, because etcd would stand still until it runs; the same
command again gives it its vote.`,
		Args: func(c *cobra.Command, args []string) error { return exactly(c, args, "NAME", "ADDRESS") },
		RunE: func(c *cobra.Command, args []string) error {
			return a.memberAdd(c.Context(), flags, args[0], args[1])
		},
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	changeTimeout(cmd, &flags)
	return cmd
}

// changeTimeout adds the flag of the commands that change the cluster.
func changeTimeout(cmd *cobra.Command, flags *memberFlags) {
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 10*time.Second, "how long to try each change; etcd takes none within 5 s of a member's coming")
}

// exactly takes the arguments that have these names; one in brackets may be left out.
func exactly(c *cobra.Command, args []string, names ...string) error {
	need := len(names)
	for need > 0 && strings.HasPrefix(names[need-1], "[") {
		need--
	}
	if len(args) >= need && len(args) <= len(names) {
		return nil
	}
	return usagef("%sgive %s, %d arguments were given; see %q", where(c), strings.Join(names, " "), len(args), c.CommandPath()+" --help")
}

func (a *app) memberAdd(ctx context.Context, flags memberFlags, name, address string) error {
	what := "member add " + name
	cfg, err := a.loadEmbedded(what, flags.timeout)
	if err != nil {
		return err
	}
	addr, err := parseMemberAddr(address)
	if err != nil {
		return usagef("%s: %w", what, err)
	}
	s, err := a.membersNow(ctx, what, cfg, flags.timeout)
	if err != nil {
		return err
	}
	if m := s.find(addr.String()); m != nil && m.learner && (m.Name == name || m.State == memberNew) {
		return a.promote(ctx, what, flags, cfg, s, m)
	}
	if err := s.refuseNew(cfg, name, addr, nil); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := s.refuseAdd(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, voters := s.answering()
	learner := voters < 2 // a second vote that does not answer would be half of all
	id, err := a.addMember(ctx, flags.timeout, cfg, s, addr, learner)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := a.sayAll(fmt.Sprintf("%s is member %x of the cluster now, one of %d; it is not started yet.", name, id, len(s.Members)+1)); err != nil {
		return err
	}
	want := s.addresses()
	want[name] = addr.String()
	lines := append(whatToWrite(cfg, want), fmt.Sprintf("On %s (%s): systemctl enable --now leasehold-etcd leasehold", name, addr))
	if learner {
		lines = append(lines, "It is a learner: it has no vote until it has caught up. Then type again:", fmt.Sprintf("  leasehold member add %s %s", name, addr))
	} else if note := evenNote(voters + 1); note != "" {
		lines = append(lines, "note: "+note)
	}
	return a.sayAll(lines...)
}

// promote gives a learner its vote.
func (a *app) promote(ctx context.Context, what string, flags memberFlags, cfg *Config, s MembersStatus, m *EtcdMemberStatus) error {
	if m.State != memberLearner {
		return fmt.Errorf("%s: it is a learner, and %s; on %s: systemctl start leasehold-etcd, then type this again", what, m.State, m.host())
	}
	if err := s.refuseWithoutMajority(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	err := a.withMembers(ctx, flags.timeout, cfg, s, func(ctx context.Context, c *election.Cluster) error {
		return patiently(ctx, patience, func() error { return election.PromoteEtcdMember(ctx, c, m.id) })
	})
	switch {
	case election.EtcdWantsPatience(err):
		return fmt.Errorf("%s: it has not caught up yet (%d entries behind); type this again in a moment: %w", what, m.Lag, err)
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	_, voters := s.answering()
	lines := []string{fmt.Sprintf("%s has a vote now: %d members", m.Name, voters+1)}
	if note := evenNote(voters + 1); note != "" {
		lines = append(lines, "note: "+note)
	}
	return a.sayAll(lines...)
}

// addMember adds a member at an address and returns its id. It may be in the list
// after a failure too, when etcd's answer was lost on the way; that is looked up.
func (a *app) addMember(ctx context.Context, timeout time.Duration, cfg *Config, s MembersStatus, addr netip.Addr, learner bool) (id uint64, err error) {
	f := memberFacts{embedded: cfg.Etcd.Embedded, secure: cfg.Etcd.TLS()}
	_, peer := f.urls(addr)
	err = a.withMembers(ctx, timeout, cfg, s, func(ctx context.Context, c *election.Cluster) error {
		return patiently(ctx, patience, func() (err error) {
			if id, err = election.AddEtcdMember(ctx, c, peer, learner); err == nil {
				return nil
			}
			list, listErr := election.Membership(ctx, c, true)
			for _, m := range list {
				if listErr == nil && slices.Contains(m.PeerURLs, peer) {
					id = m.ID
					return nil
				}
			}
			return err
		})
	})
	return id, err
}

// whatToWrite says what etcd.embedded.members has to be on every node, where this
// node's is not that yet.
func whatToWrite(cfg *Config, want map[string]string) []string {
	have := map[string]string{}
	for _, m := range cfg.Etcd.Embedded.Members {
		have[m.Name] = m.Addr.String()
	}
	if maps.Equal(have, want) {
		return []string{"This node's configuration has these members; every node's must."}
	}
	return []string{
		"Write on every node, under etcd.embedded of " + cfg.File + ":",
		"  members: " + yamlMembers(want),
		"and there: systemctl reload leasehold",
	}
}

// addresses are the members' by their names, for a configuration.
func (s *MembersStatus) addresses() map[string]string {
	at := map[string]string{}
	for _, m := range s.Members {
		at[m.Name] = m.host()
	}
	return at
}

// yamlMembers writes members as a flow mapping, in which an address with colons
// needs quotes.
func yamlMembers(at map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(at)) {
		addr := at[name]
		if strings.Contains(addr, ":") {
			addr = strconv.Quote(addr)
		}
		parts = append(parts, name+": "+addr)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
