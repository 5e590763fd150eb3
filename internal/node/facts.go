package node

import "leasehold/internal/boottime"

// Role is a node's part in a service.
type Role uint8

const (
	// Standby neither holds the VIP nor asks for it.
	Standby Role = iota
	// Candidate asks for the VIP.
	Candidate
	// Holder has the VIP on its host.
	Holder
)

func (r Role) String() string { return [...]string{"standby", "candidate", "holder"}[r] }

// Facts is what a node knows at one moment. Facts are levels: a lost or doubled
// report changes nothing, and the zero Facts lead to doing nothing.
type Facts struct {
	Now boottime.Instant

	// From etcd.
	HeldUntil      boottime.Instant // end of our tenure, the kernel's lateness taken off; zero: none
	FreeAt         boottime.Instant // when we may take over; zero: not as things stand
	AdoptUntil     boottime.Instant // until when the VIP of an earlier run may stay; zero: not
	ShortUntil     boottime.Instant // what HeldUntil would be on a tenure of the short ttl from now on
	Paused         bool
	Long           bool   // the tenure covers the pause
	PauseOver      bool   // it does, but the pause is gone
	Yield          string // why the holder should hand over although it is well
	Ended          string // why etcd ended our latest tenure
	OthersEligible bool
	Renewed        boottime.Instant // when the request was sent by which etcd last confirmed our tenure
	Unclean        bool             // the tenure before ours was not released, or nothing is known of one

	// From the kernel.
	KernelKnown bool // it was read at least once; until then nothing is decided
	LinkUp      bool
	LinkWhy     string
	Bound       bool             // every VIP is there as configured, with a finite lifetime
	Permanent   bool             // somebody made its lifetime infinite
	Copies      int              // of a VIP, anywhere on this host
	Strays      int              // of those, not as configured
	KernelUntil boottime.Instant // the kernel removes a VIP no sooner than this

	// From the fence, the kernel's exact end of a tenure.
	Fenced     bool             // there is one; else lifetimes of whole seconds are all
	FenceUntil boottime.Instant // it passes the VIP's frames until then; zero: it is shut
	Claimed    bool             // it was shut by the kernel because somebody else claimed the VIP

	// Of the last foreign claim of the VIP while it was ours.
	ClaimedAt  boottime.Instant
	DefendedAt boottime.Instant // when one was last answered

	// From the checks.
	HealthKnown bool
	Healthy     bool
	HealthWhy   string

	// From the router, where the service has one beside keepalived.
	VRRP       bool             // there is one: the VIP is bound only while it is Active
	QuietUntil boottime.Instant // no other router takes over before then, even if ours says no more; zero: it is not Active
	Told       boottime.Instant // the end of our tenure as the router knows it
	Succeeds   bool             // the VIP was one of our nodes' until now, whose router was Active
	Announce   uint64           // how often the router wanted the VIP announced
	Announced  uint64           // how often it was
	Contests   uint64           // how often a foreign router made itself Active beside ours
	Settled    uint64           // how often it was asked since then who has the VIP
	Mute       string           // why the router cannot work; empty: it can
	Station    string           // what the others are told of it

	Barred string // why this node may not hold although it is well; empty: it may
	// Strained is why this host should leave the VIP to another that can have it: a
	// disk that is full, say, on which mysqld or etcd may hang any moment. Better on
	// such a host than nowhere.
	Strained string

	// From what was done before.
	RetryBind boottime.Instant // somebody else answered for the VIP: nothing is bound before then
	Asked     boottime.Instant // when the tenure was last asked to be confirmed

	// From the configuration and the process.
	LastStanding bool // keep the VIP when nobody is healthy
	Stopping     bool
}

// Verb is what an Action does.
type Verb uint8

const (
	// BindVIP adds the VIPs, or puts right what is there.
	BindVIP Verb = iota
	// AnnounceVIP tells the neighbours.
	AnnounceVIP
	// ExtendVIP gives the VIPs a lifetime up to Until.
	ExtendVIP
	// RemoveVIP resets the clients, shuts the fence and deletes every copy, by Until.
	RemoveVIP
	// SweepStrays deletes the copies that are not as configured.
	SweepStrays
	// Campaign asks for the VIP.
	Campaign
	// Withdraw no longer asks for it.
	Withdraw
	// Resign lets a successor in.
	Resign
	// Shorten puts the tenure back on the short lease, the kernel's deadline being
	// Until already.
	Shorten
	// RestartChecks makes every check pass a full round before it counts.
	RestartChecks
	// ConfirmTenure asks etcd whether the tenure is still ours, because somebody
	// else claims the VIP.
	ConfirmTenure
	// DefendVIP opens the fence again until Until and tells the neighbours; where
	// the VIP is missing, it only makes way for BindVIP.
	DefendVIP
	// AskVIP asks the network whether another host answers for the VIP, and fails if
	// one does.
	AskVIP
	// SpeakVRRP tells the router that the tenure lasts until Until, and so that it may
	// be Active.
	SpeakVRRP
	// LeaveVRRP takes the tenure from the router; with Invite it asks keepalived to
	// take over.
	LeaveVRRP
)

func (v Verb) String() string {
	return [...]string{
		"bind", "announce", "extend", "remove", "sweep", "campaign", "withdraw", "resign", "shorten", "restart checks",
		"confirm", "defend", "ask", "speak vrrp", "leave vrrp",
	}[v]
}

// Action is one effect. The order of actions is the contract: each is done
// before the next begins, and when one fails the rest are skipped and the role
// stays.
type Action struct {
	Verb  Verb
	Until boottime.Instant
	Why   string
	Probe bool // BindVIP: ask first whether somebody answers for the VIP

	Succeeds bool // SpeakVRRP: the VIP was one of ours until now
	Invite   bool // LeaveVRRP: none of our nodes can take over
}
