package keepalived

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// convert reads text as a configuration and converts it.
func convert(t *testing.T, text string, opt Options) *Result {
	t.Helper()
	src, err := read(memory{etc + "keepalived.conf": text}, etc+"keepalived.conf", "db1")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return Convert(src, opt)
}

// anInstance is the text of an instance with an address and some more lines.
func anInstance(name, last, more string) string {
	return fmt.Sprintf("vrrp_instance %s {\n interface eth0\n virtual_router_id %s\n virtual_ipaddress {\n  10.20.8.%s/24\n }\n%s\n}\n", name, last, last, more)
}

// says returns what is said of the first line with a keyword: what it became, or
// LEFT and why.
func says(res *Result, keyword string) string {
	for _, l := range res.Lines {
		for _, o := range l.Outcomes {
			switch {
			case o.Keyword != keyword:
			case o.Left != "":
				return "LEFT " + o.Left
			default:
				return o.Became
			}
		}
	}
	return ""
}

// key returns the value of a key of the only service; empty: it is not there.
func key(res *Result, name string) string {
	for line := range strings.Lines(string(res.YAML)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && k == name {
			return v
		}
	}
	return ""
}

// Every keyword of 2.2.7 has something said of it that was written for it.
func TestEveryKeywordIsKnown(t *testing.T) {
	b, err := os.ReadFile("testdata/keywords.txt")
	if err != nil {
		t.Fatal(err)
	}
	around := map[string]string{
		"authentication":     "vrrp_instance i {\n interface eth0\n virtual_ipaddress {\n  10.0.0.1/8\n }\n authentication {\n%s\n }\n}",
		"vrrp_instance":      "vrrp_instance i {\n interface eth0\n virtual_ipaddress {\n  10.0.0.1/8\n }\n%s\n}",
		"vrrp_sync_group":    "vrrp_sync_group g {\n group {\n  i\n }\n%s\n}\n" + anInstance("i", "1", ""),
		"vrrp_script":        "vrrp_script s {\n script /bin/true\n%s\n}\n" + anInstance("i", "1", "track_script {\n  s\n }"),
		"vrrp_track_process": "vrrp_track_process p {\n process mysqld\n%s\n}\n" + anInstance("i", "1", "track_process {\n  p\n }"),
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		block, words, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.HasPrefix(block, "#") {
			continue
		}
		if got := says(convert(t, block+" x {\n}", Options{}), block); got == "" || strings.Contains(got, unknown) {
			if block != "authentication" { // which is in vrrp_instance
				t.Errorf("%s: %q", block, got)
			}
		}
		for keyword := range strings.FieldsSeq(words) {
			n++
			text := around[block]
			if text == "" {
				text = block + " {\n%s\n}\n"
			}
			for _, line := range []string{keyword, keyword + " 1", keyword + " {\n}"} {
				for _, keep := range []bool{false, true} {
					res := convert(t, fmt.Sprintf(text, line), Options{KeepVRRP: keep})
					if got := says(res, keyword); got == "" || strings.Contains(got, unknown) || strings.Contains(got, unknownBlock) {
						t.Errorf("%s: %s: %q", block, line, got)
					}
				}
			}
		}
	}
	if n < 220 {
		t.Errorf("%d keywords, want all of them", n)
	}
}

