// Command demo shows the main job on a network of namespaces on this machine:
// two MySQL hosts, three etcd members, one VIP, a client that asks for it all the
// time, and the faults that operators fear, one after the other. It needs root
// and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"leasehold/internal/cases"
	"leasehold/internal/lab"
)

const topology = `
        client 10.20.8.99  asks for the VIP every 2 ms
            |
  ----------+-------- switch ---------+---------------------+-------
            |                         |                     |
   db20-024 10.20.8.50       db20-025 10.20.8.27     etcd3 10.20.8.28
   mariadbd, etcd,           mariadbd, etcd,         etcd
   leasehold                 leasehold
            \_______ VIP 10.20.8.188/24, eth0:1 ______/
`

// story returns the cases that are shown, by how they begin.
func story() []string {
	return []string{
		"D1 holder's daemon stopped", "M1 holder's mysqld killed", "M2 ", "N2 standby's NIC fails, and",
		"N3 the two hosts", "P1 VIP/8 added by hand on the standby", "P2 VIP deleted", "P3 pause 1h, mysqld",
		"D5 holder's daemon frozen", "N1 ",
	}
}

func main() {
	binary := flag.String("binary", "bin/leasehold", "the leasehold binary")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, binary string, w io.Writer) (err error) {
	if err := lab.Check(append(lab.NeedsNetwork, append(lab.NeedsEtcd, lab.NeedsMariaDB...)...)...); err != nil {
		return err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	say := func(format string, args ...any) {
		_, werr := fmt.Fprintf(w, format, args...)
		err = errors.Join(err, werr)
	}
	if _, err := lab.CleanLeftovers(); err != nil { // of a run that was killed
		return err
	}
	begin := time.Now()
	say("%s\n", topology)
	l, err := lab.New(ctx, lab.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s, err := cases.Open(ctx, l, cases.Options{Binary: binary})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, l.Logs(10))
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	say("up after %s. What an operator sees:\n\n", time.Since(begin).Round(100*time.Millisecond))
	if err := show(ctx, s, w); err != nil {
		return err
	}
	rows := tell(ctx, s, say)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	say("\n")
	if err := cases.Table(w, rows); err != nil {
		return err
	}
	for _, r := range rows {
		err = errors.Join(err, r.Err)
	}
	say("\n%s in all. Nothing is left behind.\n", time.Since(begin).Round(time.Second))
	return err
}

// show prints the status and the keys, as on a real host.
func show(ctx context.Context, s *cases.Site, w io.Writer) error {
	status, err := s.Leasehold(ctx, lab.A, "status")
	if err != nil {
		return fmt.Errorf("status: %w: %s", err, status)
	}
	keys, err := s.Etcd.Ctl(ctx, "get", "--prefix", "/leasehold/")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "$ leasehold status\n%s\n$ etcdctl get --prefix /leasehold/\n%s\n", status, keys)
	return err
}

// tell runs the story, one case after the other.
func tell(ctx context.Context, s *cases.Site, say func(string, ...any)) []cases.Row {
	var rows []cases.Row
	for _, part := range story() {
		for _, c := range cases.All() {
			if !strings.HasPrefix(c.ID+" "+c.Name, part) {
				continue
			}
			say("%s  %s … ", c.ID, c.Name)
			row := cases.Row{Case: c}
			if row.Err = s.Settle(ctx); row.Err == nil {
				row.Measured, row.Err = c.Run(ctx, s)
			}
			rows = append(rows, row)
			if row.Err != nil {
				say("FAILED\n")
			} else {
				say("%s\n", row.Measured)
			}
			break
		}
		if ctx.Err() != nil {
			break
		}
	}
	return rows
}
