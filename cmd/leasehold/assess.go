package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"leasehold/election"
)

// Exit codes of the status command. Of several the highest that applies counts,
// in the order wrong, unreachable, no holder, paused.
const (
	exitNoHolder        = 3
	exitPaused          = 4
	exitEtcdUnreachable = 5
	exitWrong           = 6
)

// ServiceStatus is one service as status shows it: what etcd, this host's kernel
// and this host's daemon say, and what follows. Its JSON is a public interface.
type ServiceStatus struct {
	Service  string         `json:"service"`
	VIPs     []string       `json:"vips"`
	At       time.Time      `json:"at"`
	ExitCode int            `json:"exit_code"`
	Summary  string         `json:"summary"`
	Wrong    []string       `json:"wrong,omitempty"`
	Etcd     EtcdStatus     `json:"etcd"`
	Kernel   KernelStatus   `json:"kernel"`
	Fence    FenceStatus    `json:"fence"`
	Daemon   DaemonStatus   `json:"daemon"`
	Members  []MemberStatus `json:"members"`

	member *OwnMemberStatus // this host's of etcd, where it runs one; the report has it once
}

// EtcdStatus is what etcd says, and when it said so.
type EtcdStatus struct {
	OK         bool                      `json:"ok"`
	Error      string                    `json:"error,omitempty"`
	TookMS     float64                   `json:"took_ms"`
	AgeMS      float64                   `json:"age_ms"`
	Revision   int64                     `json:"revision,omitempty"`
	Epoch      int64                     `json:"epoch,omitempty"`
	Holder     string                    `json:"holder,omitempty"`
	Tenure     *election.TenureValue     `json:"tenure,omitempty"`
	Pause      *PauseStatus              `json:"pause,omitempty"`
	Switchover *election.SwitchoverValue `json:"switchover,omitempty"`
	Strange    []string                  `json:"strange,omitempty"`
}

// PauseStatus is the pause key as status shows it.
type PauseStatus struct {
	election.PauseValue
	LeftSeconds float64 `json:"left_seconds"` // 0: no end
}

