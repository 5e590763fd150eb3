package main

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// maxName is the length of a name: it becomes an etcd key and a file name.
const maxName = 63

// nameProblem returns what is wrong with the name of a node or service; empty:
// nothing.
func nameProblem(s string) string {
	switch {
	case s == "" || len(s) > maxName:
		return fmt.Sprintf("has %d characters, and 1 to %d are allowed", len(s), maxName)
	case s == "." || s == "..":
		return "is a folder"
	}
	for _, r := range s {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
		if !ok {
			return fmt.Sprintf("has the character %q, and only letters, digits, dot, underscore and dash are allowed", r)
		}
	}
	return ""
}

// name reports a bad name.
func (d configDecoder) name(what, s string, at int) {
	if why := nameProblem(s); why != "" {
		d.problem(at, "%s %q %s, because it becomes an etcd key and a file name", what, s, why)
	}
}

// validate checks what has to agree with something else in the file.
func validate(r *report, cfg *Config, hostname func() (string, error)) {
	validateNode(r, cfg, hostname)
	if cfg.Etcd.Embedded != nil {
		validateEmbedded(r, cfg)
	}
	validateEtcd(r, &cfg.Etcd)
	for i := range cfg.Services {
		fillTTL(&cfg.Services[i], cfg.Etcd.Embedded)
		validateService(r, &cfg.Services[i], cfg.Etcd.Embedded)
	}
	validateVIPs(r, cfg)
	validateVRRP(r, cfg)
}

func validateNode(r *report, cfg *Config, hostname func() (string, error)) {
	if cfg.Node != "" {
		return // checked where it is written
	}
	host, err := hostname()
	if err != nil {
		r.problem(0, "node is not given, and the host name cannot be read (%v); write node: NAME", err)
		return
	}
	if why := nameProblem(host); why != "" {
		r.problem(0, "node is not given, and the host name %q %s; write node: NAME", host, why)
		return
	}
	if host == "localhost" {
		r.problem(0, "node is not given, and the host name is localhost: two hosts with one name would share one member key; write node: NAME")
		return
	}
	cfg.Node = host
}

func validateEtcd(r *report, e *EtcdConfig) {
	if len(e.endpoints) == 0 && e.Embedded == nil && len(r.problems) == 0 {
		r.problem(e.line, "etcd.endpoints is missing; write endpoints: [http://10.20.8.50:2379]")
	}
	first := map[string]int{}
	for _, ep := range e.endpoints {
		u, why := parseEndpoint(ep.text, e.TLS())
		if why != "" {
			r.problem(ep.line, "etcd.endpoints: %s", why)
			continue
		}
		if before, twice := first[u]; twice {
			r.problem(ep.line, "etcd.endpoints: %q is there twice (first on line %d): a try after a failure would go to the same one; take one out", ep.text, before)
			continue
		}
		first[u] = ep.line
		e.Endpoints = append(e.Endpoints, u)
		if !strings.Contains(ep.text, "://") {
			r.note(ep.line, "etcd.endpoints: %s is taken as %s", ep.text, u)
		}
	}
	switch {
	case e.Cert != "" && e.Key == "":
		r.problem(e.line, "etcd.tls has a cert without its key; write key: as well")
	case e.Key != "" && e.Cert == "":
		r.problem(e.line, "etcd.tls has a key without its cert; write cert: as well")
	}
	switch {
	case e.User != "" && e.PasswordFile == nil:
		r.problem(e.line, "etcd.user is given without etcd.password_file; write the file that holds its password")
	case e.User == "" && e.PasswordFile != nil:
		r.problem(e.PasswordFile.Line, "etcd.password_file is given without etcd.user; write the user that the password belongs to")
	case e.User != "" && len(e.Endpoints) > 0 && strings.HasPrefix(e.Endpoints[0], "http://"):
		r.note(e.line, "etcd.user: the password goes over the network in the clear; use https:// endpoints")
	}
	if len(e.endpoints) == 1 && len(e.Endpoints) == 1 {
		r.note(e.line, "etcd.endpoints: with one endpoint, every pause of that one etcd longer than the ttl takes the VIP away; name all members")
	}
}

// parseEndpoint returns an endpoint with its scheme, or what is wrong with it.
// Without a scheme the tls section decides.
func parseEndpoint(text string, tls bool) (endpoint, why string) {
	scheme := "http"
	if tls {
		scheme = "https"
	}
	if !strings.Contains(text, "://") {
		text = scheme + "://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Sprintf("%q is not a URL; write %s://10.20.8.50:2379", text, scheme)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Sprintf("%q has the scheme %q; write %s://HOST:2379", text, u.Scheme, scheme)
	case u.Scheme == "http" && tls:
		return "", fmt.Sprintf("%q is http while there is a tls section, which would not be used; write https://%s, or take tls out", text, u.Host)
	case u.User != nil:
		return "", "an endpoint has a user or password in it, which every log would show; use etcd.user and etcd.password_file"
	case u.Hostname() == "":
		return "", fmt.Sprintf("%q names no host; write %s://10.20.8.50:2379", text, scheme)
	case u.Port() == "":
		return "", fmt.Sprintf("%q has no port; write %s://%s", text, u.Scheme, net.JoinHostPort(u.Hostname(), "2379"))
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return "", fmt.Sprintf("%q has something after the port; write %s://%s", text, u.Scheme, u.Host)
	}
	if port, err := strconv.Atoi(u.Port()); err != nil || port < 1 || port > 65535 {
		return "", fmt.Sprintf("%q: port %s is not from 1 to 65535", text, u.Port())
	}
	return u.Scheme + "://" + u.Host, ""
}

func validateService(r *report, s *Service, embedded *EmbeddedConfig) {
	why := checkTTL(s.TTL, s.Fence)
	if why == "" && embedded != nil {
		why = checkEmbeddedTTL(s.TTL, embedded)
	}
	if why != "" {
		r.problem(s.ttlLine, "services.%s.%s", s.Name, why)
	} else {
		for _, note := range notesTTL(s.TTL, s.Fence, embedded) {
			r.note(s.ttlLine, "services.%s.%s", s.Name, note)
		}
	}
	if s.PreemptDelay > 0 && !s.Preempt {
		r.problem(s.preemptDelayLine, "services.%s.preempt_delay does nothing without preempt: true; write that, or take the line out", s.Name)
	}
}
