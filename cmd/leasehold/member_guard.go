package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The guards of changes to the cluster. A member that does not answer counts as
// lost, and one that was added and is not started yet does not answer: what is
// allowed leaves a majority that answers, at every step, and never costs a member
// that is well the cluster's last spare while an ill one could go instead.

// find returns the member that a word means: its name, its id or its address.
func (s *MembersStatus) find(word string) *EtcdMemberStatus {
	for _, is := range []func(EtcdMemberStatus) bool{
		func(m EtcdMemberStatus) bool { return m.Name == word },
		func(m EtcdMemberStatus) bool { return m.ID == strings.ToLower(word) },
		func(m EtcdMemberStatus) bool { return m.host() == word },
	} {
		if i := slices.IndexFunc(s.Members, is); i >= 0 {
			return &s.Members[i]
		}
	}
	return nil
}

// wanted is find for a member that has to be there.
func (s *MembersStatus) wanted(what, word string) (*EtcdMemberStatus, error) {
	m := s.find(word)
	if m == nil {
		names := s.names(func(EtcdMemberStatus) bool { return true })
		return nil, fmt.Errorf("%s: the cluster has no member %q%s; it has %s", what, word, didYouMean(word, names), orNone(names))
	}
	return m, nil
}

// names are those of the members that are of a kind.
func (s *MembersStatus) names(is func(EtcdMemberStatus) bool) []string {
	var names []string
	for _, m := range s.Members {
		if is(m) {
			names = append(names, m.Name)
		}
	}
	return names
}

