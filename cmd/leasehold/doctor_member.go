package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-semver/semver"

	"leasehold/election"
	"leasehold/internal/member"
)

// clockLimit is how far the clocks of two members may be apart: certificates,
// pauses with an end and the history go by them, and a member refuses its first
// start with more.
const clockLimit = time.Minute

// memberFindings looks at the etcd member of this host, and at its cluster.
func memberFindings(ctx context.Context, cfg *Config, timeout time.Duration) []Finding {
	f := localMembers(cfg).gather(ctx, cfg, timeout)
	s := assessMembership(f)
	found := []Finding{ownFinding(assessOwn(f, s))}
	found = append(found, clusterFindings(f, s)...)
	found = append(found, memberDirFinding(readMemberDir(cfg.Etcd.Embedded.Dir, f.process.PID)), spaceFinding(f.free, f.freeErr))
	if cfg.Etcd.TLS() {
		own := cfg.Etcd.Embedded.own(cfg.Node)
		found = append(found, certFindings(readCerts(cfg.Etcd), own.Addr, time.Now())...)
	} else {
		found = append(found, warning("member", fmt.Sprintf("insecure: whoever reaches port %d or %d of a member can take the VIP away, or give it to a second host",
			cfg.Etcd.Embedded.ClientPort, cfg.Etcd.Embedded.PeerPort), "leasehold certs makes certificates; then tls: in place of insecure: true, on every node"))
	}
	return append(found, clockDifferences(askClocks(ctx, cfg, s, timeout)))
}

// ownFinding is what is to be said of this host's member and its process.
func ownFinding(o OwnMemberStatus) Finding {
	const check = "member"
	const start = "systemctl start leasehold-etcd; if it ends again, journalctl -u leasehold-etcd says why"
	who := "runs"
	if o.PID != 0 {
		who = fmt.Sprintf("pid %d", o.PID)
	}
	says := fmt.Sprintf("%s, %s", who, o.State)
	switch o.State {
	case memberLeader, memberFollower:
		if o.Why != "" { // it is not ours
			return failure(check, o.State+", run by "+o.Why, "stop that one, then systemctl start leasehold-etcd")
		}
		if o.State == memberFollower && o.Leader != "" {
			says += ", " + o.Leader + " leads"
		}
		return okay(check, "%s, %d of %d members answer", says, o.Answering, o.Members)
	case memberLearner:
		return warning(check, says+": it has no vote", "leasehold member list tells how to give it one")
	case memberLeaderless:
		return failure(check, says, "see whether a majority of the members is up, and the network to them")
	case memberDown:
		if o.Why != "" {
			return warning(check, "whether it runs cannot be seen: "+o.Why, "sudo leasehold doctor")
		}
		return failure(check, "does not run: the cluster has one member less, and this host may not hold a VIP for long", start)
	case member.Waiting:
		return failure(check, says+because(o.Why), "as said; it goes on by itself when that is done")
	case member.Starting, member.Stopping:
		if len(o.Wrong) == 0 {
			return okay(check, "%s%s", says, because(o.Why))
		}
		return failure(check, says+" for too long"+because(o.Why), "journalctl -u leasehold-etcd says what it does")
	}
	return failure(check, says+because(o.Why), "journalctl -u leasehold-etcd says what it does")
}

// clusterFindings looks at what the members have to agree on. That one does not
// answer is said where the endpoints are looked at.
func clusterFindings(f memberFacts, s MembersStatus) []Finding {
	const check = "member"
	var found []Finding
	for _, m := range s.Members {
		if m.State == memberNew {
			found = append(found, warning(check, fmt.Sprintf("%s was added and is not started yet: it counts as lost", m.Name), "on "+m.host()+": systemctl start leasehold-etcd"))
		}
		for _, a := range m.Alarms {
			t := alarmTrouble(m.Name, a)
			found = append(found, failure(check, t.says, t.cure))
		}
		if m.Here && m.asked != nil {
			found = append(found, quotaFinding(m, int64(f.embedded.QuotaMB)<<20))
		}
	}
	diff := f.differences()
	for _, t := range diff {
		found = append(found, failure(check, t.says, t.cure))
	}
	if len(diff) == 0 && len(s.Members) > 0 {
		found = append(found, okay(check, "the configuration and the cluster name the same %d members", len(s.Members)))
	}
	return append(found, versionFinding(s.Members)...)
}

// quotaWarning is the part of the quota, in percent, that is worth a word.
const quotaWarning = 80

