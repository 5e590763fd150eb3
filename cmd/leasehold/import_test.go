package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	keepalivedconf "leasehold/internal/keepalived"
)

// keepalivedSamples are the configurations that package keepalived is tested on.
func keepalivedSamples(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../internal/keepalived/testdata/*.conf")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d samples (%v), want 15 at least", len(files), err)
	}
	return files
}

// What import writes is a configuration that the daemon loads, with the routers
// that are in it, and their passwords.
func TestImportIsLoaded(t *testing.T) {
	routers := 0
	for _, file := range keepalivedSamples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			isLoaded(t, file)
			routers += isLoaded(t, file, "--vrrp", "keep", "--secrets", filepath.Join(t.TempDir(), "secrets"))
		})
	}
	if routers < 15 {
		t.Errorf("%d routers came of all samples, want 15 at least", routers)
	}
}

// isLoaded imports a sample, and returns how many routers the daemon would run.
func isLoaded(t *testing.T, file string, flags ...string) (routers int) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "leasehold.yaml")
	code, stdout, stderr := leasehold(t, append([]string{"import", "-i", "db1", "--node", "db20-024", "-o", out, file}, flags...)...)
	if code != exitFine && code != exitUnmapped || stdout != "" {
		t.Fatalf("exit code %d, stdout %q, stderr:\n%s", code, stdout, stderr)
	}
	if (code == exitUnmapped) != strings.Contains(stderr, "left out:\n") {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
	if strings.HasSuffix(file, "lvs-only.conf") {
		if _, err := os.Stat(out); !os.IsNotExist(err) || code != exitUnmapped {
			t.Errorf("a configuration was written (%v), exit code %d", err, code)
		}
		return 0
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(out, os.Hostname)
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if cfg.Node != "db20-024" || len(cfg.Services) == 0 {
		t.Errorf("node %s, services %v", cfg.Node, cfg.serviceNames())
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.VRRP == nil {
			continue
		}
		routers++
		if c, problems := s.router(out, os.Getenv); len(problems) > 0 || c.Validate() != nil {
			t.Errorf("%s: %v, %v", s.Name, problems, c.Validate())
		}
	}
	if want := strings.Count(string(b), "\n    vrrp:\n"); routers != want || len(flags) == 0 && routers > 0 {
		t.Errorf("%d routers, want %d", routers, want)
	}
	return routers
}

// In what is printed, every line that is told stands in exactly one of the two
// lists.
func TestImportTellsEachLineInOneList(t *testing.T) {
	row := regexp.MustCompile(`^  (\S+?):(\d+)(?:-(\d+))?: `)
	for _, file := range keepalivedSamples(t) {
		src, err := keepalivedconf.Read(file, "db1")
		if err != nil {
			t.Fatal(err)
		}
		res := keepalivedconf.Convert(src, keepalivedconf.Options{})
		var b strings.Builder
		importReport{src: src, res: res}.write(&b)
		list, in := "", map[string]map[string]bool{} // the lists that a line is in
		for text := range strings.Lines(b.String()) {
			if !strings.HasPrefix(text, " ") {
				list = strings.TrimSpace(text)
			}
			m := row.FindStringSubmatch(text)
			if m == nil {
				continue
			}
			from, _ := strconv.Atoi(m[2])
			to, _ := strconv.Atoi(m[3])
			for n := from; n <= max(from, to); n++ {
				at := m[1] + ":" + strconv.Itoa(n)
				if in[at] == nil {
					in[at] = map[string]bool{}
				}
				in[at][list] = true
			}
		}
		for _, l := range res.Lines {
			want := "left out:"
			if l.Mapped() {
				want = "taken over, or not needed:"
			}
			if got := in[l.Pos.String()]; l.Pos.Line > 0 && (len(got) != 1 || !got[want]) {
				t.Errorf("%s is in %v, want it in %q", l.Pos, got, want)
			}
		}
	}
}

// The operator's hosts, as in the acceptance table: one service, the VIP with its
// label, the check each second.
func TestImportOperator(t *testing.T) {
	for sample, priority := range map[string]int{"operator-master.conf": 150, "operator-backup.conf": 100} {
		out := filepath.Join(t.TempDir(), "leasehold.yaml")
		code, _, stderr := leasehold(t, "import", "--node", "n", "-o", out, "../../internal/keepalived/testdata/"+sample,
			"--etcd", "http://10.20.8.50:2379,10.20.8.27:2379", "--etcd", "10.20.8.28:2379")
		if code != exitFine {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		cfg, err := LoadConfig(out, os.Hostname)
		if err != nil {
			t.Fatal(err)
		}
		s := cfg.Services[0]
		if s.Name != "VI_1" || s.Priority != priority || !s.Preempt || len(s.VIPs) != 1 || s.VIPs[0].Spec.String() != "10.20.8.188/24 dev eth0 label eth0:1" {
			t.Errorf("%s: %+v", sample, s)
		}
		if len(s.Checks) != 1 || s.Checks[0].Health.Exec == nil || s.Checks[0].Health.Interval.String() != "1s" || s.Checks[0].Health.Fall != 1 {
			t.Errorf("%s: checks %+v", sample, s.Checks)
		}
		if len(cfg.Etcd.Endpoints) != 3 {
			t.Errorf("%s: endpoints %v", sample, cfg.Etcd.Endpoints)
		}
		if strings.Contains(stderr, "g7Kd92xa") || !strings.Contains(stderr, "stop it on every host") || strings.Contains(stderr, "to be filled in") {
			t.Errorf("stderr:\n%s", stderr)
		}
	}
}

// With --vrrp keep the section is the one of the design, and the passwords are
// nowhere but in files for root.
func TestImportKeepsVRRP(t *testing.T) {
	dir := t.TempDir()
	secrets := filepath.Join(dir, "secrets")
	code, stdout, stderr := leasehold(t, "import", "--vrrp", "keep", "--secrets", secrets, "../../internal/keepalived/testdata/operator-master.conf")
	if code != exitFine {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	file := filepath.Join(secrets, "VI_1.vrrp-password")
	want := "    vrrp:\n      router_id: 51\n      version: 2\n      interface: eth0\n      advert_interval: 1s\n      priority: 150\n" +
		"      auth: {type: PASS, password_file: " + file + "}\n"
	if !strings.Contains(stdout, want) {
		t.Errorf("got\n%s\nwant\n%s", stdout, want)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := (SecretFile{Path: file}).Read(os.Getenv); err != nil || got.Reveal() != "g7Kd92xa" || info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %04o and %q (%v)", file, info.Mode().Perm(), got.Reveal(), err)
	}
	if !strings.Contains(stderr, "type chgrp -R leasehold "+secrets+" && chmod 750 "+secrets+" && ") {
		t.Errorf("no word on who may read the passwords:\n%s", stderr)
	}
	if strings.Contains(stdout+stderr, "g7Kd92xa") {
		t.Errorf("the password is shown:\n%s%s", stdout, stderr)
	}
	// A second time nothing is overwritten, and nothing is written.
	out := filepath.Join(dir, "out.yaml")
	code, _, stderr = leasehold(t, "import", "--vrrp", "keep", "--secrets", secrets, "-o", out, "../../internal/keepalived/testdata/operator-master.conf")
	if _, err := os.Stat(out); code != exitRuntime || !strings.Contains(stderr, "is there already, and nothing is overwritten") || !os.IsNotExist(err) {
		t.Errorf("exit code %d, %v: %s", code, err, stderr)
	}
	// Nor is a password left behind when the configuration cannot be written.
	again := filepath.Join(dir, "again")
	code, _, _ = leasehold(t, "import", "--vrrp", "keep", "--secrets", again, "-o", filepath.Join(dir, "none", "out.yaml"), "../../internal/keepalived/testdata/operator-master.conf")
	if left, err := os.ReadDir(again); code != exitRuntime || err != nil || len(left) != 0 {
		t.Errorf("exit code %d, %v, left behind: %v", code, err, left)
	}
}

func TestImportCommandLines(t *testing.T) {
	const minimal, operator = "../../internal/keepalived/testdata/minimal.conf", "../../internal/keepalived/testdata/operator-master.conf"
	taken := writeFile(t, "taken.yaml", "mine", 0o600)
	open := writeFile(t, "keepalived.conf", "vrrp_instance a {\n  priority 100\n", 0o600)
	two := writeFile(t, "two.conf", "vrrp_instance a {\n interface eth0\n virtual_ipaddress {\n 10.20.8.188/24\n }\n}\n@other priority 1\nfoo\n", 0o600)
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"everything":               {[]string{minimal}, 0, "vips:\n      - \"10.20.8.188/24 dev eth0\"", "lines: 4, files: 1; all taken over, or not needed"},
		"no file named":            {nil, 2, "", "import: one file at a time, 0 were named"},
		"two files":                {[]string{minimal, operator}, 2, "", "import: one file at a time, 2 were named"},
		"no such file":             {[]string{minimal + ".none"}, 2, "", "minimal.conf.none: no such file"},
		"a folder":                 {[]string{t.TempDir()}, 2, "", "keepalived passes over what is not a regular file"},
		"a file that is cut off":   {[]string{open}, 2, "", open + ":1: the block that begins here is never closed"},
		"something left out":       {[]string{two}, 3, "services:", two + ":8: foo: no keyword of keepalived 2.2.7"},
		"another id":               {[]string{"-i", "other", two}, 3, "services:", "7-8: priority, foo: no keyword"},
		"what the id is":           {[]string{"-i", "this", two}, 3, "services:", ":7: @other: not needed: for another host, as this is this (-i)"},
		"an endpoint without port": {[]string{"--etcd", "http://a", minimal}, 2, "", `import: --etcd: "http://a" has no port`},
		"an endpoint that is it":   {[]string{"--etcd", "10.20.8.188:2379", minimal}, 2, "", "is a VIP of services.db"},
		"a bad node":               {[]string{"--node", "a b", minimal}, 2, "", `import: --node "a b" has the character ' '`},
		"another word for vrrp":    {[]string{"--vrrp", "kep", minimal}, 2, "", `import: --vrrp "kep" (did you mean "keep"?)`},
		"secrets without vrrp":     {[]string{"--secrets", "x", minimal}, 2, "", "import: --secrets goes with --vrrp keep"},
		"a file that is there":     {[]string{"-o", taken, minimal}, 1, "", taken + " is there already, and nothing is overwritten"},
		"help":                     {[]string{"--help"}, 0, "3 something was left out", ""},
		"complete vrrp":            {[]string{"--vrrp", "keep", "--help"}, 0, "drop (etcd elects)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := leasehold(t, append([]string{"import"}, tc.args...)...)
			if code != tc.code || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s\nwant %q and %q", code, tc.code, stdout, stderr, tc.stdout, tc.stderr)
			}
		})
	}
	if b, err := os.ReadFile(taken); err != nil || string(b) != "mine" {
		t.Errorf("the file that was there has %q (%v)", b, err)
	}
}

// Whatever is in a keepalived.conf: what is written is loaded, and no line is in
// both lists.
func FuzzImport(f *testing.F) {
	for _, file := range keepalivedSamples(f) {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("vrrp_instance null { interface yes\nvirtual_ipaddress { 10.0.0.1/8 label yes:no\n} track_script { a }\n}")
	f.Add("vrrp_script a { script \"/bin/x '? a' .inf << 0o7 1:30 'é'\"\n}\nvrrp_instance 1e5 { interface -\ntrack_script { a\n} virtual_ipaddress { 10.0.0.1/8\n} }")
	file := filepath.Join(f.TempDir(), "keepalived.conf")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") {
			return // it would read this machine's files
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := keepalivedconf.Read(file, "db1")
		if err != nil {
			return
		}
		for _, keep := range []bool{false, true} {
			res := keepalivedconf.Convert(src, keepalivedconf.Options{Node: "n", KeepVRRP: keep})
			if res.YAML == nil || len(res.YAML) > maxConfig {
				return
			}
			if _, err := ParseConfig("leasehold.yaml", res.YAML, os.Hostname); err != nil {
				t.Fatalf("%v\n%s", err, res.YAML)
			}
			seen := map[keepalivedconf.Pos]bool{}
			for _, l := range res.Lines {
				if seen[l.Pos] {
					t.Errorf("%s is told twice", l.Pos)
				}
				seen[l.Pos] = true
			}
		}
	})
}
