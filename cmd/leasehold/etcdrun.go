package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"leasehold/internal/member"
)

func (a *app) etcdCommand() *cobra.Command {
	var configured bool
	cmd := &cobra.Command{
		Use:   "etcd",
		Short: "Run the etcd member of this node in the foreground, as its systemd unit does",
		Long: `Run the etcd member that etcd.embedded of the configuration describes, in a process
of its own: etcd ends its process when the disk is full, and panics on a damaged
database, and the VIP must not go with it. leasehold run starts it by itself unless
it is told that a unit does.

It waits for what a start needs, and says what for: the other members at the first
start, space on the disk, its address, its ports. It ends on SIGTERM and SIGINT,
after it has handed leadership over. It needs no privileges.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if configured {
				return onlyIfEmbedded(cfg)
			}
			return a.etcd(c.Context(), cfg, os.Getenv)
		},
	}
	cmd.Flags().BoolVar(&configured, "configured", false, "only say by the exit code whether the configuration has a member: 0 yes, 1 no; for ExecCondition= of the unit")
	return cmd
}

// onlyIfEmbedded is 1 and silent without a member: the unit is skipped then.
func onlyIfEmbedded(cfg *Config) error {
	if cfg.Etcd.Embedded == nil {
		return exitError(exitRuntime)
	}
	return nil
}

// etcd runs the member until a signal, or until etcd ends by itself.
func (a *app) etcd(ctx context.Context, cfg *Config, getenv func(string) string) error {
	if cfg.Etcd.Embedded == nil {
		return Problems{{cfg.File, cfg.Etcd.line, "etcd has no embedded section, so that this node runs no member; write etcd: {embedded: {members: …}}, see docs/reference.md"}}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// The daemon that started it may be gone, and the pipe of its log with it.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	log := newLogger(cfg.Log, a.err, getenv).Named("etcd")
	if _, problems := checkFiles(cfg, getenv, time.Now()); len(problems) > 0 {
		return problems
	}
	say := memberNotifier(getenv, log)
	say(daemon.SdNotifyReady) // it runs; what it waits for is in the status
	tell := func(s member.State) {
		text := s.State
		if s.Why != "" {
			text += ": " + s.Why
		}
		say("STATUS=" + text)
	}
	log.Info("starting", "version", versionText(), "node", cfg.Node, "config", cfg.File)
	err := member.Run(ctx, cfg.memberConfig(), tell, log)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	return nil
}

// memberNotifier tells systemd how the member fares, see sd_notify(3).
func memberNotifier(getenv func(string) string, log hclog.Logger) func(string) {
	path := getenv("NOTIFY_SOCKET")
	return func(state string) {
		if path == "" {
			return
		}
		if err := sendNotify(path, state); err != nil {
			log.Warn("systemd not notified", "state", state, "err", err)
		}
	}
}

// memberConfig is what package member has to know.
func (c *Config) memberConfig() member.Config {
	e := c.Etcd.Embedded
	m := member.Config{
		Name: c.Node, Dir: e.Dir, ClientPort: e.ClientPort, PeerPort: e.PeerPort, Heartbeat: e.Heartbeat, Election: e.Election,
		Quota: int64(e.QuotaMB) << 20, Version: versionText(),
		TLS: member.TLS{CA: c.Etcd.CA, Cert: c.Etcd.Cert, Key: c.Etcd.Key},
	}
	for _, p := range e.Members {
		m.Peers = append(m.Peers, member.Peer{Name: p.Name, Addr: p.Addr})
	}
	return m
}

// supervisor keeps the member's process running for a daemon that no unit does it
// for; nil when there is nothing to run.
func (a *app) supervisor(cfg *Config, path string, log hclog.Logger) *member.Supervisor {
	if cfg.Etcd.Embedded == nil || a.noMember {
		return nil
	}
	return &member.Supervisor{
		Path: path, Args: []string{"etcd", "--config", cfg.File}, Dir: cfg.Etcd.Embedded.Dir, Output: a.err, Log: log,
	}
}

// superviseMember runs the supervisor until the returned function is called, which
// stops the member and waits for its end. To be called when everything else has
// ended: VIP, tenure and lease go before the member that they stand in.
func superviseMember(ctx context.Context, s *member.Supervisor) (stop func() error) {
	if s == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ends with stop
	return func() error {
		cancel()
		if err := <-done; err != nil {
			return fmt.Errorf("etcd member: %w", err)
		}
		return nil
	}
}
