package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// faults are the cuts in force. They are rules of the bridge, so that they hold
// for every frame, ARP included, and the hosts' own firewalls stay as they are.
type faults struct {
	mu      sync.Mutex
	rules   []rule
	delayed []string // hosts whose frames take a detour
}

// rule drops percent of the frames on the way from one port to another; to ""
// means to all. A rule over all ports of a host is also how it is cut off.
type rule struct {
	from, to string
	percent  int
	only     string // of these frames, in the words of nft; empty: of all
}

func (r rule) String() string {
	var b strings.Builder
	if r.from != "" {
		fmt.Fprintf(&b, "iifname %q ", r.from)
	}
	if r.to != "" {
		fmt.Fprintf(&b, "oifname %q ", r.to)
	}
	if r.only != "" {
		b.WriteString(r.only + " ")
	}
	if r.percent < 100 {
		fmt.Fprintf(&b, "numgen random mod 100 < %d ", r.percent)
	}
	return b.String() + "drop"
}

// CablePull takes the cable out of a host's NIC at the switch's end: eth0 loses
// its carrier, its addresses stay.
func (l *Lab) CablePull(host string) error { return l.net.port(host, (*netlink.Handle).LinkSetDown) }

// CablePlug puts the cable back; the port forwards at once.
func (l *Lab) CablePlug(host string) error { return l.net.port(host, (*netlink.Handle).LinkSetUp) }

// PowerOff is the sudden end of a host: the cable is dead, every process on it
// is killed, and its kernel forgets all addresses but its own.
func (l *Lab) PowerOff(host string) error {
	if err := l.CablePull(host); err != nil {
		return err
	}
	l.mu.Lock()
	procs := slices.Clone(l.procs)
	l.mu.Unlock()
	for _, p := range procs {
		if p.Host == host {
			p.end()
		}
	}
	s, err := l.net.seat(host)
	if err != nil {
		return err
	}
	// What they have started may be in sessions of its own, as etcd members are.
	if err := errors.Join(endProcesses(map[string]bool{s.ns.id(): true}, notOwn), s.forget()); err != nil {
		return fmt.Errorf("power off host %s: %w", host, err)
	}
	return nil
}

// PowerOn puts the cable of a host back; what is to run on it must be started.
func (l *Lab) PowerOn(host string) error { return l.CablePlug(host) }

// forget removes all addresses but the host's own from eth0.
func (s *seat) forget() error {
	link, err := s.nl.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	list, err := s.nl.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses of eth0: %w", err)
	}
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		if ip == s.Addr.Addr() || ip == s.Addr6.Addr() || ip.IsLinkLocalUnicast() {
			continue
		}
		if err := s.nl.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("delete %s from eth0: %w", ip, err)
		}
	}
	return nil
}

func (n *network) port(host string, set func(*netlink.Handle, netlink.Link) error) error {
	if _, err := n.seat(host); err != nil {
		return err
	}
	link, err := n.swNL.LinkByName(host)
	if err != nil {
		return fmt.Errorf("find the switch's port of host %s: %w", host, err)
	}
	if err := set(n.swNL, link); err != nil {
		return fmt.Errorf("set the switch's port of host %s: %w", host, err)
	}
	return nil
}

// Isolate has the switch forward no frame between the hosts given; with all others
// they speak as before. Unlike Cut it needs no nft, and no kernel module but the
// bridge: IFLA_BRPORT_ISOLATED, Linux 4.18.
func (l *Lab) Isolate(hosts ...string) error { return l.isolate(true, hosts) }

// Join ends an Isolate of the hosts given.
func (l *Lab) Join(hosts ...string) error { return l.isolate(false, hosts) }

func (l *Lab) isolate(on bool, hosts []string) error {
	for _, host := range hosts {
		err := l.net.port(host, func(h *netlink.Handle, port netlink.Link) error { return h.LinkSetIsolated(port, on) })
		if err != nil {
			return err
		}
	}
	return nil
}

// Cut drops every frame between two hosts, both ways. Cutting again changes
// nothing.
func (l *Lab) Cut(ctx context.Context, x, y string) error {
	return l.net.change(ctx, add, rule{x, y, 100, ""}, rule{y, x, 100, ""})
}

// CutOneWay drops every frame from one host to another, and lets the other
// direction pass.
func (l *Lab) CutOneWay(ctx context.Context, from, to string) error {
	return l.net.change(ctx, add, rule{from, to, 100, ""})
}

// CutVRRP drops what one host says to another as a router: VRRP, also behind an
// authentication header. All else passes, and so does VRRP in the other direction.
func (l *Lab) CutVRRP(ctx context.Context, from, to string) error {
	return l.net.change(ctx, add, rule{from, to, 100, "ip protocol { 51, 112 }"}, rule{from, to, 100, "ip6 nexthdr 112"})
}

