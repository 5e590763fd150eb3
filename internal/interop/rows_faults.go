package interop

import "time"

// pair is a keepalived and one of ours that is to be seen with it: who is Active
// at first has the higher priority, and is started first.
func pair(name string, first string, r Router, k Peer, a Node, steps ...Step) Trial {
	begin := []Step{
		{Do: []Action{start(keepalived(K))}, By: K, Want: Want{State: says(K, "MASTER")}},
		{Do: []Action{start(leasehold(A)), ready(A)}, By: K, Want: Want{State: says(K, "MASTER", A, "Backup")}},
	}
	if first == A {
		begin = []Step{
			{Do: []Action{start(leasehold(A))}, By: A, Want: Want{State: says(A, "Active")}},
			{Do: []Action{start(keepalived(K))}, By: A, Want: Want{State: says(A, "Active", K, "BACKUP")}},
		}
	}
	return Trial{Name: name, Router: r, Theirs: map[string]Peer{K: k}, Ours: map[string]Node{A: a}, Steps: append(begin, steps...)}
}

// toA is a VIP that goes from keepalived to ours.
func toA(gap time.Duration, state ...string) Want {
	return Want{Path: "k → a", Gap: gap, State: says(append(state, A, "Active")...)}
}

// toK is one that goes from ours to keepalived.
func toK(gap time.Duration, state ...string) Want {
	return Want{Path: "a → k", Gap: gap, State: says(append(state, K, "MASTER")...)}
}

// stays is a host that goes on answering.
func stays(host string, state ...string) Want {
	return Want{Path: host, Gap: none, State: says(state...)}
}

// long is for how long is watched what must not happen: longer than VRRP's timers.
const long = 6 * time.Second

// keepalivedFails are pairs in which keepalived is Active and fails.
func keepalivedFails() []Trial {
	r, k := Router{}, keepalived(K)
	better, worse := Peer{Priority: 150}, Node{Priority: 100}
	leave, silent := r.leave(100), r.silent(100)
	return []Trial{
		pair("keepalived Active", K, r, better, worse,
			Step{What: "k stopped", Do: []Action{stop(k)}, By: A, Want: toA(leave)},
			Step{What: "k started, it is better", Do: []Action{start(k)}, By: K, Want: toK(give, A, "Backup")},
			Step{What: "k's parent process killed (-9)", Do: []Action{killParent(k)}, By: A, Want: toA(leave)},
			Step{What: "k started", Do: []Action{start(k)}, By: K, Want: toK(give, A, "Backup")},
			Step{What: "k's link down", Do: []Action{pull(K)}, By: A, Want: toA(silent)},
			Step{What: "and up again", Do: []Action{plug(K)}, By: K, Want: toK(give, A, "Backup")}),
		pair("keepalived Active", K, r, better, worse,
			// A killed keepalived leaves the VIP behind, and its kernel answers.
			Step{What: "k killed (-9), both processes", Do: []Action{kill(k)}, By: K, For: long, Want: stays(K)},
			Step{What: "its VIP taken off by hand", Do: []Action{strip(K)}, By: A, Want: toA(again)},
			Step{What: "k started", Do: []Action{start(k)}, By: K, Want: toK(give, A, "Backup")}),
		pair("keepalived Active", K, r, better, worse,
			Step{What: "k frozen", Do: []Action{freeze(k)}, By: K, For: long, Want: stays(K)},
			Step{What: "and thawed", Do: []Action{thaw(k)}, By: K, For: long, Want: stays(K, K, "MASTER", A, "Backup")}),
		pair("keepalived Active", K, r, Peer{Priority: 150, Script: new(-60)}, worse,
			Step{What: "k's script fails, weight -60", Do: []Action{failScript(K)}, By: A, Want: toA(give, K, "BACKUP")},
			Step{What: "and works again", Do: []Action{mendScript(K)}, By: K, Want: toK(give, A, "Backup")}),
		pair("keepalived Active", K, r, Peer{Priority: 150, Script: new(0)}, worse,
			Step{What: "k's script fails, no weight", Do: []Action{failScript(K)}, By: A, Want: toA(leave, K, "FAULT")},
			Step{What: "and works again", Do: []Action{mendScript(K)}, By: K, Want: toK(give, A, "Backup")}),
		pair("keepalived Active, AH", K, Router{Auth: "AH"}, better, worse,
			// It counts its adverts from 1 again, which looks like a replay.
			Step{What: "k killed and started at once", Do: []Action{kill(k), start(k)}, By: K, For: long, Want: Want{State: says(K, "MASTER", A, "Backup")}},
			Step{What: "k stopped", Do: []Action{stop(k)}, By: A, Want: toA(leave)}),
		pair("keepalived Active", K, r, better, worse,
			Step{What: "its VIP deleted by hand", Do: []Action{strip(K)}, By: K, For: 2 * time.Second, Want: Want{
				Path: "k", Gap: r.leave(150), State: says(K, "MASTER", A, "Backup"),
			}},
			Step{What: "k reloaded", Do: []Action{reload(k)}, By: K, For: long, Want: stays(K, K, "MASTER", A, "Backup")},
			Step{What: "a's daemon stopped and started", Do: []Action{stop(leasehold(A)), start(leasehold(A))}, By: K, For: long, Want: stays(K, A, "Backup")},
			Step{What: "a's daemon killed and started", Do: []Action{kill(leasehold(A)), start(leasehold(A))}, By: K, For: long, Want: stays(K, A, "Backup")}),
	}
}

