package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leasehold/election"
	"leasehold/vip"
)

func TestDoctorDevice(t *testing.T) {
	four, err := vip.ParseSpec("10.20.8.188/24 dev eth0")
	if err != nil {
		t.Fatal(err)
	}
	six, err := vip.ParseSpec("fd00::188/64 dev eth0")
	if err != nil {
		t.Fatal(err)
	}
	single := four
	single.Prefix = netip.MustParsePrefix("10.20.8.188/32")
	sysctl := func(set map[string]string) func(string) string { return func(name string) string { return set[name] } }
	good := deviceFacts{
		exists: true, up: true, carrier: true, sysctl: sysctl(map[string]string{"ipv4/conf/all/promote_secondaries": "1"}),
		addrs: []netip.Prefix{netip.MustParsePrefix("10.20.8.50/24"), netip.MustParsePrefix("fd00::50/64")},
	}
	for name, tc := range map[string]struct {
		spec  vip.Spec
		edit  func(*deviceFacts)
		level Level
		words []string
	}{
		"good":              {four, func(*deviceFacts) {}, levelOK, []string{"eth0, for 10.20.8.188, is up"}},
		"gone":              {four, func(f *deviceFacts) { f.exists = false }, levelFail, []string{"does not exist", "ip -br link"}},
		"down":              {four, func(f *deviceFacts) { f.up = false }, levelFail, []string{"ip link set eth0 up"}},
		"no carrier":        {four, func(f *deviceFacts) { f.carrier = false }, levelFail, []string{"cable"}},
		"no own address":    {four, func(f *deviceFacts) { f.addrs = nil }, levelWarn, []string{"in 10.20.8.0/24", "10.20.8.188/32"}},
		"other subnet":      {four, func(f *deviceFacts) { f.addrs = []netip.Prefix{netip.MustParsePrefix("10.20.8.50/25")} }, levelWarn, nil},
		"no own, but /32":   {single, func(f *deviceFacts) { f.addrs = nil }, levelOK, nil},
		"not promoted":      {four, func(f *deviceFacts) { f.sysctl = sysctl(nil) }, levelOK, []string{"promote_secondaries is 0"}},
		"never answers ARP": {four, func(f *deviceFacts) { f.sysctl = sysctl(map[string]string{"ipv4/conf/eth0/arp_ignore": "8"}) }, levelFail, []string{"arp_ignore is 8"}},
		"IPv6":              {six, func(*deviceFacts) {}, levelOK, nil},
		"IPv6 off":          {six, func(f *deviceFacts) { f.sysctl = sysctl(map[string]string{"ipv6/conf/all/disable_ipv6": "1"}) }, levelFail, []string{"IPv6 is disabled"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := good
			tc.edit(&f)
			expect(t, deviceFinding(tc.spec, f), tc.level, tc.words...)
		})
	}
	if got := copyFindings(four, good); len(got) != 0 {
		t.Errorf("no copies: %v", got)
	}
	bad := good
	bad.copies = []vip.Copy{{Prefix: netip.MustParsePrefix("10.20.8.188/8"), Device: "eth0", Label: "eth0:9"}, {Prefix: four.Prefix, Device: "eth0", Right: true, Permanent: true}, {Prefix: four.Prefix, Device: "eth0", Right: true}}
	got := copyFindings(four, bad)
	if len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	expect(t, got[0], levelFail, "10.20.8.188/8 on eth0 label eth0:9", "grep -r 10.20.8.188 /etc")
	expect(t, got[1], levelFail, "has no end")
	bad.own = errors.New("VIP 10.20.8.188 is the host's own address")
	expect(t, copyFindings(four, bad)[0], levelFail, "own address")
}

func TestDoctorKeepalived(t *testing.T) {
	const conf = "vrrp_instance a {\n  virtual_ipaddress {\n    10.20.8.188/24 dev eth0 label eth0:1\n  }\n}\n"
	cfg := parsed(t, "ttl: 3s")
	expect(t, keepalivedFindings(cfg, keepalived{pid: 7, conf: conf})[0], levelWarn, "runs (pid 7) and has 10.20.8.188", "disable --now keepalived")
	expect(t, keepalivedFindings(cfg, keepalived{conf: conf})[0], levelWarn, "does not run, and has 10.20.8.188")
	expect(t, keepalivedFindings(cfg, keepalived{pid: 7, conf: "# 10.20.8.188\n! 10.20.8.188\n10.20.8.18/24\n"})[0], levelOK, "no VIP of ours")
	expect(t, keepalivedFindings(cfg, keepalived{pid: 7, err: unix.EACCES})[0], levelWarn, "cannot be seen")
	if got := keepalivedFindings(cfg, keepalived{}); len(got) != 0 {
		t.Errorf("no keepalived: %v", got)
	}
	if !names("virtual_ipaddress { fd00::188/64 }", netip.MustParseAddr("fd00::188")) {
		t.Error("an IPv6 VIP on one line is not seen")
	}
}

