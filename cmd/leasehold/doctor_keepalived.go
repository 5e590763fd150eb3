package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// keepalivedFile is where its packages have the configuration.
const keepalivedFile = "/etc/keepalived/keepalived.conf"

// keepalived is what there is of it on this host.
type keepalived struct {
	pid  int    // 0: does not run
	conf string // with what it includes; empty: none, or not for this user
	err  error  // why the configuration could not be read
}

func readKeepalived() keepalived {
	k := keepalived{pid: findProcess("keepalived")}
	b, err := os.ReadFile(keepalivedFile)
	if err != nil {
		if !os.IsNotExist(err) {
			k.err = err
		}
		return k
	}
	k.conf = string(b)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "include" {
			k.conf += included(f[1])
		}
	}
	return k
}

// included reads what an include line names, which may have wildcards and counts
// from the configuration's folder; keepalived.conf(5).
func included(pattern string) string {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(keepalivedFile), pattern)
	}
	files, err := filepath.Glob(pattern)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // a VIP in it goes unseen here, and is seen on the wire
		}
		b.WriteString("\n" + string(text))
	}
	return b.String()
}

// findProcess returns the pid of a process of that name, 0 when there is none.
func findProcess(name string) int {
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0
	}
	for _, path := range comms {
		if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == name {
			pid := 0
			if _, err := fmt.Sscanf(path, "/proc/%d/comm", &pid); err == nil {
				return pid
			}
		}
	}
	return 0
}

// keepalivedFindings warns of a keepalived that has a VIP of ours, as hosts have
// that are being moved over, and finds one that is the same VRRP router.
func keepalivedFindings(cfg *Config, k keepalived) []Finding {
	const check = "keepalived"
	if same := sameRouters(cfg, k.conf); len(same) > 0 {
		list := strings.Join(same, ", ")
		if k.pid == 0 {
			return []Finding{warning(check, fmt.Sprintf("does not run, and has %s in %s: two on one host would fight when somebody starts it", list, keepalivedFile),
				"systemctl disable keepalived")}
		}
		return []Finding{failure(check, fmt.Sprintf("runs (pid %d) and has %s in %s: two on one host have one address, so that neither hears the other, and both hold the VIP", k.pid, list, keepalivedFile),
			"systemctl disable --now keepalived; those on other hosts may stay")}
	}
	var shared []string
	for i := range cfg.Services {
		for _, v := range cfg.Services[i].VIPs {
			if names(k.conf, v.Spec.Prefix.Addr()) {
				shared = append(shared, v.Spec.Prefix.Addr().String())
			}
		}
	}
	list := strings.Join(shared, ", ")
	switch {
	case len(shared) > 0 && k.pid != 0:
		return []Finding{warning(check, fmt.Sprintf("runs (pid %d) and has %s in %s: two would decide over one VIP", k.pid, list, keepalivedFile),
			"take the VIP out of its configuration, or: systemctl disable --now keepalived")}
	case len(shared) > 0:
		return []Finding{warning(check, fmt.Sprintf("does not run, and has %s in %s: it would take the VIP when somebody starts it", list, keepalivedFile),
			"systemctl disable keepalived, and take the VIP out of its configuration")}
	case k.pid != 0 && k.err != nil:
		return []Finding{warning(check, fmt.Sprintf("runs (pid %d), and whether it has the VIP cannot be seen: %v", k.pid, k.err), "sudo leasehold doctor")}
	case k.pid != 0:
		return []Finding{okay(check, "runs (pid %d), with no VIP of ours in %s", k.pid, keepalivedFile)}
	}
	return nil
}

// sameRouters names the services whose VRRP router is in a keepalived's
// configuration as well.
func sameRouters(cfg *Config, conf string) (same []string) {
	for _, r := range routersIn(conf) {
		for i := range cfg.Services {
			s := &cfg.Services[i]
			if s.VRRP != nil && r.is(s.VRRP) {
				same = append(same, fmt.Sprintf("the router of services.%s (virtual_router_id %s on %s)", s.Name, r.vrid, s.VRRP.Interface))
			}
		}
	}
	return same
}

// keepalivedRouter is one vrrp_instance, as far as it is written without variables.
type keepalivedRouter struct{ vrid, iface, address string }

// is reports whether it is the same router: number, interface and family. What is
// not written counts as the same.
func (r keepalivedRouter) is(v *VRRP) bool {
	text, _, _ := strings.Cut(r.address, "/")
	a, err := netip.ParseAddr(text)
	return r.vrid == strconv.Itoa(int(v.Router.VRID)) && (r.iface == "" || r.iface == v.Interface) && (err != nil || a.Is6() == v.Router.IPv6())
}

// routersIn returns the instances of a configuration.
func routersIn(conf string) (all []keepalivedRouter) {
	var words []string
	for line := range strings.Lines(conf) {
		words = append(words, strings.FieldsFunc(uncomment(line), func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`{}"`, r) })...)
	}
	for i := 0; i+1 < len(words); i++ {
		if words[i] == "vrrp_instance" {
			all = append(all, keepalivedRouter{})
		}
		if len(all) == 0 {
			continue
		}
		switch last := &all[len(all)-1]; words[i] {
		case "interface":
			last.iface = words[i+1]
		case "virtual_router_id":
			last.vrid = words[i+1]
		case "virtual_ipaddress":
			last.address = words[i+1]
		}
	}
	return all
}

// uncomment returns a line up to its comment, keepalived.conf(5).
func uncomment(line string) string {
	if i := strings.IndexAny(line, "#!"); i >= 0 {
		return line[:i]
	}
	return line
}

// names reports whether a configuration names an address outside its comments.
func names(conf string, a netip.Addr) bool {
	for line := range strings.Lines(conf) {
		for word := range strings.FieldsSeq(uncomment(line)) {
			text, _, _ := strings.Cut(strings.Trim(word, `{}"`), "/")
			if got, err := netip.ParseAddr(text); err == nil && got == a {
				return true
			}
		}
	}
	return false
}
