package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
)

// statusFlags are the flags of the status command.
type statusFlags struct {
	format  string
	watch   time.Duration
	timeout time.Duration
}

// statusReport is what status -f json prints.
type statusReport struct {
	Node     string           `json:"node"`
	At       time.Time        `json:"at"`
	ExitCode int              `json:"exit_code"`
	Member   *OwnMemberStatus `json:"member,omitempty"` // of etcd, where this host runs one
	Services []ServiceStatus  `json:"services"`

	cluster MembersStatus // that the member is of
	witness DaemonStatus  // of a node that has no services
}

func (a *app) statusCommand() *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status [service]",
		Short: "Show who holds the VIP, and what etcd, this kernel and this daemon say",
		Long: `Show every service, or the one named: who holds it, who could, and why not. A * marks
this host.
Nothing is remembered: etcd and the kernel are asked now, and this host's
daemon says what its checks found; the age of each is shown. Where this host runs an
etcd member, its state is shown too; a witness, which has no services, shows that only.

Exit codes: 0 somebody holds the VIP and nothing is wrong · 3 nobody holds it ·
4 HA is paused · 5 etcd does not answer · 6 something is wrong (the VIP is on
this host and another is the holder, a stray copy, a key that a stranger wrote, this
host's etcd member does not run, etcd has raised an alarm) ·
1, 2 as everywhere. Of several that apply: 6, then 5, 3, 4.`,
		Args: oneService,
		RunE: func(c *cobra.Command, args []string) error { return a.status(c.Context(), flags, args) },
	}
	cmd.ValidArgsFunction = a.completeService
	cmd.Flags().StringVarP(&flags.format, "format", "f", "table", "table or json")
	completeFormat(cmd)
	cmd.Flags().DurationVarP(&flags.watch, "watch", "w", 0, "show it again and again, as often as this; -w alone is every second")
	cmd.Flags().Lookup("watch").NoOptDefVal = "1s"
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 3*time.Second, "how long to wait for etcd")
	return cmd
}

func (a *app) status(ctx context.Context, flags statusFlags, args []string) error {
	if flags.format != "table" && flags.format != "json" {
		return usagef("status: format %q%s; it is table or json", flags.format, didYouMean(flags.format, []string{"table", "json"}))
	}
	if flags.timeout <= 0 || flags.watch < 0 {
		return usagef("status: --timeout must be over 0, and --watch not under it")
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	services := cfg.Services
	if len(args) > 0 {
		one, err := a.service(cfg, args)
		if err != nil {
			return err
		}
		services = []Service{*one}
	}
	cluster, openErr := openEtcd(cfg, hclog.NewNullLogger())
	from := localSources(cfg, cluster)
	if openErr != nil {
		from = brokenEtcd(from, openErr)
	} else {
		defer func() { _ = cluster.Close() }() // nothing was written
	}
	return a.showStatus(ctx, flags, cfg.Node, services, from)
}

// showStatus prints the status once, or again and again until a signal.
func (a *app) showStatus(ctx context.Context, flags statusFlags, node string, services []Service, from sources) error {
	if flags.watch == 0 {
		return exitWith(a.statusOnce(ctx, flags, node, services, from, ""))
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	tick := time.NewTicker(flags.watch)
	defer tick.Stop()
	before := ""
	if flags.format == "table" {
		before = "\x1b[H\x1b[2J" // cursor home, clear screen: ECMA-48 CUP and ED
	}
	last := exitFine
	for ctx.Err() == nil {
		code, err := a.statusOnce(ctx, flags, node, services, from, before)
		if err != nil {
			return err
		}
		if ctx.Err() == nil {
			last = code
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return exitWith(last, nil)
}

func exitWith(code int, err error) error {
	if err == nil && code != exitFine {
		return exitError(code)
	}
	return err
}

// statusOnce prints the status and returns its exit code.
func (a *app) statusOnce(ctx context.Context, flags statusFlags, node string, services []Service, from sources, before string) (int, error) {
	report := statusReport{Node: node, At: time.Now()}
	found := from.gatherAll(ctx, flags.timeout, node, services)
	select {
	case <-ctx.Done():
		return exitFine, nil // interrupted: what was not answered by then says nothing
	default:
	}
	report.assess(found)
	var out bytes.Buffer
	if flags.format == "json" {
		b, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return 0, fmt.Errorf("status: %w", err)
		}
		out.Write(append(b, '\n'))
	} else {
		out.WriteString(before)
		report.render(&out, terminalWidth())
	}
	_, err := a.out.Write(out.Bytes()) // at once, so that --watch does not flicker
	return report.ExitCode, err
}

// assess draws the conclusions from all that was found out.
func (r *statusReport) assess(found everything) {
	if found.members != nil {
		r.cluster = assessMembership(*found.members)
		own := assessOwn(*found.members, r.cluster)
		r.Member = &own
	}
	r.Services = make([]ServiceStatus, len(found.services))
	for i, f := range found.services {
		f.member = r.Member
		r.Services[i] = assess(f)
		r.ExitCode = worse(r.ExitCode, r.Services[i].ExitCode)
	}
	if r.isWitness() {
		r.ExitCode, r.witness = r.Member.witnessCode(), witnessDaemon(found.daemon, found.daemonErr, r.At)
	}
}

func (r *statusReport) isWitness() bool { return len(r.Services) == 0 && r.Member != nil }

func (r *statusReport) render(w io.Writer, width int) {
	if r.isWitness() {
		r.cluster.renderWitness(w, width, *r.Member, r.witness)
		return
	}
	for i, s := range r.Services {
		if i > 0 {
			fmt.Fprintln(w)
		}
		s.render(w, width)
	}
}

// worse returns the exit code that counts of two.
func worse(a, b int) int {
	rank := map[int]int{exitFine: 0, exitPaused: 1, exitNoHolder: 2, exitEtcdUnreachable: 3, exitWrong: 4}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// terminalWidth is what COLUMNS says, or the 80 that every terminal has.
func terminalWidth() int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n >= 40 {
		return n
	}
	return 80
}
