package interop

import (
	"slices"
	"time"
)

// cuts are pairs that cannot hear each other while all else passes.
func cuts() []Trial {
	r := Router{}
	cut := func(first string, k, a int, brief bool, steps ...Step) Trial {
		t := pair("VRRP is cut", first, r, Peer{Priority: k}, Node{Priority: a}, steps...)
		t.Brief = brief
		return t
	}
	theirs := stays(K, K, "MASTER", A, "Backup")
	ours := toA(again, K, "BACKUP")
	both := []Action{cutVRRP(K, A), cutVRRP(A, K)}
	// keepalived looks for nobody before it takes the VIP: ours lets go.
	taken := blind(toK(give))
	return []Trial{
		cut(K, 150, 100, true,
			Step{What: "both ways, keepalived Active", Do: both, By: K, For: long, Want: stays(K, K, "MASTER")},
			Step{What: "healed", Do: []Action{heal}, By: K, For: long, Want: theirs}),
		cut(K, 150, 100, false,
			Step{What: "from k to a only, keepalived Active", Do: both[:1], By: K, For: long, Want: stays(K, K, "MASTER")},
			Step{What: "healed", Do: []Action{heal}, By: K, For: long, Want: theirs}),
		cut(A, 100, 150, true,
			Step{What: "both ways, ours Active", Do: both, By: K, For: long, Want: taken},
			Step{What: "healed", Do: []Action{heal}, By: A, For: 2 * time.Second, Want: ours}),
		cut(A, 100, 150, false,
			Step{What: "from a to k only, ours Active", Do: both[1:], By: K, For: long, Want: taken},
			Step{What: "healed", Do: []Action{heal}, By: A, For: 2 * time.Second, Want: ours}),
	}
}

// sharedMAC are pairs in which both have the virtual MAC address, so that who
// answers cannot be told by it.
func sharedMAC() []Trial {
	r, k := Router{}, keepalived(K)
	const name, drawn = "use_vmac on both", 100 * time.Millisecond
	extra := "  use_vmac vrrp.51\n"
	vmac := []string{"use_vmac: true"}
	return []Trial{
		pair(name, A, r, Peer{Priority: 100, Extra: extra}, Node{Priority: 150, Extra: vmac},
			Step{What: "VRRP cut both ways, ours Active", Do: []Action{cutVRRP(K, A), cutVRRP(A, K)}, By: K, For: long, Want: blind(toK(give))},
			Step{What: "healed", Do: []Action{heal}, By: A, For: 2 * time.Second, Want: toA(again, K, "BACKUP")}),
		pair(name, K, r, Peer{Priority: 150, Extra: extra}, Node{Priority: 100, Extra: vmac},
			// Each advert of ours draws what is sent to the MAC address to our port, until
			// k's kernel says the next thing.
			Step{What: "k frozen", Do: []Action{freeze(k)}, By: K, For: long, Want: Want{Path: K, Gap: drawn}},
			Step{What: "and thawed", Do: []Action{thaw(k)}, By: K, For: long, Want: Want{Path: K, Gap: drawn, State: says(K, "MASTER", A, "Backup")}}),
	}
}

