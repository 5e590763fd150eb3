package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
	"leasehold/vip"
)

// rights is what is known of what this process and the daemon may do: the text
// of /proc/PID/status, and the unit's settings. Empty where there is none.
type rights struct {
	self, daemon, unit string
}

// unitQuery has systemd say what the unit's processes may do.
func unitQuery() []string {
	return []string{"show", "leasehold.service", "--property=LoadState,User,AmbientCapabilities,CapabilityBoundingSet"}
}

func readRights(ctx context.Context, pid int) rights {
	var r rights
	read := func(who string) string {
		b, err := os.ReadFile("/proc/" + who + "/status")
		if err != nil {
			return "" // it has ended, or is hidden from this user
		}
		return string(b)
	}
	r.self = read("self")
	if pid != 0 {
		r.daemon = read(strconv.Itoa(pid))
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil { // sd_booted(3)
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if b, err := exec.CommandContext(ctx, "systemctl", unitQuery()...).Output(); err == nil {
			r.unit = string(b)
		}
	}
	return r
}

// capability is one that the daemon needs.
type capability struct {
	bit   int
	name  string
	what  string
	fence bool // only for the fence
}

func capabilities() []capability {
	return []capability{
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "bind and delete addresses", false},
		{unix.CAP_NET_RAW, "CAP_NET_RAW", "announce them by ARP and NDP", false},
		{unix.CAP_BPF, "CAP_BPF", "install the fence", true},
	}
}

// fenceWish is how badly the services want a fence: the strongest of all.
func fenceWish(cfg *Config) vip.FenceMode {
	wish := vip.FenceOff
	for i := range cfg.Services {
		switch mode := cfg.Services[i].vipConfig(cfg, nil).Fence; mode {
		case vip.FenceRequired:
			return mode
		case vip.FenceAuto:
			wish = mode
		case vip.FenceOff:
		}
	}
	return wish
}

// withoutFence is the finding that there can be none, as bad as it is wanted.
func withoutFence(wish vip.FenceMode, check, says, cure string) Finding {
	if wish == vip.FenceRequired {
		return failure(check, says+": this host may not hold, because a fence is required (fence: required, a ttl under "+shortestTTL().String()+", or vrrp with an advert_interval under 2s)", cure)
	}
	return warning(check, says+": only the kernel's address lifetimes guard the VIP", cure)
}

// capabilityFindings judges the daemon where it can be told what it may do: as it
// runs, else as its unit would start it, else as this process.
func capabilityFindings(cfg *Config, r rights) []Finding {
	const check = "rights"
	wish := fenceWish(cfg)
	cure := "systemctl edit leasehold, write [Service], AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_BPF and CapabilityBoundingSet= likewise; then systemctl restart leasehold"
	who, has := "this command", effective(r.self)
	switch {
	case r.daemon != "":
		who, has = "the daemon", effective(r.daemon)
	case strings.Contains(r.unit, "LoadState=loaded"):
		who, has = "the unit", unitHas(r.unit)
	default:
		cure = "run it as root: sudo leasehold doctor"
	}
	var found []Finding
	for _, c := range capabilities() {
		if has(c) || c.fence && wish == vip.FenceOff {
			continue
		}
		says := fmt.Sprintf("%s has no %s, to %s", who, c.name, c.what)
		switch {
		case who == "this command":
			found = append(found, warning(check, says, cure))
		case c.fence:
			found = append(found, withoutFence(wish, check, says, cure))
		default:
			found = append(found, failure(check, says, cure))
		}
	}
	if len(found) == 0 {
		found = append(found, okay(check, "%s has what it needs", who))
	}
	if who != "this command" && lacksAny(effective(r.self), wish) {
		found = append(found, warning(check, "this command has not: what it cannot look at is said below", "run it as root: sudo leasehold doctor"))
	}
	return found
}

func lacksAny(has func(capability) bool, wish vip.FenceMode) bool {
	for _, c := range capabilities() {
		if !has(c) && (!c.fence || wish != vip.FenceOff) {
			return true
		}
	}
	return false
}

// effective reads CapEff of /proc/PID/status, see proc_pid_status(5).
func effective(status string) func(capability) bool {
	var caps uint64
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, _ = strconv.ParseUint(strings.TrimSpace(hex), 16, 64) // what cannot be read is none
		}
	}
	return func(c capability) bool {
		// CAP_SYS_ADMIN covers CAP_BPF, capabilities(7).
		return caps&(1<<c.bit) != 0 || c.fence && caps&(1<<unix.CAP_SYS_ADMIN) != 0
	}
}

// unitHas reads what systemctl show prints: for root the bounding set counts, for
// others the ambient one.
func unitHas(unit string) func(capability) bool {
	settings := map[string]string{}
	for line := range strings.Lines(unit) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		settings[key] = value
	}
	set := settings["AmbientCapabilities"]
	if u := settings["User"]; u == "" || u == "root" {
		set = settings["CapabilityBoundingSet"]
	}
	words := strings.Fields(strings.ToUpper(set))
	return func(c capability) bool {
		for _, w := range words {
			if w == c.name || c.fence && w == "CAP_SYS_ADMIN" {
				return true
			}
		}
		return false
	}
}

// kernelFindings looks at the kernel and its clock.
func kernelFindings() []Finding {
	var u unix.Utsname
	release := "?"
	if err := unix.Uname(&u); err == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	return []Finding{kernelFinding(release, kernelConfig(release)), clockFinding(boottime.Rate())}
}

// kernelConfig reads how the kernel was built; empty where it does not say.
func kernelConfig(release string) string {
	if b, err := os.ReadFile("/boot/config-" + release); err == nil {
		return string(b)
	}
	b, err := os.ReadFile("/proc/config.gz")
	if err != nil {
		return ""
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(z, 4<<20))
	if err != nil {
		return ""
	}
	return string(text)
}

// kernelFinding: what the fence needs is tried apart; resetting the clients'
// sessions cannot be tried without a session.
func kernelFinding(release, config string) Finding {
	if config != "" && !strings.Contains(config, "CONFIG_INET_DIAG_DESTROY=y") {
		return warning("kernel", fmt.Sprintf("Linux %s cannot reset TCP sessions (CONFIG_INET_DIAG_DESTROY is not set): clients find out that the VIP has moved by their own timeouts", release),
			"set tcp_keepalive or a read timeout in the clients, or take a distribution's kernel")
	}
	return okay("kernel", "Linux %s", release)
}

func clockFinding(ppm float64, err error) Finding {
	if trouble := clockTrouble(ppm, err); trouble != "" {
		return failure("clock", trouble, "see chronyc tracking; a tenure is safe again when the rate is under 5000 ppm")
	}
	return okay("clock", "slewed by %.0f ppm, a tenure is safe up to 5000", ppm)
}
