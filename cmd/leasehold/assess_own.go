package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"leasehold/internal/member"
)

// The states of this host's own member, besides those that a cluster knows and
// those of its process (waiting, starting, stopping).
const memberDown = "not running"

// transient is how long a member may take to start or stop before that is wrong:
// measured are 0.1 to 2.5 s.
const transient = 10 * time.Second

// OwnMemberStatus is the etcd member of this host as status shows it. Its JSON is a
// public interface.
type OwnMemberStatus struct {
	State        string    `json:"state"`
	Why          string    `json:"why,omitempty"`
	PID          int       `json:"pid,omitempty"`
	Since        time.Time `json:"since,omitzero"` // of the process's state
	ID           string    `json:"id,omitempty"`
	Version      string    `json:"version,omitempty"` // of etcd
	Leader       string    `json:"leader,omitempty"`
	Answering    int       `json:"members_answering"` // of those with a vote
	Members      int       `json:"members"`
	Silent       []string  `json:"members_silent,omitempty"`
	DBBytes      int64     `json:"db_bytes,omitempty"`
	QuotaBytes   int64     `json:"quota_bytes"`
	Alarms       []string  `json:"alarms,omitempty"`
	Insecure     bool      `json:"insecure"`
	FreeBytes    *uint64   `json:"free_bytes,omitempty"` // of the disk; nil: not known
	ReserveBytes uint64    `json:"reserve_bytes"`
	Wrong        []string  `json:"wrong,omitempty"`
}

// assessOwn draws the conclusions about this host's member.
func assessOwn(f memberFacts, all MembersStatus) OwnMemberStatus {
	o := OwnMemberStatus{
		Leader: all.Leader, QuotaBytes: int64(f.embedded.QuotaMB) << 20, Insecure: all.Insecure, ReserveBytes: member.Reserve,
	}
	if f.freeErr == nil {
		o.FreeBytes = &f.free
	}
	o.Answering, o.Members = all.answering()
	if len(all.Members) == 0 { // nobody tells the list
		o.Members = len(f.embedded.Members)
	}
	var mine EtcdMemberStatus
	for _, m := range all.Members {
		if m.Here {
			mine = m
		}
		if !m.learner && m.asked == nil {
			o.Silent = append(o.Silent, m.Name)
		}
		for _, a := range m.Alarms {
			o.Alarms = append(o.Alarms, a+" of "+m.Name)
			o.Wrong = append(o.Wrong, alarmTrouble(m.Name, a).text())
		}
	}
	o.ID, o.Version, o.DBBytes = mine.ID, mine.Version, mine.DBBytes
	o.judge(f, mine)
	return o
}

// judge takes the process's word for whether there is a member, and the member's
// for what it is.
func (o *OwnMemberStatus) judge(f memberFacts, mine EtcdMemberStatus) {
	p := f.process
	o.PID, o.Since = p.PID, p.Since
	age := f.now.Sub(p.Since)
	wrong := func(format string, args ...any) {
		o.Wrong = append([]string{"this host's etcd member " + fmt.Sprintf(format, args...)}, o.Wrong...)
	}
	switch {
	case f.processErr != nil && mine.asked != nil: // it cannot be looked at, and there it is
		o.State = mine.State
	case f.processErr != nil:
		o.State, o.Why = memberDown, f.processErr.Error()
		wrong("does not answer, and its process cannot be looked at: %v; sudo leasehold status tells more", f.processErr)
	case !f.runs && mine.asked != nil:
		o.State, o.Why = mine.State, "another program's than leasehold's: no process has "+f.embedded.Dir
		wrong("is run by another program, without what Leasehold does for it (disk, quota, order of stopping): stop that one, then systemctl start leasehold-etcd")
	case !f.runs:
		o.State = memberDown
		wrong("does not run: systemctl start leasehold-etcd; if it ends again, journalctl -u leasehold-etcd says why")
	case p.State == member.Running && mine.asked != nil:
		if o.State = mine.State; !mine.well() {
			wrong("%s: it does not reach a majority of the members", mine.State)
		}
	case p.State == member.Running:
		o.State, o.Why = memberSilent, mine.Why
		wrong("(pid %d) runs and does not answer%s; see journalctl -u leasehold-etcd", p.PID, because(mine.Why))
	case p.State == member.Waiting:
		o.State, o.Why = p.State, p.Why
		wrong("waits%s", because(p.Why))
	default:
		o.State, o.Why = p.State, p.Why
		if age > transient {
			wrong("(pid %d) is %s for %s%s; see journalctl -u leasehold-etcd", p.PID, p.State, short(age), because(p.Why))
		}
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// witnessCode is the exit code of status on a node that has nothing but its member.
func (o OwnMemberStatus) witnessCode() int {
	switch {
	case len(o.Wrong) > 0:
		return exitWrong
	case o.Answering < majority(o.Members) || o.Leader == "":
		return exitEtcdUnreachable
	}
	return exitFine
}

// witnessDaemon is what the daemon of a node without services says.
func witnessDaemon(r *daemonReply, err error, now time.Time) DaemonStatus {
	if err != nil {
		return DaemonStatus{Error: err.Error()}
	}
	return DaemonStatus{
		OK: true, PID: r.PID, Version: r.Version, AgeMS: milliseconds(max(0, now.Sub(r.At))),
		Loop: LoopStatus{Role: "witness", LinkUp: true},
	}
}

// text is the line of status.
func (o OwnMemberStatus) text(now time.Time) string {
	parts := []string{o.State}
	switch o.State {
	case member.Waiting, member.Starting, member.Stopping:
		if !o.Since.IsZero() {
			parts[0] += " for " + short(now.Sub(o.Since))
		}
		if !slices.ContainsFunc(o.Wrong, func(w string) bool { return o.Why != "" && strings.Contains(w, o.Why) }) {
			parts[0] += because(o.Why) // else WRONG says it
		}
	case memberFollower, memberLearner:
		if o.Leader != "" {
			parts = append(parts, o.Leader+" leads")
		}
	case memberDown, memberSilent, memberLeaderless:
		if o.Leader != "" {
			parts = append(parts, o.Leader+" leads the others")
		}
	}
	answer := fmt.Sprintf("%d of %d members answer", o.Answering, o.Members)
	if len(o.Silent) > 0 {
		answer += " (not " + strings.Join(o.Silent, ", ") + ")"
	}
	parts = append(parts, answer)
	if o.DBBytes > 0 {
		parts = append(parts, fmt.Sprintf("db %s of %s", size(o.DBBytes), size(o.QuotaBytes)))
	}
	if len(o.Alarms) > 0 {
		parts = append(parts, "alarm "+strings.Join(o.Alarms, ", "))
	}
	if o.Insecure {
		parts = append(parts, "insecure: without certificates")
	}
	if free := o.FreeBytes; free != nil && *free < o.ReserveBytes {
		parts = append(parts, fmt.Sprintf("disk nearly full: %s free, %s are kept", size(int64(*free)), size(int64(o.ReserveBytes)))) //nolint:gosec // below the reserve
	}
	return strings.Join(parts, ", ")
}

// size prints bytes with a unit of 1024, as df -h does.
func size(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if v < 10 && u > 0 {
		return fmt.Sprintf("%.1f %s", v, units[u])
	}
	return fmt.Sprintf("%.0f %s", v, units[u])
}
