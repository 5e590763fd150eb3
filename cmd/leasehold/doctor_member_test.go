package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"leasehold/election"
	"leasehold/internal/member"
)

func TestDoctorMember(t *testing.T) {
	own := func(edit func(*memberFacts)) Finding {
		f := testMembers(t)
		edit(&f)
		return ownFinding(assessOwn(f, assessMembership(f)))
	}
	state := func(s, why string, age time.Duration) func(*memberFacts) {
		return func(f *memberFacts) {
			f.silence(f.node)
			f.process.State, f.process.Why, f.process.Since = s, why, testNow.Add(-age)
		}
	}
	expect(t, own(func(*memberFacts) {}), levelOK, "pid 4711, follower, db20-024 leads, 3 of 3 members answer")
	expect(t, own(func(f *memberFacts) { f.silence(f.node); f.runs, f.process = false, member.State{} }), levelFail, "does not run", "systemctl start")
	expect(t, own(func(f *memberFacts) { f.silence(f.node); f.runs, f.processErr = false, fs.ErrPermission }), levelWarn, "cannot be seen", "sudo")
	expect(t, own(func(f *memberFacts) { f.runs, f.process = false, member.State{} }), levelFail, "another program's")
	expect(t, own(state(member.Waiting, "the data in /x are damaged", time.Hour)), levelFail, "pid 4711, waiting: the data in /x are damaged")
	expect(t, own(state(member.Starting, "", time.Second)), levelOK, "starting")
	expect(t, own(state(member.Starting, "", time.Hour)), levelFail, "starting for too long", "journalctl")
	expect(t, own(func(f *memberFacts) { f.silence(f.node) }), levelFail, "does not answer: dial tcp: connect")
	expect(t, own(func(f *memberFacts) { f.quorumGone() }), levelFail, "knows of no leader", "majority")
	expect(t, own(func(f *memberFacts) { f.list[1].Learner = true }), levelWarn, "no vote")

	cluster := func(edit func(*memberFacts)) []Finding {
		f := testMembers(t)
		edit(&f)
		return clusterFindings(f, assessMembership(f))
	}
	got := cluster(func(*memberFacts) {})
	if len(got) != 2 {
		t.Fatalf("all well: %v", got)
	}
	expect(t, got[0], levelOK, "its database has 1.2 MB of 256 MB")
	expect(t, got[1], levelOK, "name the same 3 members")
	expect(t, cluster(func(f *memberFacts) { f.fresh("witness") })[1], levelWarn, "witness was added and is not started yet", "on 10.20.8.28")
	expect(t, cluster(func(f *memberFacts) { f.alarm(f.list[0].ID, "NOSPACE") })[0], levelFail, "alarm NOSPACE of db20-024", "quota_mb")
	expect(t, cluster(func(f *memberFacts) { f.alarm(f.list[2].ID, "CORRUPT") })[1], levelFail, "alarm CORRUPT of witness", "leasehold member replace witness")
	expect(t, cluster(func(f *memberFacts) { f.list[2].Name = "etcd3" })[1], levelFail, "is etcd3 in the cluster", "write the same name")
	expect(t, cluster(func(f *memberFacts) { f.answers[1].DBSize = 240 << 20 })[0], levelWarn, "240 MB of 256 MB, 391 kB of that in use", "quota_mb")
	version := func(v string) Finding { return cluster(func(f *memberFacts) { f.answers[2].Version = v })[2] }
	expect(t, version("3.7.4"), levelOK, "3.7.3 (db20-024, db20-025), 3.7.4 (witness)")
	expect(t, version("3.6.9"), levelWarn, "3.6.9 (witness)", "same version")
	expect(t, version("3.5.9"), levelFail, "one minor version")

	expect(t, spaceFinding(20<<30, nil), levelOK, "20 GB free, of which it leaves 64 MB")
	expect(t, spaceFinding(100<<20, nil), levelWarn, "100 MB free")
	expect(t, spaceFinding(10<<20, nil), levelFail, "lets its VIP go")
	expect(t, spaceFinding(0, errors.New("free space of /x: EIO")), levelWarn, "EIO")
}