// Priority and pre-emption are what keepalived does with the lines, not what they
// seem to say.
func TestRank(t *testing.T) {
	for name, tc := range map[string]struct{ global, lines, priority, preempt, delay, left string }{
		"nothing said":                {"", "", "100", "true", "", ""},
		"master without priority":     {"", "state MASTER", "254", "true", "", ""},
		"backup without priority":     {"", "state BACKUP", "100", "true", "", ""},
		"master with priority":        {"", "state MASTER\npriority 150", "150", "true", "", ""},
		"owner":                       {"", "priority 255", "254", "true", "", ""},
		"no priority":                 {"", "priority x\nstate MASTER", "100", "true", "", "priority"},
		"twice":                       {"", "priority 1\npriority 2", "2", "true", "", ""},
		"nopreempt":                   {"", "nopreempt", "100", "false", "", ""},
		"nopreempt, preempt":          {"", "nopreempt\npreempt", "100", "true", "", ""},
		"nopreempt as master":         {"", "nopreempt\nstate MASTER\npriority 9", "9", "true", "", "nopreempt"},
		"nopreempt as owner":          {"", "nopreempt\npriority 255", "254", "true", "", "nopreempt"},
		"nopreempt as strict master":  {"vrrp_strict", "nopreempt\nstate MASTER\npriority 9", "9", "false", "", ""},
		"delay":                       {"", "preempt_delay 1.5", "100", "true", "1.5s", ""},
		"delay, not pre-empting":      {"", "preempt_delay 5\nnopreempt", "100", "false", "", ""},
		"delay as master":             {"", "preempt_delay 5\nstate MASTER\npriority 9", "9", "true", "", "preempt_delay"},
		"delay under strict":          {"vrrp_strict on", "preempt_delay 5", "100", "true", "", "preempt_delay"},
		"delay under strict, lenient": {"vrrp_strict", "preempt_delay 5\nstrict_mode off", "100", "true", "5s", ""},
		"no delay":                    {"", "preempt_delay 0", "100", "true", "", ""},
		"too much delay":              {"", "preempt_delay 1001", "100", "true", "", "preempt_delay"},
	} {
		t.Run(name, func(t *testing.T) {
			res := convert(t, "global_defs {\n"+tc.global+"\n}\n"+anInstance("i", "7", tc.lines), Options{})
			if got := [3]string{key(res, "priority"), key(res, "preempt"), key(res, "preempt_delay")}; got != [3]string{tc.priority, tc.preempt, tc.delay} {
				t.Errorf("priority, preempt, preempt_delay are %q, want %q, %q, %q", got, tc.priority, tc.preempt, tc.delay)
			}
			for _, keyword := range []string{"priority", "nopreempt", "preempt_delay"} {
				if left := strings.HasPrefix(says(res, keyword), "LEFT"); left != (keyword == tc.left) {
					t.Errorf("%s: %q", keyword, says(res, keyword))
				}
			}
		})
	}
}

// When checks only lower the priority, keepalived never takes the addresses away
// from everybody.
func TestLastStanding(t *testing.T) {
	const scripts = "vrrp_script a {\n script /bin/true\n weight -5\n}\nvrrp_script b {\n script /bin/true\n}\n"
	for tracks, want := range map[string]string{
		"":                        "",
		"a":                       "keep",
		"b":                       "",
		"a\nb":                    "",
		"b weight 7":              "keep",
		"a weight 0":              "",
		"a\nb weight 7":           "keep",
		"a\nb weight 7 reverse":   "keep",
		"a weight 7 reverse\nb":   "",
		"a weight x":              "keep",
		"a\nthere_is_none":        "keep",
		"a weight -5 noreverse":   "keep",
		"a weight -5\na weight 0": "keep",
	} {
		res := convert(t, scripts+anInstance("i", "7", "track_script {\n"+tracks+"\n}"), Options{})
		if got := key(res, "last_standing"); got != want {
			t.Errorf("track_script { %s }: last_standing %q, want %q", tracks, got, want)
		}
	}
}

func TestServiceNames(t *testing.T) {
	long := strings.Repeat("x", 70)
	for name, want := range map[string]string{
		"VI_1": "VI_1", `"a b"`: "a-b", "ä/b": `"---b"`, "..": "service", "null": `"null"`, "1": `"1"`, "-": `"-"`, long: long[:63],
	} {
		res := convert(t, anInstance(name, "7", ""), Options{})
		if !strings.Contains(string(res.YAML), "\n  "+want+":\n") {
			t.Errorf("%s became\n%s\nwant %s", name, res.YAML, want)
		}
	}
	res := convert(t, anInstance("a:b", "1", "")+anInstance("a+b", "2", "")+anInstance("a-b-2", "3", ""), Options{})
	for _, want := range []string{"\n  a-b:\n", "\n  a-b-2:\n", "\n  a-b-2-2:\n"} {
		if !strings.Contains(string(res.YAML), want) {
			t.Errorf("no %q in\n%s", want, res.YAML)
		}
	}
}

