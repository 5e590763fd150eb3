package certs

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

// skew is how much earlier than now a certificate begins, for hosts whose clocks
// are behind.
const skew = time.Hour

// subject is the CA's, and the same for all: a certificate names its issuer by it,
// and a CA with a new term must still be that issuer.
const subject = "Leasehold CA"

// authority is a CA. Its key is nil where ca.key has been taken away.
type authority struct {
	cert          *x509.Certificate
	key           crypto.Signer
	path, keyPath string
}

// newAuthority makes a CA that signs nodes and no further CAs.
func newAuthority(key crypto.Signer, now time.Time, valid time.Duration) (*authority, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: subject},
		NotBefore: now.Add(-skew), NotAfter: now.Add(valid),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA: %w", err)
	}
	return &authority{cert: cert, key: key}, nil
}

// check reports why a CA that was found cannot be used.
func (a *authority) check(now time.Time) error {
	switch {
	case !a.cert.BasicConstraintsValid || !a.cert.IsCA:
		return fmt.Errorf("%s is not the certificate of a CA; move it away, or name another directory with --out", a.path)
	case a.cert.KeyUsage != 0 && a.cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%s is of a CA that may not sign certificates (its key usage); move it away, or name another directory with --out", a.path)
	case a.key != nil && !fits(a.cert, a.key):
		return fmt.Errorf("%s does not fit %s: what it signed would be refused everywhere; move the one away that does not belong there", a.keyPath, a.path)
	case now.After(a.cert.NotAfter):
		return fmt.Errorf("%s ran out on %s, and everything that it signed with it; %s", a.path, a.cert.NotAfter.Format(time.DateOnly), newTerm(a.path))
	case now.Before(a.cert.NotBefore):
		return fmt.Errorf("%s counts from %s on, and it is %s here; set the clock of the host that is wrong", a.path, a.cert.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// newTerm says how to make a CA last longer.
func newTerm(path string) string {
	return fmt.Sprintf("move %s away and leave its key where it is: with --renew there is then a new one of the same key, and new certificates", path)
}

// issue signs a certificate for both ends of a connection, and verifies it as etcd
// will. It ends with the CA at the latest.
func (a *authority) issue(n Node, public crypto.PublicKey, now time.Time, valid time.Duration) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	until := now.Add(valid)
	if a.cert.NotAfter.Before(until) {
		until = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: n.Name},
		NotBefore: now.Add(-skew), NotAfter: until, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: usages(),
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if dnsName(n.Name) && n.Name != "localhost" {
		template.DNSNames = append([]string{n.Name}, template.DNSNames...)
	}
	var own []net.IP
	for _, addr := range n.Addrs {
		if ip := net.IP(addr.AsSlice()); !slices.ContainsFunc(template.IPAddresses, ip.Equal) {
			own = append(own, ip)
		}
	}
	template.IPAddresses = append(own, template.IPAddresses...)
	cert, err := sign(template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of %s: %w", n.Name, err)
	}
	return cert, a.verify(cert, now)
}

// usages are the ends of a connection that a node is at: etcd asks for both from
// its peers and for its own gateway, from clients for the second.
func usages() []x509.ExtKeyUsage {
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

// verify finds out whether the CA can vouch for a certificate: one that comes from
// elsewhere may have limits of its own.
func (a *authority) verify(cert *x509.Certificate, now time.Time) error {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, usage := range usages() {
		for _, name := range sans(cert) {
			_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: name})
			if err != nil {
				return fmt.Errorf("%s cannot vouch for %s: %w; use a CA without such limits", a.path, cert.Subject.CommonName, err)
			}
		}
	}
	return nil
}

// checkIssued reports why what was found in the place of a node's certificate and
// key is not that.
func (a *authority) checkIssued(cert *x509.Certificate, key crypto.Signer, n Node, certPath, keyPath string) error {
	switch {
	case !bytes.Equal(cert.RawIssuer, a.cert.RawSubject) || cert.CheckSignatureFrom(a.cert) != nil:
		return fmt.Errorf("%s was not made by the CA of this directory, and nobody who has its %s accepts it; move it and its key away, or name another directory with --out",
			certPath, CertFile(CAName))
	case cert.Subject.CommonName != n.Name:
		return fmt.Errorf("%s is the certificate of %q, not of %s; move it and its key away", certPath, cert.Subject.CommonName, n.Name)
	case key != nil && !fits(cert, key):
		return fmt.Errorf("%s does not fit %s: no connection would come about with them; move both away for new ones", keyPath, certPath)
	}
	return nil
}

// fits reports whether a certificate is of this key.
func fits(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newSerial draws 128 bits; RFC 5280 section 4.1.2.2 allows 159.
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return serial, nil
}

// sans returns what a certificate is for, names first.
func sans(cert *x509.Certificate) []string {
	all := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// dnsName reports whether a node's name can be a host's (RFC 1123 section 2.1: the
// last label is not all digits, or it would be an address).
func dnsName(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, r := range l {
			ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-'
			if !ok {
				return false
			}
		}
	}
	return len(s) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}