func TestDoctorMemberClocks(t *testing.T) {
	expect(t, clockDifferences(nil), levelOK, "no other member tells its time")
	expect(t, clockDifferences(map[string]time.Duration{"a": 300 * time.Millisecond, "b": -200 * time.Millisecond}), levelOK, "the clocks of a, b agree")
	expect(t, clockDifferences(map[string]time.Duration{"a": 3 * time.Second, "b": -20 * time.Second}), levelOK, "the clock of b is 20s behind this host's")
	expect(t, clockDifferences(map[string]time.Duration{"a": 61 * time.Second}), levelFail, "the clock of a is 1m01s ahead of this host's", "chronyc")

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))
	}))
	defer server.Close()
	d, err := askClock(t.Context(), server.Client(), &election.Endpoint{URL: server.URL})
	if off := d - 90*time.Second; err != nil || off.Abs() > 5*time.Second { // half a second, and a machine that is busy
		t.Errorf("got %s, %v", d, err)
	}
}

func TestDoctorMemberDir(t *testing.T) {
	id := func(n uint32) *uint32 { return &n }
	good := memberDir{path: "/d", dir: true, uid: 7, mode: 0o700, kind: "ext4", process: id(7)}
	for name, tc := range map[string]struct {
		edit  func(*memberDir)
		level Level
		words []string
	}{
		"good":              {func(*memberDir) {}, levelOK, []string{"/d is on ext4"}},
		"of root's":         {func(d *memberDir) { d.process = id(0) }, levelOK, nil},
		"no process":        {func(d *memberDir) { d.process = nil }, levelOK, nil},
		"not there":         {func(d *memberDir) { d.err = fs.ErrNotExist }, levelOK, []string{"not there yet"}},
		"not to be seen":    {func(d *memberDir) { d.err = fs.ErrPermission }, levelWarn, []string{"sudo"}},
		"broken":            {func(d *memberDir) { d.err = errors.New("EIO") }, levelFail, []string{"EIO", "dir"}},
		"a file":            {func(d *memberDir) { d.dir = false }, levelFail, []string{"not a directory"}},
		"read-only":         {func(d *memberDir) { d.readOnly = true }, levelFail, []string{"read-only", "dmesg"}},
		"another user's":    {func(d *memberDir) { d.uid = 0 }, levelFail, []string{"belongs to user 0, and the member runs as user 7", "chown -R 7 /d"}},
		"mode":              {func(d *memberDir) { d.mode = 0o500 }, levelFail, []string{"mode 0500", "chmod 700 /d"}},
		"a file of root's":  {func(d *memberDir) { d.foreign = "/d/member/wal" }, levelFail, []string{"/d/member/wal", "by hand", "chown -R 7 /d"}},
		"tmpfs":             {func(d *memberDir) { d.kind = "tmpfs" }, levelWarn, []string{"a reboot takes the data"}},
		"over the network":  {func(d *memberDir) { d.kind = "nfs" }, levelWarn, []string{"is on nfs", "local disk"}},
		"unknown and local": {func(d *memberDir) { d.kind = filesystem(0x1234) }, levelOK, []string{"type 0x1234"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := good
			tc.edit(&d)
			expect(t, memberDirFinding(d), tc.level, tc.words...)
		})
	}
	here := readMemberDir(t.TempDir(), os.Getpid())
	if here.err != nil || !here.dir || here.kind == "" || here.process == nil || int(*here.process) != os.Geteuid() {
		t.Errorf("got %+v", here)
	}
}