// The vrrp section has what keepalived would put on the wire.
func TestSection(t *testing.T) {
	for name, tc := range map[string]struct{ lines, key, want string }{
		"a tenth, version 2":      {"advert_int 0.1", "advert_interval", "1s"},
		"1.4 s, version 2":        {"advert_int 1.4", "advert_interval", "1s"},
		"1.5 s, version 2":        {"advert_int 1.5", "advert_interval", "2s"},
		"a tenth, version 3":      {"advert_int 0.1\nversion 3", "advert_interval", "100ms"},
		"41 s, version 3":         {"advert_int 41\nversion 3", "advert_interval", "40.95s"},
		"owner":                   {"state MASTER", "priority", "254"}, // the service's comes first
		"password":                {"authentication {\nauth_type PASS\nauth_pass a\n}", "auth", "{type: PASS, password_file: i.vrrp-password}"},
		"password, version 3":     {"version 3\nauthentication {\nauth_type PASS\nauth_pass a\n}", "auth", ""},
		"password, strict":        {"strict_mode\nauthentication {\nauth_type PASS\nauth_pass a\n}", "auth", ""},
		"password without type":   {"authentication {\nauth_pass a\n}", "auth", ""},
		"type without password":   {"authentication {\nauth_type AH\n}", "auth", ""},
		"peers":                   {"unicast_peer {\n10.0.0.2\n10.0.0.3\n}", "unicast", `{peers: ["10.0.0.2", "10.0.0.3"]}`},
		"a peer of another kind":  {"unicast_peer {\nfd00::1\n10.0.0.3\n}", "unicast", `{peers: ["10.0.0.3"]}`},
		"unicast without peers":   {"unicast_src_ip 10.0.0.1", "multicast", `{source: "10.0.0.1"}`},
		"another group":           {"mcast_dst_ip 224.0.0.99", "multicast", `{group: "224.0.0.99"}`},
		"checksum":                {"version 3\nv3_checksum_as_v2", "checksum", "rfc9568"},
		"checksum, version 2":     {"v3_checksum_as_v2", "checksum", ""},
		"excluded":                {"virtual_ipaddress_excluded {\n10.0.0.9/32\nfd00::9/64\n}", "excluded", `["10.0.0.9", "fd00::9"]`},
		"virtual MAC":             {"use_vmac", "use_vmac", "true"},
		"three adverts":           {"down_timer_adverts 5", "down_timer_adverts", "5"},
		"silent to lower":         {"lower_prio_no_advert", "lower_prio_no_advert", "true"},
		"strict":                  {"strict_mode\nlower_prio_no_advert off\ndown_timer_adverts 5", "lower_prio_no_advert", "true"},
		"version 2 of IPv4":       {"version 2", "version", "2"},
		"an unknown version of 4": {"version 4", "version", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			res := convert(t, anInstance("i", "7", tc.lines), Options{KeepVRRP: true})
			if got := key(res, tc.key); got != tc.want {
				t.Errorf("%s is %q, want %q in\n%s", tc.key, got, tc.want, res.YAML)
			}
		})
	}
}

