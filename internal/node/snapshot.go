package node

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/internal/boottime"
	"leasehold/internal/health"
	"leasehold/vip"
	"leasehold/vrrpcompat"
)

// Snapshot is what a loop knew at one moment, for status. It is never changed
// once it is published.
type Snapshot struct {
	Service string    `json:"service"`
	Node    string    `json:"node"`
	At      time.Time `json:"at"`
	Role    string    `json:"role"`
	Since   time.Time `json:"since"`
	Why     string    `json:"why"`     // of the last change of role
	Waiting string    `json:"waiting"` // what a node that does not hold waits for
	Failing string    `json:"failing,omitempty"`

	Eligible    bool   `json:"eligible"`
	EligibleWhy string `json:"eligible_why,omitempty"`

	Epoch    int64         `json:"epoch"`
	Left     time.Duration `json:"left_ns"` // of this node's tenure, the kernel's lateness taken off; 0: none
	Lease    string        `json:"lease,omitempty"`
	Paused   bool          `json:"paused"`
	Trouble  string        `json:"etcd_trouble,omitempty"`
	EtcdAge  time.Duration `json:"etcd_age_ns"` // since the last request that etcd answered; negative: never
	Synced   bool          `json:"etcd_synced"`
	VIP      vip.State     `json:"vip"`
	VIPAge   time.Duration `json:"vip_age_ns"`
	Health   health.State  `json:"health"`
	Strange  []string      `json:"strange,omitempty"`
	Lateness time.Duration `json:"lateness_ns"`

	VRRP *VRRPSnapshot `json:"vrrp,omitempty"` // nil: the service has no router
}

// VRRPSnapshot is what the router beside keepalived knew.
type VRRPSnapshot struct {
	State    string            `json:"state"` // RFC 9568's
	Cause    string            `json:"cause"`
	Mode     string            `json:"mode"`
	Priority uint8             `json:"priority"`
	Source   string            `json:"source"`
	Waits    string            `json:"waits,omitempty"` // why the VIP is not bound although the tenure lives
	Trouble  string            `json:"trouble,omitempty"`
	Quiet    time.Duration     `json:"quiet_ns"` // for how long nobody else takes over; 0: it is not Active; negative: for ever
	Notices  []VRRPNotice      `json:"notices,omitempty"`
	Heard    map[string]uint64 `json:"heard,omitempty"`
}

// VRRPNotice is one vrrpcompat.Notice.
type VRRPNotice struct {
	Name  string `json:"name"`
	From  string `json:"from,omitempty"`
	What  string `json:"what"`
	Times int    `json:"times"`
}

// Snapshot returns the latest one; the zero Snapshot before the first turn.
func (l *Loop) Snapshot() Snapshot {
	if s := l.snapshot.Load(); s != nil {
		return *s
	}
	return Snapshot{Service: l.cfg.Service, Node: l.cfg.Node}
}

func (l *Loop) publish(f Facts) {
	e, v := l.elect.State(), l.addrs.State()
	s := Snapshot{
		Service: l.cfg.Service, Node: l.cfg.Node, At: time.Now(),
		Role: l.role.String(), Since: l.since, Why: l.why, Failing: or(l.failing, l.memory.duplicate),
		Eligible: l.memory.member.Eligible, EligibleWhy: l.memory.member.Why,
		Epoch: e.Epoch, Lease: e.Lease.String(), Paused: f.Paused, Trouble: e.Trouble, EtcdAge: age(f.Now, e.LastOK), Synced: e.Synced,
		VIP: v, VIPAge: age(f.Now, v.At), Health: l.checks.State(), Strange: e.View.Strange, Lateness: l.addrs.Lateness(),
	}
	if l.role != Holder {
		s.Waiting = l.standing(f, e)
	}
	if f.Now.Before(f.HeldUntil) {
		s.Left = f.HeldUntil.Sub(f.Now)
	}
	if l.hands.Router != nil {
		s.VRRP = vrrpSnapshot(l.hands.Router.State(), f.Now)
		s.VRRP.Waits = or(s.VRRP.Waits, l.memory.duplicate)
	}
	l.snapshot.Store(&s)
}

func vrrpSnapshot(r vrrpcompat.RouterState, now boottime.Instant) *VRRPSnapshot {
	s := &VRRPSnapshot{
		State: r.State.String(), Cause: r.Cause.String(), Mode: r.Mode.String(), Priority: r.Priority,
		Waits: r.Waits(), Trouble: r.Trouble, Heard: r.Heard,
	}
	if r.Source.IsValid() {
		s.Source = r.Source.String()
	}
	switch {
	case r.QuietUntil == vrrpcompat.Endless:
		s.Quiet = -1
	case now.Before(r.QuietUntil):
		s.Quiet = r.QuietUntil.Sub(now)
	}
	for _, n := range r.Notices {
		v := VRRPNotice{Name: n.Name, What: n.Text, Times: n.Times}
		if n.From.IsValid() {
			v.From = n.From.String()
		}
		s.Notices = append(s.Notices, v)
	}
	return s
}

func age(now, then boottime.Instant) time.Duration {
	if then == 0 {
		return -1
	}
	return max(0, now.Sub(then))
}

// hclogLevel keeps the back and forth of a candidate out of the log that
// operators read.
func hclogLevel(from, to Role) hclog.Level {
	if from == Holder || to == Holder {
		return hclog.Info
	}
	return hclog.Debug
}
