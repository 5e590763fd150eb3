package interop

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// stage is the network of a trial with everything on it.
type stage struct {
	*lab.Lab
	trial  Trial
	binary string
	log    io.Writer

	etcd    *lab.Etcd // nil where nobody is ours
	obs     *lab.Observer
	voices  *lab.Voices // nil for IPv6
	adverts *lab.Adverts
	session *lab.Session
	began   time.Time

	running  map[Unit]*lab.Process
	mysqld   map[string]*lab.Process // what stands for it, see well
	frozen   map[Unit]bool
	imported map[string]string // the configuration of ours that import made, by host
}

// open starts the instruments and etcd, and writes the configurations. No daemon
// runs.
func (s *stage) open(ctx context.Context) error {
	s.began, s.running, s.frozen, s.mysqld = time.Now(), map[Unit]*lab.Process{}, map[Unit]bool{}, map[string]*lab.Process{}
	s.imported = map[string]string{}
	var err error
	if s.obs, err = s.Observe(s.trial.holders()...); err != nil {
		return err
	}
	if s.adverts, err = s.StartAdverts(); err != nil {
		return err
	}
	if s.VIP.Addr().Is4() {
		if s.voices, err = s.StartVoices(s.VIP.Addr()); err != nil {
			return err
		}
	}
	for _, v := range s.trial.vips() {
		if v == s.VIP {
			continue // the observer's
		}
		if _, err := s.StartARPProber(v.Addr(), 0); err != nil {
			return err
		}
	}
	if len(s.trial.Ours) == 0 {
		return nil
	}
	// A member alone elects itself at once, and has nobody to wait for.
	if s.etcd, err = s.StartEtcd(ctx, lab.EtcdConfig{Hosts: []string{E}, Election: 250 * time.Millisecond, Heartbeat: 50 * time.Millisecond}); err != nil {
		return err
	}
	for host := range s.trial.Ours {
		if s.trial.Import {
			continue // later, by the command
		}
		if err := s.configure(host); err != nil {
			return err
		}
	}
	return nil
}

// configure writes the configuration of ours on a host, with mysqld's process as
// the check.
func (s *stage) configure(host string) error {
	c, err := s.NodeConfig(host, s.etcd)
	if err != nil {
		return err
	}
	dir, err := s.HostDir(host)
	if err != nil {
		return err
	}
	secret := filepath.Join(dir, "vrrp-password")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the password of host %s: %w", host, err)
	}
	c.TTL, c.VIPs = cmp.Or(s.trial.TTL, ttl), nil
	for _, v := range s.trial.vips() {
		c.VIPs = append(c.VIPs, device(v.String()))
	}
	c.Checks = []string{fmt.Sprintf("process: {pidfile: %s}", s.pidfile(host))}
	n := s.trial.Ours[host]
	c.Extra = n.section(s.trial.Router, host, s.trial.others(host), secret)
	if err := s.wakeMysqld(host); err != nil {
		return err
	}
	return s.WriteConfig(host, c.YAML())
}

// scriptFails is the file that makes keepalived's script on a host fail.
func (s *stage) scriptFails(host string) string { return filepath.Join(s.Dir(), host, "script-fails") }

func (s *stage) pidfile(host string) string { return filepath.Join(s.Dir(), host, "mysqld.pid") }

// wakeMysqld starts the process that stands for mysqld on a host.
func (s *stage) wakeMysqld(host string) error {
	p, err := s.Start(host, "mysqld", nil, "sleep", "1h")
	if err != nil {
		return err
	}
	s.mysqld[host] = p
	return os.WriteFile(s.pidfile(host), fmt.Appendln(nil, p.Pid()), 0o600)
}

// conf is the keepalived.conf of a host.
func (s *stage) conf(host string) string {
	return s.trial.Theirs[host].conf(s.trial.Router, host, s.trial.others(host), s.scriptFails(host))
}

// start starts a daemon.
func (s *stage) start(u Unit) error {
	if p := s.running[u]; p != nil && p.Running() {
		return fmt.Errorf("%s runs already", u)
	}
	var p *lab.Process
	var err error
	if u.Ours {
		p, err = s.StartDaemon(u.Host, s.binary)
	} else {
		p, err = s.StartKeepalived(u.Host, s.conf(u.Host))
	}
	s.running[u] = p
	return err
}

