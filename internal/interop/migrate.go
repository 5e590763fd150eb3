package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The edits of docs/migration.md, for sed: import writes one service with its vrrp
// section last.
const (
	noPreempt    = `s/^    preempt: true/    preempt: false/`
	vrrpPriority = `s/^      priority: .*/      priority: %d/`
	dropVRRP     = `/^    vrrp:/,$d`
)

// importConf makes the configuration of ours on a host out of its keepalived.conf,
// as docs/migration.md says, and fits it to the test network.
func importConf(host string) Action {
	return func(ctx context.Context, s *stage) error {
		h, err := s.Host(host)
		if err != nil {
			return err
		}
		dir, err := s.HostDir(host)
		if err != nil {
			return err
		}
		bpf, err := s.BPFDir(host)
		if err != nil {
			return err
		}
		out, err := s.output(ctx, host, s.binary, "import", "--vrrp", "keep", "--node", h.Name,
			"--etcd", strings.Join(s.etcd.Endpoints(), ","), "--secrets", filepath.Join(dir, "secrets"), s.KeepalivedConf(host))
		if err != nil {
			return err
		}
		s.imported[host] = fmt.Sprintf("run_dir: %s\nbpf_dir: %s\n", s.RunDir(host), bpf) + out
		if err := putBack(host)(ctx, s); err != nil {
			return err
		}
		_, err = s.leasehold(ctx, host, "check")
		return err
	}
}

// putBack writes the configuration that import made.
func putBack(host string) Action {
	return func(ctx context.Context, s *stage) error {
		if err := s.WriteConfig(host, s.imported[host]); err != nil {
			return err
		}
		return sed(host, noPreempt)(ctx, s)
	}
}

// sed changes the configuration of ours on a host. It fails when there was nothing
// to change.
func sed(host, script string) Action {
	return func(ctx context.Context, s *stage) error {
		before, err := os.ReadFile(s.ConfigFile(host))
		if err != nil {
			return err
		}
		if _, err := s.Exec(ctx, host, "sed", "-i", script, s.ConfigFile(host)); err != nil {
			return err
		}
		after, err := os.ReadFile(s.ConfigFile(host))
		if err == nil && string(after) == string(before) {
			err = fmt.Errorf("sed '%s' changes nothing in\n%s", script, before)
		}
		return err
	}
}

// priority writes the priority of the router of ours, which is not the service's.
func priority(host string, n int) Action { return sed(host, fmt.Sprintf(vrrpPriority, n)) }

// output runs a command on a host and returns what it wrote on standard output.
// That import left something out is no failure.
func (s *stage) output(ctx context.Context, host, name string, args ...string) (string, error) {
	const unmapped = 3 // an exit code of import
	cmd, err := s.Command(ctx, host, name, args...)
	if err != nil {
		return "", err
	}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == unmapped {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%s on host %s: %w: %s", strings.Join(cmd.Args, " "), host, err, said.String())
	}
	return string(out), err
}

// purge takes what ours leaves off a host, before keepalived comes back.
func purge(host string) Action {
	return func(ctx context.Context, s *stage) error {
		_, err := s.leasehold(ctx, host, "release", "--purge")
		return err
	}
}

// writeConf writes the keepalived.conf of a host, which stays when it is not run.
func writeConf(host string) Action {
	return func(_ context.Context, s *stage) error {
		if _, err := s.HostDir(host); err != nil {
			return err
		}
		return os.WriteFile(s.KeepalivedConf(host), []byte(s.conf(host)), 0o600)
	}
}
