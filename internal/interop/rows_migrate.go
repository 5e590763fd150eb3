package interop

import "time"

// migrations are two hosts with keepalived, of which a is the better, that get
// Leasehold, and go back, with a client that has a TCP connection. Each way is
// walked twice: where the VIP has to move, by leaving and by priority.
func migrations() []Trial {
	return []Trial{there(false), there(true), atOnce(), back(false), back(true)}
}

func migration(name string, steps ...Step) Trial {
	script := new(0)
	return Trial{
		Name: name, Router: Router{Auth: "PASS"}, Session: true, Import: true,
		Theirs: map[string]Peer{A: {Priority: 150, State: "MASTER", Script: script}, B: {Priority: 100, Script: script}},
		Ours:   map[string]Node{A: {}, B: {}},
		Steps:  steps,
	}
}

// kept is a step that nobody is to notice.
func kept(what, by string, state map[string]string, do ...Action) Step {
	return Step{What: what, Do: do, By: by, For: 5 * time.Second, Want: Want{Path: by, Gap: none, State: state, Keeps: true}}
}

// saying has the status of a host say something as well.
func (s Step) saying(host string, words ...string) Step {
	s.Want.Status = map[string][]string{host: words}
	return s
}

// handed is a step in which the VIP moves.
func handed(what, path string, gap time.Duration, state map[string]string, do ...Action) Step {
	return Step{What: what, Do: do, By: path[len(path)-1:], For: 2 * time.Second, Want: Want{Path: path, Gap: gap, State: state}}
}

// bothKeepalived is how it begins.
func bothKeepalived() []Step {
	return []Step{
		{Do: []Action{start(keepalived(A))}, By: A, Want: Want{State: says(A, "MASTER")}},
		{Do: []Action{start(keepalived(B))}, By: A, Want: Want{State: says(A, "MASTER", B, "BACKUP")}},
	}
}

// there is the way from keepalived to Leasehold.
func there(byPriority bool) Trial {
	r := Router{}
	steps := append(bothKeepalived(),
		kept("b: keepalived stopped", A, says(A, "MASTER", B, "down"), stop(keepalived(B))),
		kept("b: Leasehold started, priority 100", A, says(A, "MASTER", B, "Backup"), importConf(B), start(leasehold(B)), ready(B)).
			saying(B, "vrrp Backup, priority 100", "yields to 10.20.8.50"),
	)
	name := "keepalived to Leasehold, by leaving"
	if byPriority {
		name = "keepalived to Leasehold, by priority"
		steps = append(steps,
			handed("b: priority 200, reloaded", "a → b", give, says(A, "BACKUP", B, "Active"), priority(B, 200), reload(leasehold(B))).
				saying(B, "vrrp Active, priority 200", "db20-025 holds the VIP"),
			kept("a: keepalived stopped", B, says(A, "down", B, "Active"), stop(keepalived(A))))
	} else {
		steps = append(steps,
			handed("a: keepalived stopped", "a → b", r.leave(100), says(A, "down", B, "Active"), stop(keepalived(A))))
	}
	return migration(name, append(steps,
		kept("a: Leasehold started", B, says(A, "Backup", B, "Active"), importConf(A), start(leasehold(A)), ready(A)),
		kept("a: vrrp section out, reloaded", B, says(A, "well", B, "Active"), sed(A, dropVRRP), reload(leasehold(A)), ready(A)),
		kept("b: vrrp section out, reloaded", B, says(A, "well", B, "well"), sed(B, dropVRRP), reload(leasehold(B)), ready(B)).
			saying(B, "db20-025 holds the VIP"),
		handed("switchover to a", "b → a", give, says(A, "well", B, "well"), switchover(A)),
	)...)
}

// atOnce is the way without a vrrp section, for comparison.
func atOnce() Trial {
	both := []Action{stop(keepalived(B)), stop(keepalived(A)), start(leasehold(B)), start(leasehold(A)), ready(A), ready(B)}
	prepared := append(bothKeepalived(), Step{
		Do: []Action{importConf(A), sed(A, dropVRRP), importConf(B), sed(B, dropVRRP)}, By: A,
	})
	at := Step{
		What: "both stopped, then both started", Do: both, For: 2 * time.Second,
		Want: Want{State: says(A, "well", B, "well")},
	}
	return migration("keepalived to Leasehold, all at once", append(prepared, at)...)
}

// back is the way from Leasehold to keepalived.
func back(byPriority bool) Trial {
	// A daemon that has been without a vrrp section is what the way there ends with.
	steps := []Step{
		{Do: []Action{writeConf(A), writeConf(B), importConf(A), sed(A, dropVRRP), importConf(B), sed(B, dropVRRP), start(leasehold(B))}, By: B},
		{Do: []Action{start(leasehold(A)), ready(A), ready(B)}, By: B},
		kept("a: vrrp section in, reloaded", B, says(A, "Backup", B, "well"), putBack(A), reload(leasehold(A)), ready(A)),
		kept("b: vrrp section in, priority 200, reloaded", B, says(A, "Backup", B, "Active"), putBack(B), priority(B, 200), reload(leasehold(B)), ready(B)),
		kept("a: Leasehold stopped, keepalived started", B, says(A, "BACKUP", B, "Active"), stop(leasehold(A)), purge(A), start(keepalived(A))),
	}
	name := "Leasehold to keepalived, by leaving"
	leave := Router{}.leave(150)
	if byPriority {
		name = "Leasehold to keepalived, by priority"
		steps = append(steps,
			handed("b: priority 100, reloaded", "b → a", give, says(A, "MASTER", B, "Backup"), priority(B, 100), reload(leasehold(B))),
			kept("b: Leasehold stopped, keepalived started", A, says(A, "MASTER", B, "BACKUP"), stop(leasehold(B)), purge(B), start(keepalived(B))))
	} else {
		steps = append(steps,
			handed("b: Leasehold stopped", "b → a", leave, says(A, "MASTER", B, "down"), stop(leasehold(B))),
			kept("b: keepalived started", A, says(A, "MASTER", B, "BACKUP"), purge(B), start(keepalived(B))))
	}
	return migration(name, steps...)
}
