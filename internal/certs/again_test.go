package certs

import (
	"bytes"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A second run has nothing to do, and one for a further node makes only its files.
func TestAgain(t *testing.T) {
	o, now := order(t), time.Now()
	carryOut(t, o, now)
	before := contents(t, o.Dir)
	p := carryOut(t, o, now.Add(24*time.Hour))
	if len(p.CA.Made) != 0 || len(p.Nodes[0].Made) != 0 || len(p.Nodes[1].Made) != 0 || len(p.Nodes[0].Notes) != 0 || p.Nodes[0].Why != "it is there" {
		t.Errorf("the plan: %+v", p)
	}
	o.Nodes = append(o.Nodes, Node{"db20-025", []netip.Addr{netip.MustParseAddr("10.20.8.27")}})
	carryOut(t, o, now)
	after := contents(t, o.Dir)
	for name, was := range before {
		if after[name] != was {
			t.Errorf("%s was changed", name)
		}
	}
	if len(after) != len(before)+2 || verifies(mustCert(t, o.Dir, "ca"), mustCert(t, o.Dir, "db20-025"), "10.20.8.27", now) != nil {
		t.Errorf("after a further node: %v", after)
	}
}

// Nothing is replaced but certificates, so that a host needs one new file.
func TestRenew(t *testing.T) {
	o, now := order(t), time.Now()
	carryOut(t, o, now)
	before := contents(t, o.Dir)
	// The key has been taken to the host, and is not needed.
	if err := os.Remove(filepath.Join(o.Dir, "witness.key")); err != nil {
		t.Fatal(err)
	}
	later := now.Add(4 * 365 * 24 * time.Hour)
	o.Renew, o.Nodes[0].Addrs = true, []netip.Addr{netip.MustParseAddr("10.20.8.51")}
	p := carryOut(t, o, later)
	after := contents(t, o.Dir)
	for _, name := range []string{"ca.key", "ca.pem", "db20-024.key"} {
		if after[name] != before[name] {
			t.Errorf("%s was changed", name)
		}
	}
	for i, n := range o.Nodes {
		if !slices.Equal(p.Nodes[i].Made, []string{CertFile(n.Name)}) || p.Nodes[i].New {
			t.Errorf("%s: %+v", n.Name, p.Nodes[i])
		}
		cert := mustCert(t, o.Dir, n.Name)
		if err := verifies(mustCert(t, o.Dir, "ca"), cert, n.Addrs[0].String(), later.Add(4*365*24*time.Hour)); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
	}
	if _, ok := after["witness.key"]; ok {
		t.Error("a key was made for a certificate that keeps its own")
	}
	key, err := readKey(filepath.Join(o.Dir, "db20-024.key"))
	if err != nil || !fits(mustCert(t, o.Dir, "db20-024"), key) {
		t.Errorf("the key does not fit: %v", err)
	}
}

// What is left alone is said where it is not as it should be.
func TestKeptNotes(t *testing.T) {
	o, now := order(t), time.Now()
	carryOut(t, o, now)
	o.Nodes[0].Addrs = append(o.Nodes[0].Addrs, netip.MustParseAddr("10.20.8.51"))
	for name, c := range map[string]struct {
		after time.Duration
		want  string
	}{
		"an address more": {0, "is not for 10.20.8.51"},
		"a month before":  {DefaultValid - Soon + time.Minute, "runs out on"},
		"over":            {DefaultValid + time.Minute, "ran out on"},
	} {
		p, err := Prepare(o, now.Add(c.after))
		if err != nil {
			t.Fatal(err)
		}
		if notes := strings.Join(p.Nodes[0].Notes, "\n"); !strings.Contains(notes, c.want) || len(p.Nodes[0].Made) != 0 {
			t.Errorf("%s: %+v, want %q", name, p.Nodes[0], c.want)
		}
	}
	if err := os.Remove(filepath.Join(o.Dir, "witness.key")); err != nil {
		t.Fatal(err)
	}
	if p := carryOut(t, o, now); !strings.Contains(p.Nodes[1].Why, "on the host") {
		t.Errorf("without its key: %+v", p.Nodes[1])
	}
}

// No certificate outlives the CA, and it is said that it was cut.
func TestCut(t *testing.T) {
	o, now := order(t), time.Now()
	o.CAValid = 400 * 24 * time.Hour
	p := carryOut(t, o, now)
	ca := mustCert(t, o.Dir, "ca")
	for _, out := range p.Nodes {
		if !out.Until.Equal(ca.NotAfter) || !strings.Contains(strings.Join(out.Notes, ""), "valid shorter than asked for") {
			t.Errorf("%+v, want an end on %s", out, ca.NotAfter)
		}
	}
	o.Renew = true
	p = carryOut(t, o, now.Add(390*24*time.Hour))
	if !p.Nodes[0].Until.Equal(ca.NotAfter) || !strings.Contains(strings.Join(p.CA.Notes, ""), "every certificate with it") {
		t.Errorf("ten days before its end: %+v", p)
	}
	o.Valid = 5 * 24 * time.Hour
	if p = carryOut(t, o, now.Add(390*24*time.Hour)); len(p.Nodes[0].Notes) != 0 {
		t.Errorf("nothing was cut: %+v", p.Nodes[0])
	}
}

// A run that ended between a key and its certificate is completed by the next.
func TestInterrupted(t *testing.T) {
	o, now := order(t), time.Now()
	carryOut(t, o, now)
	before := contents(t, o.Dir)
	for _, name := range []string{"ca.pem", "db20-024.pem", "witness.pem", "witness.key"} {
		if err := os.Remove(filepath.Join(o.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	p := carryOut(t, o, now)
	after := contents(t, o.Dir)
	if after["ca.key"] != before["ca.key"] || after["db20-024.key"] != before["db20-024.key"] || len(after) != 6 {
		t.Errorf("after the second run: %v", after)
	}
	if !p.Nodes[0].New || p.Nodes[0].Why != "its key was there" {
		t.Errorf("%+v", p.Nodes[0])
	}
	key, err := readKey(filepath.Join(o.Dir, "db20-024.key"))
	if cert := mustCert(t, o.Dir, "db20-024"); err != nil || !fits(cert, key) || verifies(mustCert(t, o.Dir, "ca"), cert, "10.20.8.50", now) != nil {
		t.Errorf("the key does not fit: %v", err)
	}
}

// A CA that is about to end gets a new term: hosts that have the old ca.pem and
// those that have the new one take each other's certificates, old and new.
func TestNewTerm(t *testing.T) {
	o, now := order(t), time.Now()
	carryOut(t, o, now)
	oldCA, oldCert := mustCert(t, o.Dir, "ca"), mustCert(t, o.Dir, "db20-024")
	if err := os.Remove(filepath.Join(o.Dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	later := now.Add(DefaultValid - time.Hour)
	p := carryOut(t, o, later)
	if !p.CA.New || !slices.Equal(p.CA.Made, []string{"ca.pem"}) || len(p.Nodes[0].Made) != 0 {
		t.Errorf("the plan: %+v", p)
	}
	o.Renew = true
	carryOut(t, o, later)
	newCA, newCert := mustCert(t, o.Dir, "ca"), mustCert(t, o.Dir, "db20-024")
	if bytes.Equal(oldCA.Raw, newCA.Raw) || bytes.Equal(oldCert.Raw, newCert.Raw) {
		t.Error("nothing is new")
	}
	for name, pair := range map[string][2]*x509.Certificate{
		"both old": {oldCA, oldCert}, "old CA": {oldCA, newCert}, "old certificate": {newCA, oldCert}, "both new": {newCA, newCert},
	} {
		if err := verifies(pair[0], pair[1], "10.20.8.50", later); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
