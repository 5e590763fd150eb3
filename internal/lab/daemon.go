package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// NodeConfig is a leasehold config file with one service, as text to write.
type NodeConfig struct {
	Node      string
	RunDir    string
	BPFDir    string // where the fences are pinned
	Endpoints []string
	Embedded  string // the section etcd.embedded on one line, instead of Endpoints
	Service   string
	VIPs      []string // in the words of ip address add
	TTL       time.Duration
	Priority  int
	Preempt   bool
	Fence     string   // auto, off, required; empty: the daemon's default
	Checks    []string // one line of YAML each: "process: {pidfile: /run/x.pid}"
	Extra     string   // more keys of the service, indented by four blanks
}

// NodeConfig returns the config of the node on a host: the lab's VIP on eth0
// with label eth0:1, no checks, and the pins of its fence on the host's own
// bpffs. etcd may be nil.
func (l *Lab) NodeConfig(host string, etcd *Etcd) (NodeConfig, error) {
	h, err := l.Host(host)
	if err != nil {
		return NodeConfig{}, err
	}
	vip := l.VIP.String() + " dev eth0"
	if l.VIP.Addr().Is4() { // IPv6 addresses have no labels
		vip += " label eth0:1"
	}
	bpf, err := l.BPFDir(host)
	if err != nil {
		return NodeConfig{}, err
	}
	c := NodeConfig{
		Node: h.Name, RunDir: l.RunDir(host), BPFDir: bpf, Service: "mysql", VIPs: []string{vip},
		TTL: 3 * time.Second, Priority: 100,
	}
	switch {
	case etcd != nil && etcd.Own():
		c.Embedded, err = l.Embedded(host, etcd.cfg)
	case etcd != nil:
		c.Endpoints = etcd.Endpoints()
	}
	return c, err
}

// RunDir returns the directory where the daemon of a host keeps its state, which
// a daemon started again finds.
func (l *Lab) RunDir(host string) string { return filepath.Join(l.dir, host, "run") }

// Checks returns the checks of the server on a host for a NodeConfig: that its
// process lives, and that it answers on its socket and can be written to.
func (m *MariaDB) Checks(host string) []string {
	return []string{
		fmt.Sprintf("process: {pidfile: %s}", m.Pidfile(host)),
		fmt.Sprintf("mysql: {socket: %s, user: %s, password_file: %s, interval: 500ms, timeout: 1s, fall: 2, rise: 2, require: writable}",
			m.Socket(host), CheckUser, m.PasswordFile(host)),
	}
}

// YAML returns the text of the config file.
func (c NodeConfig) YAML() string {
	var b strings.Builder
	etcd := fmt.Sprintf("endpoints: [%s]", strings.Join(c.Endpoints, ", "))
	if c.Embedded != "" {
		etcd = "embedded: " + c.Embedded
	}
	fmt.Fprintf(&b, "node: %s\nrun_dir: %s\nbpf_dir: %s\netcd:\n  %s\nservices:\n  %s:\n    vips:\n",
		c.Node, c.RunDir, c.BPFDir, etcd, c.Service)
	for _, vip := range c.VIPs {
		fmt.Fprintf(&b, "      - %q\n", vip)
	}
	fmt.Fprintf(&b, "    ttl: %s\n    priority: %d\n    preempt: %t\n", c.TTL, c.Priority, c.Preempt)
	if c.Fence != "" {
		fmt.Fprintf(&b, "    fence: %s\n", c.Fence)
	}
	if len(c.Checks) > 0 {
		b.WriteString("    checks:\n")
	}
	for _, check := range c.Checks {
		fmt.Fprintf(&b, "      - %s\n", check)
	}
	b.WriteString(c.Extra)
	return b.String()
}

// ConfigFile returns the path of the config file of the daemon on a host.
func (l *Lab) ConfigFile(host string) string { return filepath.Join(l.dir, host, "leasehold.yaml") }

// WriteConfig writes the config file of the daemon on a host, and makes its run
// directory.
func (l *Lab) WriteConfig(host, text string) error {
	if _, err := l.HostDir(host); err != nil {
		return err
	}
	if err := os.MkdirAll(l.RunDir(host), 0o750); err != nil {
		return fmt.Errorf("make the run directory of host %s: %w", host, err)
	}
	if err := os.WriteFile(l.ConfigFile(host), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the config of host %s: %w", host, err)
	}
	return nil
}

// StartDaemon starts "binary run --config FILE", with more flags, on a host, with the file that
// WriteConfig wrote, and does not wait until it has taken office. A daemon that
// is started again keeps its run directory; its log goes on in the same file.
func (l *Lab) StartDaemon(host, binary string, flags ...string) (*Process, error) {
	return l.Start(host, "leasehold", nil, binary, append([]string{"run", "--config", l.ConfigFile(host)}, flags...)...)
}