// strangers are keepaliveds of the same VRID that cannot be told apart from a
// router of the network but by what they have in another way: neither takes the
// other for right.
func strangers() []Trial {
	const name = "does not belong"
	these, _ := vips3()
	var all []Trial
	for _, c := range []struct {
		what     string
		r, other Router
		says     string // in status; what is not heard is told by who answers for the VIP
	}{
		{"password on k", Router{}, Router{Auth: "PASS"}, "advert of 10.20.8.40 dropped: its authentication is PASS, ours none"},
		{"AH on k", Router{}, Router{Auth: "AH"}, "10.20.8.188 is in use on eth0 by the host with MAC 02:00:0a:14:08:28"},
		{"another interval on k", Router{}, Router{Interval: 2 * time.Second}, "advert of 10.20.8.40 dropped: its interval is 2s, ours 1s"},
		{"version 3 on k", Router{}, Router{Version: 3}, "advert of 10.20.8.40 dropped: it is of version 3, ours of 2"},
		{"unicast on k", Router{}, Router{Unicast: true}, "10.20.8.188 is in use on eth0 by the host with MAC 02:00:0a:14:08:28"},
		{"three VIPs on k", Router{}, Router{VIPs: these}, "10.20.8.189"},
	} {
		status := map[string][]string{A: {c.says}}
		first := joiningIn(name, A, c.r, Peer{Priority: 150, Otherwise: &c.other}, Node{Priority: 100},
			Step{What: c.what + ", it comes second", Do: []Action{start(keepalived(K))}, By: K, For: long, Want: Want{
				Path: "a → k", Gap: give, State: says(K, "MASTER"), Status: status, Blind: K,
			}},
			Step{What: c.what + ", a started again", Do: []Action{stop(leasehold(A)), start(leasehold(A))}, By: K, For: long, Want: Want{
				Path: "k", Gap: none, State: says(K, "MASTER"), Status: status,
			}})
		all = append(all, first)
	}
	old := joiningIn(name, A, Router{Version: 3, Unicast: true}, Peer{Priority: 150, Extra: "  old_unicast_checksum\n"}, Node{Priority: 100},
		Step{What: "old_unicast_checksum on k, it comes second", Do: []Action{start(keepalived(K))}, By: K, For: long, Want: Want{
			Path: "a → k", Gap: give, State: says(K, "MASTER"), Status: map[string][]string{A: {"10.20.8.40", "checksum"}}, Blind: K,
		}})
	// Ours takes both forms of the checksum, keepalived 2.2.7 only its own.
	rfc := joiningIn(name, A, Router{Version: 3}, Peer{Priority: 150}, Node{Priority: 100, Extra: []string{"checksum: rfc9568"}},
		Step{What: "checksum: rfc9568 on a, k comes second", Do: []Action{start(keepalived(K))}, By: K, For: long, Want: Want{
			Path: "a → k", Gap: give, State: says(K, "MASTER", A, "Backup"),
		}})
	return append(all, old, rfc)
}

