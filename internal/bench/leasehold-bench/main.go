// Command leasehold-bench measures Leasehold and keepalived side by side; make
// bench runs it.
//
// The environment may have BENCH_N, the rounds per fault, and LEASEHOLD_BINARY,
// the daemon to measure instead of one built from this checkout.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"leasehold/internal/bench"
	"leasehold/internal/lab"
)

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if relayed, err := bench.Relay(args); relayed {
		fmt.Fprintln(stderr, "leasehold-bench:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "leasehold-bench:", err)
		return 1
	}
	return 0
}

func measure(ctx context.Context, stdout, stderr io.Writer) error {
	o := bench.Options{Log: stderr, Binary: os.Getenv("LEASEHOLD_BINARY")}
	if n := os.Getenv("BENCH_N"); n != "" {
		var err error
		if o.Rounds, err = strconv.Atoi(n); err != nil || o.Rounds < 1 {
			return fmt.Errorf("BENCH_N is %q: want the number of rounds, 1 or more", n)
		}
	}
	for _, needs := range [][]string{lab.NeedsNetwork, lab.NeedsEtcd, lab.NeedsMariaDB, lab.NeedsKeepalived} {
		if err := lab.Check(needs...); err != nil {
			return err
		}
	}
	if o.Binary == "" {
		dir, err := os.MkdirTemp("", "leasehold-bench")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.Binary = filepath.Join(dir, "leasehold")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.Binary, "leasehold/cmd/leasehold")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build the daemon: %w: %s", err, out)
		}
	}
	result, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	result.Print(stdout)
	return result.Err()
}
