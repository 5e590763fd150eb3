package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"leasehold/vip"
)

// deviceFacts is what the kernel says of the device of one VIP.
type deviceFacts struct {
	exists, up, carrier bool
	addrs               []netip.Prefix // without those of the VIP itself
	sysctl              func(string) string
	copies              []vip.Copy // of this VIP, on any device
	own                 error      // the VIP is the host's own address
}

func deviceFindings(cfg *Config) []Finding {
	var found []Finding
	for i := range cfg.Services {
		s := &cfg.Services[i]
		for _, v := range s.VIPs {
			copies, err := vip.Read([]vip.Spec{v.Spec})
			if err != nil {
				found = append(found, failure("device", fmt.Sprintf("the addresses of this host cannot be read: %v", err), "see whether netlink is to be had here: ip addr"))
				continue
			}
			if dev := s.VRRP.vmac(); v.Spec.Device == dev && !deviceExists(dev) {
				v.Spec.Device = s.VRRP.Interface // the daemon makes the other one from it
			}
			f := readDevice(v.Spec)
			f.copies, f.own = copies, vip.OwnAddress([]vip.Spec{v.Spec})
			found = append(found, deviceFinding(v.Spec, f))
			found = append(found, copyFindings(v.Spec, f)...)
		}
	}
	return found
}

func deviceExists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

func readDevice(s vip.Spec) deviceFacts {
	f := deviceFacts{sysctl: func(name string) string {
		b, err := os.ReadFile("/proc/sys/net/" + name)
		if err != nil {
			return "" // the kernel has no such setting, and so none that is wrong
		}
		return strings.TrimSpace(string(b))
	}}
	dev, err := net.InterfaceByName(s.Device)
	if err != nil {
		return f
	}
	f.exists, f.up, f.carrier = true, dev.Flags&net.FlagUp != 0, dev.Flags&net.FlagRunning != 0
	addrs, err := dev.Addrs()
	if err != nil {
		return f // it has gone meanwhile
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() != s.Prefix.Addr() {
			f.addrs = append(f.addrs, p)
		}
	}
	return f
}

// deviceFinding is the worst that is to be said of a VIP's device.
func deviceFinding(s vip.Spec, f deviceFacts) Finding {
	const check = "device"
	addr, dev := s.Prefix.Addr(), s.Device
	switch {
	case !f.exists:
		return failure(check, fmt.Sprintf("%s, for %s, does not exist", dev, addr), "correct the name in vips (ip -br link lists them), or make the device")
	case !f.up:
		return failure(check, fmt.Sprintf("%s, for %s, is down", dev, addr), fmt.Sprintf("ip link set %s up, and in the host's network configuration", dev))
	case !f.carrier:
		return failure(check, fmt.Sprintf("%s, for %s, has no carrier", dev, addr), "look at the cable, the switch port, the bond or the hypervisor")
	case addr.Is6() && (f.sysctl("ipv6/conf/all/disable_ipv6") == "1" || f.sysctl("ipv6/conf/"+dev+"/disable_ipv6") == "1"):
		return failure(check, fmt.Sprintf("IPv6 is disabled on %s, and %s cannot be bound", dev, addr), fmt.Sprintf("sysctl -w net.ipv6.conf.%s.disable_ipv6=0, and in /etc/sysctl.d", dev))
	case addr.Is4() && (f.sysctl("ipv4/conf/all/arp_ignore") == "8" || f.sysctl("ipv4/conf/"+dev+"/arp_ignore") == "8"):
		return failure(check, fmt.Sprintf("arp_ignore is 8 on %s: nobody could find %s", dev, addr), fmt.Sprintf("sysctl -w net.ipv4.conf.%s.arp_ignore=1 and net.ipv4.conf.all.arp_ignore=1, and in /etc/sysctl.d", dev))
	case !s.Prefix.IsSingleIP() && !hasSubnet(f.addrs, s.Prefix):
		return warning(check, fmt.Sprintf("%s has no address of its own in %s: this host would use the VIP as its own, and lose the route with it", dev, s.Prefix.Masked()),
			fmt.Sprintf("give %s its own address of that network, or write the VIP as %s/%d", dev, addr, addr.BitLen()))
	}
	says := fmt.Sprintf("%s, for %s, is up", dev, addr)
	if addr.Is4() && !s.Prefix.IsSingleIP() && f.sysctl("ipv4/conf/all/promote_secondaries") != "1" && f.sysctl("ipv4/conf/"+dev+"/promote_secondaries") != "1" {
		says += "; promote_secondaries is 0, which the daemon sets before it binds"
	}
	return okay(check, "%s", says)
}

func hasSubnet(addrs []netip.Prefix, p netip.Prefix) bool {
	for _, a := range addrs {
		if a.Masked() == p.Masked() {
			return true
		}
	}
	return false
}

// copyFindings says which copies of a VIP should not be as they are.
func copyFindings(s vip.Spec, f deviceFacts) []Finding {
	const check = "stray"
	if f.own != nil {
		return []Finding{failure(check, f.own.Error(), "as said: one of the two addresses has to go")}
	}
	var found []Finding
	for _, c := range f.copies {
		cure := fmt.Sprintf("start the daemon, or: leasehold release; and take it out of the host's own network configuration: grep -r %s /etc", s.Prefix.Addr())
		switch {
		case !c.Right:
			found = append(found, failure(check, fmt.Sprintf("a stray copy of the VIP is here: %s on %s%s", c.Prefix, c.Device, labelText(c.Label)), cure))
		case c.Permanent:
			found = append(found, failure(check, fmt.Sprintf("%s on %s has no end: somebody made it permanent, and it would outlive the lease", c.Prefix, c.Device), cure))
		}
	}
	return found
}