// memberCA makes certificates for one test.
type memberCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newMemberCA(t *testing.T, until time.Time) memberCA {
	t.Helper()
	ca := memberCA{key: newKey(t)}
	ca.cert = ca.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: until,
	}, &ca.key.PublicKey)
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (ca memberCA) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	t.Helper()
	parent := ca.cert
	if parent == nil {
		parent = template
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore = testNow.Add(-time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// files writes a certificate of a node with its key, and the CA's.
func (ca memberCA) files(t *testing.T, edit func(*x509.Certificate)) EtcdConfig {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "db20-025"}, NotAfter: testNow.Add(365 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(10, 20, 8, 27), net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	edit(template)
	cert := ca.sign(t, template, &key.PublicKey)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return EtcdConfig{
		CA: write("ca.pem", "CERTIFICATE", ca.cert.Raw), Cert: write("node.pem", "CERTIFICATE", cert.Raw), Key: write("node.key", "EC PRIVATE KEY", der),
	}
}

func TestDoctorMemberCerts(t *testing.T) {
	year := testNow.Add(365 * 24 * time.Hour)
	ca, other, old := newMemberCA(t, year), newMemberCA(t, year), newMemberCA(t, testNow.Add(7*24*time.Hour))
	addr := netip.MustParseAddr("10.20.8.27")
	for name, tc := range map[string]struct {
		ca    memberCA
		edit  func(*x509.Certificate)
		after func(*EtcdConfig)
		level Level
		words []string
	}{
		"good":             {ca: ca, level: levelOK, words: []string{"good until 2027-11-22"}},
		"no own address":   {ca: ca, edit: func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 20, 8, 99)} }, level: levelFail, words: []string{"does not have its address 10.20.8.27 (it has 10.20.8.99)", "leasehold certs"}},
		"client only":      {ca: ca, edit: func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, level: levelFail, words: []string{"server and client authentication"}},
		"server only":      {ca: ca, edit: func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, level: levelFail, words: []string{"server and client authentication"}},
		"another CA's":     {ca: ca, after: func(e *EtcdConfig) { e.CA = other.files(t, func(*x509.Certificate) {}).CA }, level: levelFail, words: []string{"not signed by etcd.tls.ca"}},
		"ran out":          {ca: ca, edit: func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Minute) }, level: levelFail, words: []string{"ran out on 2026-11-22"}},
		"runs out":         {ca: ca, edit: func(c *x509.Certificate) { c.NotAfter = testNow.Add(24 * time.Hour) }, level: levelWarn, words: []string{"certificate of this node runs out on 2026-11-23"}},
		"of tomorrow":      {ca: ca, edit: func(c *x509.Certificate) { c.NotBefore = testNow.Add(24 * time.Hour) }, level: levelFail, words: []string{"good from", "chronyc"}},
		"the CA runs out":  {ca: old, level: levelWarn, words: []string{"the CA test CA runs out on 2026-11-29"}},
		"no file":          {ca: ca, after: func(e *EtcdConfig) { e.Cert += ".none" }, level: levelFail, words: []string{"no such file"}},
		"no CA file":       {ca: ca, after: func(e *EtcdConfig) { e.CA += ".none" }, level: levelFail, words: []string{"ca: open"}},
		"another node key": {ca: ca, after: func(e *EtcdConfig) { e.Key = ca.files(t, func(*x509.Certificate) {}).Key }, level: levelFail, words: []string{"cert and key"}},
	} {
		t.Run(name, func(t *testing.T) {
			edit := tc.edit
			if edit == nil {
				edit = func(*x509.Certificate) {}
			}
			e := tc.ca.files(t, edit)
			if tc.after != nil {
				tc.after(&e)
			}
			got := certFindings(readCerts(e), addr, testNow)
			if len(got) != 1 {
				t.Fatalf("got %v", got)
			}
			expect(t, got[0], tc.level, tc.words...)
		})
	}
	expect(t, certFindings(nodeCerts{err: fs.ErrPermission}, addr, testNow)[0], levelWarn, "sudo")
}
