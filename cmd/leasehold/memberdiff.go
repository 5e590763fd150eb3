package main

import (
	"fmt"
	"slices"
	"strings"

	"leasehold/election"
)

// trouble is something that is wrong, and what to do about it.
type trouble struct{ says, cure string }

func (t trouble) text() string { return t.says + "; " + t.cure }

// alarmTrouble says what an alarm of etcd means.
func alarmTrouble(name, alarm string) trouble {
	switch alarm {
	case "NOSPACE":
		return trouble{
			fmt.Sprintf("alarm NOSPACE of %s: its database is full, and etcd refuses every write, so that the VIP goes at the end of its ttl", name),
			"it compacts by itself; where the alarm stays, delete keys that are not Leasehold's, or raise etcd.embedded.quota_mb on every node",
		}
	case "CORRUPT":
		return trouble{
			fmt.Sprintf("alarm CORRUPT of %s: its data are not what the others have", name),
			fmt.Sprintf("stop it and type leasehold member wipe there, then on another node: leasehold member replace %s", name),
		}
	}
	return trouble{fmt.Sprintf("alarm %s of %s", alarm, name), "see etcdctl alarm list"}
}

// differences says where the configuration and the cluster name other members.
func (f *memberFacts) differences() []trouble {
	if len(f.list) == 0 {
		return nil // nobody tells
	}
	var diff []trouble
	for _, c := range f.embedded.Members {
		_, peer := f.urls(c.Addr)
		m := f.listed(c)
		at := slices.IndexFunc(f.list, func(m election.EtcdMember) bool { return slices.Contains(m.PeerURLs, peer) })
		switch {
		case m != nil && !slices.Contains(m.PeerURLs, peer):
			diff = append(diff, trouble{
				fmt.Sprintf("%s is at %s in the cluster, and at %s in etcd.embedded of %s", c.Name, strings.Join(m.PeerURLs, " "), peer, f.file),
				fmt.Sprintf("write what the cluster has, or, when it has moved: leasehold member replace %s %s", c.Name, c.Addr),
			})
		case m == nil && at >= 0:
			diff = append(diff, trouble{
				fmt.Sprintf("the member at %s is %s in the cluster, and %s in etcd.embedded.members of %s", peer, f.list[at].Name, c.Name, f.file), "write the same name",
			})
		case m == nil:
			diff = append(diff, trouble{
				fmt.Sprintf("%s is in etcd.embedded.members of %s, and not in the cluster", c.Name, f.file),
				fmt.Sprintf("leasehold member add %s %s, or take it out there", c.Name, c.Addr),
			})
		}
	}
	for _, m := range f.list {
		if f.configured(m) != nil || f.named(m) {
			continue
		}
		name, host := m.Name, EtcdMemberStatus{PeerURLs: m.PeerURLs}.host()
		who := fmt.Sprintf("%s (%s)", name, host)
		if name == "" { // not started yet
			name, who = host, "a new member at "+host
		}
		diff = append(diff, trouble{
			fmt.Sprintf("%s is in the cluster, and not in etcd.embedded.members of %s", who, f.file),
			fmt.Sprintf("write it there, on every node, or leasehold member remove %s", name),
		})
	}
	return diff
}

// named reports whether the address of a listed member is in the configuration,
// under another name.
func (f *memberFacts) named(m election.EtcdMember) bool {
	return slices.ContainsFunc(f.embedded.Members, func(c EmbeddedMember) bool {
		_, peer := f.urls(c.Addr)
		return slices.Contains(m.PeerURLs, peer)
	})
}
