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
	Daemon   DaemonStatus   `json:"daemon"`
	Members  []MemberStatus `json:"members"`
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
}

func milliseconds(d time.Duration) float64 { return float64(d.Round(100*time.Microsecond)) / 1e6 }

// assess draws the conclusions from the facts. It asks nobody.
func assess(f facts) ServiceStatus {
	s := ServiceStatus{
		Service: f.service.Name, VIPs: f.service.prefixes(), At: f.now, Members: []MemberStatus{},
		Etcd:   EtcdStatus{OK: f.etcdErr == nil, TookMS: milliseconds(f.took)},
		Kernel: assessKernel(f), Daemon: assessDaemon(f),
	}
	if f.etcdErr != nil {
		s.Etcd.Error = f.etcdErr.Error()
	} else {
		s.assessEtcd(f)
		s.Members = assessMembers(f)
		s.Wrong = append(s.Wrong, wrongHere(f)...)
		s.Wrong = append(s.Wrong, orphaned(f)...)
	}
	s.Wrong = append(s.Wrong, wrongCopies(f)...)
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
		m := MemberStatus{Node: node, Here: node == f.node, Role: "standby"}
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

func assessKernel(f facts) KernelStatus {
	k := KernelStatus{Copies: []CopyStatus{}}
	if f.kernelErr != nil {
		k.Error = f.kernelErr.Error()
	}
	for _, c := range f.copies {
		cs := CopyStatus{Prefix: c.Prefix, Device: c.Device, Label: c.Label, Right: c.Right, Permanent: c.Permanent}
		if !c.Permanent {
			cs.LeftSeconds = c.ValidLft.Seconds()
		}
		k.Copies = append(k.Copies, cs)
	}
	return k
}

// wrongHere compares etcd with the kernel of this host.
func wrongHere(f facts) []string {
	if f.kernelErr != nil {
		return nil
	}
	var wrong []string
	mine := holds(f.view) && f.view.Holder.Node == f.node
	for _, v := range f.service.VIPs {
		here, right := false, false
		for _, c := range f.copies {
			if c.Prefix.Addr() == v.Spec.Prefix.Addr() {
				here, right = true, right || c.Right
			}
		}
		switch {
		case mine && !right:
			wrong = append(wrong, fmt.Sprintf("this host is the holder, and %s is not on it as configured; see the daemon's log", v.Spec.Prefix))
		case here && !mine:
			wrong = append(wrong, fmt.Sprintf("%s is on this host, which is not the holder (%s); take it off: leasehold release, or start the daemon",
				v.Spec.Prefix.Addr(), orNobody(f.view)))
		}
	}
	return wrong
}

// orphaned notices the long tenure of a pause whose daemon is gone when the pause
// is over: should its host be off as well, nobody answers until the tenure ends.
func orphaned(f facts) []string {
	if !holds(f.view) || f.view.Pause != nil || f.view.Member(f.view.Holder.Node) != nil {
		return nil
	}
	return []string{fmt.Sprintf("the daemon of the holder %s is gone, and nobody may take over before its tenure of up to %s ends; "+
		"start it, or, when that host is off, type: leasehold release --force %s",
		f.view.Holder.Node, time.Duration(f.view.Holder.TTL), f.service.Name)}
}

// wrongCopies names the copies that should not be as they are, whoever holds.
func wrongCopies(f facts) []string {
	var wrong []string
	for _, c := range f.copies {
		switch {
		case !c.Right:
			wrong = append(wrong, fmt.Sprintf("a stray copy of the VIP is on this host: %s on %s%s", c.Prefix, c.Device, labelText(c.Label)))
		case c.Permanent:
			wrong = append(wrong, fmt.Sprintf("%s on %s has no end: somebody made it permanent, and it would outlive the lease", c.Prefix, c.Device))
		}
	}
	return wrong
}

func labelText(label string) string {
	if label == "" {
		return ""
	}
	return " label " + label
}

func orNobody(v election.View) string {
	if !holds(v) {
		return "nobody is"
	}
	return v.Holder.Node + " is"
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