// Where the section would be another router than keepalived's, or one that is
// refused, there is none; every line of it says why, and a note what that asks for.
func TestNoSection(t *testing.T) {
	const ip = "virtual_ipaddress {\n10.20.8.188/24\n}\n"
	instance := func(name, text string) string {
		return "vrrp_instance " + name + " {\n interface eth0\n virtual_router_id 7\n" + text + "\n}\n"
	}
	for name, tc := range map[string]struct{ text, why string }{
		"an address left out":   {instance("i", "virtual_ipaddress {\n10.20.8.188/24\n10.20.8.189/24 peer 10.0.0.1\n}"), "an address that keepalived advertises was left out"},
		"one address twice":     {instance("i", "virtual_ipaddress {\n10.20.8.188/24\n10.20.8.188/32\n}"), "an address that keepalived advertises was left out"},
		"none left to tell":     {instance("i", "virtual_ipaddress {\n10.20.8.255/24\n}\nvirtual_ipaddress_excluded {\n10.20.8.188/24\n}"), "none of the addresses that keepalived advertises"},
		"two interfaces":        {instance("i", "virtual_ipaddress {\n10.20.8.188/24 dev eth1\n}"), "keepalived's adverts go over another interface than the addresses are on"},
		"a peer that moves":     {instance("i", ip+"unicast_peer {\n10.20.8.188\n}"), "10.20.8.188 is one of the addresses that move"},
		"a peer in disguise":    {instance("i", "virtual_ipaddress {\nfd00::1/64\n}\nunicast_peer {\n::ffff:10.20.8.27\n}"), "::ffff:10.20.8.27 is an IPv4 address in IPv6's clothes"},
		"a source that moves":   {instance("i", ip+"mcast_src_ip 10.20.8.188"), "10.20.8.188 is one of the addresses that move"},
		"an excluded source":    {instance("i", ip+"virtual_ipaddress_excluded {\n10.20.8.189/24\n}\nmcast_src_ip 10.20.8.189"), "10.20.8.189 is one of the addresses that move"},
		"a source of no family": {instance("i", ip+"unicast_src_ip fd00::1"), "source (fd00::1) is IPv6 and the VIPs are IPv4"},
		"a group of nobody":     {instance("i", ip+"mcast_dst_ip 10.20.8.27"), "group (10.20.8.27) is no IPv4 multicast group"},
		"a peer twice":          {instance("i", ip+"unicast_peer {\n10.20.8.27\n10.20.8.27\n}"), "peer 10.20.8.27 is there twice"},
		"one router, two of it": {instance("h", "virtual_ipaddress {\n10.20.8.187/24\n}") + instance("i", ip), "virtual_router_id 7 on this interface is services.h already"},
	} {
		t.Run(name, func(t *testing.T) {
			res := convert(t, tc.text, Options{KeepVRRP: true})
			_, service, _ := strings.Cut(string(res.YAML), "\n  i:\n")
			if service == "" || strings.Contains(service, "vrrp:") || res.Mapped() {
				t.Errorf("everything mapped %t, got\n%s", res.Mapped(), res.YAML)
			}
			if text := fmt.Sprintf("%+v", res.Lines); !strings.Contains(text, "no vrrp section came of it: "+tc.why) {
				t.Errorf("no word of %q in %s", tc.why, text)
			}
			if notes := strings.Join(res.Notes, "\n"); !strings.Contains(notes, "a service without a vrrp section takes no notice of a keepalived") {
				t.Errorf("notes: %s", notes)
			}
		})
	}
}

// What a section has no room for is left out of it, and told.
func TestSectionWithout(t *testing.T) {
	const peers = "unicast_peer {\n10.0.0.2\n}\n"
	for name, tc := range map[string]struct{ lines, not, said string }{
		"a virtual MAC and peers": {peers + "use_vmac", "use_vmac", "for multicast only"},
		"a TTL of 0":              {peers + "unicast_ttl 0", "ttl", "Leasehold sends 255"},
		"an owner's delay":        {"state BACKUP\npriority 255\npreempt_delay 5", "      preempt_delay", ""},
		"last standing":           {"track_process {\np weight 5\n}", "last_standing", "leaves the addresses to a keepalived peer"},
	} {
		t.Run(name, func(t *testing.T) {
			res := convert(t, "vrrp_track_process p {\nprocess mysqld\n}\n"+anInstance("i", "7", tc.lines), Options{KeepVRRP: true})
			if text := string(res.YAML); !strings.Contains(text, "vrrp:") || strings.Contains(text, tc.not) {
				t.Errorf("want no %q in\n%s", tc.not, text)
			}
			if got := fmt.Sprintf("%+v", res.Lines); !strings.Contains(got, tc.said) || res.Mapped() != (tc.said == "") {
				t.Errorf("no word of %q in %s", tc.said, got)
			}
		})
	}
}

