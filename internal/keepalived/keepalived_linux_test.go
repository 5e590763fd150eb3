package keepalived

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
	"leasehold/vip"
)

// keepalivedPath is where Debian has it.
const keepalivedPath = "/usr/sbin/keepalived"

// complaints are what keepalived -t says of samples that are meant to be
// complained about; of all others it says nothing.
var complaints = map[string]string{
	"conditions.conf":     "preempt delay will not work with initial state MASTER",
	"distribution.conf":   "vrrp_garp_interval '0' is invalid",
	"dual-stack.conf":     "Ignoring track_interface eth0 since own interface",
	"grammar.conf":        "Unknown keyword '@^db2'",
	"misspelt-block.conf": "Unknown keyword 'autentication'",
	"missing-values.conf": "is missing a parameter after keyword `virtual_router_id`",
	"oddities.conf":       `Unknown keyword '\'`,
	"squeezed.conf":       "(VI 1) No VIP specified",
	"sync-group.conf":     "Ignoring track_interface eth1 since own interface",
	"unicast.conf":        "Truncating auth_pass to 8 characters",
	"variables.conf":      "address family must match VRRP instance [fd00:8::a/64]",
}

// ofThisMachine are complaints about what the samples name and this machine has
// not: programs. They say nothing of the grammar.
var ofThisMachine = regexp.MustCompile(`^(Disabling track script|SECURITY VIOLATION|NOTICE|$)`)

