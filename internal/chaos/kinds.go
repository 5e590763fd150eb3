package chaos

import (
	"math/rand/v2"
	"slices"
	"time"

	"leasehold/internal/lab"
)

// Roles that a plan names instead of hosts.
const (
	holder  = "holder"  // who answered for the VIP last
	standby = "standby" // a node that did not
	leader  = "leader"  // of etcd
)

// members are the hosts with an etcd member.
func members() []string { return []string{lab.A, lab.B, lab.C} }

// kind is one sort of fault.
type kind struct {
	name        string
	weight      int           // how often it is drawn, against the others'
	least, most time.Duration // how long it lasts; 0: it is over at once
	choose      func(r *rand.Rand, nodes []string, f *Fault)
	begin       begin
}

// kinds are all faults that a plan is made of.
func kinds() []kind {
	const ms = time.Millisecond
	return slices.Concat([]kind{
		// The network.
		{"isolate", 3, 200 * ms, 8 * time.Second, onMember, isolate},
		{"cut-etcd", 5, 200 * ms, 8 * time.Second, onNodeEitherWay, cutEtcd},
		{"cut-hosts", 5, 200 * ms, 10 * time.Second, betweenMembers, cutHosts},
		{"cut-client", 2, 200 * ms, 5 * time.Second, onNodeEitherWay, cutClient},
		{"lose", 4, 500 * ms, 8 * time.Second, lossy, lose},
		{"delay", 4, 500 * ms, 8 * time.Second, late, delay},
		{"cable", 3, 100 * ms, 6 * time.Second, onNode, pullCable},
		{"link-down", 3, 100 * ms, 6 * time.Second, onNode, linkDown},
		{"ifdown", 3, 100 * ms, 4 * time.Second, onNode, ifdown},
		{"power", 3, 500 * ms, 6 * time.Second, onNode, powerOff},
		{"nft-flush", 2, 0, 0, onNode, flushRules},
		{"hogs", 3, 500 * ms, 6 * time.Second, someHogs, hogs},
	}, daemonKinds(), etcdKinds(), operatorKinds(), planted())
}

func daemonKinds() []kind {
	const ms = time.Millisecond
	return []kind{
		{"kill", 6, 20 * ms, 6 * time.Second, onRole, killDaemon},
		{"freeze", 8, 200 * ms, 10 * time.Second, onRole, freezeDaemon},
		{"stop", 4, 100 * ms, 4 * time.Second, onRole, stopDaemon},
		{"mysqld-kill", 4, 100 * ms, 4 * time.Second, onRole, killMysqld},
		{"mysqld-freeze", 3, 200 * ms, 8 * time.Second, onRole, freezeMysqld},
	}
}

func etcdKinds() []kind {
	const ms = time.Millisecond
	return []kind{
		{"etcd-kill", 5, 100 * ms, 5 * time.Second, onMemberOrLeader, killMember},
		{"etcd-freeze", 6, 100 * ms, 5 * time.Second, onMemberOrLeader, freezeMember},
		{"etcd-move", 3, 0, 0, onMember, moveLeader},
		{"etcd-compact", 2, 0, 0, nil, compact},
		{"etcd-disk", 2, 1 * time.Second, 6 * time.Second, onMemberOrLeader, fillDisk},
		{"etcd-nospace", 1, 500 * ms, 3 * time.Second, onMember, noSpace},
	}
}

func operatorKinds() []kind {
	const ms = time.Millisecond
	return []kind{
		{"lease-revoke", 3, 0, 0, nil, revokeLease},
		{"holder-del", 3, 0, 0, nil, deleteHolder},
		{"vip-del", 4, 0, 0, nil, deleteVIP},
		{"vip-add", 5, 200 * ms, 3 * time.Second, onStandby, addVIP},
		{"claim", 4, 0, 0, someClaims, claim},
		{"pause", 4, 1 * time.Second, 8 * time.Second, pauses, pause},
		{"switchover", 4, 0, 0, onNode, switchover},
		{"renew", 4, 0, 0, eitherSignal, renew},
		{"unfence", 3, 0, 0, onRole, unfence},
	}
}

// planted are faults that no promise covers. They are never drawn: they are there
// to see that the judge sees them.
func planted() []kind {
	return []kind{
		{name: "impostor", begin: impostor},
		{name: "unguarded", begin: unguarded},
	}
}

func onNode(r *rand.Rand, nodes []string, f *Fault) { f.On = pick(r, nodes...) }
func onMember(r *rand.Rand, _ []string, f *Fault)   { f.On = pick(r, members()...) }
func onStandby(r *rand.Rand, _ []string, f *Fault) {
	f.On, f.Arg = standby, []int{8, 24, 32}[r.IntN(3)]
}
func someHogs(r *rand.Rand, _ []string, f *Fault)   { f.Arg = 1 + r.IntN(4) }
func someClaims(r *rand.Rand, _ []string, f *Fault) { f.Arg = 1 + r.IntN(3) }
func onRole(r *rand.Rand, nodes []string, f *Fault) {
	f.On = pick(r, append([]string{holder, holder, standby}, nodes...)...)
}
func pauses(r *rand.Rand, nodes []string, f *Fault) { f.On, f.Arg = pick(r, nodes...), r.IntN(2) }

// Either signal: 0 is SIGHUP, 1 is SIGUSR2.
func eitherSignal(r *rand.Rand, nodes []string, f *Fault) {
	onRole(r, nodes, f)
	f.Arg = r.IntN(2)
}

func onMemberOrLeader(r *rand.Rand, _ []string, f *Fault) {
	f.On = pick(r, append(members(), leader, leader)...)
}

// Either way: 0 cuts both directions, 1 what the host sends, 2 what it receives.
func onNodeEitherWay(r *rand.Rand, nodes []string, f *Fault) {
	f.On, f.Arg = pick(r, append([]string{holder}, nodes...)...), r.IntN(3)
}

func betweenMembers(r *rand.Rand, _ []string, f *Fault) {
	f.On, f.Peer = two(r, members())
	f.Arg = r.IntN(2)
}

func lossy(r *rand.Rand, _ []string, f *Fault) {
	f.On, f.Arg = pick(r, members()...), []int{2, 10, 30, 60}[r.IntN(4)]
}

func late(r *rand.Rand, _ []string, f *Fault) {
	f.On, f.Arg = pick(r, members()...), []int{5, 30, 100, 400}[r.IntN(4)]
}
