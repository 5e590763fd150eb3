package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"leasehold/internal/demo"
)

// exitInterrupted is what shells report of a command that SIGINT ended: 128 + 2.
const exitInterrupted = 130

// demoFlags are the flags of the demo command.
type demoFlags struct {
	down, keep, noStory, noMySQL bool
	name                         string
	keeper                       bool   // of the process that a kept demo stays in
	standIn                      string // the pidfile of a stand-in
}

func (a *app) demoCommand() *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use:   "demo [--keep [--no-story]] [--no-mysql] [--name NAME] | demo --down [--name NAME]",
		Short: "Show on this machine what Leasehold does, with real nodes and real faults",
		Long: `Make a network of namespaces on this machine with two MySQL hosts, a witness and a
client, and show what happens to the VIP when cables are pulled, daemons and mysqld
killed, a host lost: who answered which probe, how long nobody did, and whether it
held what it must. It needs root, and mariadbd installed (or --no-mysql), takes
under two minutes, and removes everything that it made, on Ctrl-C as well. This
machine's own network, etcd and mysqld are not touched.

On a terminal it draws a screen of 80 columns (NO_COLOR is honoured); elsewhere it
prints a line for each event.

Exit codes: 0 everything held · 1 something did not, or the demo cannot run here ·
130 interrupted, everything is removed · 2 as everywhere.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.demo(c.Context(), flags) },
	}
	f := cmd.Flags()
	f.BoolVar(&flags.keep, "keep", false, "leave everything running, and say how to look into it and what to break")
	f.BoolVar(&flags.noStory, "no-story", false, "with --keep: no faults, only the network")
	f.BoolVar(&flags.noMySQL, "no-mysql", false, "stand-ins in the place of mysqld")
	f.BoolVar(&flags.down, "down", false, "remove a demo that is kept, runs, or was killed")
	f.StringVar(&flags.name, "name", demo.DefaultName, "of the network, its namespaces and /run/NAME, so that there can be two")
	f.BoolVar(&flags.keeper, demo.KeeperFlag, false, "")
	f.StringVar(&flags.standIn, demo.StandInFlag, "", "")
	_, _ = f.MarkHidden(demo.KeeperFlag), f.MarkHidden(demo.StandInFlag) // defined right above
	return cmd
}

func (a *app) demo(ctx context.Context, flags demoFlags) error {
	if err := flags.refuse(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A pipe that nobody reads any more must not end this process: there is
	// something to remove first. Whoever is notified gets an error from the write.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGPIPE)
	defer signal.Stop(ignored)
	switch {
	case flags.standIn != "":
		return demo.StandIn(ctx, flags.standIn)
	case flags.down:
		if err := demo.Down(ctx, flags.name, a.out); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		return nil
	}
	err := a.showDemo(ctx, flags)
	if exit, ok := errors.AsType[demo.ExitError](err); ok {
		return exitError(exit)
	}
	switch {
	case errors.Is(err, demo.ErrInterrupted):
		fmt.Fprintf(a.err, "leasehold: demo: %s\n", err)
		return exitError(exitInterrupted)
	case err != nil:
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

// refuse says what cannot be meant.
func (f demoFlags) refuse() error {
	if err := demo.CheckName(f.name); err != nil {
		return usagef("demo: %w", err)
	}
	switch {
	case f.down && (f.keep || f.noStory || f.noMySQL):
		return usagef("demo: --down removes a demo, and goes with --name alone")
	case f.noStory && !f.keep && !f.keeper:
		return usagef("demo: --no-story alone shows nothing; it goes with --keep")
	}
	return nil
}

func (a *app) showDemo(ctx context.Context, flags demoFlags) error {
	binary, err := os.Executable() // the nodes are what a user would run: this very binary
	if err != nil {
		return err
	}
	o := demo.Options{
		Binary: binary, Command: calledAs(binary), Name: flags.name, NoMySQL: flags.noMySQL, NoStory: flags.noStory, Out: a.out, Err: a.err, Getenv: os.Getenv,
	}
	switch {
	case flags.keeper:
		return demo.RunKeeper(ctx, o)
	case flags.keep:
		return demo.Keep(ctx, o)
	}
	return demo.Run(ctx, o)
}

// calledAs is how a person at this machine calls a binary: by its name where that
// finds it.
func calledAs(binary string) string {
	name := filepath.Base(binary)
	found, err := exec.LookPath(name)
	if err != nil {
		return binary
	}
	if same, err := filepath.EvalSymlinks(found); err != nil || same != binary {
		return binary
	}
	return name
}
