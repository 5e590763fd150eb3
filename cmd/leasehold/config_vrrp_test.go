package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"leasehold/vrrpcompat"
)

// withVRRP is the good configuration with a vrrp section, which is on line 10.
func withVRRP(t *testing.T, section string) string {
	t.Helper()
	return with(t, "preempt: false", "vrrp: {"+section+"}")
}

// twoVIPs is withVRRP with an IPv6 VIP behind the other.
func twoVIPs(t *testing.T, section string) string {
	t.Helper()
	return strings.Replace(withVRRP(t, section), `label eth0:1"`, `label eth0:1", "fd00:8::188/64 dev eth1"`, 1)
}

func parseVRRP(t *testing.T, text string) (*Config, *VRRP) {
	t.Helper()
	cfg, err := parse(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return cfg, cfg.Services[0].VRRP
}

// Every key of the section arrives where it belongs; what is not written is the
// default.
func TestConfigVRRP(t *testing.T) {
	vips := []netip.Addr{netip.MustParseAddr("10.20.8.188")}
	addr := netip.MustParseAddr
	for name, tc := range map[string]struct {
		text string
		want VRRP
	}{
		"shortest": {withVRRP(t, "router_id: 51"), VRRP{Interface: "eth0", TTL: 255, Router: vrrpcompat.Config{VRID: 51, VIPs: vips}}},
		"multicast": {
			withVRRP(t, "router_id: 255, mode: full, version: 2, interface: eth0, advert_interval: 2s, priority: 150, preempt: false, auth: {type: AH, password_file: a}, "+
				"multicast: {source: 10.20.8.50, group: 224.0.0.99}, use_vmac: true, down_timer_adverts: 5, lower_prio_no_advert: true, higher_prio_send_advert: true, exact_vips: true, startup_delay: 5.5s"),
			VRRP{Interface: "eth0", TTL: 255, VMAC: true, StartupDelay: 5500 * time.Millisecond, PasswordFile: &SecretFile{Path: "/etc/leasehold/a", Line: 10}, Router: vrrpcompat.Config{
				VRID: 255, Version: 2, VIPs: vips, Priority: 150, Interval: 2 * time.Second, Auth: vrrpcompat.Auth{Type: vrrpcompat.AuthAH},
				Source: addr("10.20.8.50"), Group: addr("224.0.0.99"), ExactVIPs: true, NoPreempt: true, DownAdverts: 5, LowerPrioNoAdvert: true, HigherPrioSendAdvert: true,
			}},
		},
		"unicast": {
			withVRRP(t, "router_id: 1, version: 3, advert_interval: 100ms, max_interval: 2s, priority: 1, preempt: true, preempt_delay: 8.5s, checksum: rfc9568, "+
				"unicast: {source: 10.20.8.50, peers: [10.20.8.27, \"10.20.8.28\"], ttl: 64}"),
			VRRP{Interface: "eth0", TTL: 64, Router: vrrpcompat.Config{
				VRID: 1, Version: 3, VIPs: vips, Priority: 1, Interval: 100 * time.Millisecond, MaxInterval: 2 * time.Second, PreemptDelay: 8500 * time.Millisecond,
				Checksum: vrrpcompat.ChecksumMessage, Source: addr("10.20.8.50"), Peers: []netip.Addr{addr("10.20.8.27"), addr("10.20.8.28")},
			}},
		},
		"gate": {
			withVRRP(t, "router_id: 51, mode: gate, version: 3, checksum: keepalived"),
			VRRP{Interface: "eth0", TTL: 255, Router: vrrpcompat.Config{Mode: vrrpcompat.ModeGate, VRID: 51, Version: 3, VIPs: vips, Checksum: vrrpcompat.ChecksumPseudo}},
		},
		"second excluded": {
			twoVIPs(t, `router_id: 51, excluded: ["fd00:8::188"]`),
			VRRP{Interface: "eth0", TTL: 255, Excluded: []netip.Addr{addr("fd00:8::188")}, Router: vrrpcompat.Config{VRID: 51, VIPs: vips}},
		},
		"first excluded": {
			twoVIPs(t, `router_id: 51, excluded: [10.20.8.188], unicast: {source: "fe80::1%eth1", peers: ["fe80::2%eth1"]}`),
			VRRP{Interface: "eth1", TTL: 255, Excluded: vips, Router: vrrpcompat.Config{
				VRID: 51, VIPs: []netip.Addr{addr("fd00:8::188")}, Source: addr("fe80::1%eth1"), Peers: []netip.Addr{addr("fe80::2%eth1")},
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, v := parseVRRP(t, tc.text)
			same := cmp.Options{cmpopts.IgnoreUnexported(VRRP{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
			if diff := cmp.Diff(&tc.want, v, same); diff != "" {
				t.Error(diff)
			}
		})
	}
	if cfg, v := parseVRRP(t, good); v != nil || cfg.Services[0].VRRP != nil {
		t.Errorf("without a section: %+v", v)
	}
}

// Each bad section is refused with the line, the whole name of the key, and what to
// write instead.
func TestConfigVRRPRefused(t *testing.T) {
	in := func(section string) string { return withVRRP(t, section) }
	second := func(section string) string {
		return withVRRP(t, "router_id: 51") + "  other:\n    vips: [\"10.20.8.189/24 dev eth0\"]\n    vrrp:\n      version: 2\n      " + section + "\n"
	}
	sameFamily := func(section string) string {
		return strings.Replace(in(section), `label eth0:1"`, `label eth0:1", 10.20.8.189/24 dev eth0`, 1)
	}
	many := func() string {
		var vips []string
		for i := range 256 {
			vips = append(vips, fmt.Sprintf("10.20.7.%d/32 dev eth0", i))
		}
		return strings.Replace(in("router_id: 51"), `"10.20.8.188/24 dev eth0 label eth0:1"`, strings.Join(vips, ", "), 1)
	}
	off := func(section string) string { return strings.Replace(in(section), "ttl: 3s", "fence: off", 1) }
	for name, tc := range map[string]struct {
		text string
		want []string // the first is what follows services.NAME.vrrp
	}{
		"router_id 0":           {in("router_id: 0"), []string{".router_id: 0 is not from 1 to 255", "write the peers' virtual_router_id"}},
		"router_id missing":     {in("version: 2"), []string{".router_id is missing", "write router_id: 51"}},
		"router_id over 255":    {in("router_id: 256"), []string{".router_id: 256 is not from 1 to 255"}},
		"router_id a word":      {in("router_id: mysql"), []string{".router_id is the value", "whole number from 1 to 255"}},
		"unknown key":           {in("router_id: 51, advert_int: 1s"), []string{` (did you mean "advert_interval"?)`}},
		"no mapping":            {with(t, "preempt: false", "vrrp: 51"), []string{" is the value \"51\"; write key: value lines"}},
		"mode unknown":          {in("router_id: 51, mode: listen"), []string{".mode: \"listen\"", "full, gate"}},
		"version 4":             {in("router_id: 51, version: 4"), []string{".version: 4 is not from 2 to 3", "2 is its default"}},
		"version 0":             {in("router_id: 51, version: 0"), []string{".version: 0 is not from 2 to 3"}},
		"priority 0":            {in("router_id: 51, priority: 0"), []string{".priority: 0 is not from 1 to 255"}},
		"priority 256":          {in("router_id: 51, priority: 256"), []string{".priority: 256 is not from 1 to 255"}},
		"interface elsewhere":   {in("router_id: 51, interface: eth1"), []string{".interface: eth1 is the device of none of the VIPs (eth0)", "beside a keepalived", "write interface: eth0"}},
		"interval 0":            {in("router_id: 51, advert_interval: 0s"), []string{".advert_interval: 0 is no length of time", "write 1s"}},
		"half a second, v2":     {in("router_id: 51, advert_interval: 500ms"), []string{".advert_interval (500ms) is not in 1s to 255s", "write advert_interval: 1s, or version: 3"}},
		"1.5 s, v2":             {in("router_id: 51, advert_interval: 1500ms"), []string{".advert_interval (1.5s) is no whole second", "2s; write that"}},
		"256 s, v2":             {in("router_id: 51, advert_interval: 256s"), []string{".advert_interval (4m16s) is not in 1s to 255s"}},
		"5 ms, v3":              {in("router_id: 51, version: 3, advert_interval: 5ms"), []string{".advert_interval (5ms) is not in 10ms to 40.95s", "write advert_interval: 1s"}},
		"15 ms, v3":             {in("router_id: 51, version: 3, advert_interval: 15ms"), []string{".advert_interval (15ms) is no multiple of 10ms", "write 20ms"}},
		"41 s, v3":              {in("router_id: 51, version: 3, advert_interval: 41s"), []string{".advert_interval (41s) is not in 10ms to 40.95s"}},
		"max_interval in v2":    {in("router_id: 51, max_interval: 5s"), []string{".max_interval (5s) bounds what version 3 learns", "take it out"}},
		"max_interval 0":        {in("router_id: 51, version: 3, max_interval: 0s"), []string{".max_interval: 0 is no length of time"}},
		"max_interval small":    {in("router_id: 51, version: 3, max_interval: 500ms"), []string{".max_interval (500ms) is not in advert_interval (1s) to 40.95s"}},
		"down_timer_adverts 0":  {in("router_id: 51, down_timer_adverts: 0"), []string{".down_timer_adverts: 0 is not from 1 to 100", "3 is the default"}},
		"preempt_delay long":    {in("router_id: 51, preempt_delay: 20m"), []string{".preempt_delay (20m0s) is not in 0s to 16m40s"}},
		"preempt_delay, nobody": {in("router_id: 51, preempt: false, preempt_delay: 5s"), []string{".preempt: false and preempt_delay (5s) contradict each other", "take one out"}},
		"nopreempt of 255":      {in("router_id: 51, preempt: false, priority: 255"), []string{".preempt: false and priority 255", "254 or less"}},
		"startup_delay long":    {in("router_id: 51, startup_delay: 2h"), []string{".startup_delay: 2h0m0s is over 1h0m0s", "write a few seconds"}},
		"checksum in v2":        {in("router_id: 51, checksum: rfc9568"), []string{".checksum is for version 3 over IPv4", "take it out"}},
		"checksum unknown":      {in("router_id: 51, version: 3, checksum: old"), []string{".checksum: \"old\"", "keepalived, rfc9568"}},

		"auth of v3":       {in("router_id: 51, version: 3, auth: {type: PASS, password_file: a}"), []string{".auth (PASS) is for version 2", "take auth out, or write version: 2"}},
		"auth of IPv6":     {twoVIPs(t, "router_id: 51, excluded: [10.20.8.188], auth: {type: PASS, password_file: a}"), []string{".auth (PASS) is for IPv4", "take auth out"}},
		"AH of IPv6":       {twoVIPs(t, "router_id: 51, excluded: [10.20.8.188], auth: {type: AH, password_file: a}"), []string{".auth (AH) is for IPv4", "take auth out"}},
		"version 2, IPv6":  {twoVIPs(t, "router_id: 51, version: 2, excluded: [10.20.8.188]"), []string{".version (2) knows no IPv6", "write version: 3"}},
		"auth without any": {in("router_id: 51, auth: {}"), []string{".auth.type is missing", "write PASS or AH"}},
		"auth no type":     {in("router_id: 51, auth: {password_file: a}"), []string{".auth.type is missing"}},
		"auth no file":     {in("router_id: 51, auth: {type: PASS}"), []string{".auth.password_file is missing", "auth_pass into a file"}},
		"auth unknown":     {in("router_id: 51, auth: {type: MD5, password_file: a}"), []string{".auth.type: \"MD5\"", "PASS, AH"}},

		"VIP of two families":  {twoVIPs(t, "router_id: 51"), []string{".excluded: fd00:8::188 is not of the family of the first VIP, 10.20.8.188", `write excluded: [fd00:8::188]`, "virtual_ipaddress_excluded"}},
		"more VIPs than go":    {many(), []string{": there are 256 VIPs: an advert counts them in one octet", "keep 255 or fewer"}},
		"excluded stranger":    {in("router_id: 51, excluded: [10.20.8.189]"), []string{".excluded: 10.20.8.189 is no VIP of the service, whose VIPs are 10.20.8.188/24", "take it out"}},
		"excluded all":         {in("router_id: 51, excluded: [10.20.8.188]"), []string{".excluded has every VIP of the service", "take out those"}},
		"excluded twice":       {twoVIPs(t, `router_id: 51, excluded: ["fd00:8::188", "fd00:8::188"]`), []string{".excluded: fd00:8::188 is there twice; keep one"}},
		"excluded with length": {in("router_id: 51, excluded: [10.20.8.188/24]"), []string{`.excluded: "10.20.8.188/24" is not an IP address; write one without a prefix length`}},
		"excluded of nothing":  {in("router_id: 51, excluded: []"), []string{".excluded is an empty list", "[10.20.9.188]"}},

		"peer is the source":      {in("router_id: 51, unicast: {source: 10.20.8.50, peers: [10.20.8.27, 10.20.8.50]}"), []string{".unicast.peers: peer 10.20.8.50 is this host itself (source)", "name only the others"}},
		"peer is a VIP":           {in("router_id: 51, unicast: {peers: [10.20.8.188]}"), []string{".unicast.peers: peer 10.20.8.188 is a VIP", "always has"}},
		"peer is an excluded VIP": {sameFamily("router_id: 51, excluded: [10.20.8.189], unicast: {peers: [10.20.8.27, 10.20.8.189]}"), []string{".unicast.peers: 10.20.8.189 is a VIP", "always has"}},
		"peer of another family":  {in(`router_id: 51, unicast: {peers: ["fd00::27"]}`), []string{".unicast.peers: peer fd00::27 is IPv6 and the VIPs are IPv4", "IPv4 address"}},
		"peer twice":              {in("router_id: 51, unicast: {peers: [10.20.8.27, 10.20.8.27]}"), []string{".unicast.peers: peer 10.20.8.27 is there twice"}},
		"peer in other clothes":   {in(`router_id: 51, unicast: {peers: ["::ffff:10.20.8.27"]}`), []string{".unicast.peers: ::ffff:10.20.8.27 is an IPv4 address", "write 10.20.8.27"}},
		"no peers":                {in("router_id: 51, unicast: {source: 10.20.8.50}"), []string{".unicast has no peers", "write peers: [10.20.8.27]"}},
		"source is a VIP":         {in("router_id: 51, unicast: {source: 10.20.8.188, peers: [10.20.8.27]}"), []string{".unicast.source (10.20.8.188) is a VIP", "always has"}},
		"source is excluded":      {sameFamily("router_id: 51, excluded: [10.20.8.189], multicast: {source: 10.20.8.189}"), []string{".multicast.source: 10.20.8.189 is a VIP", "always has"}},
		"source of no family":     {in(`router_id: 51, multicast: {source: "fe80::1"}`), []string{".multicast.source (fe80::1) is IPv6 and the VIPs are IPv4"}},
		"ttl 0":                   {in("router_id: 51, unicast: {peers: [10.20.8.27], ttl: 0}"), []string{".unicast.ttl: 0 is not from 1 to 255"}},
		"unicast and multicast":   {in("router_id: 51, unicast: {peers: [10.20.8.27]}, multicast: {group: 224.0.0.18}"), []string{" has both unicast and multicast", "take out the one"}},
		"group that is a host":    {in("router_id: 51, multicast: {group: 10.20.8.27}"), []string{".multicast.group (10.20.8.27) is no IPv4 multicast group", "224.0.0.18"}},
		"group of IPv6":           {in(`router_id: 51, multicast: {group: "ff02::12"}`), []string{".multicast.group (ff02::12) is no IPv4 multicast group"}},

		"vmac and unicast":        {in("router_id: 51, use_vmac: true, unicast: {peers: [10.20.8.27]}"), []string{".use_vmac goes with multicast", "take one of both out"}},
		"gate of an owner":        {in("router_id: 51, mode: gate, priority: 255"), []string{".priority: 255 and mode: gate contradict each other", "take priority out"}},
		"full and last standing":  {strings.Replace(in("router_id: 51"), "ttl: 3s", "last_standing: keep", 1), []string{".mode: full and last_standing: keep contradict each other", "write last_standing: release, or mode: gate"}},
		"no fence, short":         {off("router_id: 51, version: 3, advert_interval: 500ms"), []string{".advert_interval: 500ms is too short with fence: off", "write advert_interval: 1.1s on every router, or fence: auto"}},
		"no fence, a second":      {off("router_id: 51"), []string{".advert_interval: 1s is too short with fence: off", "3s after an advert", "less 1.045s", "leaves 960ms", "write advert_interval: 2s on every router"}},
		"no fence, one advert":    {off("router_id: 51, down_timer_adverts: 1"), []string{".advert_interval: 1s is too short with fence: off", "down_timer_adverts: 3 on every router"}},
		"one router, two of them": {second("router_id: 51"), []string{".router_id: 51 on eth0 is the router of services.mysql already (line 10)", "write a number of its own"}},
	} {
		t.Run(name, func(t *testing.T) {
			line := 10
			if strings.HasPrefix(name, "one router") {
				line = 18
			}
			_, err := parse(tc.text)
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got %v, want problems in\n%s", err, tc.text)
			}
			whole := ".vrrp" + tc.want[0]
			for _, p := range ps {
				if p.Line == line && strings.Contains(p.What, "services.") && containsAll(p.What, append(tc.want[1:], whole)) {
					if len(ps) > 1 {
						t.Errorf("more than that one:\n%v", ps)
					}
					return
				}
			}
			t.Errorf("no problem in line %d with %q, %q in:\n%v", line, whole, tc.want[1:], ps)
		})
	}
}

// A section with several mistakes has all of them listed.
func TestConfigVRRPListsAll(t *testing.T) {
	_, err := parse(withVRRP(t, "vrid: 51, version: 1, priority: 0"))
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 4 || !containsAll(err.Error(), []string{`unknown key "vrid" in services.mysql.vrrp`, ".version: 1", ".priority: 0", ".router_id is missing"}) {
		t.Errorf("got %v", err)
	}
}

// What is allowed beside what is refused.
func TestConfigVRRPAllowed(t *testing.T) {
	in := func(section string) string { return withVRRP(t, section) }
	other := "  other:\n    vips: [\"%s\"]\n    vrrp: {router_id: 51}\n"
	for name, text := range map[string]string{
		"one number, two devices":  in("router_id: 51") + fmt.Sprintf(other, "10.20.8.189/24 dev eth1"),
		"one number, two families": in("router_id: 51") + fmt.Sprintf(other, "fd00::188/64 dev eth0"),
		"gate, last standing":      strings.Replace(in("router_id: 51, mode: gate"), "ttl: 3s", "last_standing: keep", 1),
		"gate, no fence":           strings.Replace(in("router_id: 51, mode: gate"), "ttl: 3s", "fence: off", 1),
		"2 s, no fence":            strings.Replace(in("router_id: 51, advert_interval: 2s"), "ttl: 3s", "fence: off", 1),
		"1.1 s, no fence":          strings.Replace(in("router_id: 51, version: 3, advert_interval: 1100ms"), "ttl: 3s", "fence: off", 1),
		"the second VIP's device":  twoVIPs(t, `router_id: 51, interface: eth1, excluded: ["fd00:8::188"]`),
	} {
		t.Run(name, func(t *testing.T) { parseVRRP(t, text) })
	}
}

// This node's own address in etcd.embedded is no peer, another's is.
func TestConfigVRRPPeerIsOwnMember(t *testing.T) {
	embedded := strings.NewReplacer("  endpoints: [https://10.20.8.50:2379, https://10.20.8.27:2379, https://10.20.8.28:2379]",
		"  embedded: {members: {db20-024: 10.20.8.50, db20-025: 10.20.8.27, witness: 10.20.8.28}}", "    ttl: 3s\n", "")
	parseVRRP(t, embedded.Replace(withVRRP(t, "router_id: 51, unicast: {peers: [10.20.8.27]}")))
	_, err := parse(embedded.Replace(withVRRP(t, "router_id: 51, unicast: {peers: [10.20.8.27, 10.20.8.50]}")))
	if err == nil || !containsAll(err.Error(), []string{"services.mysql.vrrp.unicast.peers: 10.20.8.50 is this host itself (etcd.embedded.members.db20-024)", "name only the others"}) {
		t.Errorf("got %v", err)
	}
}

// With use_vmac the advertised VIPs are on the interface that the daemon makes, under
// a label of it, and the operator hears of a second route.
func TestConfigVMAC(t *testing.T) {
	cfg, v := parseVRRP(t, withVRRP(t, "router_id: 51, use_vmac: true"))
	sp := cfg.Services[0].VIPs[0].Spec
	if sp.Device != "vrrp.51" || sp.Label != "vrrp.51:1" || v.Interface != "eth0" {
		t.Errorf("the VIP is on %s, label %q, adverts on %s; want vrrp.51, vrrp.51:1, eth0", sp.Device, sp.Label, v.Interface)
	}
	if !slices.ContainsFunc(cfg.Notes, func(p Problem) bool { return strings.Contains(p.What, "write 10.20.8.188/32") }) {
		t.Errorf("notes %v; want one of the second route", cfg.Notes)
	}
	cfg, _ = parseVRRP(t, twoVIPs(t, `router_id: 51, use_vmac: true, excluded: ["fd00:8::188"]`))
	if a, b := cfg.Services[0].VIPs[0].Spec, cfg.Services[0].VIPs[1].Spec; a.Device != "vrrp.51" || b.Device == "vrrp.51" {
		t.Errorf("the VIPs are on %s and %s; want only the advertised one on vrrp.51", a.Device, b.Device)
	}
}
