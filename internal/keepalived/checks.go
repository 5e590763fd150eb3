package keepalived

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"leasehold/internal/health"
)

// check is one entry of checks.
type check struct {
	from   string // for its comment
	health health.Config
}

// runsAs is said of every user that scripts are run as.
const runsAs = "an exec check runs as the daemon's user, leasehold, in the sandbox of the unit; see that the program can do there what it has to (sudo -u leasehold)"

// The bounds of an exec check, docs/reference.md.
const (
	maxCheckTime  = time.Hour
	maxCheckCount = 100
)

// checks makes the checks of a service of what its members, and the group, track.
func (c *converter) checks(u unit, s *service) {
	all := make([]tracks, 0, len(u.members)+1)
	for _, in := range u.members {
		all = append(all, in.Tracks)
	}
	if u.group != nil {
		all = append(all, u.group.Tracks)
	}
	done := map[string]int{} // the check that a script or process has become
	weighted, plain := false, false
	note := func(weight int) {
		weighted, plain = weighted || weight != 0, plain || weight == 0
	}
	for _, t := range all {
		for _, one := range t.Scripts {
			if w, ok := c.trackScript(one, s, done); ok {
				note(w)
			}
		}
		for _, one := range t.Processes {
			if w, ok := c.trackProcess(one, s, done); ok {
				note(w)
			}
		}
		for _, one := range t.Interfaces {
			c.trackInterface(one, s)
		}
	}
	// With weights alone keepalived never takes the addresses from everybody. Beside
	// another router that is for the other to do, whose health is not known.
	s.keepLast = weighted && !plain && s.router == nil
	c.hints.unchecked = c.hints.unchecked || len(s.checks) == 0
}

// weights is said where a check only changed the priority.
const weights = "there are no weights: a node is not eligible while the check fails, however small the weight; last_standing: keep leaves the addresses with the last holder when no node is eligible; see whether that is what is meant"

// noWeights is what is said of a weight.
func (s *service) noWeights() string {
	if s.router != nil {
		return weightsBeside
	}
	return weights
}

// weightsBeside is said of it where there is a vrrp section.
const weightsBeside = "there are no weights: a node is not eligible while the check fails, however small the weight, and leaves the addresses to a keepalived peer; see whether that is what is meant"

const reversed = "the check is to fail, and Leasehold has no such check; write a program that turns the result round"

// trackScript adds the check of a script, and returns its weight.
func (c *converter) trackScript(t track, s *service, done map[string]int) (weight int, ok bool) {
	sc := c.cfg.script(t.Name)
	weight, from := sc.Weight.Value, sc.Weight.At
	if t.Weight.At != nil {
		weight, from = t.Weight.Value, t.At
		if sc.Weight.At != nil {
			c.nothing(sc.Weight.At, "the line in track_script has its own")
		}
	}
	if t.Reverse || sc.Reverse && !slices.Contains(t.At.Words, "noreverse") {
		c.left(t.At, reversed)
		c.all(sc.At, Outcome{Left: reversed})
		return 0, false
	}
	i, before := done["script "+t.Name]
	if !before {
		ch, why := c.ofScript(sc, s)
		if why != "" {
			c.left(t.At, "its vrrp_script could not be taken over (%s)", sc.At.Pos)
			c.all(sc.At, Outcome{Left: why})
			return 0, false
		}
		i = len(s.checks)
		s.checks = append(s.checks, ch)
		done["script "+t.Name] = i
	}
	c.became(t.At, s.key(fmt.Sprintf("checks[%d]", i)))
	if weight != 0 {
		c.left(from, "%s", s.noWeights())
	} else if from == sc.Weight.At && from != nil {
		c.nothing(from, "a node whose check fails is not eligible, as with weight 0")
	}
	return weight, true
}