// process returns a daemon that runs.
func (s *stage) process(u Unit) (*lab.Process, error) {
	if p := s.running[u]; p != nil && p.Running() {
		return p, nil
	}
	return nil, fmt.Errorf("%s does not run", u)
}

// member is what etcd has of a node.
type member struct {
	Eligible bool   `json:"eligible"`
	VRRP     string `json:"vrrp"`
}

// member reads the key of the node on a host; ok is false when there is none.
func (s *stage) member(ctx context.Context, host string) (m member, ok bool, err error) {
	h, err := s.Host(host)
	if err != nil {
		return m, false, err
	}
	key := "/leasehold/" + s.service() + "/members/" + h.Name
	keys, err := s.etcd.Read(ctx, E, key)
	i := slices.IndexFunc(keys, func(k lab.EtcdKey) bool { return k.Key == key })
	if err != nil || i < 0 {
		return m, false, err
	}
	if err := json.Unmarshal([]byte(keys[i].Value), &m); err != nil {
		return m, false, fmt.Errorf("member value %q: %w", keys[i].Value, err)
	}
	return m, true, nil
}

// service is the name of the service of ours.
func (s *stage) service() string {
	if s.trial.Import {
		return instance
	}
	return "mysql"
}

// instance is the name of keepalived's vrrp_instance in a network, and so that of
// the service that import makes of it.
const instance = "VI_1"

// state is what a daemon says of itself: keepalived MASTER, BACKUP or FAULT, by its
// log; ours Active or Backup, by its key in etcd, and where it does not say so
// "well" or "ill". A daemon that does not run is "down".
func (s *stage) state(ctx context.Context, u Unit) (string, error) {
	p, err := s.process(u)
	switch {
	case err != nil:
		return "down", nil //nolint:nilerr // that is what it is
	case s.frozen[u]:
		return "frozen", nil
	case !u.Ours:
		text, err := os.ReadFile(p.Log)
		return stateOf(string(text)), err
	}
	m, ok, err := s.member(ctx, u.Host)
	word, _, _ := strings.Cut(m.VRRP, " ")
	switch {
	case err != nil || !ok:
		return "unknown", err
	case word != "":
		return word, nil
	case m.Eligible:
		return "well", nil
	}
	return "ill", nil
}

// stateOf returns the state that keepalived entered last, by its log since it was
// started last.
func stateOf(log string) string {
	state := "INIT"
	for line := range strings.Lines(log) {
		if strings.Contains(line, "Starting VRRP child process") {
			state = "INIT"
		}
		_, rest, ok := strings.Cut(line, "Entering ")
		if word, _, isState := strings.Cut(rest, " STATE"); ok && isState {
			state = word
		}
	}
	return state
}

// units are the daemons of a trial on a host, those that run or ran.
func (s *stage) units(host string) []Unit {
	var all []Unit
	for _, u := range []Unit{keepalived(host), leasehold(host)} {
		if s.running[u] != nil {
			all = append(all, u)
		}
	}
	return all
}

// states is what the daemons of all hosts say. Of two on one host that which runs
// counts.
func (s *stage) states(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	var errs []error
	for _, host := range s.trial.holders() {
		all[host] = "down"
		for _, u := range s.units(host) {
			state, err := s.state(ctx, u)
			errs = append(errs, err)
			if state != "down" {
				all[host] = state
			}
		}
	}
	return all, errors.Join(errs...)
}

// stopInstruments ends them; the error says that one may have missed something.
func (s *stage) stopInstruments() error {
	_, err := s.obs.Stop()
	if s.voices != nil {
		err = errors.Join(err, s.voices.Stop())
	}
	return errors.Join(err, s.adverts.Stop())
}

// answers are the questions for all VIPs, and who answered, since then.
func (s *stage) answers(from, to time.Time) []lab.ARPAnswer {
	var all []lab.ARPAnswer
	frames := s.obs.Wire.Frames()
	for _, v := range s.trial.vips() {
		all = append(all, between(lab.ARPAnswers(frames, v.Addr()), from, to)...)
	}
	return all
}

func between(all []lab.ARPAnswer, from, to time.Time) []lab.ARPAnswer {
	return slices.DeleteFunc(all, func(a lab.ARPAnswer) bool { return a.Asked.Before(from) || !a.Asked.Before(to) })
}
