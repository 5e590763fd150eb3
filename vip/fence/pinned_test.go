package fence

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

func TestPinned(t *testing.T) {
	lan(t, 2)
	dir := bpffs(t)
	if _, err := Read(dir, vip4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read() = %v; want fs.ErrNotExist", err)
	}
	ok(t, ShutPinned(dir, vip4))
	if removed, err := Purge(dir); err != nil || removed != nil {
		t.Errorf("Purge() = %v, %v; want nothing", removed, err)
	}
	open(t, Config{Dir: dir, Addr: vip4})
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v; want mode 0700", fi.Mode(), err)
	}
	if _, err := Read(dir, vip6); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read() of another = %v; want fs.ErrNotExist", err)
	}
	ok(t, ShutPinned(dir, vip6))
}

// What is not ours is named and left alone.
func TestForeign(t *testing.T) {
	lan(t, 2)
	other := spec()
	other.Name, other.ValueSize = mapPrefix+"2", 64
	somebodys := spec()
	somebodys.Name = "somebodys"
	for _, c := range []struct {
		name  string
		purge error // what Purge says
		pin   func(t *testing.T, p place)
	}{
		{"map of another version", nil, func(t *testing.T, p place) { pinMap(t, other, p.deadline()) }},
		{"map of somebody", ErrForeign, func(t *testing.T, p place) { pinMap(t, somebodys, p.deadline()) }},
		{"program for a map", ErrForeign, func(t *testing.T, p place) { ok(t, foreignProgram(t).Pin(p.deadline())) }},
		{"program for a link", ErrForeign, func(t *testing.T, p place) { ok(t, foreignProgram(t).Pin(p.side(own(t)[0]))) }},
		{"map for a link", ErrForeign, func(t *testing.T, p place) { pinMap(t, spec(), p.side(own(t)[0])) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := bpffs(t)
			p := placeOf(dir, vip4)
			ok(t, makeDir(string(p)))
			c.pin(t, p)
			before, err := os.ReadDir(string(p))
			ok(t, err)
			_, err = Open(Config{Dir: dir, Addr: vip4, Device: dev})
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), filepath.Join(string(p), before[0].Name())) {
				t.Errorf("Open() = %v; want ErrForeign with the path", err)
			}
			if _, err := os.Lstat(filepath.Join(string(p), before[0].Name())); err != nil {
				t.Errorf("it went: %v", err)
			}
			if _, err := Purge(dir); !errors.Is(err, c.purge) {
				t.Errorf("Purge() = %v; want %v", err, c.purge)
			}
			_, err = os.Lstat(filepath.Join(string(p), before[0].Name()))
			if gone := errors.Is(err, fs.ErrNotExist); gone != (c.purge == nil) {
				t.Errorf("gone after Purge: %t", gone)
			}
		})
	}
}

func pinMap(t testing.TB, s *ebpf.MapSpec, path string) {
	t.Helper()
	m, err := ebpf.NewMap(s)
	ok(t, err)
	ok(t, errors.Join(m.Pin(path), m.Close()))
}

// The other kind's fence, and another namespace's, are not this one's.
func TestForeignKind(t *testing.T) {
	hosts := lan(t, 2)
	for _, k := range []Kind{TCX, Clsact} {
		dir := bpffs(t)
		open(t, Config{Dir: dir, Addr: vip4, Kind: k})
		other := map[Kind]Kind{TCX: Clsact, Clsact: TCX}[k]
		if _, err := Open(Config{Dir: dir, Addr: vip4, Device: dev, Kind: other}); !errors.Is(err, ErrForeign) {
			t.Errorf("Open() of kind %s on %s = %v; want ErrForeign", other, k, err)
		}
		f := open(t, Config{Dir: dir, Addr: vip4}) // takes what is there
		if got := f.State().Kind; got != k {
			t.Errorf("kind %s; want %s", got, k)
		}
		if k == Clsact {
			continue // a filter is looked for by its device: there is none of ours
		}
		hosts[1].do(func() {
			if _, err := Open(Config{Dir: dir, Addr: vip4, Device: dev}); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "another network namespace") {
				t.Errorf("Open() in another namespace = %v; want ErrForeign", err)
			}
		})
	}
}

func TestRefusedDirectory(t *testing.T) {
	lan(t, 2)
	for dir, want := range map[string]string{
		t.TempDir() + "/x":            "is not on a bpffs",
		"":                            "no directory",
		"/proc/self/exe/x":            "not a directory",
		filepath.Dir(bpffs(t)) + "/.": "",
	} {
		f, err := Open(Config{Dir: dir, Addr: vip4, Device: dev})
		if want == "" {
			ok(t, err) // the root of a bpffs will do
			ok(t, f.Close())
			_, err = Purge(dir)
			ok(t, err)
			continue
		}
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open() in %q = %v; want ErrRefused and %q", dir, err, want)
		}
	}
	if _, err := Open(Config{Dir: bpffs(t), Addr: vip4, Device: "lo"}); !errors.Is(err, ErrRefused) {
		t.Errorf("Open() on lo = %v; want ErrRefused", err)
	}
	if _, err := Open(Config{Dir: bpffs(t), Device: dev}); err == nil {
		t.Error("Open() without an address = nil; want an error")
	}
}

