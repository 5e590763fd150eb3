package cases

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

const (
	mysqlVIP6 = "fd00:20:8::188"
	reportVIP = "10.20.8.189"
	lateVIP   = "10.30.8.190"
)

// twoServices is a site whose daemons have two services: mysql with an IPv4 and
// an IPv6 VIP and a check, report with one VIP and no check. On host a there is
// a third one, on a device that does not exist.
type twoServices struct {
	*Site
	t      *testing.T
	kernel *lab.KernelWatch
	probes map[string]*lab.Prober // by the VIP
}

// mysqlVIPs are the VIPs that move together.
func (s *twoServices) mysqlVIPs() []string { return []string{s.VIP.Addr().String(), mysqlVIP6} }

func openTwoServices(t *testing.T) *twoServices {
	bin := labtest.Binary(t)
	l := labtest.Start(t, lab.Config{IPv6: true}, lab.NeedsEtcd)
	s := &twoServices{
		Site: &Site{Lab: l, TTL: 3 * time.Second, binary: bin, daemons: map[string]*lab.Process{}},
		t:    t, probes: map[string]*lab.Prober{},
	}
	var err error
	s.Etcd, err = l.StartEtcd(t.Context(), lab.EtcdConfig{Election: Election, ExtraArgs: []string{"--pre-vote"}})
	s.must(err)
	s.Obs, err = l.Observe(hosts()...)
	s.must(err)
	s.probes[l.VIP.Addr().String()] = s.Obs.Prober
	for _, vip := range []string{mysqlVIP6, reportVIP} {
		s.probes[vip], err = l.StartProber(lab.ProberConfig{To: netip.MustParseAddr(vip)})
		s.must(err)
	}
	s.kernel, err = l.WatchKernels(hosts(), netip.MustParseAddr(mysqlVIP6), netip.MustParseAddr(reportVIP))
	s.must(err)
	for _, h := range hosts() {
		s.must(s.configure(h))
		s.must(s.StartDaemon(h))
		s.answered(lab.A) // started first, and alone
	}
	s.eligible(lab.B)
	return s
}

// configure writes a config with two services; mysql's check is a process that
// stands for mysqld.
func (s *twoServices) configure(host string) error {
	mysqld, err := s.Start(host, "mysqld", nil, "sleep", "1h")
	if err != nil {
		return err
	}
	dir, err := s.HostDir(host)
	if err != nil {
		return err
	}
	pidfile := filepath.Join(dir, "mysqld.pid")
	if err := os.WriteFile(pidfile, fmt.Appendln(nil, mysqld.Pid()), 0o600); err != nil {
		return err
	}
	c, err := s.NodeConfig(host, s.Etcd)
	if err != nil {
		return err
	}
	c.TTL = s.TTL
	c.VIPs = append(c.VIPs, mysqlVIP6+"/64 dev eth0")
	c.Checks = []string{fmt.Sprintf("process: {pidfile: %s}", pidfile)}
	c.Extra = fmt.Sprintf("  report:\n    ttl: %s\n    vips: [%s/24 dev eth0]\n", s.TTL, reportVIP)
	if host == lab.A {
		c.Extra += fmt.Sprintf("  late:\n    ttl: %s\n    vips: [%s/24 dev eth9]\n", s.TTL, lateVIP)
	}
	return s.WriteConfig(host, c.YAML())
}

// must ends the test that runs.
func (s *twoServices) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// answered waits until a host answers for VIPs, all of them by default.
func (s *twoServices) answered(host string, vips ...string) {
	s.t.Helper()
	for vip, p := range s.probes {
		if len(vips) == 0 || slices.Contains(vips, vip) {
			if err := p.WaitAnswer(s.t.Context(), host, generous); err != nil {
				s.t.Fatalf("%s: %v", vip, err)
			}
		}
	}
}

// eligible waits until the node of a host could take over both services.
func (s *twoServices) eligible(host string) {
	s.t.Helper()
	for _, service := range []string{"mysql", "report"} {
		s.must(lab.Wait(s.t.Context(), generous, s.node(host)+" eligible for "+service, func() (bool, error) {
			out, err := s.Etcd.Ctl(s.t.Context(), "get", "--print-value-only", "/leasehold/"+service+"/members/"+s.node(host))
			return strings.Contains(out, `"eligible":true`), err
		}))
	}
}

// seen returns what a client saw of a VIP since then.
func (s *twoServices) seen(vip string, from time.Time) lab.Report {
	s.t.Helper()
	to := time.Now()
	s.must(s.quiet(s.t.Context(), 100*time.Millisecond)) // for the answers on their way
	return lab.Summarize(s.probes[vip].Probes(), from, to)
}

