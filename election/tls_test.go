package election

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a CA that lives as long as its test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(tb testing.TB, name string) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// issue returns a certificate for both ends of a connection on loopback.
func (a *authority) issue(tb testing.TB, name string, until time.Time) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writePEM(tb testing.TB, path, kind string, der []byte) string {
	tb.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// tlsEtcd starts an etcd that asks its clients for a certificate of ca.
func tlsEtcd(t *testing.T, ca *authority) *etcdServer {
	t.Helper()
	dir := t.TempDir()
	cert := ca.issue(t, "etcd", time.Now().Add(time.Hour))
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	e := newEtcd(t, 1, "--client-cert-auth",
		"--trusted-ca-file", writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", ca.cert.Raw),
		"--cert-file", writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", cert.Certificate[0]),
		"--key-file", writePEM(t, filepath.Join(dir, "key.pem"), "EC PRIVATE KEY", key))[0]
	e.url = strings.Replace(e.url, "http:", "https:", 1)
	e.tls = &tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{ca.issue(t, "test", time.Now().Add(time.Hour))}}
	e.start(t)
	e.ready(t)
	return e
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t, "ca"), newAuthority(t, "somebody else's ca")
	e := tlsEtcd(t, ca)
	cli := e.client(t)
	hour := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		tls  *tls.Config
		want string // in the trouble; empty: it holds
	}{
		"good":                    {&tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{ca.issue(t, "leasehold", hour)}}, ""},
		"the server's is unknown": {&tls.Config{RootCAs: stranger.pool, Certificates: []tls.Certificate{ca.issue(t, "leasehold", hour)}}, "etcd.tls.ca"},
		"ours is expired":         {&tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{ca.issue(t, "leasehold", time.Now().Add(-time.Minute))}}, "etcd.tls.cert"},
		"ours is unknown":         {&tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{stranger.issue(t, "leasehold", hour)}}, "etcd.tls.cert"},
		"we have none":            {&tls.Config{RootCAs: ca.pool}, "etcd.tls.cert"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t, "a")
			vacate(t, cli, cfg.Service)
			var j referee
			a := j.join(t, cfg, open(t, Options{Endpoints: urls(e), TLS: c.tls}))
			if c.want == "" {
				waitBound(t, soon, a)
				return
			}
			staysOut(t, a, c.want)
		})
	}
	t.Run("no TLS at all", func(t *testing.T) {
		t.Parallel()
		var j referee
		a := j.join(t, testConfig(t, "a"), open(t, Options{Endpoints: []string{strings.Replace(e.url, "https:", "http:", 1)}}))
		staysOut(t, a, "https://")
	})
}
