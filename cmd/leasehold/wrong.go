package main

import (
	"fmt"
	"time"

	"leasehold/election"
)

// wrongHere compares etcd with the kernel of this host. A VIP that is still there
// for the rest of its lifetime, behind a shut fence, answers nobody.
func wrongHere(f facts, fence FenceStatus) []string {
	if f.kernelErr != nil {
		return nil
	}
	var wrong []string
	mine := holds(f.view) && f.view.Holder.Node == f.node
	for _, v := range f.service.VIPs {
		here, right, stays := false, false, !fence.silent(v.Spec.Prefix.Addr())
		for _, c := range f.copies {
			if c.Prefix.Addr() == v.Spec.Prefix.Addr() {
				here, right, stays = true, right || c.Right, stays || c.Permanent
			}
		}
		switch {
		case mine && !right && yieldsHere(f): // a foreign router has it, as it should be
		case mine && !right:
			wrong = append(wrong, fmt.Sprintf("this host is the holder, and %s is not on it as configured; see the daemon's log", v.Spec.Prefix))
		case here && stays && !mine:
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
