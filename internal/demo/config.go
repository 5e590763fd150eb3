package demo

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"leasehold/internal/certs"
	"leasehold/internal/lab"
)

// nodeConfig is the configuration of one node, as text.
type nodeConfig struct {
	node           string
	runDir, bpfDir string
	memberDir      string
	vip            string   // with its length; empty: a witness
	checks         []string // of mysqld
	fenced         bool
}

// yaml returns what a user would write, but for the places, which are the demo's.
func (c nodeConfig) yaml() string {
	var members []string
	for _, host := range nodes() {
		members = append(members, fmt.Sprintf("%s: %s", host, address(host)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "node: %s\nrun_dir: %s\n", c.node, c.runDir)
	if c.bpfDir != "" {
		fmt.Fprintf(&b, "bpf_dir: %s\n", c.bpfDir)
	}
	fmt.Fprintf(&b, "etcd:\n  embedded:\n    dir: %s\n    members: {%s}\n", c.memberDir, strings.Join(members, ", "))
	fmt.Fprintf(&b, "  tls: {ca: %s, cert: %s, key: %s}\n", certs.CertFile(certs.CAName), certs.CertFile(c.node), certs.KeyFile(c.node))
	if c.vip == "" {
		b.WriteString("services: {}\n")
		return b.String()
	}
	fmt.Fprintf(&b, "services:\n  %s:\n    vips: [\"%s dev eth0 label %s\"]\n", service, c.vip, label)
	if !c.fenced {
		fmt.Fprintf(&b, "    fence: off\n    ttl: %s\n", unfencedTTL)
	}
	b.WriteString("    checks:\n")
	for _, check := range c.checks {
		fmt.Fprintf(&b, "      - %s\n", check)
	}
	return b.String()
}

// configure writes the configuration of the node on a host.
func (n *network) configure(host string) error {
	dir, err := n.lab.HostDir(host)
	if err != nil {
		return err
	}
	c := nodeConfig{node: host, runDir: n.lab.RunDir(host), memberDir: filepath.Join(dir, "etcd"), fenced: n.fenced}
	if host != witness {
		c.vip, c.checks = lab.DefaultVIP.String(), n.mysqld.Checks(host)
		if n.fenced {
			if c.bpfDir, err = n.lab.BPFDir(host); err != nil {
				return err
			}
		}
	}
	return n.lab.WriteConfig(host, c.yaml())
}

// certificates makes a CA and a certificate for each node and for the client, as
// leasehold certs does, and gives each host its own. It returns the client's way in.
func certificates(l *lab.Lab) (*tls.Config, error) {
	dir := filepath.Join(l.Dir(), "certs")
	holders := append(nodes(), client)
	o := certs.Order{Dir: dir, Valid: certs.DefaultValid, CAValid: certs.DefaultCAValid}
	for _, host := range holders {
		o.Nodes = append(o.Nodes, certs.Node{Name: host, Addrs: []netip.Addr{address(host)}})
	}
	plan, err := certs.Prepare(o, time.Now())
	if err == nil {
		err = plan.Write()
	}
	if err != nil {
		return nil, fmt.Errorf("make certificates: %w", err)
	}
	for _, host := range holders {
		to, err := l.HostDir(host)
		if err != nil {
			return nil, err
		}
		for _, name := range []string{certs.CertFile(certs.CAName), certs.CertFile(host), certs.KeyFile(host)} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(to, name), b, 0o600)
			}
			if err != nil {
				return nil, fmt.Errorf("give %s its certificate: %w", host, err)
			}
		}
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, certs.CertFile(client)), filepath.Join(dir, certs.KeyFile(client)))
	if err != nil {
		return nil, fmt.Errorf("the client's certificate: %w", err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, certs.CertFile(certs.CAName)))
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(ca) {
		err = errors.New("no certificate in it")
	}
	if err != nil {
		return nil, fmt.Errorf("the CA: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{own}}, nil
}
