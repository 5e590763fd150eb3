package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Routes returns the IPv4 and IPv6 routes of a host, all tables, one per line
// in the words of ip route, sorted: for comparing before and after.
func (l *Lab) Routes(ctx context.Context, host string) ([]string, error) {
	return l.lines(ctx, host, []string{"-4", "route", "show", "table", "all"}, []string{"-6", "route", "show", "table", "all"})
}

// Addrs returns the addresses of a host without their lifetimes, one per line
// in the words of ip -oneline address, sorted.
func (l *Lab) Addrs(ctx context.Context, host string) ([]string, error) {
	lines, err := l.lines(ctx, host, []string{"-oneline", "addr", "show"})
	for i, line := range lines {
		line, _, _ = strings.Cut(line, `\`)
		_, line, _ = strings.Cut(line, " ") // the number of the device
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return lines, err
}

func (l *Lab) lines(ctx context.Context, host string, commands ...[]string) ([]string, error) {
	var all []string
	for _, args := range commands {
		out, err := l.Exec(ctx, host, "ip", args...)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			all = append(all, strings.TrimSpace(line))
		}
	}
	slices.Sort(all)
	return all, nil
}

// Holders returns the hosts, of those given, whose kernels have the VIP now, on
// any device and with any prefix length.
func (l *Lab) Holders(hosts ...string) ([]string, error) {
	var holders []string
	for _, host := range hosts {
		s, err := l.net.seat(host)
		if err != nil {
			return nil, err
		}
		addrs, err := s.addrs()
		if err != nil {
			return nil, fmt.Errorf("list the addresses of host %s: %w", host, err)
		}
		if slices.Contains(addrs, l.VIP.Addr()) {
			holders = append(holders, host)
		}
	}
	return holders, nil
}

// WaitHeld waits until exactly the hosts want, of those of the network, have
// the VIP in their kernels; without any, until it is nowhere.
func (l *Lab) WaitHeld(ctx context.Context, limit time.Duration, want ...string) error {
	var all []string
	for _, s := range l.net.seats {
		all = append(all, s.Key)
	}
	slices.Sort(want)
	return Wait(ctx, limit, fmt.Sprintf("the VIP on %v", want), func() (bool, error) {
		got, err := l.Holders(all...)
		slices.Sort(got)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("it is on %v", got)
			return false, err
		}
		return err == nil, err
	})
}

// Capture records all frames on the switch in a file, for wireshark or tcpdump
// -r, until it is stopped or the lab closes. Each frame is there for each port
// that it passes. tcpdump needs real root, and writes the file as root.
func (l *Lab) Capture(file string) (*Process, error) {
	path, err := findProgram("tcpdump")
	if err != nil {
		return nil, err
	}
	return l.start(l.net.sw, "switch", "tcpdump", nil, path, "-Z", "root", "-i", "any", "-n", "-U", "-w", file)
}