// ill are the names of the members with a vote that is not to be had now, but for
// some.
func (s *MembersStatus) ill(but ...string) []string {
	return s.names(func(m EtcdMemberStatus) bool { return !m.learner && !m.well() && !slices.Contains(but, m.Name) })
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// refuseWithoutMajority says why the cluster as it is cannot be changed at all.
func (s *MembersStatus) refuseWithoutMajority() error {
	n, voters := s.answering()
	switch need := majority(voters); {
	case s.well() >= need && s.Leader != "" && s.Confirmed:
		return nil
	case n >= need:
		return fmt.Errorf("%d of %d members answer, and they have no leader now; look again in a moment: leasehold member list", n, voters)
	default:
		return fmt.Errorf("%d of %d members answer, and %d have to agree to any change; bring %s back first (systemctl start leasehold-etcd there); "+
			"only when they are off for good, write those that are left into etcd.embedded.members, type leasehold member wipe on each, and start them: a new cluster, whose epochs begin anew",
			n, voters, need, oneOf(s.names(func(m EtcdMemberStatus) bool { return !m.learner && m.asked == nil })))
	}
}

func oneOf(names []string) string {
	if len(names) > 1 {
		return "one of " + strings.Join(names, ", ")
	}
	return orNone(names)
}

// refuseRemove says why a member may not be taken out now; nil: it may.
func (s *MembersStatus) refuseRemove(m *EtcdMemberStatus) error {
	if m.learner { // it has no vote to miss
		return s.refuseWithoutMajority()
	}
	_, voters := s.answering()
	if voters == 1 {
		return fmt.Errorf("%s is the last member, and with it goes all that the cluster knows; to give up etcd here stop leasehold on every node, then type leasehold member wipe", m.Name)
	}
	if err := s.refuseWithoutMajority(); err != nil {
		return err
	}
	left := s.well()
	if m.well() {
		left--
	}
	ill, need := s.ill(m.Name), majority(voters-1)
	switch {
	case left < need:
		return fmt.Errorf("of the %d members that stay %d would answer, and %d are needed: etcd would stop; repair %s first, or remove that one instead", voters-1, left, need, oneOf(ill))
	case m.well() && len(ill) > 0 && left == need:
		return fmt.Errorf("it answers, and %s not: without it the loss of one more would stop etcd; repair %s first, or remove that one instead", doNot(ill), oneOf(ill))
	}
	return nil
}

func doNot(names []string) string {
	if len(names) == 1 {
		return names[0] + " does"
	}
	return strings.Join(names, ", ") + " do"
}

// refuseAdd says why no member may be added now; nil: one may.
func (s *MembersStatus) refuseAdd() error {
	if err := s.refuseWithoutMajority(); err != nil {
		return err
	}
	for _, m := range s.Members {
		switch {
		case m.State == memberNew:
			return fmt.Errorf("%s was added before and is not started yet: it counts as one that is lost, and so would the next; start it first (on %s: systemctl start leasehold-etcd), or leasehold member remove %s", m.Name, m.host(), m.Name)
		case m.learner:
			return fmt.Errorf("%s has no vote yet; finish that first: leasehold member add %s %s", m.Name, m.Name, m.host())
		case !m.well():
			return fmt.Errorf("%s %s, and a new member counts as one more that is lost until it runs; repair %s first, or, when it is lost for good: leasehold member replace %s", m.Name, m.State, m.Name, m.Name)
		}
	}
	return nil
}

// refuseReplace says why a member may not be replaced now; nil: it may. That is
// remove and add at once, of one that does not answer.
func (s *MembersStatus) refuseReplace(m *EtcdMemberStatus, addr netip.Addr) error {
	_, voters := s.answering()
	switch {
	case m.well():
		return fmt.Errorf("it answers (%s): replace is for a member that is lost, or whose data are; stop it there first (systemctl stop leasehold-etcd), and type leasehold member wipe there when its data are no good", m.State)
	case m.asked != nil:
		return fmt.Errorf("it runs and %s, so nothing of it is lost; see the network between it and the others", m.State)
	case voters == 1 && !m.learner:
		return fmt.Errorf("it is the only member, and nothing can be had from others; to begin anew: leasehold member wipe there, then start it")
	}
	if err := s.refuseWithoutMajority(); err != nil {
		return err
	}
	if m.State == memberNew && m.host() == addr.String() {
		return fmt.Errorf("it was added already, and is not started yet; on %s: systemctl start leasehold-etcd (see journalctl -u leasehold-etcd there for what it waits for)", addr)
	}
	if ill := s.ill(m.Name); len(ill) > 0 {
		return fmt.Errorf("%s not answer either; repair %s first, or, lost for good: leasehold member remove %s, and add it again after this one", doNot(ill), oneOf(ill), ill[0])
	}
	return nil
}

// refuseNew says what is wrong with the name or the address of a member to be
// added; nil: nothing. but is a member whose place it takes; it may be nil.
func (s *MembersStatus) refuseNew(cfg *Config, name string, addr netip.Addr, but *EtcdMemberStatus) error {
	if why := nameProblem(name); why != "" {
		return fmt.Errorf("the name %q %s; write the node's name", name, why)
	}
	if service := cfg.serviceOfVIP(addr); service != "" {
		return fmt.Errorf("%s is a VIP of service %s, which moves; give the host's own address", addr, service)
	}
	for _, m := range s.Members {
		switch {
		case but != nil && m.id == but.id:
		case m.Name == name:
			return fmt.Errorf("%s is a member already, at %s; when it has moved: leasehold member replace %s %s", name, m.host(), name, addr)
		case m.host() == addr.String():
			return fmt.Errorf("%s is %s's address already; each host runs one member", addr, m.Name)
		}
	}
	for _, c := range cfg.Etcd.Embedded.Members {
		switch {
		case c.Name == name && c.Addr != addr && but == nil:
			return fmt.Errorf("etcd.embedded.members of %s has %s at %s; correct that, or give that address", cfg.File, name, c.Addr)
		case c.Name != name && c.Addr == addr:
			return fmt.Errorf("etcd.embedded.members of %s has %s as %s; correct that, or give that name", cfg.File, addr, c.Name)
		case addr.IsLoopback() && !c.Addr.IsLoopback():
			return fmt.Errorf("%s is an address that other hosts do not reach; give one that they do", addr)
		}
	}
	return nil
}

// parseMemberAddr reads the address of a host, as etcd.embedded.members has it.
func parseMemberAddr(text string) (netip.Addr, error) {
	addr, ok := hostAddr(text)
	if !ok {
		return netip.Addr{}, fmt.Errorf("%q is not the address of a host; give one that the other members reach: 10.20.8.50", text)
	}
	return addr, nil
}

// evenNote warns of a number of members that outlasts no more losses than one less.
func evenNote(voters int) string {
	if voters%2 != 0 || voters == 0 {
		return ""
	}
	return fmt.Sprintf("%d members outlast the loss of %d, no more than %d do; make it %d", voters, (voters-1)/2, voters-1, voters+1)
}