// keepalivedHost is a network with the devices that the samples name.
func keepalivedHost(t *testing.T) *lab.Lab {
	t.Helper()
	l := labtest.Start(t, lab.Config{}, lab.NeedsKeepalived)
	for _, dev := range []string{"eth1", "ens192", "bond0", "bond0.20"} {
		for _, args := range [][]string{
			{"link", "add", dev, "type", "veth", "peer", "name", "p" + dev}, {"link", "set", dev, "up"}, {"link", "set", "p" + dev, "up"},
		} {
			if _, err := l.Exec(t.Context(), lab.A, "ip", args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	return l
}

// Debian's keepalived accepts every sample, but for those that are meant to be
// complained about.
func TestKeepalivedAcceptsTheSamples(t *testing.T) {
	l := keepalivedHost(t)
	for _, name := range sampleNames(t) {
		t.Run(name, func(t *testing.T) {
			file, err := filepath.Abs(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			cmd, err := l.Command(t.Context(), lab.A, keepalivedPath, "-t", "-f", file, "-i", "db1")
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.CombinedOutput()
			if exit := (&exec.ExitError{}); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			said := slices.DeleteFunc(strings.Split(string(out), "\n"), ofThisMachine.MatchString)
			want := complaints[name]
			if all := strings.Join(said, "\n"); (want == "") != (all == "") || !strings.Contains(all, want) {
				t.Errorf("keepalived -t said %q (%v), want %q", all, err, want)
			}
		})
	}
}

// What is read here is what keepalived itself reads: addresses, priorities and the
// rest, as it writes them to its log when it starts.
func TestKeepalivedReadsTheSame(t *testing.T) {
	l := keepalivedHost(t)
	for _, name := range sampleNames(t) {
		switch name {
		case "lvs-only.conf", "missing-values.conf": // it starts no VRRP process; one for BFD would mix its log in
			continue
		case "misspelt-block.conf": // here it is read as it is meant
			continue
		}
		t.Run(name, func(t *testing.T) {
			file, err := filepath.Abs(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			theirs := dump(t, l, file)
			src, err := Read(file, "db1")
			if err != nil {
				t.Fatal(err)
			}
			ours := dumpOf(src, theirs)
			if name == "oddities.conf" {
				const drawn = "VRRP Instance drawn Priority" // from 90 to 110
				ours[drawn] = theirs[drawn]
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("-keepalived +ours\n%s", diff)
			}
		})
	}
}

// dump starts keepalived, and returns what it says of its instances and scripts,
// as far as it is compared.
func dump(t *testing.T, l *lab.Lab, file string) map[string]string {
	t.Helper()
	dir, err := l.HostDir(lab.A)
	if err != nil {
		t.Fatal(err)
	}
	tag := strings.TrimSuffix(filepath.Base(file), ".conf")
	p, err := l.Start(lab.A, tag, nil, keepalivedPath, "--dont-fork", "--log-console", "--dump-conf", "--vrrp", "--use-file", file,
		"--config-id", "db1", "--pid", filepath.Join(dir, tag+".pid"), "--vrrp_pid", filepath.Join(dir, tag+".vrrp.pid"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	var text string
	err = lab.Wait(t.Context(), 20*time.Second, "keepalived's configuration in its log", func() (bool, error) {
		b, err := os.ReadFile(p.Log)
		text = string(b)
		return strings.Contains(text, "< Interfaces >"), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return parseDump(text)
}

// parseDump reads "key = value" lines below "VRRP Instance = NAME" and "VRRP Script
// = NAME", and the lists of addresses.
func parseDump(text string) map[string]string {
	stamp := regexp.MustCompile(`^\w+ \w+ +\d+ [\d:]+ \d{4}: `)
	_, text, _ = strings.Cut(text, "< VRRP Topology >------\n")
	text, _, _ = strings.Cut(text, "< Interfaces >")
	got := map[string]string{}
	block, list := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(stamp.ReplaceAllString(line, ""), "\n")
		depth := len(line) - len(strings.TrimLeft(line, " "))
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, " = ")
		switch {
		case depth == 0 && !strings.HasPrefix(line, "------"): // another process's
		case depth == 0, depth == 1 && key != "VRRP Instance" && key != "VRRP Script":
			block = ""
		case depth == 1:
			block = key + " " + value
			got[block] = ""
		case block == "":
		case depth > 3 && list != "":
			if strings.HasPrefix(list, "Virtual IP") {
				line = theirAddress(line)
			} else {
				line += "\n"
			}
			got[block+" "+list] += line
		default:
			list = ""
			if i := slices.IndexFunc(lists, func(l string) bool { return strings.HasPrefix(line, l) }); i >= 0 && !strings.Contains(line, " = ") {
				list = lists[i]
			} else if key == "Command" {
				got[block+" "+key] = program(value)
			} else if slices.Contains(compared, key) {
				got[block+" "+key] = value
			}
		}
	}
	return got
}

// program resolves the links of a command's program, of which keepalived has
// resolved some.
func program(command string) string {
	path, args, _ := strings.Cut(strings.TrimPrefix(command, "'"), "'")
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return "'" + path + "'" + args
}

var (
	lists    = []string{"Virtual IP Excluded", "Virtual IP", "Unicast Peer", "Tracked scripts", "Tracked processes"}
	compared = []string{
		"VRRP Version", "Virtual Router ID", "Priority", "Advert interval", "Preempt", "Preempt delay", "Authentication type",
		"Down timer adverts", "Gratuitous ARP delay", "Gratuitous ARP refresh", "Password", "Interval", "Weight", "Rise", "Fall",
	}
)

// dumpOf writes what was read here as keepalived would. Scripts that it has thrown
// out, because the program is not on this machine, are left out.
func dumpOf(src *Source, theirs map[string]string) map[string]string {
	c := &converter{ledger: ledger{map[*statement][]Outcome{}}}
	c.cfg = decoder{c.ledger}.decode(src)
	got := map[string]string{}
	for _, in := range c.cfg.Instances {
		dumpInstance(c, in, got, theirs)
	}
	for _, sc := range c.cfg.Scripts {
		block := "VRRP Script " + sc.Name
		if _, ok := theirs[block]; !ok {
			continue
		}
		got[block] = ""
		got[block+" Command"] = program("'" + strings.Join(sc.Command.Value, "' '") + "'")
		got[block+" Interval"] = fmt.Sprintf("%d sec", max(sc.Interval.Value, 1))
		got[block+" Weight"] = weightText(sc.Weight.Value, sc.Reverse)
		got[block+" Rise"], got[block+" Fall"] = fmt.Sprint(sc.Rise.Value), fmt.Sprint(sc.Fall.Value)
	}
	return got
}

func dumpInstance(c *converter, in *instance, got, theirs map[string]string) {
	block := "VRRP Instance " + in.Name
	got[block] = ""
	set := func(key, format string, args ...any) { got[block+" "+key] = fmt.Sprintf(format, args...) }
	g, strict := c.cfg.Global, c.strict(in)
	version := c.version(in, &service{})
	set("VRRP Version", "%d", version)
	set("Virtual Router ID", "%d", in.RouterID.Value)
	set("Priority", "%d", in.basePriority())
	interval, _ := in.interval(version)
	set("Advert interval", "%d sec", interval/time.Second)
	if version == 3 {
		set("Advert interval", "%d milli-sec", interval.Milliseconds())
	}
	set("Preempt", "%s", map[bool]string{true: "enabled", false: "disabled"}[in.preempts(strict)])
	if d := in.PreemptDelay.Value; d > 0 && !in.startsAsMaster(strict) && !strict && in.preempts(strict) {
		set("Preempt delay", "%g secs", d.Seconds())
	}
	set("Down timer adverts", "%d", max(pick(in.Timers.Down, g.Timers.Down).Value, 3))
	set("Gratuitous ARP delay", "%d", garpDelay(in, g))
	set("Gratuitous ARP refresh", "%d", pick(in.Garp.Refresh, g.Garp.Refresh).Value)
	auth := &service{}
	c.secrets = nil
	c.password(in, auth, version, strict, func(string, string) {})
	switch {
	case version == 3: // it is not told
	case len(c.secrets) == 0:
		set("Authentication type", "none")
	case in.Auth.Type.Value == "AH":
		set("Authentication type", "IPSEC_AH")
	default:
		set("Authentication type", "SIMPLE_PASSWORD")
		set("Password", "%s", c.secrets[0].Secret.Reveal())
	}
	for _, p := range in.Unicast.Peers {
		got[block+" Unicast Peer"] += p.Value.String() + peerTTL(p.At) + "\n"
	}
	for _, t := range in.Tracks.Scripts {
		if _, ok := theirs["VRRP Script "+t.Name]; ok {
			sc := c.cfg.script(t.Name)
			w, reverse := sc.Weight.Value, sc.Reverse
			if t.Weight.At != nil {
				w, reverse = t.Weight.Value, t.Reverse
			}
			got[block+" Tracked scripts"] += t.Name + " weight " + weightText(w, reverse) + "\n"
		}
	}
	for _, t := range in.Tracks.Processes {
		w := c.cfg.process(t.Name).Weight.Value
		if t.Weight.At != nil {
			w = t.Weight.Value
		}
		got[block+" Tracked processes"] += t.Name + ", weight " + weightText(w, t.Reverse) + "\n"
	}
	for list, all := range map[string][]*statement{"Virtual IP": in.VIPs, "Virtual IP Excluded": in.Excluded} {
		for _, s := range all {
			p, ok := address(s.keyword())
			w, why := cutAddress(s.Words)
			if !ok || why != "" || list == "Virtual IP" && p.Addr().Is6() != (in.family() == 6) {
				continue // keepalived ignores it, or it has another end, which is not compared
			}
			if w.dev == "" || w.dev == in.VMAC.Value {
				w.dev = in.Interface.Value
			}
			got[block+" "+list] += addressText(p, w)
		}
	}
}

// addressText has the words of an address in one order, with + and - for the
// broadcast address worked out.
func addressText(p netip.Prefix, w words) string {
	if w.scope == "" {
		w.scope = "global"
	}
	if w.brd == "+" {
		if spec, err := vip.ParseSpec(p.String() + " dev x brd +"); err == nil {
			w.brd = spec.Broadcast.String()
		}
	}
	if w.brd == "-" {
		w.brd = p.Masked().Addr().String()
	}
	return fmt.Sprintf("%s dev %s scope %s label %s brd %s\n", p, w.dev, w.scope, w.label, w.brd)
}

// theirAddress is the same of a line of keepalived's.
func theirAddress(line string) string {
	fields := strings.Fields(line)
	if slices.Contains(fields, "peer") {
		return ""
	}
	p, _ := address(fields[0])
	w := words{}
	for i := 1; i+1 < len(fields); i++ {
		switch fields[i] {
		case "dev":
			w.dev = fields[i+1][strings.IndexByte(fields[i+1], '@')+1:]
		case "scope":
			w.scope = fields[i+1]
		case "label":
			w.label = fields[i+1]
		case "brd":
			w.brd = fields[i+1]
		}
	}
	return addressText(p, w)
}

func garpDelay(in *instance, g global) int {
	d := pick(in.Garp.Delay, g.Garp.Delay)
	switch {
	case d.At != nil:
		return d.Value
	case g.MinGarp.Value:
		return 0
	}
	return 5
}

func peerTTL(s *statement) string {
	low, high := "0", "255"
	for i, w := range s.Words[:len(s.Words)-1] {
		switch w {
		case "min_ttl":
			low = s.Words[i+1]
		case "max_ttl":
			high = s.Words[i+1]
		}
	}
	return fmt.Sprintf(" min_ttl %s max_ttl %s", low, high)
}

func weightText(w int, reverse bool) string {
	if reverse {
		return fmt.Sprintf("%d reverse", w)
	}
	return fmt.Sprint(w)
}
