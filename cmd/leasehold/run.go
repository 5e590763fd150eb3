package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/internal/health"
	"leasehold/internal/node"
	"leasehold/vip"
	"leasehold/vrrpcompat"
)

func (a *app) runCommand() *cobra.Command {
	var rehearse bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground, as the systemd unit does",
		Long: `Run the daemon. It ends on SIGTERM and SIGINT, after it has taken the VIPs away
and let a successor in; while HA is paused it leaves the VIPs where they are.

SIGHUP and SIGUSR2 have it start itself anew in place, with the configuration and
the binary as they are on disk now: same pid, and a VIP that the configuration
still names stays, with every connection. Services that it no longer names are let
go first. A configuration or a binary that cannot be used is logged, and nothing
changes; run_dir and bpf_dir need a restart. A changed ttl counts from the next
tenure on.

With etcd.embedded in the configuration it also keeps this node's etcd member
running, in a process of its own, which is stopped after everything else and
outlives a crash of this one.

It needs CAP_NET_ADMIN and CAP_NET_RAW, and for the fence CAP_BPF; a witness, which
has no services, needs nothing.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if rehearse {
				return a.rehearse(os.Getenv)
			}
			return a.daemon(c.Context(), os.Getenv)
		},
	}
	cmd.Flags().BoolVar(&a.noMember, "no-member", false, "do not run the etcd member of etcd.embedded: a unit of its own does")
	cmd.Flags().BoolVar(&rehearse, rehearseFlag, false, "only say, as JSON, what would be run; for a daemon that starts itself anew")
	_ = cmd.Flags().MarkHidden(rehearseFlag) // it is defined right above
	return cmd
}

const rehearseFlag = "rehearse"

// lockWait is how long a daemon waits for the one before it to die.
const lockWait = 500 * time.Millisecond

// unit is one service with all that runs for it.
type unit struct {
	name      string
	set       *vip.Set
	checks    *health.Checks
	candidate *election.Candidate
	router    *vrrpcompat.Router // nil: there is no keepalived to live beside
	loop      *node.Loop
	leave     *dismissal
}

// daemon runs until a signal, or until something that must not end has ended.
func (a *app) daemon(ctx context.Context, getenv func(string) string) (err error) {
	ctx, renew, stop := signals(ctx)
	defer stop()
	path, err := ownPath(os.Args)
	if err != nil {
		return err
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if err := cfg.checkCapabilities(); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	log := newLogger(cfg.Log, a.err, getenv)
	lock, err := ownLock(ctx, cfg.RunDir, cfg.memberChild, log)
	if err != nil {
		return fmt.Errorf("run: %w; stop it first, or give this one a run_dir of its own", err)
	}
	defer func() { _ = lock.Close() }() // gives the lock back
	for _, n := range cfg.Notes {
		log.Info("configuration", "note", n.String())
	}
	cluster, err := openEtcd(cfg, log.Named("etcd"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	notify := newNotifier(cfg.serviceNames(), getenv, log)
	left := forgetStale(ctx, cfg, vip.Forget, log)
	strain := newStrain(cfg)
	units, err := newUnits(cfg, left, cluster, notify, strain.Why, getenv, log) //nolint:contextcheck // vip.New bounds what it does to the fences itself
	defer closeUnits(units)
	if err != nil {
		return err
	}
	ofMember, err := memberTasks(cfg, units, strain, log)
	if err != nil {
		return err
	}
	status, err := listenStatus(ctx, cfg.RunDir)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	log.Info("starting", "version", versionText(), "node", cfg.Node, "services", cfg.serviceNames(), "config", cfg.File)
	again := &rerun{
		cfg: cfg, units: units, notify: notify, log: log, args: os.Args, path: path,
		replace: func(path string) error { return replaceProcess(path, lock, renew) },
	}
	loops, observers := tasks(units)
	observers = append(observers, ofMember...)
	observers = append(observers, notify.idleTasks()...)
	observers = append(observers,
		task{"clock", func(ctx context.Context) error { return watchClock(ctx, boottime.Rate, log) }},
		task{"signals", func(observing context.Context) error { return again.run(observing, ctx, renew) }},
		task{"status socket", func(ctx context.Context) error {
			return serveStatus(ctx, status, func() daemonReply { return reply(cfg, units) }, log.Named("socket"))
		}})
	stopMember := superviseMember(ctx, a.supervisor(cfg, path, log.Named("member")))
	err = supervise(ctx, loops, observers, notify.Stopping, notify.LetGo, log)
	err = errors.Join(err, stopMember())
	log.Info("stopped", "err", err)
	return err
}

// newUnits makes what runs for each service. Nothing runs yet. On error it
// returns those that were made.
func newUnits(cfg *Config, left map[string][]string, cluster *election.Cluster, notify *notifier, strain func() string, getenv func(string) string, log hclog.Logger) ([]*unit, error) {
	var units []*unit
	var problems Problems
	for i := range cfg.Services {
		s := &cfg.Services[i]
		log := log.With("service", s.Name)
		set, err := vip.New(s.vipConfig(cfg, log.Named("vip")))
		if err != nil {
			return units, fmt.Errorf("service %s: %w", s.Name, err)
		}
		u := &unit{name: s.Name, set: set, leave: newDismissal()}
		units = append(units, u)
		configs, bad := checkConfigs(cfg.File, s, getenv)
		if problems = append(problems, bad...); len(problems) > 0 {
			continue
		}
		if u.checks, err = health.New(configs, log.Named("health")); err != nil {
			return units, fmt.Errorf("service %s: %w", s.Name, err)
		}
		u.candidate = election.New(election.Config{
			Service: s.Name, Node: cfg.Node, TTL: s.TTL, Margin: tenureMargin,
			Priority: s.Priority, Preempt: s.Preempt, PreemptDelay: s.PreemptDelay,
			VIPs: s.prefixes(), Version: versionText(),
			StateFile: filepath.Join(cfg.RunDir, s.Name+".json"), Specs: append(s.specTexts(), left[s.Name]...),
		}, cluster, log.Named("election"))
		beside, bad, err := u.beside(cfg, s, getenv, log.Named("vrrp"))
		if problems = append(problems, bad...); err != nil {
			return units, fmt.Errorf("service %s: %w", s.Name, err)
		}
		u.loop = node.New(node.Config{
			Service: s.Name, Node: cfg.Node, Priority: s.Priority, Preempt: s.Preempt,
			LastStanding: s.KeepLast, Version: versionText(), TTL: s.TTL, Strain: strain,
		}, u.candidate, set, u.checks, beside, node.Hooks{Decided: notify.Decided, Alive: notify.Alive, Role: notify.Role}, log.Named("node"))
	}
	if len(problems) > 0 {
		return units, problems
	}
	return units, nil
}

// tasks returns what is to be run: the loops, and what they look at and act
// through.
func tasks(units []*unit) (loops, observers []task) {
	for _, u := range units {
		l := u.leave
		loops = append(loops, dismissable(task{"service " + u.name, u.loop.Run}, l.loop, func() { close(l.gone) }))
		for _, t := range []task{{"vip " + u.name, u.set.Run}, {"health " + u.name, u.checks.Run}, {"election " + u.name, u.candidate.Run}} {
			l.ended.Add(1)
			observers = append(observers, dismissable(t, l.observers, l.ended.Done))
		}
		if u.router != nil {
			l.ended.Add(1)
			observers = append(observers, dismissable(task{"vrrp " + u.name, u.router.Run}, l.observers, l.ended.Done))
		}
	}
	return loops, observers
}

// closeUnits closes the sockets of what has ended.
func closeUnits(units []*unit) {
	for _, u := range units {
		u.set.Close()
	}
}

// checkConfigs returns the checks of a service with their passwords read.
func checkConfigs(file string, s *Service, getenv func(string) string) ([]health.Config, Problems) {
	var configs []health.Config
	var problems Problems
	for _, c := range s.Checks {
		h := c.Health
		if c.PasswordFile != nil && h.MySQL != nil {
			secret, err := c.PasswordFile.Read(getenv)
			if err != nil {
				problems = append(problems, Problem{file, c.PasswordFile.Line, fmt.Sprintf("services.%s.checks.%s.password_file: %v", s.Name, h.Name, err)})
				continue
			}
			mysql := *h.MySQL
			mysql.Password = secret.Reveal()
			h.MySQL = &mysql
		}
		configs = append(configs, h)
	}
	return configs, problems
}

// reply is what the status socket says now.
func reply(cfg *Config, units []*unit) daemonReply {
	r := daemonReply{PID: os.Getpid(), Version: versionText(), Node: cfg.Node, At: time.Now(), Services: map[string]daemonService{}}
	for _, u := range units {
		r.Services[u.name] = daemonService{Loop: loopStatus(u.loop.Snapshot()), Checks: checksStatus(u.checks.State())}
	}
	return r
}
