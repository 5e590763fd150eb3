package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
)

// How soon what has ended in a kept demo is started again. A daemon that was killed
// is back as by RestartSec of deploy/leasehold.service; one that was stopped, or a
// server, stays away for long enough to be missed.
const (
	afterCrash = 20 * time.Millisecond
	afterStop  = 5 * time.Second
)

// keeper is the process that a kept demo lives in.
type keeper struct {
	place  place
	o      Options
	parent *parent
}

// keep hands the terminal back, and leaves everything running until ctx ends.
func (k keeper) keep(ctx context.Context, n *network, shown error) error {
	if err := n.writeShells(k.place); err != nil {
		return err
	}
	if _, err := fmt.Fprint(k.o.Out, k.place.handbook(n.real, k.o.down())); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := errors.Join(detach(), k.parent.dismiss(shown)); err != nil {
		return err
	}
	n.supervise(ctx)
	return context.Cause(ctx)
}

// detach lets go of the terminal, or of the pipe, that this process writes to:
// whoever reads it is not to wait for the demo's end.
func detach() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	defer null.Close()
	for _, fd := range []int{unix.Stdin, unix.Stdout, unix.Stderr} {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return fmt.Errorf("detach: %w", err)
		}
	}
	return nil
}

// supervise starts again what ends, as systemd would, until ctx ends.
func (n *network) supervise(ctx context.Context) {
	var wg sync.WaitGroup
	for _, host := range nodes() {
		wg.Go(func() {
			respawn(ctx, func() *lab.Process { return n.node(host) }, func() error { return n.startNode(host) }, nodeBack)
		})
		if host != witness {
			wg.Go(func() {
				respawn(ctx, func() *lab.Process { return n.mysqld.Process(host) }, func() error { return n.startMySQL(host) },
					func(error) time.Duration { return afterStop })
			})
		}
	}
	wg.Wait()
}

// nodeBack returns how long a daemon stays away that ended like this.
func nodeBack(ended error) time.Duration {
	if exit, ok := errors.AsType[*exec.ExitError](ended); ok && exit.ExitCode() < 0 { // by a signal
		return afterCrash
	}
	return afterStop
}

// respawn starts a process again whenever it has ended, until ctx ends. One that
// cannot be started is tried again.
func respawn(ctx context.Context, latest func() *lab.Process, start func() error, away func(ended error) time.Duration) {
	for {
		ended := latest().Wait(ctx)
		if lab.Pass(ctx, away(ended)) != nil {
			return
		}
		for start() != nil && lab.Pass(ctx, afterStop) == nil {
		}
	}
}

// shellFile is the script that gets a person into a host.
func (p place) shellFile(host string) string { return filepath.Join(p.root(), host) }

// writeShells writes a script for each host, and for the switch, that runs a shell
// or one command there.
func (n *network) writeShells(p place) error {
	for _, h := range append(seats(), lab.Host{Key: "switch"}) {
		dir := filepath.Join(p.hosts(), h.Key)
		if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o700); err != nil {
			return fmt.Errorf("make a shell for %s: %w", h.Key, err)
		}
		if err := os.WriteFile(p.shellFile(h.Key), []byte(p.shell(h.Key, dir)), 0o700); err != nil {
			return fmt.Errorf("make a shell for %s: %w", h.Key, err)
		}
		if !slices.Contains(nodes(), h.Key) {
			continue
		}
		own := fmt.Sprintf("#!/bin/sh\nexec %s --config %s \"$@\"\n", shellWord(n.binary), n.lab.ConfigFile(h.Key))
		if err := os.WriteFile(filepath.Join(dir, "bin", "leasehold"), []byte(own), 0o700); err != nil {
			return fmt.Errorf("make a shell for %s: %w", h.Key, err)
		}
	}
	return nil
}

func (p place) shell(host, dir string) string {
	var endpoints []string
	for _, h := range nodes() {
		endpoints = append(endpoints, endpoint(h))
	}
	return fmt.Sprintf(`#!/bin/sh
# A shell on %[1]s of leasehold demo, or one command there.
export PS1='%[1]s# ' PATH="%[2]s/bin:$PATH" ETCDCTL_API=3 ETCDCTL_ENDPOINTS=%[3]s
export ETCDCTL_CACERT=ca.pem ETCDCTL_CERT=%[1]s.pem ETCDCTL_KEY=%[1]s.key
cd %[2]s || exit 1
if [ $# = 0 ]; then
  set -- sh
  if command -v bash >/dev/null; then set -- bash --norc; fi
fi
exec nsenter --net=/run/netns/%[4]s-%[1]s -- "$@"
`, host, dir, strings.Join(endpoints, ","), p.name)
}

// handbook says how to look into a kept demo, what to break and what mends it.
func (p place) handbook(mysql bool, down string) string {
	a, sw := p.shellFile(hostA), p.shellFile("switch")
	text := fmt.Sprintf(`Everything stays, as %[1]s, until:
  %[2]s

A shell on a host, or one command there; also for db20-025, witness and client:
  %[3]s
  %[3]s leasehold status
  %[3]s etcdctl get --prefix /leasehold/
The same by hand:  ip netns exec %[1]s-%[4]s bash
Configuration, logs and data of each host are in %[5]s.
`, p.name, down, a, hostA, p.hosts())
	if _, err := exec.LookPath("etcdctl"); err != nil {
		text += "(etcdctl is not installed here: apt-get install etcd-client)\n"
	}
	if mysql {
		text += fmt.Sprintf("A client of MySQL:\n  %s mariadb -h 10.20.8.188 -u %s -p%s\n", p.shellFile(client), lab.AppUser, lab.AppPassword)
	}
	return text + fmt.Sprintf(`
What to break, in a shell on the host that holds the VIP, and what mends it:
  kill -9 $(cat mysqld.pid)    mysqld dies              back by itself after 5 s
  kill $(cat run/lock)         leasehold is stopped     back by itself after 5 s
  kill -9 $(cat run/lock)      leasehold is killed      back at once
  leasehold pause --for 10m    nothing may move it      leasehold resume
  leasehold switchover         it moves, on request
From anywhere:
  %[1]s ip link set %[2]s down
      its cable is pulled; up puts it back
  for h in %[2]s %[3]s; do
    %[1]s bridge link set dev $h isolated on; done
      the two cannot reach each other; off mends it
Watch it meanwhile:
  %[4]s leasehold status -w
`, sw, hostA, hostB, p.shellFile(hostB))
}
