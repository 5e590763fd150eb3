package certs

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func put(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func putKey(t *testing.T, path string, key any) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// putCA lays out a CA of somebody else's making.
func putCA(t *testing.T, dir string, key crypto.Signer, edit func(*x509.Certificate)) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "corporate CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	edit(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	putKey(t, filepath.Join(dir, "ca.key"), key)
}

// Each of these leaves the directory as it was, on one line of text.
func TestRefused(t *testing.T) {
	now := time.Now()
	in := func(o *Order, name string) string { return filepath.Join(o.Dir, name) }
	for name, c := range map[string]struct {
		spoil func(t *testing.T, o *Order)
		want  string
	}{
		"the CA's key is another":    {func(t *testing.T, o *Order) { putKey(t, in(o, "ca.key"), ecKey(t)) }, "does not fit"},
		"a node's key is another":    {func(t *testing.T, o *Order) { putKey(t, in(o, "db20-024.key"), ecKey(t)) }, "no connection would come about"},
		"everybody can read the key": {func(t *testing.T, o *Order) { must(t, os.Chmod(in(o, "ca.key"), 0o644)) }, "type: chmod o= "},
		"everybody can write here":   {func(t *testing.T, o *Order) { must(t, os.Chmod(o.Dir, 0o777)) }, "everybody on this host could put"},
		"the CA ran out": {func(t *testing.T, o *Order) {
			putCA(t, o.Dir, ecKey(t), func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
		}, "ran out on"},
		"the CA is of tomorrow": {func(t *testing.T, o *Order) {
			putCA(t, o.Dir, ecKey(t), func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) })
		}, "set the clock"},
		"the CA is none": {func(t *testing.T, o *Order) { putCA(t, o.Dir, ecKey(t), func(c *x509.Certificate) { c.IsCA = false }) }, "is not the certificate of a CA"},
		"the CA may not sign": {func(t *testing.T, o *Order) {
			putCA(t, o.Dir, ecKey(t), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
		}, "may not sign certificates"},
		"the CA is for other hosts": {func(t *testing.T, o *Order) {
			must(t, os.Remove(in(o, "db20-024.pem")))
			putCA(t, o.Dir, ecKey(t), func(c *x509.Certificate) {
				c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(192, 0, 2, 0).To4(), Mask: net.CIDRMask(24, 32)}}
			})
		}, "cannot vouch for db20-024"},
		"the CA's key is gone, for a new node": {func(t *testing.T, o *Order) {
			must(t, os.Remove(in(o, "ca.key")))
			must(t, os.Remove(in(o, "witness.pem")))
		}, "bring it back"},
		"the CA's key is gone, to renew":     {func(t *testing.T, o *Order) { must(t, os.Remove(in(o, "ca.key"))); o.Renew = true }, "bring it back"},
		"the CA's key has a passphrase":      {func(t *testing.T, o *Order) { put(t, in(o, "ca.key"), pemText("ENCRYPTED PRIVATE KEY", ""), 0o600) }, "passphrase"},
		"the CA's key has an old passphrase": {func(t *testing.T, o *Order) { put(t, in(o, "ca.key"), pemText("EC PRIVATE KEY", "4,ENCRYPTED"), 0o600) }, "passphrase"},
		"the CA's key is broken":             {func(t *testing.T, o *Order) { put(t, in(o, "ca.key"), pemText("PRIVATE KEY", ""), 0o600) }, "no private key that can be read"},
		"the CA's key is a certificate":      {func(t *testing.T, o *Order) { put(t, in(o, "ca.key"), read(t, in(o, "ca.pem")), 0o600) }, "no private key in PEM"},
		"a key that cannot sign": {func(t *testing.T, o *Order) {
			key, err := ecdh.X25519().GenerateKey(rand.Reader)
			must(t, err)
			putKey(t, in(o, "ca.key"), key)
		}, "no private key that can be read"},
		"a key in the place of a certificate": {func(t *testing.T, o *Order) { put(t, in(o, "db20-024.pem"), read(t, in(o, "db20-024.key")), 0o600) }, "no certificate in PEM"},
		"a certificate of another CA":         {func(t *testing.T, o *Order) { putCA(t, o.Dir, ecKey(t), func(*x509.Certificate) {}) }, "was not made by the CA of this directory"},
		"a certificate of another CA, renewed": {func(t *testing.T, o *Order) {
			putCA(t, o.Dir, ecKey(t), func(*x509.Certificate) {})
			o.Renew = true
		}, "was not made by the CA of this directory"},
		"a certificate of another CA of the same name": {func(t *testing.T, o *Order) {
			putCA(t, o.Dir, ecKey(t), func(c *x509.Certificate) { c.Subject.CommonName = subject })
		}, "was not made by the CA of this directory"},
		"certificates without any CA": {func(t *testing.T, o *Order) { must(t, os.Remove(in(o, "ca.pem"))); must(t, os.Remove(in(o, "ca.key"))) }, "was not made by the CA of this directory"},
		"a certificate of another node": {func(t *testing.T, o *Order) {
			must(t, os.Remove(in(o, "db20-024.key")))
			put(t, in(o, "db20-024.pem"), read(t, in(o, "witness.pem")), 0o644)
		}, `is the certificate of "witness"`},
		"two certificates in a file": {func(t *testing.T, o *Order) {
			put(t, in(o, "ca.pem"), append(read(t, in(o, "ca.pem")), read(t, in(o, "db20-024.pem"))...), 0o644)
		}, "which one counts"},
		"notes in the way":     {func(t *testing.T, o *Order) { put(t, in(o, "db20-024.pem"), []byte("call Bob"), 0o644) }, "is in the way"},
		"a broken certificate": {func(t *testing.T, o *Order) { put(t, in(o, "db20-024.pem"), pemText("CERTIFICATE", ""), 0o644) }, "is in the way"},
		"an empty file":        {func(t *testing.T, o *Order) { put(t, in(o, "db20-024.pem"), nil, 0o644) }, "0 bytes"},
		"a large file":         {func(t *testing.T, o *Order) { put(t, in(o, "db20-024.key"), make([]byte, maxFile+1), 0o600) }, "are no key or certificate"},
		"a directory in the way": {func(t *testing.T, o *Order) {
			must(t, os.Remove(in(o, "db20-024.pem")))
			must(t, os.Mkdir(in(o, "db20-024.pem"), 0o755))
		}, "not a regular file"},
		"a link in the way": {func(t *testing.T, o *Order) {
			must(t, os.Remove(in(o, "ca.key")))
			must(t, os.Symlink("witness.key", in(o, "ca.key")))
		}, "not a regular file"},
		"the directory is a file": {func(_ *testing.T, o *Order) { o.Dir = in(o, "ca.pem") }, "is not a directory"},
		"no way to the directory": {func(_ *testing.T, o *Order) { o.Dir = in(o, "ca.pem/x") }, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			o := order(t)
			carryOut(t, o, now)
			dir := o.Dir
			c.spoil(t, &o)
			before := contents(t, dir)
			p, err := Prepare(o, now)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), dir) {
				t.Errorf("Prepare: %v, want %q; %+v", err, c.want, p)
			}
			if after := contents(t, dir); !maps.Equal(before, after) {
				t.Errorf("the directory was changed: %v, then %v", before, after)
			}
		})
	}
}