func TestPasswordIsCut(t *testing.T) {
	for pass, want := range map[string]string{"short": "short", "12345678": "12345678", "123456789": "12345678", `"a b"`: "a b"} {
		res := convert(t, anInstance("i", "7", "authentication {\nauth_type AH\nauth_pass "+pass+"\n}"), Options{KeepVRRP: true, SecretsDir: "/s"})
		if len(res.Secrets) != 1 || res.Secrets[0].Path != "/s/i.vrrp-password" || res.Secrets[0].Secret.Reveal() != want {
			t.Errorf("auth_pass %s: %+v", pass, res.Secrets)
		}
	}
}

// A password on a line of its own is a mistake that keepalived ignores, and still
// a password.
func TestLoosePasswordIsHidden(t *testing.T) {
	res := convert(t, anInstance("i", "7", "authentication {\nauth_type PASS\nauth_pass\ns3cr3t\n}"), Options{KeepVRRP: true})
	if text := fmt.Sprintf("%+v", res.Lines); strings.Contains(text, "s3cr3t") || !strings.Contains(text, "(hidden)") {
		t.Error(text)
	}
}

// A password in a command cannot be kept out of the configuration, and is told of.
func TestPasswordInCommand(t *testing.T) {
	for command, want := range map[string]bool{
		"/usr/bin/mysql -uroot -ps3cr3t -e 'select 1'": true, "/usr/bin/mysqladmin --password=s3cr3t ping": true,
		"/usr/bin/mysql -p -e 'select 1'": false, "/usr/bin/mysql --defaults-file=/etc/mysql/debian.cnf -P 3306": false,
	} {
		res := convert(t, "vrrp_script s {\n script \""+command+"\"\n}\n"+anInstance("i", "7", "track_script {\n s\n }"), Options{})
		if notes := strings.Join(res.Notes, "\n"); strings.Contains(notes, "have a password in it") != want || strings.Contains(notes+fmt.Sprint(res.Lines), "s3cr3t") {
			t.Errorf("%s: %s", command, notes)
		}
	}
}

func TestAddresses(t *testing.T) {
	for line, want := range map[string]string{
		"10.20.8.188":                          "10.20.8.188/32 dev eth0",
		"10.20.8.188/24":                       "10.20.8.188/24 dev eth0",
		"10.20.8.188/24 dev eth1":              "10.20.8.188/24 dev eth1",
		"10.20.8.188/24 brd + scope link":      "10.20.8.188/24 dev eth0 scope link brd 10.20.8.255",
		"10.20.8.188/24 broadcast 10.20.8.255": "10.20.8.188/24 dev eth0 brd 10.20.8.255",
		"10.20.8.188/24 label eth0:1 no_track": "10.20.8.188/24 dev eth0 label eth0:1",
		"fd00::188/64 -nodad":                  "fd00::188/64 dev eth0",
		// Without what there is no word for, which is told.
		"10.20.8.188/24 label other":   "LEFT 10.20.8.188/24 dev eth0",
		"10.20.8.188/24 brd -":         "LEFT 10.20.8.188/24 dev eth0",
		"10.20.8.188/24 home":          "LEFT 10.20.8.188/24 dev eth0",
		"10.20.8.188/24 foo":           "LEFT 10.20.8.188/24 dev eth0",
		"fd00::188/64 scope link":      "LEFT fd00::188/64 dev eth0",
		"10.20.8.188/24 preferred_lft": "LEFT",
		// Not at all.
		"10.20.8.188/33":                "LEFT",
		"fe80::1%eth0/64":               "LEFT",
		"10.20.8.188/0":                 "LEFT",
		"10.20.8.255/24":                "LEFT",
		"224.0.0.18/24":                 "LEFT",
		"10.20.8.188/24 dev":            "LEFT",
		"10.20.8.188/24 dev a/b":        "LEFT",
		"10.20.8.188/24 dev \"a b\"":    "LEFT",
		"10.20.8.188/24 dev \"\"":       "LEFT",
		"10.20.8.188/24 dev \xff":       "LEFT",
		"10.20.8.188/24 dev eth0:1":     "LEFT",
		"10.20.8.188/24 peer 10.0.0.1":  "LEFT",
		"10.20.8.188/24 scope nowhere1": "LEFT",
		"${_RANDOM 10 20}.0.0.1/24":     "LEFT",
	} {
		t.Run(line, func(t *testing.T) {
			text := fmt.Sprintf("vrrp_instance i {\n interface eth0\n virtual_ipaddress {\n%s\n}\n}\n", line)
			res := convert(t, text, Options{})
			_, vip, _ := strings.Cut(string(res.YAML), "vips:\n      - \"")
			vip, _, _ = strings.Cut(vip, "\"\n")
			want, left := strings.CutPrefix(want, "LEFT")
			if got := vip; got != strings.TrimSpace(want) || left == res.Mapped() {
				t.Errorf("got %q, everything mapped %t: %+v", got, res.Mapped(), res.Lines)
			}
		})
	}
}

