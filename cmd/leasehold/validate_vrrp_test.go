package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"leasehold/vip"
)

// The ttl that keeps the VIP among our nodes, and when lifetimes cannot do.
func TestConfigVRRPNotes(t *testing.T) {
	const first, fence = "keepalived may be first", "too short without a fence"
	for name, tc := range map[string]struct {
		keys, section string
		want          []string
		not           string
	}{
		"as it comes":            {"ttl: 3s", "router_id: 51", []string{first, "2s to 3s after", "up to the ttl, 3s,", "write ttl: 2s to have", fence, "write advert_interval: 2s on every router"}, ""},
		"short enough":           {"ttl: 2s", "router_id: 51", []string{fence}, first},
		"just short enough":      {"ttl: 2003ms", "router_id: 51", nil, first},
		"just too long":          {"ttl: 2004ms", "router_id: 51", []string{"write ttl: 2s to have"}, ""},
		"long interval":          {"ttl: 3s", "router_id: 51, advert_interval: 2s", nil, "vrrp"},
		"more adverts":           {"ttl: 3s", "router_id: 51, down_timer_adverts: 5", nil, first},
		"quick":                  {"ttl: 500ms", "router_id: 51, version: 3, advert_interval: 100ms", []string{"write ttl: 500ms, and advert_interval: 300ms on every router, to have"}, ""},
		"no fence":               {"fence: off", "router_id: 51, version: 3, advert_interval: 1100ms", []string{"write ttl: 3s, and advert_interval: 1.5s on every router,"}, fence},
		"one advert":             {"ttl: 3s", "router_id: 51, down_timer_adverts: 1", []string{"write ttl: 500ms, and down_timer_adverts: 3 on every router"}, ""},
		"gate":                   {"ttl: 3s", "router_id: 51, mode: gate", nil, "vrrp"},
		"a fence that has to be": {"fence: required", "router_id: 51, advert_interval: 1s", []string{first}, fence},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _ := parseVRRP(t, strings.Replace(withVRRP(t, tc.section), "ttl: 3s", tc.keys, 1))
			var said []string
			for _, n := range cfg.Notes {
				said = append(said, n.String())
			}
			text := strings.Join(said, "\n")
			if !containsAll(text, tc.want) || tc.not != "" && strings.Contains(text, tc.not) {
				t.Errorf("want %q, and not %q, in:\n%s", tc.want, tc.not, text)
			}
		})
	}
}

// Beside a member of its own the ttl that is asked for outlasts etcd's leader.
func TestConfigVRRPNoteEmbedded(t *testing.T) {
	text := strings.NewReplacer("  endpoints: [https://10.20.8.50:2379, https://10.20.8.27:2379, https://10.20.8.28:2379]",
		"  embedded: {members: {db20-024: 10.20.8.50, db20-025: 10.20.8.27, witness: 10.20.8.28}}").Replace(withVRRP(t, "router_id: 51, version: 3, advert_interval: 200ms"))
	cfg, _ := parseVRRP(t, text)
	said := fmt.Sprint(cfg.Notes)
	if want := "write ttl: 1.9s, and advert_interval: 1s on every router,"; !strings.Contains(said, want) {
		t.Errorf("want %q in %s", want, said)
	}
}

// A router whose adverts come too fast for lifetimes makes the fence a must.
func TestConfigVRRPFence(t *testing.T) {
	for section, want := range map[string]vip.FenceMode{
		"router_id: 51": vip.FenceRequired, "router_id: 51, mode: gate": vip.FenceAuto, "router_id: 51, advert_interval: 2s": vip.FenceAuto,
	} {
		cfg, _ := parseVRRP(t, withVRRP(t, section))
		if got := cfg.Services[0].vipConfig(cfg, nil).Fence; got != want {
			t.Errorf("%s: fence %s, want %s", section, got, want)
		}
	}
}

// The password is read from its file, is part of the router, and of nothing that
// is shown.
func TestConfigVRRPPassword(t *testing.T) {
	const secret = "g7Kd92xa"
	for name, tc := range map[string]struct{ text, want string }{
		"eight":       {secret + "\n", ""},
		"one":         {"x", ""},
		"nine":        {secret + "9\n", "the auth password is 9 bytes long: VRRP carries 8, and keepalived cuts the rest without a word; write only its first 8"},
		"empty":       {"\n", "is empty; its first line is the password"},
		"no file":     {"", "does not exist"},
		"for anybody": {secret, "everybody on this host"},
		"NUL":         {"g7Kd\x00", "NUL byte"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "none")
			if tc.text != "" {
				mode := map[bool]os.FileMode{true: 0o644, false: 0o600}[name == "for anybody"]
				file = writeFile(t, "vrrp.password", tc.text, mode)
			}
			cfg, v := parseVRRP(t, withVRRP(t, "router_id: 51, auth: {type: PASS, password_file: "+file+"}"))
			c, problems := cfg.Services[0].router(cfg.File, os.Getenv)
			if tc.want == "" {
				if len(problems) > 0 || c.Auth.Password != strings.TrimSpace(tc.text) || c.VRID != 51 {
					t.Errorf("got %v with a password of %d bytes, %v", c, len(c.Auth.Password), problems)
				}
			} else if len(problems) != 1 || problems[0].Line != 10 || !containsAll(problems[0].String(), []string{"services.mysql.vrrp.auth.password_file: ", tc.want}) {
				t.Errorf("got %v, want %q", problems, tc.want)
			}
			if v.Router.Auth.Password != "" {
				t.Error("the configuration keeps the password")
			}
			if shown := fmt.Sprintf("%v %+v %#v %v %s", c, c, c, problems, v.text()); strings.Contains(shown, "g7Kd") {
				t.Errorf("the password is shown: %s", shown)
			}
		})
	}
	cfg, _ := parseVRRP(t, withVRRP(t, "router_id: 51"))
	if c, problems := cfg.Services[0].router(cfg.File, os.Getenv); len(problems) > 0 || c.Auth.Password != "" || c.Validate() != nil {
		t.Errorf("without auth: %v, %v", c, problems)
	}
	if _, err := parse(withVRRP(t, "router_id: 51, auth: {type: PASS, password: geheim}")); err == nil || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "password_file") {
		t.Errorf("a password in the file: %v", err)
	}
}
