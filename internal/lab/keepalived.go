package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// KeepalivedConfig is a keepalived.conf with one VRRP instance.
type KeepalivedConfig struct {
	State     string // MASTER or BACKUP (the default)
	RouterID  int    // VRID; default 51
	Priority  int    // default 100
	Advert    time.Duration
	Version   int      // default 2
	VIPs      []string // in the words of ip address add
	NoPreempt bool
	Unicast   []string // own address first, then the peers'; empty is multicast
	Extra     string   // more lines of the vrrp_instance
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
	fmt.Fprintf(&b, "global_defs {\n  vrrp_version %d\n}\n", c.Version)
	fmt.Fprintf(&b, "vrrp_instance VI_1 {\n  state %s\n  interface eth0\n  virtual_router_id %d\n  priority %d\n  advert_int %g\n",
		c.State, c.RouterID, c.Priority, c.Advert.Seconds())
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

// StartKeepalived starts keepalived's VRRP part on a host with a config, and
// does not wait. It has two processes: SignalGroup reaches both.
func (l *Lab) StartKeepalived(host, conf string) (*Process, error) {
	path, err := findProgram("keepalived")
	if err != nil {
		return nil, err
	}
	dir, err := l.HostDir(host)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("write keepalived.conf of host %s: %w", host, err)
	}
	return l.Start(host, "keepalived", nil, path, "--dont-fork", "--log-console", "--log-detail", "--vrrp",
		"--use-file", file, "--pid", filepath.Join(dir, "keepalived.pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"))
}