// ofScript makes the check of a script, or says why there is none.
func (c *converter) ofScript(sc *script, s *service) (check, string) {
	words := sc.Command.Value
	if len(words) == 0 {
		return check{}, "it has no script that could be run, and keepalived leaves it out"
	}
	if name := looksFor(words); name != "" {
		return c.processOfScript(sc, s, name), ""
	}
	if why := cannotRun(words); why != "" {
		return check{}, why
	}
	key := func(k string) string { return s.key(fmt.Sprintf("checks[%d].exec.%s", len(s.checks), k)) }
	ch := check{from: fmt.Sprintf("vrrp_script, %s", sc.At.Pos), health: health.Config{Name: "exec", Exec: &health.Exec{Command: words}}}
	h := &ch.health
	h.Fall, h.Rise = c.count(sc.Fall, key("fall")), c.count(sc.Rise, key("rise"))
	h.Interval = c.time(sc.Interval, maxCheckTime, key("interval"))
	longest := min(10*time.Duration(h.Fall)*h.Interval, maxCheckTime) // internal/health: a hang would be noticed too late
	h.Timeout = min(h.Interval, longest)
	if sc.Timeout.At != nil {
		h.Timeout = c.time(sc.Timeout, longest, key("timeout"))
	}
	if err := h.Validate(); err != nil {
		return check{}, err.Error()
	}
	c.became(sc.At, s.key(fmt.Sprintf("checks[%d]", len(s.checks))))
	c.became(sc.Command.At, key("command"))
	c.nothing(sc.InitFail, "a node is not eligible before its checks have passed")
	if sc.User != nil {
		c.left(sc.User, runsAs)
	}
	c.hints.execs = true
	c.hints.mysql = c.hints.mysql || namesMySQL(strings.Join(words, " "))
	c.hints.password = c.hints.password || namesMySQL(words[0]) && slices.ContainsFunc(words, hasPassword)
	return ch, ""
}

// count bounds fall or rise.
func (c *converter) count(n setting[int], key string) int {
	if n.Value > maxCheckCount {
		c.left(n.At, "became %d, the most there is: %d would take minutes; see whether that will do", maxCheckCount, n.Value)
	}
	c.became(n.At, key)
	return min(n.Value, maxCheckCount)
}

// time bounds an interval or a timeout; keepalived takes 0 seconds for 1.
func (c *converter) time(t setting[int], longest time.Duration, key string) time.Duration {
	d := max(time.Duration(t.Value)*time.Second, time.Second)
	if d > longest {
		c.left(t.At, "became %s, the longest there is beside the other times of the check (docs/reference.md); see whether that will do", longest)
	}
	c.became(t.At, key)
	return min(d, longest)
}

// cannotRun says why a command cannot be an exec check.
func cannotRun(words []string) string {
	switch {
	case strings.HasPrefix(words[0], "</dev/tcp/"):
		return "it is no program, and keepalived 2 does not run it; write a check of your own: tcp: {address: HOST:PORT}"
	case !strings.HasPrefix(words[0], "/"):
		return "an exec check needs the absolute path of its program, and which one is meant cannot be seen here; write the path (command -v), and import again"
	case slices.ContainsFunc(words, unprintable):
		return "an argument is empty, or has blanks at its ends or control characters in it, which a check cannot have; put them into a program of your own"
	}
	return ""
}

// unprintable reports whether a word would be another one after it was written to
// a configuration and read from there.
func unprintable(w string) bool {
	return strings.TrimSpace(w) != w || w == "" || !utf8.ValidString(w) ||
		strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsPrint(r) })
}

// hasPassword knows the options of the mysql programs, which take a password only
// without a blank before it.
func hasPassword(word string) bool {
	return strings.HasPrefix(word, "--password=") || strings.HasPrefix(word, "-p") && len(word) > 2
}

func namesMySQL(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "mysql") || strings.Contains(text, "mariadb")
}

// trackInterface settles an interface that is watched: those of the addresses are
// anyway.
func (c *converter) trackInterface(t track, s *service) {
	if s.devices[t.Name] {
		c.nothing(t.At, "the link of the addresses' interface always counts")
		return
	}
	c.left(t.At, "only the link of the addresses' own interface counts; write an exec check that looks at /sys/class/net/INTERFACE/carrier")
}
