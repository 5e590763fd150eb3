package interop

import (
	"time"

	"leasehold/vrrpcompat"
)

// The limits of a time without service.
const (
	none time.Duration = 0
	// slack is what a move may take beyond VRRP's timers, on a machine with two busy
	// processors.
	slack = 500 * time.Millisecond
	// give is how long it takes when the better router says that it is there: the
	// other lets go, and ours looks whether it has before it answers.
	give = slack
	// again is how long it takes ours to look again, where another has answered.
	again = time.Second + slack
)

// leave is the time without service when the Active router says that it leaves.
func (r Router) leave(priority int) time.Duration {
	r = r.withDefaults()
	return vrrpcompat.SkewTime(uint8(r.Version), uint8(priority), r.Interval) + slack
}

// silent is that time when it says nothing.
func (r Router) silent(priority int) time.Duration {
	r = r.withDefaults()
	return vrrpcompat.ActiveDownInterval(uint8(r.Version), uint8(priority), r.Interval, 3) + slack
}

// says are the states in the end.
func says(pairs ...string) map[string]string {
	all := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return all
}

// takeOvers is a pair of one keepalived, on k, and one of ours, on a, which takes
// over from it, and loses to it in two ways.
func takeOvers(name string, r Router, k Peer, a Node) Trial {
	if k.Priority == 0 {
		k.Priority = 100
	}
	if a.Priority == 0 {
		a.Priority = 150
	}
	joins := Want{Path: "k → a", Gap: give, State: says(K, "BACKUP", A, "Active")}
	return Trial{
		Name: name, Router: r, Theirs: map[string]Peer{K: k}, Ours: map[string]Node{A: a},
		Steps: []Step{
			{Do: []Action{start(keepalived(K))}, By: K, Want: Want{State: says(K, "MASTER")}},
			{What: "a joins with a higher priority", Do: []Action{start(leasehold(A))}, By: A, Want: joins},
			{What: "a stopped", Do: []Action{stop(leasehold(A))}, By: K, Want: Want{
				Path: "a → k", Gap: r.leave(k.Priority), State: says(K, "MASTER", A, "down"),
			}},
			{What: "a started again", Do: []Action{start(leasehold(A))}, By: A, Want: joins},
			{What: "a killed (-9)", Do: []Action{kill(leasehold(A))}, By: K, Want: Want{
				Path: "a → k", Gap: r.silent(k.Priority), State: says(K, "MASTER", A, "down"),
			}},
		},
	}
}

// vips3 are three VIPs, and in the other order, which is the same.
func vips3() (these, turned []string) {
	return []string{"10.20.8.188/24", "10.20.8.189/24", "10.20.8.190/24"}, []string{"10.20.8.190/24", "10.20.8.189/24", "10.20.8.188/24"}
}

// configurations are the pairs of every configuration in which both speak.
func configurations() []Trial {
	these, turned := vips3()
	vmac := Node{Extra: []string{"use_vmac: true"}}
	const cs10 = 100 * time.Millisecond
	v6 := []string{"fe80::8:188/64", "fd00:20:8::188/64"}
	brief := func(t Trial) Trial {
		t.Brief = true
		return t
	}
	mute := func(t Trial) Trial {
		t.Mute = true
		return t
	}
	return []Trial{
		brief(takeOvers("v2", Router{}, Peer{}, Node{})),
		takeOvers("v2, PASS", Router{Auth: "PASS"}, Peer{}, Node{}),
		brief(takeOvers("v2, AH", Router{Auth: "AH"}, Peer{}, Node{})),
		takeOvers("v2, unicast", Router{Unicast: true}, Peer{}, Node{}),
		takeOvers("v2, unicast, PASS", Router{Unicast: true, Auth: "PASS"}, Peer{}, Node{}),
		takeOvers("v2, unicast, AH", Router{Unicast: true, Auth: "AH"}, Peer{}, Node{}),
		takeOvers("v2, 3 VIPs", Router{VIPs: these}, Peer{Otherwise: &Router{VIPs: turned}}, Node{}),
		takeOvers("v2, 1 VIP excluded", Router{Excluded: []string{"10.20.8.199/24"}}, Peer{}, Node{}),
		takeOvers("v2, 2s", Router{Interval: 2 * time.Second}, Peer{}, Node{}),
		takeOvers("v2, use_vmac on k", Router{}, Peer{Extra: "  use_vmac vrrp.51\n"}, Node{}),
		takeOvers("v2, vmac_xmit_base on k", Router{}, Peer{Extra: "  use_vmac vrrp.51\n  vmac_xmit_base\n"}, Node{}),
		takeOvers("v2, use_vmac on a", Router{}, Peer{}, vmac),
		takeOvers("v2, use_vmac on both", Router{}, Peer{Extra: "  use_vmac vrrp.51\n"}, vmac),
		takeOvers("v2, mcast_src_ip on k", Router{}, Peer{Extra: "  mcast_src_ip 10.20.8.41\n"}, Node{}),
		mute(takeOvers("v2, vrrp_strict on k", Router{}, Peer{Global: "  vrrp_strict\n"}, Node{})),
		takeOvers("v3", Router{Version: 3}, Peer{}, Node{}),
		takeOvers("v3, 3 VIPs", Router{Version: 3, VIPs: these}, Peer{}, Node{}),
		takeOvers("v3, 0.1s", Router{Version: 3, Interval: cs10}, Peer{}, Node{}),
		takeOvers("v3, 0.5s on k, 2s on a", Router{Version: 3, Interval: 2 * time.Second},
			Peer{Otherwise: &Router{Version: 3, Interval: 500 * time.Millisecond}}, Node{}),
		takeOvers("v3, unicast", Router{Version: 3, Unicast: true}, Peer{}, Node{}),
		brief(takeOvers("v3, IPv6", Router{Version: 3, VIPs: v6}, Peer{}, Node{})),
		takeOvers("v3, IPv6, unicast", Router{Version: 3, Unicast: true, VIPs: v6[1:]}, Peer{}, Node{}),
		takeOvers("v3, IPv6, use_vmac on a", Router{Version: 3, VIPs: v6}, Peer{}, vmac),
		takeOvers("v3, IPv6, use_vmac on k", Router{Version: 3, VIPs: v6}, Peer{Extra: "  use_vmac vrrp6.51\n"}, Node{}),
	}
}
