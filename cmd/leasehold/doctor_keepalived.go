package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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
// that are being moved over.
func keepalivedFindings(cfg *Config, k keepalived) []Finding {
	const check = "keepalived"
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

// names reports whether a configuration names an address outside its comments.
func names(conf string, a netip.Addr) bool {
	for line := range strings.Lines(conf) {
		if i := strings.IndexAny(line, "#!"); i >= 0 { // keepalived.conf(5)
			line = line[:i]
		}
		for word := range strings.FieldsSeq(line) {
			text, _, _ := strings.Cut(strings.Trim(word, `{}"`), "/")
			if got, err := netip.ParseAddr(text); err == nil && got == a {
				return true
			}
		}
	}
	return false
}