// CutAll drops every frame from and to a host; unlike CablePull it leaves the
// carrier, so the host cannot see it.
func (l *Lab) CutAll(ctx context.Context, host string) error {
	return l.net.change(ctx, add, rule{host, "", 100, ""}, rule{"", host, 100, ""})
}

// CutGroups splits the network: no frame passes from a host of one group to a
// host of another. Hosts that are in no group reach everybody.
func (l *Lab) CutGroups(ctx context.Context, groups ...[]string) error {
	var rules []rule
	for i, g := range groups {
		for _, other := range groups[i+1:] {
			for _, x := range g {
				for _, y := range other {
					rules = append(rules, rule{x, y, 100, ""}, rule{y, x, 100, ""})
				}
			}
		}
	}
	return l.net.change(ctx, add, rules...)
}

// Lose drops a share of the frames from and to a host, at random; percent is
// of each direction.
func (l *Lab) Lose(ctx context.Context, host string, percent int) error {
	if percent < 1 || percent > 100 {
		return fmt.Errorf("lose %d %% of the frames of host %s: want 1 to 100", percent, host)
	}
	return l.net.change(ctx, add, rule{host, "", percent, ""}, rule{"", host, percent, ""})
}

// Heal ends every Cut, CutOneWay, CutVRRP, CutAll, CutGroups and Lose. Cables are not
// touched.
func (l *Lab) Heal(ctx context.Context) error {
	return l.net.change(ctx, func(rules []rule, _ ...rule) []rule { return rules[:0] })
}

// HealBetween ends the cuts between two hosts, and no other fault.
func (l *Lab) HealBetween(ctx context.Context, x, y string) error {
	return l.net.change(ctx, func(rules []rule, drop ...rule) []rule {
		return slices.DeleteFunc(rules, func(r rule) bool { return slices.Contains(drop, r) })
	}, rule{x, y, 100, ""}, rule{y, x, 100, ""})
}

func add(rules []rule, more ...rule) []rule { return append(rules, more...) }

// change replaces all rules in one nftables transaction.
func (n *network) change(ctx context.Context, edit func([]rule, ...rule) []rule, rules ...rule) error {
	for _, r := range rules {
		for _, host := range []string{r.from, r.to} {
			if _, err := n.seat(host); err != nil && host != "" {
				return err
			}
		}
	}
	n.faults.mu.Lock()
	defer n.faults.mu.Unlock()
	next := edit(slices.Clone(n.faults.rules), rules...)
	cmd := command(ctx, n.sw, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(n.ruleset(next))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set the switch's rules: %w: %s", err, bytes.TrimSpace(out))
	}
	n.faults.rules = next
	return nil
}

// ruleset is the text for nft that puts rules in the place of all others. Frames
// that take a detour are dropped before the rules and come back as the switch's
// own, with a mark in the place of the port.
func (n *network) ruleset(rules []rule) string {
	var text strings.Builder
	text.WriteString("table bridge lab\ndelete table bridge lab\n")
	if len(rules)+len(n.faults.delayed) == 0 {
		return text.String()
	}
	text.WriteString("table bridge lab {\n chain forward {\n  type filter hook forward priority 0; policy accept;\n")
	for _, host := range n.faults.delayed {
		fmt.Fprintf(&text, "  iifname %q drop\n", host)
	}
	for _, r := range rules {
		fmt.Fprintf(&text, "  %s\n", r)
	}
	text.WriteString(" }\n chain output {\n  type filter hook output priority 0; policy accept;\n")
	for _, r := range rules {
		if r.from == "" {
			fmt.Fprintf(&text, "  %s\n", r)
		} else if slices.Contains(n.faults.delayed, r.from) {
			fmt.Fprintf(&text, "  meta mark %d %s\n", n.mark(r.from), rule{"", r.to, r.percent, r.only})
		}
	}
	text.WriteString(" }\n}\n")
	return text.String()
}

// DropInput does on host what the operators did by hand: iptables -A INPUT -s
// peer -j DROP. IP traffic from peer is dropped, ARP passes. RestoreInput ends
// it.
func (l *Lab) DropInput(ctx context.Context, host, peer string) error {
	p, err := l.Host(peer)
	if err != nil {
		return err
	}
	s, err := l.net.seat(host)
	if err != nil {
		return err
	}
	cmd := command(ctx, s.ns, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`table ip lab {
 chain input { type filter hook input priority 0; policy accept; }
}
add rule ip lab input ip saddr %s drop
`, p.Addr.Addr()))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("drop input from %s on host %s: %w: %s", peer, host, err, bytes.TrimSpace(out))
	}
	return nil
}

// RestoreInput ends every DropInput on host.
func (l *Lab) RestoreInput(ctx context.Context, host string) error {
	_, err := l.Exec(ctx, host, "nft", "table ip lab; delete table ip lab")
	return err
}
