package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes. The status command has more of its own, see verdict, and import one.
const (
	exitFine    = 0
	exitRuntime = 1
	exitUsage   = 2 // of the command line, or a refused configuration
)

// defaultConfigFile is where the packages install the configuration.
const defaultConfigFile = "/etc/leasehold/leasehold.yaml"

// usageError is a command line that cannot be carried out as it stands.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef makes a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError ends the process with a code of its own, and says nothing more.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// app is what every command needs: the streams, and the flags of all commands.
type app struct {
	in         io.Reader
	out, err   io.Writer
	configFile string
	noMember   bool // run: a unit runs the etcd member
}

// run carries out one command line and returns the exit code. It reads and
// writes nothing but the given streams, the configuration and what the command
// is for.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr}
	root := a.rootCommand()                   //nolint:contextcheck // cobra hands each command the context of ExecuteContext
	root.SetArgs(append([]string{}, args...)) // cobra takes nil for os.Args
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return a.exitCode(root.ExecuteContext(ctx))
}

// exitCode says what went wrong and turns it into the exit code.
func (a *app) exitCode(err error) int {
	var exit exitError
	var usage usageError
	var bad Problems
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &bad):
		for _, p := range bad {
			fmt.Fprintf(a.err, "leasehold: %s\n", p)
		}
		return exitUsage
	}
	fmt.Fprintf(a.err, "leasehold: %s\n", err)
	// cobra's own errors for commands that do not exist have no type.
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		return exitUsage
	}
	return exitRuntime
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "leasehold",
		Short: "Keep a virtual IP on exactly one healthy host",
		Long: "Leasehold keeps a virtual IP on exactly one healthy host: a host holds it the way a\n" +
			"tenant holds a flat, for as long as its lease in etcd runs, and not a moment longer.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_ = c.Help() // writes to our own stream
			return usagef("no command given; see the list above")
		},
	}
	root.PersistentFlags().StringVarP(&a.configFile, "config", "c", defaultConfigFile, "configuration file")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%s%w; see %q", where(c), err, c.CommandPath()+" --help")
	})
	root.AddCommand(
		a.runCommand(), a.etcdCommand(), a.checkCommand(), a.statusCommand(), a.pauseCommand(), a.resumeCommand(),
		a.switchoverCommand(), a.historyCommand(), a.releaseCommand(), a.memberCommand(), a.doctorCommand(),
		a.certsCommand(), a.importCommand(), a.demoCommand(), a.versionCommand(),
	)
	return root
}

// where names the command that an error is about; the program itself is named
// in front of every error.
func where(c *cobra.Command) string {
	if !c.HasParent() {
		return ""
	}
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ") + ": "
}

// noArgs refuses arguments, as a usage error.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("%sunknown argument %q; see %q", where(c), args[0], c.CommandPath()+" --help")
}

// oneService takes at most the name of a service.
func oneService(c *cobra.Command, args []string) error {
	if len(args) <= 1 {
		return nil
	}
	return usagef("%sone service at a time, %d were named (%s)", where(c), len(args), strings.Join(args, ", "))
}

// load reads the configuration for a command that is not the daemon: without
// the secrets of the checks, which an operator may not be allowed to read.
func (a *app) load() (*Config, error) { return LoadConfig(a.configFile, os.Hostname) }

// service picks the service that a command is about: the one named, or the only
// one that there is.
func (a *app) service(cfg *Config, args []string) (*Service, error) {
	names := cfg.serviceNames()
	if len(names) == 0 {
		return nil, usagef("%s has no services, this node is a witness; type it on a node that has them", cfg.File)
	}
	if len(args) == 0 {
		if len(cfg.Services) == 1 {
			return &cfg.Services[0], nil
		}
		return nil, usagef("%s has %d services; name one of %s", cfg.File, len(names), strings.Join(names, ", "))
	}
	for i := range cfg.Services {
		if cfg.Services[i].Name == args[0] {
			return &cfg.Services[i], nil
		}
	}
	return nil, usagef("%s has no service %q%s; it has %s", cfg.File, args[0], didYouMean(args[0], names), strings.Join(names, ", "))
}
