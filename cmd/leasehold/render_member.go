package main

import (
	"fmt"
	"io"
	"strings"
)

// render writes the cluster for people.
func (s MembersStatus) render(w io.Writer, width int) {
	g := grid{title: "etcd members", head: []string{"Member", "ID", "Address", "etcd", "DB", "Lag", "State"}}
	if s.Term > 0 {
		g.right = fmt.Sprintf("term %d", s.Term)
	}
	for _, m := range s.Members {
		g.rows = append(g.rows, m.cells())
	}
	if len(g.rows) == 0 {
		g.rows = [][]string{{"-", "-", "-", "-", "-", "-", "-"}}
	}
	g.write(w, width)
	say := sayer(w, width)
	say("summary", s.Summary)
	for _, what := range s.Wrong {
		say("WRONG", what)
	}
	for _, m := range s.Members {
		if m.Why != "" {
			say("why", fmt.Sprintf("%s %s: %s", m.Name, m.State, m.Why))
		}
	}
	say("ports", s.ports)
	for _, m := range s.Members {
		if !m.usual {
			say("member", m.where())
		}
	}
	if s.Insecure {
		say("insecure", "without certificates: whoever reaches a member's port can take the VIP away, or give it to a second host")
	}
}

// cells is the row of a member. Its address is where the others reach it, without
// the ports, which stand below.
func (m EtcdMemberStatus) cells() []string {
	name, version, db, lag := clean(m.Name), "-", "-", "-"
	if m.Here {
		name += "*"
	}
	if m.asked != nil {
		version, db, lag = clean(m.Version), size(m.DBBytes), fmt.Sprint(m.Lag)
	}
	state := m.State
	if len(m.Alarms) > 0 {
		state += " " + strings.Join(m.Alarms, " ")
	}
	return []string{name, m.ID, clean(m.host()), version, db, lag, clean(state)}
}

// where lists the URLs of a member.
func (m EtcdMemberStatus) where() string {
	clients := "clients nowhere yet"
	if len(m.ClientURLs) > 0 {
		clients = "clients " + strings.Join(m.ClientURLs, " ")
	}
	return fmt.Sprintf("%s: peers %s, %s", m.Name, strings.Join(m.PeerURLs, " "), clients)
}

// renderWitness writes the status of a node that has no services: its member, the
// others, and its daemon.
func (s MembersStatus) renderWitness(w io.Writer, width int, own OwnMemberStatus, d DaemonStatus) {
	g := grid{title: "Witness: " + s.Node, head: []string{"Member", "Address", "etcd", "DB", "State"}}
	for _, m := range s.Members {
		c := m.cells()
		g.rows = append(g.rows, []string{c[0], c[2], c[3], c[4], c[6]})
	}
	if len(g.rows) == 0 {
		g.rows = [][]string{{"-", "-", "-", "-", "-"}}
	}
	g.write(w, width)
	say := sayer(w, width)
	say("summary", s.Summary)
	for _, what := range own.Wrong {
		say("WRONG", what)
	}
	say("member", own.text(s.At))
	say("daemon", d.text())
}
