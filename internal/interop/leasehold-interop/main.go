// Command leasehold-interop runs keepalived and Leasehold in one VRRP router, and
// prints what was seen; make interop runs it. It needs root and leaves nothing
// behind.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"leasehold/internal/interop"
	"leasehold/internal/lab"
)

func main() {
	o := interop.Options{Log: os.Stderr}
	only := flag.String("only", "", "only trials whose names begin with one of these, with semicolons between them")
	brief := flag.Bool("brief", false, "only those that go test runs")
	flag.StringVar(&o.Binary, "binary", "bin/leasehold", "the daemon")
	flag.IntVar(&o.Parallel, "parallel", 4, "networks at once")
	flag.Parse()
	o.Trials = interop.All()
	if *brief {
		o.Trials = interop.Brief()
	}
	if *only != "" {
		names := strings.Split(*only, ";")
		o.Trials = slices.DeleteFunc(o.Trials, func(t interop.Trial) bool {
			return !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(t.Name, n) })
		})
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "leasehold-interop:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, o interop.Options, out io.Writer) error {
	if err := lab.Check(slices.Concat(lab.NeedsNetwork, lab.NeedsEtcd, lab.NeedsKeepalived)...); err != nil {
		return err
	}
	if _, err := lab.CleanLeftovers(); err != nil { // of a run that was killed
		return err
	}
	r, err := interop.Run(ctx, o)
	if err != nil {
		return err
	}
	r.Print(out)
	return r.Err()
}
