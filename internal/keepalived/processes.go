package keepalived

import (
	"fmt"
	"strings"

	"leasehold/internal/health"
)

// looksFor returns the name of the process that a command looks for and does
// nothing else: killall -0 NAME, pidof NAME, pgrep -x NAME. The kernel reports its
// end at once, which is why it becomes a process check.
func looksFor(words []string) string {
	name := ""
	switch {
	case len(words) == 3 && shortName(words[0]) == "killall" && words[1] == "-0",
		len(words) == 3 && shortName(words[0]) == "pgrep" && words[1] == "-x":
		name = words[2]
	case len(words) == 2 && shortName(words[0]) == "pidof":
		name = words[1]
	}
	if name == "" || strings.HasPrefix(name, "-") || unprintable(name) {
		return ""
	}
	if (health.Config{Name: "process", Process: &health.Process{Name: name}}).Validate() != nil {
		return ""
	}
	return name
}

func (c *converter) processOfScript(sc *script, s *service, name string) check {
	i := len(s.checks)
	c.became(sc.At, s.key(fmt.Sprintf("checks[%d]", i)))
	c.became(sc.Command.At, s.key(fmt.Sprintf("checks[%d].process.name", i)))
	const atOnce = "the kernel reports the end of a process, at once"
	for _, st := range []*statement{sc.Interval.At, sc.Timeout.At, sc.Rise.At, sc.InitFail, sc.User} {
		c.nothing(st, atOnce)
	}
	if sc.Fall.Value > 1 {
		c.left(sc.Fall.At, "the end of a process counts at once, and not only after %d rounds, in which it may have been started again; write an exec check if that is meant", sc.Fall.Value)
	} else {
		c.nothing(sc.Fall.At, atOnce)
	}
	c.hints.mysql = c.hints.mysql || namesMySQL(name)
	return check{fmt.Sprintf("vrrp_script, %s", sc.At.Pos), health.Config{Name: "process", Process: &health.Process{Name: name}}}
}

// trackProcess adds the check of a process, and returns its weight.
func (c *converter) trackProcess(t track, s *service, done map[string]int) (weight int, ok bool) {
	p := c.cfg.process(t.Name)
	weight, from := p.Weight.Value, p.Weight.At
	if t.Weight.At != nil {
		weight, from = t.Weight.Value, t.At
		if p.Weight.At != nil {
			c.nothing(p.Weight.At, "the line in track_process has its own")
		}
	}
	if t.Reverse || p.Reverse {
		c.left(t.At, reversed)
		c.all(p.At, Outcome{Left: reversed})
		return 0, false
	}
	i, before := done["process "+t.Name]
	if !before {
		ch, why := c.ofProcess(p, s)
		if why != "" {
			c.left(t.At, "its vrrp_track_process could not be taken over (%s)", p.At.Pos)
			c.all(p.At, Outcome{Left: why})
			return 0, false
		}
		i = len(s.checks)
		s.checks = append(s.checks, ch)
		done["process "+t.Name] = i
	}
	c.became(t.At, s.key(fmt.Sprintf("checks[%d]", i)))
	if weight != 0 {
		c.left(from, "%s", s.noWeights())
	} else if from == p.Weight.At && from != nil {
		c.nothing(from, "a node whose check fails is not eligible, as with weight 0")
	}
	return weight, true
}

// maxComm is the length of a name in /proc/PID/comm: TASK_COMM_LEN without its end
// mark, linux/sched.h.
const maxComm = 15

// ofProcess makes the check of a process, or says why there is none.
func (c *converter) ofProcess(p *process, s *service) (check, string) {
	if len(p.Command.Value) == 0 {
		return check{}, "it names no process, and keepalived leaves it out"
	}
	name := shortName(p.Command.Value[0])
	name = name[:min(len(name), maxComm)]
	h := health.Config{Name: "process", Process: &health.Process{Name: name}}
	if err := h.Validate(); err != nil || unprintable(name) {
		return check{}, "a process check needs a name, as ps -o comm shows it, and this is none; write one, and import again"
	}
	i := len(s.checks)
	c.became(p.At, s.key(fmt.Sprintf("checks[%d]", i)))
	c.became(p.Command.At, s.key(fmt.Sprintf("checks[%d].process.name", i)))
	if len(p.Command.Value) > 1 {
		c.left(p.Command.At, "without the arguments: a process check compares the name only; name a socket or pidfile instead where there are several of one name")
	}
	for _, st := range p.rest {
		switch {
		case st.keyword() == "quorum" && st.arg() == "1":
			c.nothing(st, "one process is enough")
		case st.keyword() == "full_command":
			c.nothing(st, "the name in /proc/PID/comm is compared")
		default:
			c.left(st, "a process check is for one process, compares its name, and reports its end at once; see whether that will do")
		}
	}
	c.hints.mysql = c.hints.mysql || namesMySQL(name)
	return check{fmt.Sprintf("vrrp_track_process, %s", p.At.Pos), h}, ""
}
