package interop

import "time"

// alone are two keepaliveds without any of ours: what a mixed pair is compared
// with. k is the better of the two.
func alone() []Trial {
	pair := func(name string, r Router, steps ...Step) Trial {
		return Trial{
			Name: name, Alone: true, Router: r, Theirs: map[string]Peer{K: {Priority: 150}, L: {Priority: 100}},
			Steps: append([]Step{
				{Do: []Action{start(keepalived(K))}, By: K, Want: Want{State: map[string]string{K: "MASTER"}}},
				{Do: []Action{start(keepalived(L))}, By: K, Want: Want{State: map[string]string{L: "BACKUP"}}},
			}, steps...),
		}
	}
	k, l := keepalived(K), keepalived(L)
	return []Trial{
		pair("v2", Router{},
			Step{What: "k stopped", Do: []Action{stop(k)}, By: L},
			Step{What: "k started", Do: []Action{start(k)}, By: K},
			Step{What: "k's link down", Do: []Action{pull(K)}, By: L},
			Step{What: "and up again", Do: []Action{plug(K)}, By: K}),
		pair("v2", Router{},
			Step{What: "k killed (-9)", Do: []Action{kill(k)}, For: 5 * time.Second},
			Step{What: "its VIP taken off by hand", Do: []Action{strip(K)}, By: L}),
		pair("v2", Router{},
			Step{What: "k frozen", Do: []Action{freeze(k)}, For: 5 * time.Second},
			Step{What: "and thawed", Do: []Action{thaw(k)}, By: K}),
		pair("v2", Router{},
			Step{What: "VRRP cut, all else passes", Do: []Action{cutVRRP(K, L), cutVRRP(L, K)}, For: 6 * time.Second},
			Step{What: "and healed", Do: []Action{heal}, By: K}),
		pair("v3, 0.1s", Router{Version: 3, Interval: 100 * time.Millisecond},
			Step{What: "k stopped", Do: []Action{stop(k)}, By: L},
			Step{What: "k started", Do: []Action{start(k)}, By: K},
			Step{What: "k's link down", Do: []Action{pull(K)}, By: L}),
		{
			Name: "v2, another auth on l", Alone: true,
			Theirs: map[string]Peer{K: {Priority: 150}, L: {Priority: 100, Otherwise: &Router{Auth: "PASS"}}},
			Steps: []Step{
				{Do: []Action{start(k)}, By: K},
				{What: "l started", Do: []Action{start(l)}, For: 6 * time.Second},
			},
		},
	}
}
