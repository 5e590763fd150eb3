package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// order is for two nodes, the first as on a host, the second on loopback.
func order(t *testing.T) Order {
	t.Helper()
	return Order{
		Dir: filepath.Join(t.TempDir(), "certs"), Valid: DefaultValid, CAValid: DefaultCAValid,
		Nodes: []Node{
			{"db20-024", []netip.Addr{netip.MustParseAddr("10.20.8.50"), netip.MustParseAddr("fd00::50")}},
			{"witness", []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
		},
	}
}

// carryOut prepares and writes.
func carryOut(t *testing.T, o Order, now time.Time) *Plan {
	t.Helper()
	p, err := Prepare(o, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(); err != nil {
		t.Fatal(err)
	}
	return p
}

// contents returns every file of a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		b := []byte(e.Type().String())
		if e.Type().IsRegular() {
			if b, err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		all[e.Name()] = string(b)
	}
	return all
}

func mustCert(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	cert, err := readCert(filepath.Join(dir, CertFile(name)))
	if err != nil || cert == nil {
		t.Fatalf("certificate of %s: %v, %v", name, cert, err)
	}
	return cert
}

// verifies reports how a certificate is taken by whoever has ca, at both ends.
func verifies(ca, cert *x509.Certificate, name string, at time.Time) error {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return err
		}
	}
	return nil
}

func TestFirstTime(t *testing.T) {
	o, now := order(t), time.Now()
	p := carryOut(t, o, now)
	for name, mode := range map[string]os.FileMode{
		".": os.ModeDir | 0o700, "ca.key": 0o600, "ca.pem": 0o644,
		"db20-024.key": 0o600, "db20-024.pem": 0o644, "witness.key": 0o600, "witness.pem": 0o644,
	} {
		if info, err := os.Stat(filepath.Join(o.Dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, mode)
		}
	}
	if n := len(contents(t, o.Dir)); n != 6 {
		t.Errorf("%d files, want 6: %v", n, contents(t, o.Dir))
	}
	if !p.Signs || !p.CA.New || !slices.Equal(p.CA.Made, []string{"ca.key", "ca.pem"}) || !slices.Equal(p.Nodes[0].Made, []string{"db20-024.key", "db20-024.pem"}) {
		t.Errorf("the plan: %+v", p)
	}

	ca := mustCert(t, o.Dir, "ca")
	if !ca.IsCA || !ca.BasicConstraintsValid || ca.MaxPathLen != 0 || !ca.MaxPathLenZero ||
		ca.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || ca.CheckSignatureFrom(ca) != nil {
		t.Errorf("the CA: %+v", ca)
	}
	for name, want := range map[string][]string{
		"db20-024": {"db20-024", "localhost", "10.20.8.50", "fd00::50", "127.0.0.1", "::1"},
		"witness":  {"witness", "localhost", "127.0.0.1", "::1"},
	} {
		cert := mustCert(t, o.Dir, name)
		if got := sans(cert); !slices.Equal(got, want) {
			t.Errorf("%s is for %v, want %v", name, got, want)
		}
		for _, san := range want {
			if err := verifies(ca, cert, san, now); err != nil {
				t.Errorf("%s as %s: %v", name, san, err)
			}
		}
		if err := verifies(ca, cert, "10.20.8.188", now); err == nil {
			t.Errorf("%s passes for a host that it is not", name)
		}
		if cert.IsCA || cert.Subject.CommonName != name || cert.KeyUsage != x509.KeyUsageDigitalSignature {
			t.Errorf("%s: %+v", name, cert)
		}
		if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s has a key of another kind: %T", name, cert.PublicKey)
		}
		if bits := cert.SerialNumber.BitLen(); bits > 128 || bits < 64 { // under 64 once in 2^64 runs
			t.Errorf("%s: serial number of %d bits", name, bits)
		}
	}
}

// A host whose clock is behind takes the certificates, and one later than their
// end does not.
func TestTerms(t *testing.T) {
	o, now := order(t), time.Now()
	carryOut(t, o, now)
	ca, cert := mustCert(t, o.Dir, "ca"), mustCert(t, o.Dir, "db20-024")
	for name, c := range map[string]struct {
		at   time.Duration
		good bool
	}{
		"an hour behind":  {-59 * time.Minute, true},
		"two hours":       {-2 * time.Hour, false},
		"five years on":   {DefaultValid - time.Minute, true},
		"over five years": {DefaultValid + time.Minute, false},
	} {
		if err := verifies(ca, cert, "db20-024", now.Add(c.at)); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ten := now.Add(DefaultCAValid).Sub(ca.NotAfter); ten < 0 || ten > time.Second {
		t.Errorf("the CA ends on %s", ca.NotAfter)
	}
}

func TestDNSName(t *testing.T) {
	for name, want := range map[string]bool{
		"db20-024": true, "DB20-024.example.com": true, "witness": true, "3com.com": true, "a": true,
		"db20_024": false, "-a": false, "a-": false, "a..b": false, ".": false, "a.": false, "": false, "10.20.8.50": false, "24": false, strings.Repeat("a", 64): false,
	} {
		if got := dnsName(name); got != want {
			t.Errorf("dnsName(%q) = %v, want %v", name, got, want)
		}
	}
	// One that is no host's name is in the subject alone.
	o := order(t)
	o.Nodes = []Node{{"db20_024", []netip.Addr{netip.MustParseAddr("10.20.8.50")}}}
	if p := carryOut(t, o, time.Now()); slices.Contains(p.Nodes[0].SANs, "db20_024") {
		t.Errorf("%+v", p.Nodes[0])
	}
}