// An address is one service's; a second is told of, whoever has it.
func TestAddressOfTwo(t *testing.T) {
	res := convert(t, anInstance("a", "7", "")+anInstance("b", "7", ""), Options{})
	if res.Mapped() || strings.Count(string(res.YAML), "10.20.8.7/24") != 1 || strings.Contains(string(res.YAML), "\n  b:") {
		t.Errorf("got\n%s\n%+v", res.YAML, res.Lines)
	}
}

// What a file may have at most is converted in no time to speak of, and makes no
// more of it than it is.
func TestLargest(t *testing.T) {
	const one = "$ONE= \\\nvrrp_instance ${P}$I { \\\ninterface eth0 \\\nvirtual_ipaddress { \\\n10.${J}.0.1/8 \\\n} \\\ngarp_master_delay $I \\\n}\n$P=a\n$J=0\n"
	for name, text := range map[string]string{
		"instances": one + "~SEQ(J, 0, 15) ~SEQ(I, 1, 230) $ONE",
		"names":     one + "$P=:\n~SEQ(J, 0, 15) ~SEQ(I, 1, 230) $ONE",
		"addresses": "vrrp_instance a {\ninterface eth0\nvirtual_ipaddress {\n~SEQ(I, 1, 70) ~SEQ(J, 1, 250) 10.0.${I}.${J}/16\n}\n}",
		"tracks":    "vrrp_script a { script /bin/true\n}\nvrrp_instance a {\ninterface eth0\n~SEQ(I, 1, 9000) track_script { a }\nvirtual_ipaddress {\n10.0.0.1/8\n}\n}",
		"scripts":   "~SEQ(I, 1, 6000) vrrp_script a$I { script /bin/true }\nvrrp_instance a {\ninterface eth0\ntrack_script {\n~SEQ(I, 1, 6000) a$I\n}\nvirtual_ipaddress {\n10.0.0.1/8\n}\n}",
		"globals":   one + "global_defs {\n~SEQ(I, 1, 4000) vrrp_version 2\n}\n~SEQ(I, 1, 2600) $ONE",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			src, err := read(memory{etc + "keepalived.conf": text}, etc+"keepalived.conf", "db1")
			if err != nil {
				t.Fatal(err)
			}
			res := Convert(src, Options{KeepVRRP: true})
			took := time.Since(start)
			t.Logf("%d statements, %d bytes of YAML, %s", len(src.statements), len(res.YAML), took.Round(time.Millisecond))
			if res.YAML == nil || took > time.Minute {
				t.Errorf("%d bytes of YAML after %s", len(res.YAML), took)
			}
		})
	}
}

func TestBraces(t *testing.T) {
	for pattern, want := range map[string][]string{
		"a":               {"a"},
		"a{b,c}d":         {"abd", "acd"},
		"{a,{b,c}d,}":     {"a", "bd", "cd", ""},
		"{a,b}{c,d}":      {"ac", "ad", "bc", "bd"},
		"a{b":             {"a{b"},
		"conf.d/{x,y/*}*": {"conf.d/x*", "conf.d/y/**"},
	} {
		got, err := braces(pattern)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("braces(%q), %v: %s", pattern, err, diff)
		}
	}
}
