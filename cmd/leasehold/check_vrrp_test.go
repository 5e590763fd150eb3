package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What check says of a section, without a password in it.
func TestCheckVRRPText(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"shortest": {
			withVRRP(t, "router_id: 51"),
			"router 51 on eth0, version 2; advertises 10.20.8.188 every 1s to 224.0.0.18 while it holds the VIP; priority 100, takes the VIP from a keepalived of lower priority",
		},
		"gate": {
			withVRRP(t, "router_id: 51, mode: gate"),
			"router 51 on eth0, version 2; only listens (mode gate): the VIP is not held while another router advertises to 224.0.0.18",
		},
		"gate, unicast": {
			withVRRP(t, "router_id: 51, mode: gate, unicast: {peers: [10.20.8.27]}"),
			"router 51 on eth0, version 2; only listens (mode gate): the VIP is not held while one of 10.20.8.27 advertises",
		},
		"much": {
			withVRRP(t, "router_id: 9, priority: 150, preempt_delay: 5s, startup_delay: 3s, auth: {type: PASS, password_file: v}, unicast: {peers: [10.20.8.27, 10.20.8.28]}"),
			"router 9 on eth0, version 2; advertises 10.20.8.188 every 1s to 10.20.8.27, 10.20.8.28 while it holds the VIP; PASS with the password in /etc/leasehold/v; " +
				"priority 150, takes the VIP from a keepalived of lower priority after 5s; begins 3s after the daemon",
		},
		"IPv6": {
			twoVIPs(t, "router_id: 51, preempt: false, excluded: [10.20.8.188], use_vmac: true"),
			"router 51 on eth1, version 3; advertises fd00:8::188 every 1s to ff02::12 while it holds the VIP; 10.20.8.188 not advertised; " +
				"priority 100, leaves the VIP to a keepalived that has it; with the virtual MAC address",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, v := parseVRRP(t, tc.text); v.text() != tc.want {
				t.Errorf("got  %s\nwant %s", v.text(), tc.want)
			}
		})
	}
}

// check shows the section and reads its password file, and shows no password.
func TestCheckVRRP(t *testing.T) {
	const config = "node: n\netcd: {endpoints: [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]}\n" +
		"services: {mysql: {ttl: 2s, vips: [\"10.20.8.188/24 dev eth0\"], vrrp: {router_id: 51, auth: {type: PASS, password_file: %}}}}\n"
	for name, tc := range map[string]struct {
		password string
		code     int
		want     string
	}{
		"good":         {"g7Kd92xa", exitFine, "  vrrp      router 51 on eth0, version 2; advertises 10.20.8.188"},
		"too long":     {"g7Kd92xa9", exitUsage, ":3: services.mysql.vrrp.auth.password_file: the auth password is 9 bytes long"},
		"not there":    {"", exitUsage, ":3: services.mysql.vrrp.auth.password_file: "},
		"a credential": {"${CREDENTIALS_DIRECTORY}/vrrp", exitFine, "services.mysql.vrrp.auth.password_file: not looked at: "},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "none")
			switch {
			case strings.HasPrefix(tc.password, "$"):
				file = `"` + tc.password + `"`
			case tc.password != "":
				file = writeFile(t, "vrrp.password", tc.password, 0o600)
			}
			code, stdout, stderr := leasehold(t, "check", "-c", writeFile(t, "leasehold.yaml", strings.Replace(config, "%", file, 1), 0o600))
			if got := stdout + stderr; code != tc.code || !strings.Contains(got, tc.want) || strings.Contains(got, "g7Kd") {
				t.Errorf("exit code %d, want %d and %q in\n%s", code, tc.code, tc.want, got)
			}
		})
	}
}

// doctor reads the password file as check does.
func TestDoctorVRRPPassword(t *testing.T) {
	cfg, _ := parseVRRP(t, withVRRP(t, "router_id: 51, auth: {type: PASS, password_file: "+writeFile(t, "p", "g7Kd92xa9", 0o600)+"}"))
	for _, f := range configFindings("leasehold.yaml", cfg, nil, os.Getenv) {
		if f.Level == levelFail && strings.Contains(f.Says, "services.mysql.vrrp.auth.password_file: the auth password is 9 bytes long") {
			return
		}
	}
	t.Error("nothing is found")
}

// A peer that is this host is seen on the host only.
func TestCheckOwnPeers(t *testing.T) {
	cfg, _ := parseVRRP(t, withVRRP(t, "router_id: 51, unicast: {peers: [10.20.8.27, 10.20.8.28]}"))
	own := func(text ...string) func() ([]net.Addr, error) {
		return func() (addrs []net.Addr, err error) {
			for _, t := range text {
				ip, n, err := net.ParseCIDR(t)
				if err != nil {
					return nil, err
				}
				addrs = append(addrs, &net.IPNet{IP: ip, Mask: n.Mask})
			}
			return addrs, nil
		}
	}
	if got := ownPeers(cfg, own("127.0.0.1/8", "10.20.8.50/24", "fe80::1/64")); len(got) > 0 {
		t.Errorf("got %v", got)
	}
	got := ownPeers(cfg, own("127.0.0.1/8", "10.20.8.28/24"))
	if len(got) != 1 || got[0].Line != 10 || !strings.Contains(got[0].What, "services.mysql.vrrp.unicast.peers: 10.20.8.28 is an address of this host: it would hear its own adverts; name only the others") {
		t.Errorf("got %v", got)
	}
	got = ownPeers(cfg, func() ([]net.Addr, error) { return nil, errors.New("no netlink") })
	if len(got) != 1 || !strings.Contains(got[0].What, "no netlink") {
		t.Errorf("got %v", got)
	}
}