// stayed holds that no probe of a VIP was lost since then, and none answered by
// another host.
func (s *twoServices) stayed(vip, host string, from time.Time) {
	s.t.Helper()
	if r := s.seen(vip, from); r.Lost > 0 || r.Path() != host {
		s.t.Errorf("%s: answered by %s, %d of %d lost; want %s and none", vip, r.Path(), r.Lost, r.Sent, host)
	}
}

// switchover hands a service over and returns when the VIPs are answered.
func (s *twoServices) switchover(service, to string, vips ...string) {
	s.t.Helper()
	if out, err := s.Leasehold(s.t.Context(), lab.A, "switchover", service, "--to", s.node(to)); err != nil {
		s.t.Fatalf("switchover: %v: %s", err, out)
	}
	s.answered(to, vips...)
}

// TestServices is one daemon per host with two services, on one site, one part
// after the other.
func TestServices(t *testing.T) {
	s := openTwoServices(t)
	for _, part := range []struct {
		name string
		run  func(*twoServices)
	}{
		{"each has its own lease", leasesApart},
		{"a device that comes later", lateDevice},
		{"all VIPs of one move together", moveTogether},
		{"the daemon stops", daemonOfTwoStopped},
		{"lease revoked", leasesRevoked},
		{"etcd frozen for 1 s", etcdFrozen},
		{"etcd gone for longer than the ttl", etcdGone},
		{"a stranger writes the holder key", strangers},
		{"a host that cannot bind a VIP", cannotBind}, // the last: it is barred for a minute
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			part.run(&twoServices{Site: s.Site, t: t, kernel: s.kernel, probes: s.probes})
		})
		if !ok {
			break // the next begins where this was to end
		}
	}
	if overlap := s.kernel.Overlap() + s.Obs.Kernel.Overlap(); overlap > 0 {
		t.Errorf("two kernels had a VIP for %v: %+v", overlap, s.kernel.Intervals())
	}
	for _, a := range lab.ARPAnswers(s.Obs.Wire.Frames(), s.VIP.Addr()) {
		if a.Dual() {
			t.Errorf("two hosts answered for the VIP: %+v", a)
		}
	}
}

func leasesApart(s *twoServices) {
	seen := map[string]bool{}
	for _, service := range []string{"mysql", "report"} {
		h, err := s.HolderOf(s.t.Context(), service)
		s.must(err)
		out, err := s.Etcd.Ctl(s.t.Context(), "lease", "timetolive", h.Lease, "--keys")
		s.must(err)
		own := []string{"/leasehold/" + service + "/holder", "/leasehold/" + service + "/members/" + s.node(lab.A)}
		if seen[h.Lease] || h.Epoch < 1 || strings.Count(out, "/leasehold/") != 2 || !strings.Contains(out, own[0]) || !strings.Contains(out, own[1]) {
			s.t.Errorf("%s: epoch %d, %swant a lease of its own with %v", service, h.Epoch, out, own)
		}
		seen[h.Lease] = true
	}
}

// lateDevice: the device of a VIP appears after the daemon has started.
func lateDevice(s *twoServices) {
	ctx := s.t.Context()
	out, _ := s.Leasehold(ctx, lab.A, "status", "late") // exit status 3: nobody holds it
	if !strings.Contains(out, "eth9 does not exist") {
		s.t.Errorf("status of a service whose device does not exist:\n%s", out)
	}
	from := time.Now()
	for _, args := range [][]string{
		{"link", "add", "eth9", "type", "veth", "peer", "name", "far9"},
		{"addr", "add", "10.30.8.50/24", "dev", "eth9"},
		{"link", "set", "far9", "up"},
		{"link", "set", "eth9", "up"},
	} {
		_, err := s.Exec(ctx, lab.A, "ip", args...)
		s.must(err)
	}
	s.must(lab.Wait(ctx, generous, "the VIP on eth9", func() (bool, error) {
		out, err := s.Exec(ctx, lab.A, "ip", "-oneline", "addr", "show", "dev", "eth9")
		return strings.Contains(out, lateVIP+"/24"), err
	}))
	s.t.Logf("bound %s after the device was made", short(time.Since(from)))
	// It may be there behind a fence that is shut while somebody may answer a probe.
	s.must(lab.Wait(ctx, generous, "status to find nothing wrong", func() (bool, error) {
		_, err := s.Leasehold(ctx, lab.A, "status", "late")
		return err == nil, err
	}))
	// Gone again, it takes the VIP along and nothing else.
	_, err := s.Exec(ctx, lab.A, "ip", "link", "del", "eth9")
	s.must(err)
	s.must(lab.Wait(ctx, generous, "status to say that eth9 is gone", func() (bool, error) {
		out, _ = s.Leasehold(ctx, lab.A, "status", "late")
		return strings.Contains(out, "eth9 does not exist"), nil
	}))
	for vip := range s.probes {
		s.stayed(vip, lab.A, from)
	}
}
