package keepalived

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// placeholders stand for the members of etcd until somebody fills them in: names
// that no resolver answers, RFC 2606 section 2.
func placeholders() []string {
	return []string{"http://etcd-1.invalid:2379", "http://etcd-2.invalid:2379", "http://etcd-3.invalid:2379"}
}

// render writes the configuration. It is put together by hand, not by the YAML
// library: that one writes words such as "? a" and ".inf" without quotes, and reads
// something else back.
func render(src *Source, opt Options, services []*service) []byte {
	b := &bytes.Buffer{}
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	more := ""
	if n := len(src.Files) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more files", n)
	}
	line("# Made by leasehold import of %s%s,", printable(src.name), more)
	line("# as keepalived reads it with the configuration id %s. What it could not take over", printable(src.ID))
	line("# was said on stderr. Every key: docs/reference.md. To check it: leasehold check -c FILE.")
	line("#")
	line("# The services are called the same on every host; node and priority differ.")
	if opt.Node != "" {
		line("node: %s", quote(opt.Node))
	} else {
		line("#node: NAME  # default: the host name")
	}
	line("etcd:")
	endpoints := opt.Endpoints
	if len(endpoints) == 0 {
		line("  # To be filled in: every member of the cluster, with its port.")
		endpoints = placeholders()
	}
	line("  endpoints:")
	for _, e := range endpoints {
		line("    - %s", quote(e))
	}
	line("services:")
	for _, s := range services {
		s.render(line)
	}
	return b.Bytes()
}

func (s *service) render(line func(string, ...any)) {
	line("  # %s", printable(s.from))
	line("  %s:", quote(s.name))
	line("    vips:")
	for _, v := range s.vips {
		line("      - %s", quote(v))
	}
	line("    priority: %d", s.priority)
	line("    preempt: %t", s.preempt)
	if s.preempt && s.delay > 0 {
		line("    preempt_delay: %s", s.delay)
	}
	if s.keepLast {
		line("    last_standing: keep")
	}
	if len(s.checks) > 0 {
		line("    checks:")
		for _, c := range s.checks {
			c.render(line)
		}
	}
	if s.burst != nil || s.refresh > 0 {
		line("    announce:")
		if s.burst != nil {
			line("      burst: [%s]", join(durations(s.burst)))
		}
		if s.refresh > 0 {
			line("      refresh: %s", s.refresh)
		}
	}
	if s.router != nil {
		line("    vrrp:")
		for _, e := range s.router {
			line("      %s: %s", e.key, e.value)
		}
	}
}

func (c check) render(line func(string, ...any)) {
	line("      # %s", printable(c.from))
	h := c.health
	if h.Process != nil {
		line("      - process: {name: %s}", quote(h.Process.Name))
		return
	}
	var words []string
	for _, w := range h.Exec.Command {
		words = append(words, quote(w))
	}
	line("      - exec:")
	line("          command: [%s]", join(words))
	line("          interval: %s", h.Interval)
	line("          timeout: %s", h.Timeout)
	line("          fall: %d", h.Fall)
	line("          rise: %d", h.Rise)
}

func durations(all []time.Duration) []string {
	var out []string
	for _, d := range all {
		out = append(out, d.String())
	}
	return out
}

func join(parts []string) string { return strings.Join(parts, ", ") }

// quote writes a word as it stands where it can be nothing but a string to a YAML
// parser, and in double quotes, as JSON, elsewhere.
func quote(s string) string {
	plain := s != "" && (isLetter(s[0]) || s[0] == '/')
	for i := range len(s) {
		plain = plain && (isLetter(s[i]) || isDigit(s[i]) || strings.IndexByte("/_.-", s[i]) >= 0)
	}
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		plain = false
	}
	if plain {
		return s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("keepalived: a string that is no JSON: %v", err)) // encoding/json takes every string
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// printable makes a name fit for a comment.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' || r == '\u0085' || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}