// oursFails are pairs in which ours is Active and fails.
func oursFails() []Trial {
	r, a := Router{}, leasehold(A)
	worse, better := Peer{Priority: 100}, Node{Priority: 150}
	leave, silent := r.leave(100), r.silent(100)
	return []Trial{
		pair("ours Active", A, r, worse, better,
			Step{What: "a stopped", Do: []Action{stop(a)}, By: K, Want: toK(leave)},
			Step{What: "a started", Do: []Action{start(a)}, By: A, Want: toA(give, K, "BACKUP")},
			Step{What: "mysqld on a killed (-9)", Do: []Action{sicken(A)}, By: K, Want: toK(leave)},
			Step{What: "mysqld on a started", Do: []Action{cure(A)}, By: A, Want: toA(give, K, "BACKUP")}),
		pair("ours Active", A, r, worse, better,
			Step{What: "a killed (-9)", Do: []Action{kill(a)}, By: K, Want: toK(silent)},
			Step{What: "a started", Do: []Action{start(a)}, By: A, Want: toA(give, K, "BACKUP")},
			Step{What: "a frozen", Do: []Action{freeze(a)}, By: K, Want: toK(silent)},
			Step{What: "a thawed", Do: []Action{thaw(a)}, By: A, Want: toA(give, K, "BACKUP")}),
		pair("ours Active", A, r, worse, better,
			Step{What: "nothing reaches a, nor comes from it", Do: []Action{cut(A)}, By: K, Want: toK(silent)},
			Step{What: "healed", Do: []Action{heal}, By: A, Want: toA(give, K, "BACKUP")},
			Step{What: "a's link down", Do: []Action{pull(A)}, By: K, Want: toK(silent)},
			Step{What: "and up again", Do: []Action{plug(A)}, By: A, Want: toA(give, K, "BACKUP")}),
		pair("ours Active", A, r, worse, better,
			Step{What: "paused, a stopped", Do: []Action{pause(A), stop(a)}, By: K, Want: toK(silent)}, // nobody advertises any more
			Step{What: "a started, resumed", Do: []Action{start(a), ready(A), resume(A)}, By: A, Want: toA(give, K, "BACKUP")},
			Step{What: "etcd frozen for 5s", Do: []Action{freezeEtcd}, By: K, For: 2 * time.Second, Want: toK(silent)},
			Step{What: "and thawed", Do: []Action{thawEtcd}, By: A, Want: toA(give, K, "BACKUP")}),
	}
}

