// Command leasehold-chaos runs Leasehold under random faults and judges from
// outside; make chaos runs it. It needs root and leaves nothing behind but, after
// a failure, the directory that it names.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"leasehold/internal/chaos"
	"leasehold/internal/lab"
)

func main() {
	o := chaos.Options{Out: os.Stdout}
	flag.DurationVar(&o.Duration, "duration", time.Minute, "how long; the round that has begun is finished")
	flag.Uint64Var(&o.Seed, "seed", 0, "of the schedule; 0 draws one")
	flag.IntVar(&o.Round, "round", 0, "only this round of the schedule, again and again; 0 is all")
	flag.IntVar(&o.Nodes, "nodes", 0, "2 or 3; 0 leaves it to the seed")
	flag.DurationVar(&o.TTL, "ttl", 0, "of the service (default 1s with a fence, 3s without)")
	flag.StringVar(&o.Fence, "fence", "auto", "the fence key of the service: auto, off, required")
	flag.StringVar(&o.Binary, "binary", "", "the daemon; built from this checkout when empty")
	flag.StringVar(&o.Keep, "keep", "", "where the directory of a failed run goes (default the temporary directory)")
	race := flag.Bool("race", false, "build the daemon with the race detector")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, *race); err != nil {
		fmt.Fprintln(os.Stderr, "leasehold-chaos:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, o chaos.Options, race bool) error {
	if err := lab.Check(slices.Concat(lab.NeedsNetwork, lab.NeedsEtcd, lab.NeedsMariaDB)...); err != nil {
		return err
	}
	if o.Binary == "" {
		dir, err := os.MkdirTemp("", "leasehold-chaos-build")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.Binary = filepath.Join(dir, "leasehold")
		args, cgo := []string{"build", "-o", o.Binary}, "CGO_ENABLED=0"
		if race {
			args, cgo = append(args, "-race"), "CGO_ENABLED=1"
		}
		build := exec.CommandContext(ctx, "go", append(args, "leasehold/cmd/leasehold")...)
		build.Env = append(os.Environ(), cgo)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build the daemon: %w\n%s", err, out)
		}
	}
	if _, err := lab.CleanLeftovers(); err != nil { // of a run that was killed
		return err
	}
	l, err := lab.New(ctx, lab.Config{})
	if err != nil {
		return err
	}
	return chaos.Run(ctx, l, o)
}
