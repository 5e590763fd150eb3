package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// render writes the status of one service for people.
func (s ServiceStatus) render(w io.Writer, width int) {
	g := grid{
		title: fmt.Sprintf("Service: %s (%s)", s.Service, strings.Join(s.VIPs, ", ")),
		head:  []string{"Member", "Role", "State", "Prio", "Lease", "Since", "Version"},
	}
	if s.Etcd.Epoch > 0 {
		g.right = fmt.Sprintf("epoch %d", s.Etcd.Epoch)
	} else if s.Daemon.Loop.Role == "holder" { // of a standby it is that of its last tenure
		g.right = fmt.Sprintf("epoch %d", s.Daemon.Loop.Epoch)
	}
	for _, m := range s.Members {
		g.rows = append(g.rows, m.row(s.At))
	}
	if len(g.rows) == 0 {
		g.rows = [][]string{{"-", "-", "-", "-", "-", "-", "-"}}
	}
	g.write(w, width)
	s.renderFacts(w, width)
}

func (m MemberStatus) row(now time.Time) []string {
	name, prio, left := m.Node, strconv.Itoa(m.Priority), "-"
	if m.Here {
		name += "*"
	}
	if m.Version == "" && m.Priority == 0 {
		prio = "-"
	}
	if m.Left != nil {
		left = short(time.Duration(*m.Left * float64(time.Second)))
	}
	return []string{name, titled(m.Role), m.State, prio, left, moment(m.Since, now), clean(m.Version)}
}

// titled writes a role with a capital, as patronictl does.
func titled(role string) string {
	if role == "" {
		return ""
	}
	return strings.ToUpper(role[:1]) + role[1:]
}

// renderFacts writes where the facts come from, and how old each is.
func (s ServiceStatus) renderFacts(w io.Writer, width int) {
	say := sayer(w, width)
	say("summary", s.Summary)
	for _, what := range s.Wrong {
		say("WRONG", what)
	}
	for _, m := range s.Members {
		if m.Why != "" {
			say("why", fmt.Sprintf("%s %s: %s", m.Node, m.State, m.Why))
		}
	}
	if s.Etcd.OK {
		say("etcd", fmt.Sprintf("read %s ago in %s, revision %d", ms(s.Etcd.AgeMS), ms(s.Etcd.TookMS), s.Etcd.Revision))
	} else {
		say("etcd", fmt.Sprintf("does not answer after %s: %s", ms(s.Etcd.TookMS), s.Etcd.Error))
	}
	if s.member != nil {
		say("member", s.member.text(s.At))
	}
	// A wrong state or a missing holder says its own; the pause must show all the same.
	if s.Etcd.Pause != nil && s.ExitCode != exitPaused {
		say("pause", "HA is paused"+pauseText(*s.Etcd.Pause, s.At))
	}
	if sw := s.Etcd.Switchover; sw != nil {
		to := "the best standby"
		if sw.To != "" {
			to = sw.To
		}
		say("switch", fmt.Sprintf("to %s asked for by %s", to, sw.By))
	}
	say("kernel", s.Kernel.text())
	say("fence", s.fenceText())
	if text := s.vrrpText(); text != "" {
		say("vrrp", text)
	}
	if text := s.claimsText(); text != "" {
		say("claims", text)
	}
	say("daemon", s.Daemon.text())
	renderChecks(w, s.Daemon, s.At, width)
}

// ms prints milliseconds that JSON has as a number.
func ms(f float64) string { return fmt.Sprintf("%.4gms", f) }

func (k KernelStatus) text() string {
	switch {
	case k.Error != "":
		return "cannot be read: " + k.Error
	case len(k.Copies) == 0:
		return "read now, the VIP is not on this host"
	}
	parts := make([]string, len(k.Copies))
	for i, c := range k.Copies {
		left := "no end"
		if !c.Permanent {
			left = short(time.Duration(c.LeftSeconds*float64(time.Second))) + " left"
		}
		parts[i] = fmt.Sprintf("%s on %s%s, %s", c.Prefix, c.Device, labelText(c.Label), left)
		if c.Silent {
			parts[i] += ", silent behind its fence"
		}
	}
	return "read now, " + strings.Join(parts, "; ")
}

func (d DaemonStatus) text() string {
	if !d.OK {
		return d.Error
	}
	parts := []string{
		fmt.Sprintf("pid %d, version %s, said %s ago: %s", d.PID, d.Version, ms(d.AgeMS), d.Loop.Role),
		d.Loop.Waiting, d.Loop.Failing, d.Loop.EtcdTrouble,
	}
	if strings.Contains(d.Loop.Waiting, d.Loop.Failing) {
		parts[2] = ""
	}
	if !d.Loop.LinkUp && d.Loop.LinkWhy != d.Loop.Waiting {
		parts = append(parts, d.Loop.LinkWhy)
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

func renderChecks(w io.Writer, d DaemonStatus, now time.Time, width int) {
	if !d.OK {
		return
	}
	if len(d.Checks.Results) == 0 {
		fmt.Fprintf(w, "  %-8s %s\n", "checks", "none configured")
		return
	}
	for i, r := range d.Checks.Results {
		key := ""
		if i == 0 {
			key = "checks"
		}
		for _, line := range wrap(clean(checkText(r, now)), max(20, width-11)) {
			fmt.Fprintf(w, "  %-8s %s\n", key, line)
			key = ""
		}
	}
}

func checkText(r CheckStatus, now time.Time) string {
	state := "ok"
	switch {
	case !r.Known:
		state = "not known yet"
	case !r.OK:
		state = "FAILS"
	}
	text := fmt.Sprintf("%s: %s", r.Name, state)
	if r.Detail != "" {
		text += ", " + r.Detail
	}
	if !r.Since.IsZero() {
		text += ", since " + moment(r.Since, now)
	}
	if !r.At.IsZero() {
		text += fmt.Sprintf(", checked %s ago", short(now.Sub(r.At)))
	}
	return text
}
