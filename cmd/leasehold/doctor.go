package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Level is how a finding of doctor is to be taken.
type Level string

// The levels: nothing to do, worth a look, and broken.
const (
	levelOK   Level = "ok"
	levelWarn Level = "warn"
	levelFail Level = "fail"
)

// Finding is one line of doctor. Its JSON is a public interface.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Says  string `json:"says"`
	Cure  string `json:"cure,omitempty"` // of all that are not ok
}

func okay(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: levelOK, Says: fmt.Sprintf(format, args...)}
}

func warning(check, says, cure string) Finding { return Finding{check, levelWarn, says, cure} }
func failure(check, says, cure string) Finding { return Finding{check, levelFail, says, cure} }

// doctorReport is what doctor --json prints.
type doctorReport struct {
	Node     string    `json:"node,omitempty"`
	At       time.Time `json:"at"`
	ExitCode int       `json:"exit_code"`
	Findings []Finding `json:"findings"`
}

// doctorFlags are the flags of the doctor command.
type doctorFlags struct {
	json    bool
	timeout time.Duration
}

func (a *app) doctorCommand() *cobra.Command {
	var flags doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what goes wrong on a host, and say how to cure it",
		Long: `Look at the configuration, the rights of the daemon, the kernel, the fence, the
devices, the daemon, etcd and its member on this host, a keepalived that has the same
VIP, and at who answers for the VIP on the wire; one line each, with what to do where
something is not as it should be. It changes nothing. As root it sees all; without, it
says what not.

Exit codes: 0 nothing is broken (there may be warnings) · 1 something is.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.doctor(c.Context(), flags) },
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.Flags().BoolVar(&flags.json, "json", false, "print JSON")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 3*time.Second, "how long to wait for each etcd endpoint")
	return cmd
}

func (a *app) doctor(ctx context.Context, flags doctorFlags) error {
	if flags.timeout <= 0 {
		return usagef("doctor: --timeout must be over 0")
	}
	report := doctorReport{At: time.Now()}
	cfg, err := a.load()
	findings := configFindings(a.configFile, cfg, err, os.Getenv)
	if err == nil {
		report.Node = cfg.Node
		findings = append(findings, examine(ctx, cfg, flags.timeout)...)
	}
	report.Findings = findings
	if count(findings, levelFail) > 0 {
		report.ExitCode = exitRuntime
	}
	if flags.json {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		err = e.Encode(report)
	} else {
		err = report.render(a.out, terminalWidth())
	}
	if err != nil {
		return fmt.Errorf("doctor: %w", err)
	}
	return exitWith(report.ExitCode, nil)
}

// examine looks at everything that a configuration leads to.
func examine(ctx context.Context, cfg *Config, timeout time.Duration) []Finding {
	daemon, daemonErr := askDaemon(ctx, socketPath(cfg.RunDir))
	pid := 0
	if daemonErr == nil {
		pid = daemon.PID
	}
	views, etcd := etcdFindings(ctx, cfg, timeout)
	var all []Finding
	if len(cfg.Services) > 0 { // a witness touches no address
		all = capabilityFindings(cfg, readRights(ctx, pid))
		all = append(all, kernelFindings()...)
		all = append(all, fenceFindings(cfg, daemon)...)
		all = append(all, deviceFindings(cfg)...)
	}
	all = append(all, daemonFindings(cfg, daemon, daemonErr)...)
	if cfg.Etcd.Embedded != nil {
		all = append(all, memberFindings(ctx, cfg, timeout)...)
	}
	all = append(all, etcd...)
	if len(cfg.Services) > 0 {
		all = append(all, keepalivedFindings(cfg, readKeepalived())...)
		all = append(all, wireFindings(ctx, cfg, views)...)
	}
	return all
}

func count(findings []Finding, level Level) (n int) {
	for _, f := range findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

// configFindings says whether the configuration can be worked with.
func configFindings(file string, cfg *Config, err error, getenv func(string) string) []Finding {
	const check = "config"
	if err != nil {
		var found []Finding
		for line := range strings.Lines(err.Error()) {
			found = append(found, failure(check, strings.TrimSpace(line), "edit it, and type leasehold check; nothing else can be looked at before"))
		}
		return found
	}
	notes, problems := checkFiles(cfg, getenv, time.Now())
	problems = append(problems, ownPeers(cfg, net.InterfaceAddrs)...)
	var found []Finding
	for _, p := range problems {
		found = append(found, failure(check, p.String(), "as said; leasehold check tells when it is good"))
	}
	if len(found) > 0 {
		return found
	}
	services := "a witness"
	if len(cfg.Services) > 0 {
		services = "services " + strings.Join(cfg.serviceNames(), ", ")
	}
	says := fmt.Sprintf("%s is good, node %s, %s", file, cfg.Node, services)
	if n := len(notes) + len(cfg.Notes); n > 0 {
		says += fmt.Sprintf("; %d to know, see leasehold check", n)
	}
	return []Finding{okay(check, "%s", says)}
}

// doctorColumn is how wide the names of the checks are.
const doctorColumn = 11

func (r doctorReport) render(w io.Writer, width int) error {
	var out strings.Builder
	for _, f := range r.Findings {
		head := fmt.Sprintf("%-5s %-*s ", f.Level, doctorColumn, f.Check)
		indent := strings.Repeat(" ", 5+1+doctorColumn+1)
		say := func(text string) {
			for _, line := range wrap(clean(text), max(20, width-len(indent))) {
				out.WriteString(head + line + "\n")
				head = indent
			}
		}
		say(f.Says)
		if f.Cure != "" {
			say("-> " + f.Cure)
		}
	}
	fails, warns := count(r.Findings, levelFail), count(r.Findings, levelWarn)
	if fails+warns == 0 {
		out.WriteString("\nnothing to do\n")
	} else {
		fmt.Fprintf(&out, "\n%d broken, %d worth a look\n", fails, warns)
	}
	_, err := io.WriteString(w, out.String())
	return err
}