func quotaFinding(m EtcdMemberStatus, quota int64) Finding {
	says := fmt.Sprintf("its database has %s of %s", size(m.DBBytes), size(quota))
	if m.DBBytes*100 < quota*quotaWarning {
		return okay("member", "%s", says)
	}
	return warning("member", fmt.Sprintf("%s, %s of that in use: when it is full etcd refuses every write", says, size(m.InUseBytes)),
		"see who writes there: etcdctl get --prefix --keys-only ''; or raise etcd.embedded.quota_mb on every node")
}

// versionFinding compares the versions of the members that tell theirs.
func versionFinding(members []EtcdMemberStatus) []Finding {
	const check = "member"
	by := map[string][]string{}
	var all []*semver.Version
	for _, m := range members {
		v, err := semver.NewVersion(m.Version)
		if err != nil {
			continue // it does not answer
		}
		by[m.Version] = append(by[m.Version], m.Name)
		all = append(all, v)
	}
	if len(by) < 2 {
		return nil
	}
	var parts []string
	for v, names := range by {
		parts = append(parts, fmt.Sprintf("%s (%s)", v, strings.Join(names, ", ")))
	}
	slices.Sort(parts)
	says := "the members run different versions of etcd: " + strings.Join(parts, ", ")
	old, fresh := slices.MinFunc(all, compareVersions), slices.MaxFunc(all, compareVersions)
	const cure = "install the same version of leasehold on every node"
	switch {
	case old.Major != fresh.Major || fresh.Minor-old.Minor > 1:
		return []Finding{failure(check, says+"; etcd works together over one minor version only", cure)}
	case fresh.Minor != old.Minor:
		return []Finding{warning(check, says, cure+" when it suits")}
	}
	return []Finding{okay(check, "%s, which work together", says)}
}

func compareVersions(a, b *semver.Version) int { return a.Compare(*b) }

// spaceFinding compares what is free with what a member keeps free.
func spaceFinding(free uint64, err error) Finding {
	const check = "member"
	const reserve = int64(member.Reserve)
	switch has := size(int64(min(free, 1<<62))); { //nolint:gosec // bounded
	case err != nil:
		return warning(check, err.Error(), "sudo leasehold doctor")
	case free < member.Reserve:
		return failure(check, fmt.Sprintf("its disk has %s free: below %s the member stops, and this host lets its VIP go", has, size(reserve)), "make room; it starts by itself then")
	case free < 2*member.Reserve:
		return warning(check, fmt.Sprintf("its disk has %s free, and below %s the member stops", has, size(reserve)), "make room")
	default:
		return okay(check, "its disk has %s free, of which it leaves %s", has, size(reserve))
	}
}

// askClocks asks the other members that answer for their time, and returns how far
// ahead of this host's each is, to about half a second.
func askClocks(ctx context.Context, cfg *Config, s MembersStatus, timeout time.Duration) map[string]time.Duration {
	t := &http.Transport{DisableKeepAlives: true} // and no proxy: members are on the LAN
	if cfg.Etcd.TLS() {
		conf, err := tlsConfig(cfg.Etcd)
		if err != nil {
			return nil // what is wrong with the certificates is said elsewhere
		}
		t.TLSClientConfig = conf
	}
	client := &http.Client{Transport: t, Timeout: timeout}
	ahead := map[string]time.Duration{}
	for _, m := range s.Members {
		if m.Here || m.asked == nil {
			continue
		}
		if d, err := askClock(ctx, client, m.asked); err == nil { // else it has gone since it answered
			ahead[m.Name] = d
		}
	}
	return ahead
}

func askClock(ctx context.Context, client *http.Client, e *election.Endpoint) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL+"/version", nil)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, err
	}
	// It is cut to whole seconds, at some moment between the request and the answer.
	return at.Add(500 * time.Millisecond).Sub(begin.Add(time.Since(begin) / 2)), nil
}

// clockDifferences judges the clock that is furthest from this host's.
func clockDifferences(ahead map[string]time.Duration) Finding {
	const check = "member"
	name, most := "", time.Duration(0)
	for n, d := range ahead {
		if name == "" || d.Abs() > most.Abs() || d.Abs() == most.Abs() && n < name {
			name, most = n, d
		}
	}
	way := "ahead of"
	if most < 0 {
		way = "behind"
	}
	switch {
	case name == "":
		return okay(check, "no other member tells its time")
	case most.Abs() > clockLimit:
		return failure(check, fmt.Sprintf("the clock of %s is %s %s this host's: certificates, pauses with an end and the history go by them", name, short(most.Abs()), way),
			"set both by NTP: chronyc tracking, chronyc makestep")
	case most.Abs() < time.Second:
		return okay(check, "the clocks of %s agree with this host's", strings.Join(slices.Sorted(maps.Keys(ahead)), ", "))
	}
	return okay(check, "the clock of %s is %s %s this host's, up to %s is fine", name, short(most.Abs()), way, clockLimit)
}
