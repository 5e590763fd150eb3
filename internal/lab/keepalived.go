package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// KeepalivedConfig is a keepalived.conf with one VRRP instance.
type KeepalivedConfig struct {
	State     string // MASTER or BACKUP (the default)
	RouterID  int    // VRID; default 51
	Priority  int    // default 100; 0 leaves the line out, which is keepalived's own default
	Advert    time.Duration
	Version   int      // default 2
	VIPs      []string // in the words of ip address add
	NoPreempt bool
	Unicast   []string // own address first, then the peers'; empty is multicast
	Extra     string   // more lines of the vrrp_instance
	Global    string   // more lines of global_defs
}

// KeepalivedConfig returns the config of keepalived on a host for the lab's VIP
// with its defaults: VRID 51, priority 100, adverts each second.
func (l *Lab) KeepalivedConfig() KeepalivedConfig {
	return KeepalivedConfig{
		State: "BACKUP", RouterID: 51, Priority: 100, Advert: time.Second, Version: 2,
		VIPs: []string{l.VIP.String() + " dev eth0 label eth0:1"},
	}
}

// Text returns the text of keepalived.conf.
func (c KeepalivedConfig) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n  vrrp_version %d\n%s}\n", c.Version, c.Global)
	fmt.Fprintf(&b, "vrrp_instance VI_1 {\n  state %s\n  interface eth0\n  virtual_router_id %d\n  advert_int %g\n",
		c.State, c.RouterID, c.Advert.Seconds())
	if c.Priority > 0 {
		fmt.Fprintf(&b, "  priority %d\n", c.Priority)
	}
	if c.NoPreempt {
		b.WriteString("  nopreempt\n")
	}
	if len(c.Unicast) > 0 {
		fmt.Fprintf(&b, "  unicast_src_ip %s\n  unicast_peer {\n    %s\n  }\n",
			c.Unicast[0], strings.Join(c.Unicast[1:], "\n    "))
	}
	fmt.Fprintf(&b, "  virtual_ipaddress {\n    %s\n  }\n%s}\n", strings.Join(c.VIPs, "\n    "), c.Extra)
	return b.String()
}

// KeepalivedConf returns the path of the keepalived.conf of a host.
func (l *Lab) KeepalivedConf(host string) string {
	return filepath.Join(l.dir, host, "keepalived.conf")
}

// StartKeepalived starts keepalived's VRRP part on a host with a config, and does
// not wait. It has two processes: SignalGroup reaches both. under is what runs it,
// with its arguments, when something does.
func (l *Lab) StartKeepalived(host, conf string, under ...string) (*Process, error) {
	path, err := findProgram("keepalived")
	if err != nil {
		return nil, err
	}
	dir, err := l.HostDir(host)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(l.KeepalivedConf(host), []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("write keepalived.conf of host %s: %w", host, err)
	}
	// A killed keepalived leaves them, and does not start again as long as nobody
	// has waited for the child that it leaves too, as in a container.
	pidfile, vrrpPidfile := filepath.Join(dir, "keepalived.pid"), filepath.Join(dir, "vrrp.pid")
	for _, f := range []string{pidfile, vrrpPidfile} {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("remove what a killed keepalived left: %w", err)
		}
	}
	args := slices.Concat(under, []string{
		path, "--dont-fork", "--log-console", "--log-detail", "--vrrp",
		"--use-file", l.KeepalivedConf(host), "--pid", pidfile, "--vrrp_pid", vrrpPidfile,
	})
	return l.Start(host, "keepalived", nil, args[0], args[1:]...)
}