func pemText(kind, proc string) []byte {
	b := &pem.Block{Type: kind, Bytes: []byte("no DER")}
	if proc != "" {
		b.Headers = map[string]string{"Proc-Type": proc}
	}
	return pem.EncodeToMemory(b)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A CA from elsewhere is as good, whatever its key is and how openssl wrote it.
func TestForeignCA(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec := ecKey(t)
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key crypto.Signer
		pem []byte
	}{
		"RSA, PKCS #8": {rsaKey, nil},
		"RSA, PKCS #1": {rsaKey, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})},
		"EC with its curve": {ec, append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}}),
			pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)},
	} {
		t.Run(name, func(t *testing.T) {
			o := order(t)
			o.Dir = filepath.Dir(o.Dir)
			putCA(t, o.Dir, c.key, func(*x509.Certificate) {})
			if c.pem != nil {
				put(t, filepath.Join(o.Dir, "ca.key"), c.pem, 0o640)
			}
			p := carryOut(t, o, time.Now())
			if p.CA.New || verifies(mustCert(t, o.Dir, "ca"), mustCert(t, o.Dir, "db20-024"), "10.20.8.50", time.Now()) != nil {
				t.Errorf("%+v", p)
			}
		})
	}
}

// What cannot be written as a whole is not written at all.
func TestNothingHalf(t *testing.T) {
	now := time.Now()
	t.Run("a file has come since", func(t *testing.T) {
		o := order(t)
		p, err := Prepare(o, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(o.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(o.Dir, "witness.pem"), []byte("somebody else's"), 0o600)
		if err := p.Write(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Write: %v", err)
		}
		if left := contents(t, o.Dir); len(left) != 1 || left["witness.pem"] != "somebody else's" {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("no place for a file", func(t *testing.T) {
		o := order(t)
		p, err := Prepare(o, now)
		if err != nil {
			t.Fatal(err)
		}
		p.files[3].name = "none/" + p.files[3].name
		if err := p.Write(); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("Write: %v", err)
		}
		if _, err := os.Lstat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("left behind: %v", contents(t, o.Dir))
		}
	})
	t.Run("no directory above", func(t *testing.T) {
		o := order(t)
		o.Dir += "/a/b"
		p, err := Prepare(o, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Write(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--out") {
			t.Errorf("Write: %v", err)
		}
	})
	t.Run("not to be written to, even by root", func(t *testing.T) {
		o := order(t)
		o.Dir = "/sys"
		p, err := Prepare(o, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Write(); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("Write: %v", err)
		}
	})
}
