package main

import (
	"context"
	"errors"
	"fmt"

	"leasehold/election"
	"leasehold/vip"
)

// wireFindings asks the network who has the VIPs that this host has not: once,
// with a probe that nobody learns anything from (RFC 5227 section 1.1).
func wireFindings(ctx context.Context, cfg *Config, views map[string]election.View) []Finding {
	var found []Finding
	for i := range cfg.Services {
		s := &cfg.Services[i]
		for _, v := range s.VIPs {
			specs := []vip.Spec{v.Spec}
			if copies, err := vip.Read(specs); err != nil || len(copies) > 0 {
				continue // what is here is looked at elsewhere
			}
			view, known := views[s.Name]
			found = append(found, wireFinding(cfg.Node, v.Spec, view, known, vip.Ask(ctx, specs, s.Probe)))
		}
	}
	return found
}

// wireFinding compares who answers with who holds.
func wireFinding(node string, s vip.Spec, view election.View, known bool, answer error) Finding {
	const check = "wire"
	addr := s.Prefix.Addr()
	duplicate, answered := errors.AsType[*vip.DuplicateError](answer)
	holder := ""
	if known && holds(view) {
		holder = view.Holder.Node
	}
	switch {
	case errors.Is(answer, vip.ErrNoLink):
		return okay(check, "%s was not asked for: %s has no link", addr, s.Device)
	case answer != nil && !answered:
		return warning(check, fmt.Sprintf("%s could not be asked for: %v", addr, answer), "sudo leasehold doctor")
	case answered && !known:
		return okay(check, "%s is answered for by the host with MAC %s; etcd does not say whether that is the holder", addr, duplicate.MAC)
	case answered && holder != "" && holder != node:
		return okay(check, "%s is answered for by the host with MAC %s; the holder is %s", addr, duplicate.MAC, holder)
	case answered:
		return failure(check, fmt.Sprintf("%s is answered for by the host with MAC %s, and etcd knows of no holder elsewhere", addr, duplicate.MAC),
			"find that MAC in the switches' tables and take the VIP off there (a keepalived, an ifcfg file): two hosts would answer")
	case holder != "" && holder != node:
		return failure(check, fmt.Sprintf("%s is answered for by nobody, and %s is the holder", addr, holder),
			"look at leasehold status on "+holder+", and whether "+s.Device+" here is in the same network (VLAN)")
	}
	if !known {
		return okay(check, "%s is answered for by nobody; etcd does not say whether anybody should", addr)
	}
	return okay(check, "%s is answered for by nobody, as it should be without a holder elsewhere", addr)
}
