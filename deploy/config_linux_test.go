package deploy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestReferenceConfig has the daemon read the reference config, with the files that
// it names beside it.
func TestReferenceConfig(t *testing.T) {
	dir := t.TempDir()
	config, err := os.ReadFile("leasehold.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cert, key := selfSigned(t)
	for name, content := range map[string][]byte{
		"leasehold.yaml": config, "ca.pem": cert, "node.pem": cert, "node.key": key,
		"mysql.password": []byte("secret\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := build(t, "leasehold/cmd/leasehold", "leasehold")
	out, err := exec.CommandContext(t.Context(), binary, "check", "--config", filepath.Join(dir, "leasehold.yaml")).CombinedOutput()
	if err != nil {
		t.Errorf("leasehold check: %v\n%s", err, out)
	}
}

// selfSigned makes a certificate that can stand for the CA and for the node.
func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