// priorities are pairs in which something else than the higher priority decides,
// or decides later.
func priorities() []Trial {
	r := Router{}
	k, a := keepalived(K), leasehold(A)
	silent := r.silent(100)
	equal := func(host string) Trial { // a or b is ours: above or below k
		ours := leasehold(host)
		t := joining("equal priorities, ours is "+host, K, Peer{Priority: 100}, Node{Priority: 100},
			Step{What: "ours joins later", Do: []Action{start(ours), ready(host)}, By: K, For: long, Want: stays(K, K, "MASTER", host, "Backup")},
			Step{What: "k stopped", Do: []Action{stop(k)}, By: host, Want: Want{Path: "k → " + host, Gap: r.leave(100), State: says(host, "Active")}},
			Step{What: "k joins later", Do: []Action{start(k)}, By: host, For: long, Want: stays(host, K, "BACKUP", host, "Active")})
		t.Ours = map[string]Node{host: {Priority: 100}}
		return t
	}
	return []Trial{
		equal(A),
		equal(B),
		joining("nopreempt on k", A, Peer{Priority: 150, NoPreempt: true}, Node{Priority: 100},
			Step{What: "k joins, it is better", Do: []Action{start(k)}, By: A, For: long, Want: stays(A, K, "BACKUP", A, "Active")},
			Step{What: "a stopped", Do: []Action{stop(a)}, By: K, Want: toK(r.leave(150))}),
		joining("preempt: false on a", K, Peer{Priority: 100}, Node{Priority: 150, Extra: []string{"preempt: false"}},
			Step{What: "a joins, it is better", Do: []Action{start(a), ready(A)}, By: K, For: long, Want: stays(K, K, "MASTER", A, "Backup")},
			Step{What: "k stopped", Do: []Action{stop(k)}, By: A, Want: toA(r.leave(150))}),
		joining("preempt_delay 3 on k", A, Peer{Priority: 150, Extra: "  preempt_delay 3\n"}, Node{Priority: 100},
			Step{What: "k joins, it is better", Do: []Action{start(k)}, By: K, Want: toK(give, A, "Backup")}),
		joining("preempt_delay: 3s on a", K, Peer{Priority: 100}, Node{Priority: 150, Extra: []string{"preempt_delay: 3s"}},
			Step{What: "a joins, it is better", Do: []Action{start(a)}, By: A, Want: toA(give, K, "BACKUP")}),
		joining("higher_prio_send_advert on k", K, Peer{Priority: 100, Extra: "  higher_prio_send_advert\n"}, Node{Priority: 150},
			Step{What: "a joins, it is better", Do: []Action{start(a)}, By: A, Want: toA(give, K, "BACKUP")}),
		joining("higher_prio_send_advert: true on a", A, Peer{Priority: 150}, Node{Priority: 100, Extra: []string{"higher_prio_send_advert: true"}},
			Step{What: "k joins, it is better", Do: []Action{start(k)}, By: K, Want: toK(give, A, "Backup")}),
		joining("priority 255 on k", A, Peer{Priority: 255, State: "MASTER"}, Node{Priority: 150},
			Step{What: "k joins", Do: []Action{start(k)}, By: K, Want: toK(give, A, "Backup")},
			Step{What: "k stopped", Do: []Action{stop(k)}, By: A, Want: toA(r.leave(150))}),
		joining("state MASTER without priority on k", A, Peer{State: "MASTER"}, Node{Priority: 150},
			Step{What: "k joins", Do: []Action{start(k)}, By: K, Want: toK(give, A, "Backup")},
			Step{What: "k's link down", Do: []Action{pull(K)}, By: A, Want: toA(r.silent(150))}),
		joining("priority: 255 on a", K, Peer{Priority: 150}, Node{Priority: 255},
			Step{What: "a joins", Do: []Action{start(a)}, By: A, Want: toA(give, K, "BACKUP")},
			Step{What: "a killed (-9)", Do: []Action{kill(a)}, By: K, Want: toK(silent)}),
		// keepalived lowers itself for good when it meets a second owner.
		joining("priority 255 on both", A, Peer{Priority: 255, State: "MASTER"}, Node{Priority: 255},
			Step{What: "k joins", Do: []Action{start(k)}, For: long, Want: Want{Blind: K}},
			Step{What: "a stopped", Do: []Action{stop(a)}, By: K, Want: Want{State: says(K, "MASTER")}}),
		joining("down_timer_adverts 5", A, Peer{Priority: 100, Extra: "  down_timer_adverts 5\n"}, Node{Priority: 150, Extra: []string{"down_timer_adverts: 5"}},
			Step{What: "k joins", Do: []Action{start(k)}, By: A, For: long, Want: stays(A, K, "BACKUP", A, "Active")},
			Step{What: "a killed (-9)", Do: []Action{kill(a)}, By: K, Want: toK(silent + 2*time.Second)}),
		joining("lower_prio_no_advert on both", A, Peer{Priority: 100, Extra: "  lower_prio_no_advert\n"}, Node{Priority: 150, Extra: []string{"lower_prio_no_advert: true"}},
			Step{What: "k joins", Do: []Action{start(k)}, By: A, For: long, Want: stays(A, K, "BACKUP", A, "Active")},
			Step{What: "a stopped", Do: []Action{stop(a)}, By: K, Want: toK(r.leave(100))}),
		joining("gate", K, Peer{Priority: 100}, Node{Extra: []string{"mode: gate"}},
			Step{What: "a joins", Do: []Action{start(a)}, By: K, For: long, Want: Want{Path: "k", Silent: []string{A}, State: says(K, "MASTER", A, "Backup")}},
			Step{What: "k stopped", Do: []Action{stop(k)}, By: A, Want: Want{Path: "k → a", Gap: silent, Silent: []string{A}, State: says(A, "Active")}},
			// It hears nobody, so that it takes the VIP.
			Step{What: "k started", Do: []Action{start(k)}, By: K, Want: Want{Path: "a → k", Gap: give, Silent: []string{A}, State: says(K, "MASTER", A, "Backup")}},
			Step{What: "k killed (-9), its VIP taken off", Do: []Action{kill(k), strip(K)}, By: A, Want: Want{Path: "k → a", Gap: silent + time.Second, Silent: []string{A}, State: says(A, "Active")}}),
	}
}

// blind says that k takes the VIP unheard.
func blind(w Want) Want {
	w.Blind = K
	return w
}

// joining is a pair of which only the first runs at the beginning.
func joining(name, first string, k Peer, a Node, steps ...Step) Trial {
	return joiningIn(name, first, Router{}, k, a, steps...)
}

func joiningIn(name, first string, r Router, k Peer, a Node, steps ...Step) Trial {
	t := pair(name, first, r, k, a, steps...)
	t.Steps = slices.Delete(t.Steps, 1, 2)
	return t
}
