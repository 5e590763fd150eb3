// Command leasehold-bench measures Leasehold and keepalived side by side; make
// bench runs it.
//
//	leasehold-bench [compare]   every fault, and what the daemons cost
//	leasehold-bench failover    hosts and daemons that end, at several ttls
//	leasehold-bench packets     what the fence costs each packet
//	leasehold-bench quiet       what happens when nothing goes wrong
//	leasehold-bench embedded    hosts that run etcd's members besides, and the witness
//
// Each takes -h. The environment may have LEASEHOLD_BINARY, the daemon to measure
// instead of one built from this checkout.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

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
	commands := map[string]func(context.Context, []string, io.Writer, io.Writer) error{
		"compare": compare, "failover": failover, "packets": packets, "quiet": quiet, "embedded": embedded,
	}
	name, rest := "compare", args[1:]
	if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		name, rest = rest[0], rest[1:]
	}
	command := commands[name]
	if command == nil {
		fmt.Fprintf(stderr, "leasehold-bench: no measurement is called %q; there are compare, failover, packets, quiet and embedded\n", name)
		return 2
	}
	switch err := command(ctx, rest, stdout, stderr); {
	case errors.Is(err, errUsage):
		return 2
	case err != nil:
		fmt.Fprintln(stderr, "leasehold-bench:", err)
		return 1
	}
	return 0
}

// errUsage says that the flags were not understood; package flag has said why.
var errUsage = errors.New("usage")

// parse reads the flags of one measurement.
func parse(f *flag.FlagSet, args []string, stderr io.Writer) error {
	f.SetOutput(stderr)
	if f.Parse(args) != nil {
		return errUsage
	}
	if f.NArg() > 0 {
		fmt.Fprintf(stderr, "unexpected argument %q\n", f.Arg(0))
		return errUsage
	}
	return nil
}

// durations are a flag with commas between durations.
type durations []time.Duration

func (d *durations) String() string { return strings.Trim(fmt.Sprint([]time.Duration(*d)), "[]") }

func (d *durations) Set(s string) error {
	*d = nil
	for part := range strings.SplitSeq(s, ",") {
		one, err := time.ParseDuration(part)
		if err != nil {
			return err
		}
		*d = append(*d, one)
	}
	return nil
}

func compare(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := bench.Options{Log: stderr}
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.IntVar(&o.Rounds, "n", 10, "rounds per fault")
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	return withBinary(ctx, lab.NeedsMariaDB, func(binary string) error {
		o.Binary = binary
		result, err := bench.Run(ctx, o)
		if err != nil {
			return err
		}
		result.Print(stdout)
		return result.Err()
	})
}

func failover(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := bench.FailoverOptions{Log: stderr, Out: stdout}
	ttls := durations{500 * time.Millisecond, time.Second, 3 * time.Second}
	f := flag.NewFlagSet("failover", flag.ContinueOnError)
	f.IntVar(&o.Rounds, "n", 30, "rounds per fault; one takes about 10 s")
	f.Var(&ttls, "ttls", "Leasehold's ttls")
	f.Func("faults", "of host lost,NIC pulled,daemon killed,daemon frozen (default all)", list(&o.Faults))
	f.DurationVar(&o.Election, "election", 250*time.Millisecond, "etcd's election timeout")
	f.DurationVar(&o.Heartbeat, "heartbeat", 50*time.Millisecond, "etcd's heartbeat interval")
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	o.TTLs = ttls
	return withBinary(ctx, lab.NeedsKeepalived, func(binary string) error {
		o.Binary = binary
		result, err := bench.Failover(ctx, o)
		if result != nil {
			fmt.Fprintln(stdout)
			result.Print(stdout)
			err = errors.Join(err, result.Err())
		}
		return err
	})
}

func packets(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o bench.PacketOptions
	f := flag.NewFlagSet("packets", flag.ContinueOnError)
	f.IntVar(&o.Rounds, "n", 24, "rounds; one takes about 3 s")
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	if err := lab.Check(lab.NeedsNetwork...); err != nil {
		return err
	}
	o.Log = stderr
	result, err := bench.Packets(ctx, o)
	if err != nil {
		return err
	}
	result.Print(stdout)
	return nil
}

func quiet(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := bench.QuietOptions{Log: stderr, Out: stdout}
	ttls := durations{500 * time.Millisecond, time.Second, 3 * time.Second}
	f := flag.NewFlagSet("quiet", flag.ContinueOnError)
	f.DurationVar(&o.For, "for", time.Hour, "how long in all; split evenly")
	f.Var(&ttls, "ttls", "Leasehold's ttls")
	f.Func("phases", "of "+strings.Join(bench.Phases(), ",")+" (default all)", list(&o.Phases))
	f.Func("ways", "how the daemons are scheduled, of "+strings.Join(bench.Ways(), ",")+" (default the first, as the unit does)", list(&o.Ways))
	f.DurationVar(&o.Election, "election", 250*time.Millisecond, "etcd's election timeout")
	f.DurationVar(&o.Heartbeat, "heartbeat", 50*time.Millisecond, "etcd's heartbeat interval")
	f.IntVar(&o.EtcdNice, "etcd-nice", 0, "the nice value of etcd's members")
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	o.TTLs = ttls
	return withBinary(ctx, nil, func(binary string) error {
		o.Binary = binary
		result, err := bench.Quiet(ctx, o)
		if result != nil {
			fmt.Fprintln(stdout)
			result.Print(stdout)
			err = errors.Join(err, result.Err())
		}
		return err
	})
}

func embedded(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := bench.EmbeddedOptions{Log: stderr}
	f := flag.NewFlagSet("embedded", flag.ContinueOnError)
	f.IntVar(&o.Rounds, "n", 20, "rounds per fault; one takes about 6 s")
	f.DurationVar(&o.TTL, "ttl", 2*time.Second, "Leasehold's ttl")
	f.DurationVar(&o.Quiet, "quiet", time.Minute, "how long the witness is looked at")
	f.Func("faults", "by their names (default all)", list(&o.Faults))
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	return withBinary(ctx, nil, func(binary string) error {
		o.Binary = binary
		result, err := bench.Embedded(ctx, o)
		if result != nil {
			fmt.Fprintln(stdout)
			result.Print(stdout)
			err = errors.Join(err, result.Err())
		}
		return err
	})
}

// list is a flag with commas between words.
func list(to *[]string) func(string) error {
	return func(s string) error {
		*to = strings.Split(s, ",")
		return nil
	}
}

// withBinary checks that a test network can run here, and calls f with a daemon
// that is gone when it returns, unless the environment named it.
func withBinary(ctx context.Context, needs []string, f func(binary string) error) error {
	for _, needs := range [][]string{lab.NeedsNetwork, lab.NeedsEtcd, lab.NeedsKeepalived, needs} {
		if err := lab.Check(needs...); err != nil {
			return err
		}
	}
	if _, err := lab.CleanLeftovers(); err != nil {
		return err
	}
	if binary := os.Getenv("LEASEHOLD_BINARY"); binary != "" {
		return f(binary)
	}
	dir, err := os.MkdirTemp("", "leasehold-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "leasehold")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "leasehold/cmd/leasehold")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the daemon: %w: %s", err, out)
	}
	return f(binary)
}
