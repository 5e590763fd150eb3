package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"leasehold/internal/cases"
	"leasehold/internal/lab"
	"leasehold/vip/fence"
)

// generous is the limit for what is waited for and not measured.
const generous = 30 * time.Second

// system is one way to keep the VIP on the test network: two daemons.
type system interface {
	// Settle repairs what was broken, starts what does not run, and returns when
	// host a has the VIP and b would take it.
	Settle(ctx context.Context) error
	// Stop ends both daemons and returns when nobody has the VIP.
	Stop(ctx context.Context) error
	// Daemon is the daemon on a host, with its children in its process group.
	Daemon(host string) *lab.Process
	// Switchover asks for host b; nil where there is no such thing.
	Switchover() func(ctx context.Context) error
}

func hosts() []string { return []string{lab.A, lab.B} }

// stop ends the daemons of a system, at once, so that neither takes over from
// the other. What a daemon that was killed before has left on its host goes too.
func stop(ctx context.Context, s system, site *cases.Site) error {
	var running []*lab.Process
	for _, h := range hosts() {
		if p := s.Daemon(h); p != nil && p.Running() {
			running = append(running, p)
		}
	}
	for _, p := range running {
		if err := p.Term(); err != nil {
			return err
		}
	}
	for _, p := range running {
		if err := ended(ctx, p); err != nil {
			return err
		}
	}
	left, err := site.Holders(hosts()...)
	if err != nil {
		return err
	}
	for _, h := range left {
		_, err := site.Exec(ctx, h, "ip", "address", "delete", site.VIP.String(), "dev", "eth0")
		// A finite lifetime may end meanwhile.
		if now, holdErr := site.Holders(h); err != nil && (holdErr != nil || len(now) > 0) {
			return errors.Join(err, holdErr)
		}
	}
	return site.WaitHeld(ctx, generous)
}

// ended waits for the end of a daemon: keepalived lives on for a second after it
// has let go.
func ended(ctx context.Context, p *lab.Process) error {
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leasehold is the site of the operators' cases as it is.
type leasehold struct{ *cases.Site }

// Stop takes the fences away too, which a daemon leaves shut: behind them nobody
// else could have the VIP.
func (s *leasehold) Stop(ctx context.Context) error {
	if err := stop(ctx, s, s.Site); err != nil {
		return err
	}
	for _, h := range hosts() {
		dir, err := s.BPFDir(h)
		if err != nil {
			return err
		}
		err = s.Do(h, func() error {
			_, err := fence.Purge(dir)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *leasehold) Switchover() func(context.Context) error {
	return func(ctx context.Context) error {
		h, err := s.Host(lab.B)
		if err != nil {
			return err
		}
		_, err = s.Leasehold(ctx, lab.A, "switchover", "--to", h.Name)
		return err
	}
}

// leaseholdBinary writes a script that runs the daemon under the relay, and the
// commands as they are.
func leaseholdBinary(l *lab.Lab, r *relay, self, binary string) (string, error) {
	file := filepath.Join(l.Dir(), "leasehold")
	text := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = run ] && exec '%s' %s '%s' '%s' \"$@\"\nexec '%s' \"$@\"\n",
		self, relayCommand, r.path, binary, binary)
	if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
		return "", fmt.Errorf("write the script that starts the daemon: %w", err)
	}
	return file, nil
}

// keepalived is Debian's, on the site's network and beside its MariaDB.
type keepalived struct {
	site   *cases.Site
	relay  *relay
	self   string // this program
	config func(c lab.KeepalivedConfig, site *cases.Site, host string) (string, error)

	daemons map[string]*lab.Process
}

func (k *keepalived) Daemon(host string) *lab.Process { return k.daemons[host] }

func (k *keepalived) Stop(ctx context.Context) error { return stop(ctx, k, k.site) }

func (k *keepalived) Switchover() func(context.Context) error { return nil }

func (k *keepalived) Settle(ctx context.Context) error {
	if err := mend(ctx, k.site); err != nil {
		return fmt.Errorf("mend the site: %w", err)
	}
	for _, h := range hosts() {
		if err := k.start(h); err != nil {
			return err
		}
	}
	// A VIP that a killed keepalived left on host a may answer until the new one
	// has removed it; b lets go of its own when it has heard of the new one.
	if err := k.site.WaitHeld(ctx, generous, lab.A); err != nil {
		return err
	}
	return k.site.Obs.Prober.WaitAnswer(ctx, lab.A, generous)
}

// start starts keepalived's VRRP part on a host under the relay, unless it runs.
func (k *keepalived) start(host string) error {
	if p := k.daemons[host]; p != nil && p.Running() {
		return nil
	}
	c := k.site.KeepalivedConfig()
	c.Priority = prio(host)
	text, err := k.config(c, k.site, host)
	if err != nil {
		return err
	}
	p, err := k.site.StartKeepalived(host, text, k.self, relayCommand, k.relay.path)
	if err != nil {
		return err
	}
	k.daemons[host] = p
	return nil
}

// mend puts the cables back and starts the etcd members and servers that do not
// run: cases.Site.Settle does it for Leasehold.
func mend(ctx context.Context, s *cases.Site) error {
	var errs []error
	for _, h := range hosts() {
		errs = append(errs, s.CablePlug(h))
		if !s.Etcd.Process(h).Running() {
			errs = append(errs, s.Etcd.Start(h))
		}
		if !s.DB.Process(h).Running() {
			errs = append(errs, s.DB.Start(h))
		}
	}
	errs = append(errs, s.Etcd.WaitReady(ctx))
	for _, h := range hosts() {
		errs = append(errs, s.DB.WaitReady(ctx, h))
	}
	return errors.Join(errs...)
}

// configured is what the operators' hosts have: VRRPv2 with an advertisement
// each second, and a script that looks at mysqld each second, which is the
// shortest interval that keepalived 2.2.7 takes. One failure is enough here,
// sooner than most have it.
func configured(c lab.KeepalivedConfig, s *cases.Site, host string) (string, error) {
	dir, err := s.HostDir(host)
	if err != nil {
		return "", err
	}
	script := filepath.Join(dir, "check-mysqld")
	text := fmt.Sprintf("#!/bin/sh\nread -r pid < '%s' && kill -0 \"$pid\"\n", s.DB.Pidfile(host))
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		return "", fmt.Errorf("write keepalived's script: %w", err)
	}
	c.Extra = "  track_script {\n    mysqld\n  }\n"
	return fmt.Sprintf(`global_defs {
  script_user root
}
vrrp_script mysqld {
  script "%s"
  interval 1
  fall 1
  rise 1
}
`, script) + c.Text(), nil
}

// fast is the best that keepalived can: VRRPv3 with ten advertisements a second,
// and mysqld's end told by the kernel. The mariadbd of the other host is in the
// same /proc; they differ in what they are started with.
func fast(c lab.KeepalivedConfig, s *cases.Site, host string) (string, error) {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.DB.Process(host).Pid()))
	if err != nil {
		return "", fmt.Errorf("read the command line of the server of host %s: %w", host, err)
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	for i, a := range args {
		args[i] = `"` + a + `"`
	}
	c.Version, c.Advert = 3, 100*time.Millisecond
	c.Extra = "  track_process {\n    mysqld\n  }\n"
	return fmt.Sprintf(`vrrp_track_process mysqld {
  process %s
  full_command
  weight 0
}
`, strings.Join(args, " ")) + c.Text(), nil
}

// killGroup ends a daemon and its children without a chance to clean up.
func killGroup(p *lab.Process) error {
	if err := p.SignalGroup(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.Done()
	return nil
}