// Purge takes all of ours and nothing else.
func TestPurge(t *testing.T) {
	kinds(t, func(t *testing.T, k Kind) {
		hosts := lan(t, 2)
		here, client := hosts[0], hosts[1]
		dir := bpffs(t)
		_, _ = here.try("tc", "qdisc", "del", "dev", "lo", "clsact") // where a test removed the mark
		here.run(t, "tc", "qdisc", "add", "dev", "lo", "clsact")     // not ours
		t.Cleanup(func() { _, _ = here.try("tc", "qdisc", "del", "dev", "lo", "clsact") })
		for _, f := range both(t, dir, k) {
			ok(t, f.Check()) // and stays open: a daemon that runs
		}
		here.addVIP(t)
		here.run(t, "tc", "filter", "add", "dev", "lo", "egress", "prio", "9", "protocol", "ip", "u32", "match", "ip", "dst", "192.0.2.1", "flowid", "1:1")
		l, err := link.AttachTCX(link.TCXOptions{Interface: loopIndex, Program: foreignProgram(t), Attach: ebpf.AttachTCXIngress})
		ok(t, err)
		defer l.Close()
		arp := client.questions(t, vip4, here.mac)[0]
		arp.silent(t)
		removed, err := Purge(dir)
		ok(t, err)
		t.Logf("removed %s", strings.Join(removed, "\n"))
		arp.answered(t)
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory is there: %v", err)
		}
		if info, err := l.Info(); err != nil || info.TCX().Ifindex != loopIndex {
			t.Errorf("a foreign link: %+v, %v; want attached", info, err)
		}
		out := here.run(t, "tc", "filter", "show", "dev", "lo", "egress")
		if !strings.Contains(out, "u32") || strings.Contains(out, "lh_fence") {
			t.Errorf("filters of lo: %s; want the foreign one only", out)
		}
		if out := here.run(t, "tc", "qdisc", "show", "dev", dev); strings.Contains(out, "clsact") {
			t.Errorf("qdiscs of eth0: %s; want no clsact", out)
		}
		for _, s := range own(t) {
			at, err := link.QueryPrograms(link.QueryOptions{Target: s.index, Attach: attachType(s)})
			if err != nil || len(at.Programs) != 0 {
				t.Errorf("programs of eth0: %+v, %v; want none", at, err)
			}
		}
	})
}

// Where the clsact qdisc has filters of others, ours goes first, and theirs stay.
func TestForeignFilters(t *testing.T) {
	hosts := lan(t, 2)
	here, client := hosts[0], hosts[1]
	here.run(t, "tc", "qdisc", "add", "dev", dev, "clsact")
	for _, direction := range []string{"ingress", "egress"} {
		here.run(t, "tc", "filter", "add", "dev", dev, direction, "prio", "2", "protocol", "all", "u32", "match", "u32", "0", "0", "flowid", "1:1")
	}
	f := open(t, Config{Dir: bpffs(t), Addr: vip4, Kind: Clsact})
	here.run(t, "ip", "addr", "add", prefix(vip4), "dev", dev)
	arp := client.questions(t, vip4, here.mac)[0]
	arp.silent(t)
	ok(t, f.Arm(in(time.Hour)))
	arp.answered(t)
	_, err := Purge(f.cfg.Dir)
	ok(t, err)
	for _, direction := range []string{"ingress", "egress"} {
		if out := here.run(t, "tc", "filter", "show", "dev", dev, direction); !strings.Contains(out, "u32") || strings.Contains(out, "lh_fence") {
			t.Errorf("%s: %s; want the foreign filter only", direction, out)
		}
	}
}

// An ingress qdisc is in clsact's place, and has no egress.
func TestIngressQdisc(t *testing.T) {
	hosts := lan(t, 2)
	hosts[0].run(t, "tc", "qdisc", "add", "dev", dev, "ingress")
	_, err := Open(Config{Dir: bpffs(t), Addr: vip4, Device: dev, Kind: Clsact})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "ingress qdisc") {
		t.Errorf("Open() = %v; want ErrRefused that names the ingress qdisc", err)
	}
}

func TestWhy(t *testing.T) {
	all := "4294967295"
	for want, c := range map[string][3]string{
		"missing CAP_BPF and CAP_NET_ADMIN": {"0", "0", all},
		"missing CAP_BPF:":                  {"1000", "0", all},
		"missing CAP_NET_ADMIN":             {"8000000000", "0", all},
		"user namespace":                    {"1ffffffffff", "0", "1"},
		"seccomp":                           {"1ffffffffff", "2", all},
		"security module":                   {"1ffffffffff", "0", all},
		"shows no capabilities":             {"x", "0", all},
	} {
		if got := why("Name:\tx\nCapEff:\t"+c[0]+"\nSeccomp:\t"+c[1]+"\n", "         0          0 "+c[2]+"\n"); !strings.Contains(got, want) {
			t.Errorf("%v: %s; want %q", c, got, want)
		}
	}
}

func TestExplain(t *testing.T) {
	for errno, want := range map[error]string{
		unix.EPERM:           "",
		unix.ENOSYS:          "no bpf(2)",
		unix.EINVAL:          "needs Linux 5.8",
		ebpf.ErrNotSupported: "needs Linux 5.8",
		unix.ENOMEM:          "LimitMEMLOCK",
	} {
		if err := explain(errno, "x"); !errors.Is(err, ErrRefused) || !errors.Is(err, errno) || !strings.Contains(err.Error(), want) {
			t.Errorf("explain(%v) = %v; want ErrRefused and %q", errno, err, want)
		}
	}
	if err := explain(unix.ENOSPC, "x"); errors.Is(err, ErrRefused) {
		t.Errorf("explain(ENOSPC) = %v; want it plain", err)
	}
}
