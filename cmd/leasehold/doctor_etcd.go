package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
)

// slowEtcd is what a read that the leader confirms takes on no LAN that is well.
const slowEtcd = 100 * time.Millisecond

// etcdFindings asks every endpoint. It also returns what etcd knows of each
// service, for those that could be read.
func etcdFindings(ctx context.Context, cfg *Config, timeout time.Duration) (map[string]election.View, []Finding) {
	cluster, err := openEtcd(cfg, hclog.NewNullLogger())
	if err != nil {
		return nil, []Finding{failure("etcd", err.Error(), "as said; leasehold check tells when it is good")}
	}
	defer func() { _ = cluster.Close() }() // nothing was written
	all := election.Survey(ctx, cluster, timeout)
	if cfg.Etcd.Embedded != nil {
		for i := range all {
			all[i].Alarms = nil // of Leasehold's own members: looked at with them, and cured otherwise
		}
	}
	found := endpointFindings(all)
	views := map[string]election.View{}
	for _, s := range cfg.Services {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		if v, err := election.Read(ctx, cluster, s.Name); err == nil { // if not, the endpoints have said why
			views[s.Name] = v
		}
		cancel()
	}
	return views, found
}

// endpointFindings judges the endpoints one by one, then together.
func endpointFindings(all []election.Endpoint) []Finding {
	var found []Finding
	readable, clusters := 0, map[uint64]string{}
	for _, e := range all {
		found = append(found, endpointFinding(e))
		if e.Err != nil {
			continue
		}
		if e.ReadErr == nil {
			readable++
		}
		clusters[e.Cluster] = e.URL
	}
	switch {
	case len(clusters) > 1:
		found = append(found, failure("etcd", fmt.Sprintf("the endpoints belong to %d clusters: two hosts could each be the holder in one", len(clusters)), "name members of one cluster in etcd.endpoints: etcdctl member list"))
	case readable == 0:
		found = append(found, failure("etcd", "no endpoint answers a read: nobody can take the VIP or keep it beyond its ttl", "bring a majority of the members back: etcdctl endpoint health"))
	}
	return found
}

func endpointFinding(e election.Endpoint) Finding {
	const check = "etcd"
	switch {
	case e.Err != nil:
		return warning(check, strings.TrimPrefix(e.Err.Error(), "etcd "), "see whether that member runs, and whether port and firewall let this host in")
	case hasAlarm(e, "NOSPACE"):
		return failure(check, e.URL+": its quota is full (alarm NOSPACE): it takes no renewal, and the VIP goes",
			"etcdctl compact, etcdctl defrag, then etcdctl alarm disarm; set --auto-compaction-retention")
	case hasAlarm(e, "CORRUPT"):
		return failure(check, e.URL+": its data is corrupt (alarm CORRUPT)", "take that member out and add it anew: etcdctl member remove")
	case e.Leader == 0:
		return failure(check, e.URL+": it knows of no leader", "see whether a majority of the members is up and can reach each other")
	case e.ReadErr != nil:
		return failure(check, strings.TrimPrefix(e.ReadErr.Error(), "etcd "), "as said; etcdctl --endpoints "+e.URL+" get /leasehold/ shows it as well")
	case e.Learner:
		return warning(check, e.URL+" is a learner, which takes no request of ours", "promote it, or leave it out: etcdctl member promote")
	case e.Took > slowEtcd:
		return warning(check, fmt.Sprintf("%s took %s for a read that the leader confirms", e.URL, e.Took.Round(time.Millisecond)),
			"look at its disk (etcd_disk_wal_fsync_duration_seconds) and at the network between the members")
	}
	role := "follower"
	if e.Leader == e.Member {
		role = "leader"
	}
	if bugs := leaseBugs(e.Version); bugs != "" {
		return warning(check, fmt.Sprintf("%s: version %s, %s; %s", e.URL, e.Version, role, bugs), "upgrade when it suits; the VIP's safety does not rest on it")
	}
	return okay(check, "%s: version %s, %s, %s for a read that the leader confirms", e.URL, e.Version, role, e.Took.Round(100*time.Microsecond))
}

func hasAlarm(e election.Endpoint, what string) bool {
	for _, a := range e.Alarms {
		if strings.Contains(a, what) {
			return true
		}
	}
	return false
}

// leaseBugs names what a version is known to do wrong with leases. Sources: the
// CHANGELOGs of etcd, 3.4.31 (leases revoked by a stale leader; 3.5.13) and
// 3.5.23 (renewing a revoked lease reported as success).
func leaseBugs(version string) string {
	var major, minor, patch int
	if n, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); n != 3 || err != nil || major != 3 {
		return "" // not a version that anything is known of
	}
	switch {
	case minor < 4 || minor == 4 && patch < 31 || minor == 5 && patch < 13:
		return "it may end leases early when the leader changes"
	case minor == 5 && patch < 23:
		return "it may report that it renewed a lease which is gone"
	}
	return ""
}