// handOvers are two of ours and a keepalived behind them, which must not notice.
func handOvers() []Trial {
	trial := func(r Router, steps ...Step) Trial {
		return Trial{
			Name: "a, b ours, k behind", Router: r, Theirs: map[string]Peer{K: {Priority: 100}},
			Ours: map[string]Node{A: {Priority: 150}, B: {Priority: 120}},
			Steps: append([]Step{
				{Do: []Action{start(leasehold(A))}, By: A, Want: Want{State: says(A, "Active")}},
				{Do: []Action{start(leasehold(B), keepalived(K)), ready(B)}, By: A, For: 4 * time.Second, Want: Want{State: says(A, "Active", B, "Backup", K, "BACKUP")}},
			}, steps...),
		}
	}
	r := Router{}
	over := func(path string, gap time.Duration, state ...string) Want {
		return Want{Path: path, Gap: gap, Silent: []string{K}, Adverts: r.silent(100) - slack, State: says(append(state, K, "BACKUP")...)}
	}
	quick := 200 * time.Millisecond
	killed := trial(r,
		Step{What: "a killed (-9)", Do: []Action{kill(leasehold(A))}, By: B, For: long, Want: over("a → b", ttl+slack, B, "Active")},
		Step{What: "a started", Do: []Action{start(leasehold(A)), ready(A)}, By: B, For: long, Want: over("b", none, A, "Backup", B, "Active")},
	)
	// Adopted is a tenure that has not run out: one of 1s may, before a machine with
	// two busy processors has started a daemon.
	adopted := trial(r,
		Step{What: "a killed and started at once", Do: []Action{kill(leasehold(A)), start(leasehold(A))}, By: A, For: long, Want: over("a", none, A, "Active", B, "Backup")},
		Step{What: "a reloaded", Do: []Action{reload(leasehold(A))}, By: A, For: long, Want: over("a", none, A, "Active", B, "Backup")},
	)
	adopted.TTL = 3 * time.Second
	killed.Brief = true
	return []Trial{
		trial(r,
			Step{What: "a stopped", Do: []Action{stop(leasehold(A))}, By: B, For: long, Want: over("a → b", quick, B, "Active")},
			Step{What: "a started", Do: []Action{start(leasehold(A)), ready(A)}, By: B, For: long, Want: over("b", none, A, "Backup", B, "Active")},
			Step{What: "mysqld on b killed (-9)", Do: []Action{sicken(B)}, By: A, For: long, Want: over("b → a", quick, A, "Active")},
		),
		killed, adopted,
		trial(r,
			Step{What: "switchover to b", Do: []Action{switchover(B)}, By: B, For: long, Want: over("a → b", quick, B, "Active")},
			Step{What: "b frozen", Do: []Action{freeze(leasehold(B))}, By: A, For: long, Want: over("b → a", ttl+slack, A, "Active")},
			Step{What: "b thawed", Do: []Action{thaw(leasehold(B)), ready(B)}, By: A, For: long, Want: over("a", none, A, "Active", B, "Backup")},
			Step{What: "a's link down", Do: []Action{pull(A)}, By: B, For: long, Want: over("a → b", ttl+slack, B, "Active")},
			Step{What: "and up again", Do: []Action{plug(A), ready(A)}, By: B, For: long, Want: over("b", none, A, "Backup", B, "Active")},
			Step{What: "paused, mysqld on b killed (-9)", Do: []Action{pause(A), sicken(B)}, By: B, For: long, Want: over("b", none, B, "Active")},
			Step{What: "mysqld on b started, resumed", Do: []Action{cure(B), resume(A)}, By: B, For: long, Want: over("b", none, B, "Active")},
			Step{What: "both stopped", Do: []Action{stop(leasehold(A)), stop(leasehold(B))}, By: K, Want: Want{
				Path: "b → k", Gap: r.leave(100), State: says(K, "MASTER", A, "down", B, "down"),
			}},
		),
	}
}
