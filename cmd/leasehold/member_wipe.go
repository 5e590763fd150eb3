package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"leasehold/internal/member"
)

func (a *app) memberWipeCommand() *cobra.Command {
	var flags memberFlags
	cmd := &cobra.Command{
		Use:   "wipe",
		Short: "Remove the data of this host's etcd member",
		Long: `Remove the data of this host's etcd member, which cannot come back with its old place
in the cluster then: it needs leasehold member replace, on another node. Refused while
the member's process has the data. It shows what it would remove, and what the other
members say of this one; the name of this node has to be typed, or --yes given.
Nothing else ever removes these data.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.memberWipe(c.Context(), flags) },
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 3*time.Second, "how long to wait for each of the other members")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	return cmd
}

func (a *app) memberWipe(ctx context.Context, flags memberFlags) error {
	const what = "member wipe"
	cfg, err := a.loadEmbedded(what, flags.timeout)
	if err != nil {
		return err
	}
	dir := cfg.Etcd.Embedded.Dir
	p, runs, err := readProcess(dir)
	if err != nil {
		return fmt.Errorf("%s: whether a member runs cannot be seen: %w; sudo leasehold member wipe", what, err)
	}
	if runs {
		return fmt.Errorf("%s: a member's process (pid %d, %s%s) has %s; stop it first: systemctl stop leasehold-etcd, or the leasehold run that keeps it", what, p.PID, p.State, because(clean(p.Why)), dir)
	}
	holdings, err := member.Holdings(dir)
	if err != nil {
		return fmt.Errorf("%s: %w; sudo leasehold member wipe", what, err)
	}
	if len(holdings) == 0 {
		return a.sayAll("no data of a member are in " + dir)
	}
	record, err := member.ReadRecord(dir)
	if err != nil { // what they are is not known then, and they may go all the same
		record = nil
	}
	s := assessMembership(localMembers(cfg).gather(ctx, cfg, flags.timeout))
	means := []string{"This removes:"}
	for _, h := range holdings {
		means = append(means, fmt.Sprintf("  %s (%s)", h.Path, size(h.Bytes)))
	}
	after := afterWipe(cfg, record, s)
	means = append(means, after...)
	if err := a.confirm(what, flags.yes, cfg.Node, strings.Join(means, "\n")); err != nil {
		return err
	}
	removed, err := member.Wipe(dir)
	for i := range removed {
		removed[i] = "removed " + removed[i]
	}
	if err := errors.Join(err, a.sayAll(removed...)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !flags.yes {
		return nil // it was said before
	}
	return a.sayAll(after...)
}

// afterWipe says what the others think of this member, and so what has to be done
// that it can start anew.
func afterWipe(cfg *Config, record *member.Record, s MembersStatus) []string {
	old := ""
	if record != nil {
		old = record.Member
	}
	at := slices.IndexFunc(s.Members, func(m EtcdMemberStatus) bool { return m.Here })
	replace := fmt.Sprintf("leasehold member replace %s", cfg.Node)
	switch {
	case len(cfg.Etcd.Embedded.Members) == 1 && len(s.Members) < 2:
		return []string{"It is the only member: all that the cluster knows goes, epochs begin anew, and nobody may hold a VIP while it does."}
	case len(s.Members) == 0:
		return []string{
			"No other member answers, so that it cannot be seen whether the cluster still needs these data: they may be the last copy.",
			"When the others have a majority, it takes on one of them: " + replace,
		}
	case !s.Confirmed:
		return []string{"The others have no majority: these data may be what brings the cluster back. Start this member rather, unless they are damaged."}
	case at < 0:
		return []string{fmt.Sprintf("The cluster has no member %s any more, and does not need these data. To have one again, on another node: leasehold member add %s %s", cfg.Node, cfg.Node, cfg.Etcd.Embedded.own(cfg.Node).Addr)}
	case s.Members[at].State == memberNew || old != "" && !s.lists(old):
		return []string{fmt.Sprintf("The cluster has a new place for %s (%s), and does not need these data. Then: systemctl start leasehold-etcd", cfg.Node, s.Members[at].ID)}
	}
	return []string{
		fmt.Sprintf("The cluster still has %s as a member (%s): without these data it cannot come back as that, and until it is replaced one member less can be lost.", cfg.Node, s.Members[at].ID),
		"On another node: " + replace + "; then here: systemctl start leasehold-etcd",
	}
}

// lists reports whether the cluster has a member of an id, in hexadecimal.
func (s *MembersStatus) lists(id string) bool {
	n, err := strconv.ParseUint(id, 16, 64)
	return err == nil && slices.ContainsFunc(s.Members, func(m EtcdMemberStatus) bool { return m.id == n })
}