// MemberStatus is one row of the table.
type MemberStatus struct {
	Node     string    `json:"node"`
	Here     bool      `json:"here"` // this host
	Role     string    `json:"role"` // holder or standby
	State    string    `json:"state"`
	Eligible bool      `json:"eligible"`
	Priority int       `json:"priority"`
	Lease    string    `json:"lease,omitempty"`
	Left     *float64  `json:"lease_left_seconds,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Why      string    `json:"why,omitempty"`
	Version  string    `json:"version,omitempty"`
	VRRP     string    `json:"vrrp,omitempty"` // the state of its router, and where that speaks from
	Source   string    `json:"source"`         // who says so: etcd, or this host's daemon when etcd does not answer
}

// KernelStatus is what this host's kernel has of the VIPs.
type KernelStatus struct {
	Error  string       `json:"error,omitempty"`
	Copies []CopyStatus `json:"copies"`
}

// CopyStatus is one address in the kernel.
type CopyStatus struct {
	Prefix      netip.Prefix `json:"prefix"`
	Device      string       `json:"device"`
	Label       string       `json:"label,omitempty"`
	Right       bool         `json:"as_configured"`
	Permanent   bool         `json:"permanent"`
	LeftSeconds float64      `json:"left_seconds,omitempty"`
	Silent      bool         `json:"silent,omitempty"` // its fence is not open: it answers nobody
}

func milliseconds(d time.Duration) float64 { return float64(d.Round(100*time.Microsecond)) / 1e6 }

// assess draws the conclusions from the facts. It asks nobody.
func assess(f facts) ServiceStatus {
	s := ServiceStatus{
		Service: f.service.Name, VIPs: f.service.prefixes(), At: f.now, Members: []MemberStatus{},
		Etcd:  EtcdStatus{OK: f.etcdErr == nil, TookMS: milliseconds(f.took)},
		Fence: assessFence(f), Daemon: assessDaemon(f), member: f.member,
	}
	s.Kernel = assessKernel(f, s.Fence)
	if f.etcdErr != nil {
		s.Etcd.Error = f.etcdErr.Error()
		s.Members = fromDaemon(f, s.Daemon)
	} else {
		s.assessEtcd(f)
		s.Members = assessMembers(f)
		s.Wrong = append(s.Wrong, wrongHere(f, s.Fence)...)
		s.Wrong = append(s.Wrong, orphaned(f)...)
	}
	s.Wrong = append(s.Wrong, wrongCopies(f)...)
	s.Wrong = append(s.Wrong, wrongFence(f, s.Fence)...)
	s.Wrong = append(s.Wrong, wrongVRRP(f)...)
	if f.member != nil {
		s.Wrong = append(s.Wrong, f.member.Wrong...)
	}
	s.conclude(f)
	return s
}

func (s *ServiceStatus) assessEtcd(f facts) {
	v := f.view
	s.Etcd.Revision = v.Revision
	s.Etcd.AgeMS = milliseconds(f.nowBoot.Sub(v.At))
	s.Etcd.Strange = v.Strange
	if v.Tenure != nil {
		s.Etcd.Epoch = v.Tenure.Epoch
		if v.Tenure.Bad != "" {
			s.Wrong = append(s.Wrong, "the tenure key is not ours: "+v.Tenure.Bad)
		} else {
			s.Etcd.Tenure = &v.Tenure.TenureValue
		}
	}
	if v.Holder != nil {
		s.Etcd.Holder = v.Holder.Node
		if v.Holder.Bad != "" {
			s.Wrong = append(s.Wrong, "the holder key is not ours: "+v.Holder.Bad)
		}
	}
	if v.Switchover != nil {
		s.Etcd.Switchover = &v.Switchover.SwitchoverValue
	}
	if v.Pause != nil {
		s.Etcd.Pause = &PauseStatus{PauseValue: v.Pause.PauseValue}
		if end := v.Pause.End(); !end.IsZero() {
			s.Etcd.Pause.LeftSeconds = max(0, end.Sub(f.nowBoot).Round(time.Second).Seconds())
		}
	}
	for _, what := range v.Strange {
		s.Wrong = append(s.Wrong, "in etcd: "+what)
	}
}

// holds reports whether etcd names a holder that counts.
func holds(v election.View) bool { return v.Holder != nil && v.Holder.Bad == "" }

func assessMembers(f facts) []MemberStatus {
	rows := make([]MemberStatus, 0, len(f.view.Members)+1)
	row := func(node string, lease election.LeaseID) MemberStatus {
		m := MemberStatus{Node: node, Here: node == f.node, Role: "standby", Source: "etcd"}
		if lease != 0 {
			m.Lease = lease.String()
		}
		if holds(f.view) && f.view.Holder.Node == node {
			m.Role, m.Since, lease = "holder", f.view.Holder.Since, f.view.Holder.Lease
			m.Lease = lease.String()
		}
		if left, ok := f.left[lease]; ok {
			sec := left.Seconds()
			m.Left = &sec
		}
		return m
	}
	for _, v := range f.view.Members {
		m := row(v.Node, v.Lease)
		m.Eligible, m.Priority, m.Version, m.Why = v.Eligible, v.Priority, v.Version, v.Why
		m.VRRP = v.VRRP
		m.State = "eligible"
		if !v.Eligible {
			m.State = "not eligible"
		}
		if m.Since.IsZero() {
			m.Since = v.Since
		}
		rows = append(rows, m)
	}
	if holds(f.view) && f.view.Member(f.view.Holder.Node) == nil {
		m := row(f.view.Holder.Node, f.view.Holder.Lease)
		m.State, m.Why = "daemon gone", "its member key is gone; its tenure still runs"
		rows = slices.Insert(rows, 0, m)
	}
	return rows
}

// fromDaemon is the row of this host in the words of its daemon, for when etcd
// does not answer.
func fromDaemon(f facts, d DaemonStatus) []MemberStatus {
	if !d.OK || d.Loop.Role == "" {
		return []MemberStatus{}
	}
	m := MemberStatus{
		Node: f.node, Here: true, Role: d.Loop.Role, Eligible: d.Loop.Eligible, Priority: f.service.Priority, State: "eligible",
		Since: d.Loop.Since, Why: d.Loop.EligibleWhy, Version: d.Version, Source: "daemon",
	}
	if !m.Eligible {
		m.State = "not eligible"
	}
	if left := d.Loop.LeftSeconds; left > 0 {
		m.Left = &left
	}
	return []MemberStatus{m}
}

func assessKernel(f facts, fence FenceStatus) KernelStatus {
	k := KernelStatus{Copies: []CopyStatus{}}
	if f.kernelErr != nil {
		k.Error = f.kernelErr.Error()
	}
	for _, c := range f.copies {
		cs := CopyStatus{Prefix: c.Prefix, Device: c.Device, Label: c.Label, Right: c.Right, Permanent: c.Permanent, Silent: fence.silent(c.Prefix.Addr())}
		if !c.Permanent {
			cs.LeftSeconds = c.ValidLft.Seconds()
		}
		k.Copies = append(k.Copies, cs)
	}
	return k
}

// conclude picks the exit code and says it in a sentence.
func (s *ServiceStatus) conclude(f facts) {
	switch {
	case len(s.Wrong) > 0:
		s.ExitCode, s.Summary = exitWrong, "something is wrong"
	case !s.Etcd.OK:
		s.ExitCode, s.Summary = exitEtcdUnreachable, "etcd does not answer; only what this host knows is shown"
	case !holds(f.view):
		s.ExitCode, s.Summary = exitNoHolder, "nobody holds the VIP"
		if s.Etcd.Pause != nil {
			s.Summary += ", and while HA is paused nobody takes it"
		} else if why := notEligible(s.Members); why != "" {
			s.Summary += ": " + why
		}
	case s.Etcd.Pause != nil:
		s.ExitCode, s.Summary = exitPaused, "HA is paused"+pauseText(*s.Etcd.Pause, s.At)
	default:
		s.ExitCode, s.Summary = exitFine, s.Etcd.Holder+" holds the VIP"
		if why := yields(f); why != "" {
			s.Summary = s.Etcd.Holder + " holds the tenure, and the VIP is not on it: " + why
		}
	}
}

// notEligible says why no member takes over; empty: some member could.
func notEligible(members []MemberStatus) string {
	if len(members) == 0 {
		return "no daemon is registered in etcd"
	}
	for _, m := range members {
		if m.Eligible {
			return ""
		}
	}
	return "no member is eligible"
}

func pauseText(p PauseStatus, now time.Time) string {
	var b strings.Builder
	if p.Until != nil {
		fmt.Fprintf(&b, " until %s (%s left)", p.Until.In(now.Location()).Format("2006-01-02 15:04:05"), short(time.Duration(p.LeftSeconds*float64(time.Second))))
	} else {
		b.WriteString(" without an end")
	}
	if p.Reason != "" {
		fmt.Fprintf(&b, ": %s", p.Reason)
	}
	if p.By != "" {
		fmt.Fprintf(&b, " (by %s)", p.By)
	}
	return b.String()
}
