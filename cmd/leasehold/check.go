package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"leasehold/vip"
)

// certWarning is how long before its end a certificate is worth a word.
const certWarning = 30 * 24 * time.Hour

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration, and say what it would do",
		Long: `Read the configuration and the files that it names, list everything that is wrong
with it, each with its line and what to write instead, or say in words what the
daemon would do with it. etcd and mysqld are not asked.

Exit codes: 0 the configuration is good · 2 it is refused.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.check(os.Getenv) },
	}
}

func (a *app) check(getenv func(string) string) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	notes, problems := checkFiles(cfg, getenv, time.Now())
	problems = append(problems, ownAddresses(cfg, vip.OwnAddress)...)
	problems = append(problems, ownPeers(cfg, net.InterfaceAddrs)...)
	if len(problems) > 0 {
		return problems
	}
	w := a.out
	fmt.Fprintf(w, "%s is good.\n\n", cfg.File)
	fmt.Fprintf(w, "node %s, etcd %s\n", cfg.Node, strings.Join(cfg.Etcd.Endpoints, " "))
	cfg.memberSummary(w)
	here := tryFence(cfg.BPFDir)
	for i := range cfg.Services {
		s := &cfg.Services[i]
		text, late := s.fenceHere(cfg, here)
		s.summary(w, text, late)
	}
	notes = append(cfg.Notes, notes...)
	for _, n := range notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
	return nil
}

// ownAddresses refuses VIPs that this host seems to have as its own address.
func ownAddresses(cfg *Config, own func([]vip.Spec) error) Problems {
	var problems Problems
	for i := range cfg.Services {
		for _, v := range cfg.Services[i].VIPs {
			if err := own([]vip.Spec{v.Spec}); err != nil {
				problems = append(problems, Problem{cfg.File, v.line, fmt.Sprintf("services.%s.vips: %v", cfg.Services[i].Name, err)})
			}
		}
	}
	return problems
}

// summary says what the daemon would do for one service, with what guards it here.
func (s *Service) summary(w io.Writer, guard string, late time.Duration) {
	say := func(key, format string, args ...any) {
		for _, line := range wrap(fmt.Sprintf(format, args...), terminalWidth()-12) {
			fmt.Fprintf(w, "  %-9s %s\n", key, line)
			key = ""
		}
	}
	fmt.Fprintf(w, "\nservice %s\n", s.Name)
	for _, v := range s.VIPs {
		say("vip", "%s", v.Spec)
	}
	say("ttl", "%s, renewed every %s; %s", s.TTL, round(renewal(s.TTL)), ridesOut(s.TTL, late))
	say("fence", "%s", guard)
	say("probe", "%s for the answer of a host that has the VIP as well, after a tenure that was not released", s.Probe)
	preempt := "does not take the VIP from a healthy holder"
	if s.Preempt {
		preempt = "takes the VIP from a holder of lower priority"
		if s.PreemptDelay > 0 {
			preempt += fmt.Sprintf(" after being eligible for %s", s.PreemptDelay)
		}
	}
	say("priority", "%d; %s", s.Priority, preempt)
	if s.KeepLast {
		say("last", "when no node is healthy the last holder keeps the VIP")
	} else {
		say("last", "when no node is healthy the VIP is nowhere")
	}
	if len(s.Checks) == 0 {
		say("checks", "none: the node counts as healthy while its daemon runs and its link is up")
	}
	for _, c := range s.Checks {
		say("check", "%s", c.text())
	}
	if s.VRRP != nil {
		say("vrrp", "%s", s.VRRP.text())
	}
	say("announce", "%v after taking over, then every %s", s.Announce.Burst, s.Announce.Refresh)
}

// text says what a check looks at.
func (c Check) text() string {
	h := c.Health
	switch {
	case h.Process != nil:
		return fmt.Sprintf("%s: the process of %s%s%s", h.Name, h.Process.Socket, h.Process.Pidfile, h.Process.Name)
	case h.MySQL != nil:
		s := fmt.Sprintf("%s: log in to %s%s as %s", h.Name, h.MySQL.Socket, h.MySQL.Address, h.MySQL.User)
		if h.MySQL.Require != "" {
			s += ", which must be " + h.MySQL.Require
		}
		return s
	case h.TCP != nil:
		return fmt.Sprintf("%s: connect to %s", h.Name, h.TCP.Address)
	case h.Exec != nil:
		return fmt.Sprintf("%s: run %s", h.Name, strings.Join(h.Exec.Command, " "))
	}
	return h.Name
}

// checkFiles opens the files that the configuration names.
func checkFiles(cfg *Config, getenv func(string) string, now time.Time) (notes []Problem, problems Problems) {
	r := &report{file: cfg.File}
	tell := func(where string, f *SecretFile, err error) {
		switch {
		case errors.Is(err, errNoCredentials):
			r.note(f.Line, "%s: not looked at: %v", where, err)
		case err != nil:
			r.problem(f.Line, "%s: %v", where, err)
		}
	}
	secret := func(where string, f *SecretFile) {
		if f != nil {
			_, err := f.Read(getenv)
			tell(where, f, err)
		}
	}
	secret("etcd.password_file", cfg.Etcd.PasswordFile)
	for _, s := range cfg.Services {
		for _, c := range s.Checks {
			secret(fmt.Sprintf("services.%s.checks.%s.password_file", s.Name, c.Health.Name), c.PasswordFile)
		}
		if s.VRRP != nil {
			_, err := s.VRRP.withPassword(getenv)
			tell(fmt.Sprintf("services.%s.vrrp.auth.password_file", s.Name), s.VRRP.PasswordFile, err)
		}
	}
	if cfg.Etcd.TLS() {
		checkCerts(r, cfg.Etcd, now)
	}
	slices.SortStableFunc(r.problems, byLine)
	return r.notes, r.problems
}

// checkCerts loads the certificates, and warns before the node's own runs out.
func checkCerts(r *report, e EtcdConfig, now time.Time) {
	if _, err := tlsConfig(e); err != nil {
		r.problem(e.line, "etcd.tls: %v", err)
		return
	}
	if e.Cert == "" {
		return
	}
	if info, err := os.Stat(e.Key); err == nil && info.Mode().Perm()&0o007 != 0 {
		r.problem(e.line, "etcd.tls.key: %s has mode %04o: everybody on this host can pass for this node; type: chmod o= %s", e.Key, info.Mode().Perm(), e.Key)
	}
	pair, err := keyPair(e)
	if err != nil {
		r.problem(e.line, "etcd.tls: %v", err)
		return
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	switch {
	case err != nil:
		r.problem(e.line, "etcd.tls.cert: %v", err)
	case now.After(cert.NotAfter):
		r.problem(e.line, "etcd.tls.cert: ran out on %s, and etcd will refuse it; put a new one there", cert.NotAfter.Format(time.DateOnly))
	case now.Add(certWarning).After(cert.NotAfter):
		r.note(e.line, "etcd.tls.cert: runs out on %s", cert.NotAfter.Format(time.DateOnly))
	}
}