// A keepalived on this host that is the same router is broken, on others it is
// what a vrrp section is for.
func TestDoctorKeepalivedRouter(t *testing.T) {
	const instance = "vrrp_instance a { # one\n  interface eth0\n  virtual_router_id 51\n  virtual_ipaddress {\n    10.20.8.188/24\n  }\n}\n"
	const other = "vrrp_instance b {\n interface eth0\n virtual_router_id 52\n virtual_ipaddress {\n 10.20.8.7/24\n }\n}\n"
	cfg, _ := parseVRRP(t, withVRRP(t, "router_id: 51"))
	same := []string{"has the router of services.mysql (virtual_router_id 51 on eth0)"}
	for name, tc := range map[string]struct {
		k     keepalived
		level Level
		words []string
	}{
		"the same runs":     {keepalived{pid: 7, conf: instance}, levelFail, append(same, "runs (pid 7)", "both hold the VIP", "systemctl disable --now keepalived", "on other hosts may stay")},
		"the same is there": {keepalived{conf: instance}, levelWarn, append(same, "does not run", "systemctl disable keepalived")},
		"behind another":    {keepalived{pid: 7, conf: other + instance}, levelFail, same},
		"before another":    {keepalived{pid: 7, conf: instance + other}, levelFail, same},
		"on one line":       {keepalived{pid: 7, conf: "vrrp_instance a {interface eth0\nvirtual_router_id 51\nvirtual_ipaddress {10.20.8.188/24 }\n}"}, levelFail, same},
		"no interface said": {keepalived{pid: 7, conf: strings.Replace(instance, "interface eth0", "", 1)}, levelFail, same},
		"another number":    {keepalived{pid: 7, conf: strings.Replace(instance, "_id 51", "_id 5", 1)}, levelWarn, []string{"two would decide over one VIP"}},
		"another interface": {keepalived{pid: 7, conf: strings.Replace(instance, "eth0", "eth1", 1)}, levelWarn, []string{"two would decide over one VIP"}},
		"commented out":     {keepalived{pid: 7, conf: strings.ReplaceAll("\n"+instance, "\n", "\n#")}, levelOK, []string{"no VIP of ours"}},
		"another family":    {keepalived{pid: 7, conf: strings.Replace(instance, "10.20.8.188/24", "fd00::188/64", 1)}, levelOK, []string{"no VIP of ours"}},
		"of other VIPs":     {keepalived{pid: 7, conf: other}, levelOK, []string{"no VIP of ours"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := keepalivedFindings(cfg, tc.k)
			if len(got) != 1 {
				t.Fatalf("got %v", got)
			}
			expect(t, got[0], tc.level, tc.words...)
		})
	}
	if got := keepalivedFindings(cfg, keepalived{}); len(got) != 0 {
		t.Errorf("no keepalived here: %v", got)
	}
}

func TestDoctorWire(t *testing.T) {
	f := testFacts(t)
	spec := f.service.VIPs[0].Spec
	answer := &vip.DuplicateError{Addr: spec.Prefix.Addr(), Device: "eth0", MAC: "02:00:00:00:00:0b"}
	held, free := f.view, f.view
	free.Holder = nil
	for name, tc := range map[string]struct {
		node   string
		view   election.View
		known  bool
		answer error
		level  Level
		words  []string
	}{
		"the holder answers":   {"db20-025", held, true, answer, levelOK, []string{"02:00:00:00:00:0b", "the holder is db20-024"}},
		"the holder is silent": {"db20-025", held, true, nil, levelFail, []string{"answered for by nobody, and db20-024 is the holder", "VLAN"}},
		"a stranger answers":   {"db20-025", free, true, answer, levelFail, []string{"02:00:00:00:00:0b", "no holder elsewhere"}},
		"answers for us":       {"db20-024", held, true, answer, levelFail, []string{"no holder elsewhere"}},
		"free":                 {"db20-025", free, true, nil, levelOK, []string{"as it should be"}},
		"no etcd, answered":    {"db20-025", election.View{}, false, answer, levelOK, []string{"etcd does not say"}},
		"no etcd, silent":      {"db20-025", election.View{}, false, nil, levelOK, []string{"etcd does not say"}},
		"no right to ask":      {"db20-025", free, true, unix.EPERM, levelWarn, []string{"could not be asked for", "sudo"}},
		"no link":              {"db20-025", free, true, fmt.Errorf("%w: eth0", vip.ErrNoLink), levelOK, []string{"eth0 has no link"}},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, wireFinding(tc.node, spec, tc.view, tc.known, tc.answer), tc.level, tc.words...)
		})
	}
}
