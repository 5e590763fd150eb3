package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"leasehold/election"
)

func (a *app) memberRemoveCommand() *cobra.Command {
	var flags memberFlags
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Take a member out of the etcd cluster for good",
		Long: `Take a member out of the etcd cluster for good; NAME may be its id or address as well.
When it leads, leadership is moved before. Refused when fewer than a majority of those
that stay would answer, when it is well and an ill one could go instead, and for the
last member. Its name has to be typed, or --yes given.`,
		Args: func(c *cobra.Command, args []string) error { return exactly(c, args, "NAME") },
		RunE: func(c *cobra.Command, args []string) error { return a.memberRemove(c.Context(), flags, args[0]) },
	}
	cmd.ValidArgsFunction = a.completeEtcdMember
	changeTimeout(cmd, &flags)
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	return cmd
}

func (a *app) memberRemove(ctx context.Context, flags memberFlags, name string) error {
	what := "member remove " + name
	cfg, err := a.loadEmbedded(what, flags.timeout)
	if err != nil {
		return err
	}
	s, err := a.membersNow(ctx, what, cfg, flags.timeout)
	if err != nil {
		return err
	}
	m, err := s.wanted(what, name)
	if err != nil {
		return err
	}
	if err := s.refuseRemove(m); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := a.confirm(what, flags.yes, m.Name, s.removalMeans(m)); err != nil {
		return err
	}
	if err := a.removeMember(ctx, flags.timeout, cfg, s, m); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	want := s.addresses()
	delete(want, m.Name)
	lines := append([]string{fmt.Sprintf("%s (%s) is no member any more; members left: %d.", m.Name, m.ID, len(want))}, whatToWrite(cfg, want)...)
	lines = append(lines, fmt.Sprintf("On %s (%s), when it is to have no member: systemctl disable --now leasehold leasehold-etcd, then leasehold member wipe.", m.Name, m.host()))
	if m.Here {
		lines = append(lines, "To go on without a member here: write etcd.endpoints instead of embedded: "+strings.Join(s.clients(m), ", "))
	}
	return a.sayAll(lines...)
}

// removalMeans says what a removal does, for who has to confirm it.
func (s *MembersStatus) removalMeans(m *EtcdMemberStatus) string {
	text := fmt.Sprintf("%s (%s, %s, %s) loses its place in the cluster for good, and its data their use.", m.Name, m.ID, m.host(), m.State)
	if m.learner {
		return text
	}
	_, voters := s.answering()
	left := s.well()
	if m.well() {
		left--
	}
	if spare := left - majority(voters-1); spare == 0 && voters == 2 {
		text += " One member is no cluster: etcd and the VIP go with its host."
	} else if spare == 0 {
		text += fmt.Sprintf(" %d of %d members will answer then: the loss of one stops etcd.", left, voters-1)
	}
	return text
}

// clients are the client URLs of the members but one.
func (s *MembersStatus) clients(but *EtcdMemberStatus) []string {
	var urls []string
	for _, m := range s.Members {
		if m.id != but.id {
			urls = append(urls, m.ClientURLs...)
		}
	}
	return urls
}

// removeMember takes a member out, and leadership off it before. The requests go
// to the others.
func (a *app) removeMember(ctx context.Context, timeout time.Duration, cfg *Config, s MembersStatus, m *EtcdMemberStatus) error {
	if m.State == memberLeader {
		to := s.successor(m)
		if to == nil {
			return errors.New("it leads, and no other member could; repair another one first")
		}
		err := a.withMembers(ctx, timeout, cfg, s, func(ctx context.Context, c *election.Cluster) error {
			return election.MoveEtcdLeader(ctx, c, to.id)
		})
		if err != nil {
			return fmt.Errorf("it leads, and leadership could not be moved to %s: %w; nothing was changed", to.Name, err)
		}
	}
	others := s
	others.Members = slices.DeleteFunc(slices.Clone(s.Members), func(o EtcdMemberStatus) bool { return o.id == m.id })
	return a.withMembers(ctx, timeout, cfg, others, func(ctx context.Context, c *election.Cluster) error {
		err := patiently(ctx, patience, func() error { return election.RemoveEtcdMember(ctx, c, m.id) })
		if errors.Is(err, election.ErrMemberGone) { // by a try whose answer was lost
			return nil
		}
		return err
	})
}

// successor is who takes leadership over from a member: the one that is furthest.
func (s *MembersStatus) successor(m *EtcdMemberStatus) *EtcdMemberStatus {
	var best *EtcdMemberStatus
	for i := range s.Members {
		if o := &s.Members[i]; o.id != m.id && o.State == memberFollower && (best == nil || o.Lag < best.Lag) {
			best = o
		}
	}
	return best
}
