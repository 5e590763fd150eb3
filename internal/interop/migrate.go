package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// importConf makes the configuration of ours on a host out of its keepalived.conf,
// by the command, and fits it to the test network. What the operator changes by
// hand is the same: preempt is false, so that no step moves the VIP twice.
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
		text := fmt.Sprintf("run_dir: %s\nbpf_dir: %s\n", s.RunDir(host), bpf) + strings.Replace(out, "\n    preempt: true\n", "\n    preempt: false\n", 1)
		s.imported[host] = text
		if err := s.write(host, text); err != nil {
			return err
		}
		_, err = s.leasehold(ctx, host, "check")
		return err
	}
}

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

// edit changes the configuration of ours on a host.
func edit(host string, change func(string) string) Action {
	return func(_ context.Context, s *stage) error {
		text := change(s.files[host])
		if text == s.files[host] {
			return fmt.Errorf("there is nothing to change in the configuration of host %s:\n%s", host, text)
		}
		return s.write(host, text)
	}
}

// vrrpPriority writes the priority of the router, which is not the service's.
func vrrpPriority(n int) func(string) string {
	return func(text string) string {
		return regexp.MustCompile(`(?m)^      priority: \d+$`).ReplaceAllString(text, fmt.Sprintf("      priority: %d", n))
	}
}

// vrrpSection is the vrrp section, to the end of the file: import writes it last.
var vrrpSection = regexp.MustCompile(`(?ms)^    vrrp:\n.*\z`)

// dropVRRP takes the vrrp section out.
func dropVRRP(text string) string { return vrrpSection.ReplaceAllString(text, "") }

// putBack writes the configuration that import made.
func putBack(host string) Action {
	return func(_ context.Context, s *stage) error { return s.write(host, s.imported[host]) }
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
