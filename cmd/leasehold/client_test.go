package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"leasehold/election"
)

// certificate writes a self-signed certificate and its key, good until the given
// time, and returns the etcd section that names them.
func certificate(t *testing.T, until time.Time) EtcdConfig {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.AddDate(-1, 0, 0), NotAfter: until, DNSNames: []string{"db20-024"}}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e := EtcdConfig{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "node.pem"), Key: filepath.Join(dir, "node.key"), line: 3}
	for path, block := range map[string]*pem.Block{
		e.CA: {Type: "CERTIFICATE", Bytes: cert}, e.Cert: {Type: "CERTIFICATE", Bytes: cert}, e.Key: {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func TestCheckCerts(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		until time.Time
		edit  func(*testing.T, EtcdConfig)
		want  string // in a note or problem; empty: none
	}{
		"good":        {now.AddDate(1, 0, 0), func(*testing.T, EtcdConfig) {}, ""},
		"runs out":    {now.AddDate(0, 0, 7), func(*testing.T, EtcdConfig) {}, "runs out on"},
		"has run out": {now.AddDate(0, 0, -1), func(*testing.T, EtcdConfig) {}, "put a new one there"},
		"no CA":       {now.AddDate(1, 0, 0), func(t *testing.T, e EtcdConfig) { remove(t, e.CA) }, "ca: open"},
		"no key":      {now.AddDate(1, 0, 0), func(t *testing.T, e EtcdConfig) { remove(t, e.Key) }, "cert and key: open"},
		"key for all": {now.AddDate(1, 0, 0), func(t *testing.T, e EtcdConfig) { mode(t, e.Key, 0o644) }, "type: chmod o= "},
		"CA that is no PEM": {now.AddDate(1, 0, 0), func(t *testing.T, e EtcdConfig) {
			if err := os.WriteFile(e.CA, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "it must be PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			e := certificate(t, tc.until)
			tc.edit(t, e)
			r := &report{file: "x.yaml"}
			checkCerts(r, e, now)
			got := append(r.problems, r.notes...).Error()
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func mode(t *testing.T, path string, m os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, m); err != nil {
		t.Fatal(err)
	}
}

// A renewed certificate counts for the next connection.
func TestCertificateIsReadAnew(t *testing.T) {
	e := certificate(t, time.Now().AddDate(1, 0, 0))
	c, err := tlsConfig(e)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	renewed := certificate(t, time.Now().AddDate(2, 0, 0))
	for from, to := range map[string]string{renewed.Cert: e.Cert, renewed.Key: e.Key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	second, err := c.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(first.Certificate[0]) == string(second.Certificate[0]) {
		t.Error("the old certificate is used on")
	}
}

// The passwords of the checks reach package health, and no error.
func TestCheckPasswords(t *testing.T) {
	cfg, err := parse(good)
	if err != nil {
		t.Fatal(err)
	}
	s := &cfg.Services[0]
	s.Checks[1].PasswordFile = &SecretFile{Path: writeFile(t, "pw", testPassword, 0o600), Line: 13}
	configs, bad := checkConfigs(cfg.File, s, os.Getenv)
	if len(bad) > 0 || configs[1].MySQL.Password != testPassword || s.Checks[1].Health.MySQL.Password != "" {
		t.Errorf("got %v, %v", configs, bad)
	}
	mode(t, s.Checks[1].PasswordFile.Path, 0o604)
	if _, bad = checkConfigs(cfg.File, s, os.Getenv); len(bad) != 1 || bad[0].Line != 13 || !strings.Contains(bad.Error(), "chmod o=") {
		t.Errorf("world-readable: got %v", bad)
	}
}

// reads are the answers of an etcd, one after the other; the last one stays.
type reads []struct {
	view election.View
	err  error
}

func (r *reads) read(context.Context) (election.View, error) {
	next := (*r)[0]
	if len(*r) > 1 {
		*r = (*r)[1:]
	}
	return next.view, next.err
}

// An etcd that falters while it is watched does not end the waiting, and what it
// said last is what counts.
func TestAwait(t *testing.T) {
	broken := errors.New("broken")
	at := func(rev int64) election.View { return election.View{Revision: rev} }
	for name, tc := range map[string]struct {
		reads reads
		rev   int64
		ok    bool
		err   error
	}{
		"at once":            {reads{{at(3), nil}}, 3, true, nil},
		"later":              {reads{{at(1), nil}, {at(2), nil}, {at(3), nil}}, 3, true, nil},
		"etcd falters":       {reads{{at(1), nil}, {at(0), broken}, {at(3), nil}}, 3, true, nil},
		"never":              {reads{{at(1), nil}, {at(2), nil}}, 2, false, nil},
		"etcd goes":          {reads{{at(2), nil}, {at(0), broken}}, 2, false, nil},
		"etcd never answers": {reads{{at(0), broken}}, 0, false, broken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				v, ok, err := await(ctx, 20*time.Millisecond, tc.reads.read, func(v election.View) bool { return v.Revision == 3 })
				if v.Revision != tc.rev || ok != tc.ok || !errors.Is(err, tc.err) {
					t.Errorf("got revision %d, %v, %v; want %d, %v, %v", v.Revision, ok, err, tc.rev, tc.ok, tc.err)
				}
			})
		})
	}
}
