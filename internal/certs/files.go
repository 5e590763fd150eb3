package certs

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Modes of what is written. The directory has the CA's key in it.
const (
	dirMode  = 0o700
	keyMode  = 0o600
	certMode = 0o644
)

// maxFile is more than any key or certificate has.
const maxFile = 64 << 10

// file is one that is to be written.
type file struct {
	name    string
	data    []byte
	mode    fs.FileMode
	replace bool // one that is there
}

// checkDir refuses a directory in which others could lay out a CA of theirs. One
// that is not there yet is fine.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory; name another with --out", dir)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("%s has mode %04o: everybody on this host could put a CA of his own there; name a directory of your own with --out", dir, info.Mode().Perm())
	}
	return nil
}

// readFile returns nothing when there is no such file.
func readFile(path string) ([]byte, fs.FileMode, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular():
		return nil, 0, fmt.Errorf("%s is in the way: not a regular file (%s); move it away, or name another directory with --out", path, info.Mode())
	case info.Size() > maxFile || info.Size() == 0:
		return nil, 0, fmt.Errorf("%s is in the way: %d bytes are no key or certificate; move it away, or name another directory with --out", path, info.Size())
	}
	b, err := os.ReadFile(path)
	return b, info.Mode().Perm(), err
}

// readCert returns the one certificate in a file, nil when there is no such file.
func readCert(path string) (*x509.Certificate, error) {
	b, _, err := readFile(path)
	if b == nil || err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s is in the way: no certificate in PEM; move it away, or name another directory with --out", path)
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, fmt.Errorf("%s has something after its first certificate, and which one counts is not clear; leave one in it", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s is in the way: %w; move it away, or name another directory with --out", path, err)
	}
	return cert, nil
}

// readKey returns the private key in a file, nil when there is no such file. One
// that others can get at is refused. Its errors never show what is in it.
func readKey(path string) (crypto.Signer, error) {
	b, mode, err := readFile(path)
	if b == nil || err != nil {
		return nil, err
	}
	if mode&0o007 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: everybody on this host can get at the key; type: chmod o= %s", path, mode, path)
	}
	block, rest := pem.Decode(b)
	for block != nil && !strings.HasSuffix(block.Type, "PRIVATE KEY") { // openssl ecparam writes the curve first
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, fmt.Errorf("%s is in the way: no private key in PEM; move it away, or name another directory with --out", path)
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, fmt.Errorf("%s has a passphrase, which is not asked for here; put the key there without one for the time of this command (openssl pkey)", path)
	}
	key, err := parseKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s is in the way: no private key that can be read; move it away, or name another directory with --out", path)
	}
	return key, nil
}

// errNoSigner is of keys that are for something else, as X25519's.
var errNoSigner = errors.New("not a key for signing")

func parseKey(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	if signer, ok := key.(crypto.Signer); ok {
		return signer, nil
	}
	return nil, errNoSigner
}

func encodeCert(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Write writes what was planned, all of it or nothing: each file is on the disk
// under another name before the first gets its own. The directory is made when it
// is not there, with mode 0700. A file that has come there since Prepare is an error.
func (p *Plan) Write() (err error) {
	if len(p.files) == 0 {
		return nil
	}
	var undo []string
	defer func() {
		for _, path := range slices.Backward(undo) {
			if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}()
	switch e := os.Mkdir(p.dir, dirMode); {
	case e == nil:
		undo = append(undo, p.dir)
	case !errors.Is(e, fs.ErrExist):
		return fmt.Errorf("%w; name a directory of your own with --out", e)
	}
	staged := make([]string, len(p.files))
	for i, f := range p.files {
		tmp, e := stage(p.dir, f)
		if e != nil {
			return fmt.Errorf("write %s: %w; nothing was changed", filepath.Join(p.dir, f.name), e)
		}
		staged[i] = tmp
		undo = append(undo, tmp)
	}
	placed, err := p.place(staged)
	undo = append(undo, placed...)
	if err != nil {
		return err
	}
	undo = staged
	return syncDir(p.dir)
}

// stage writes a file under a name of its own, and returns that.
func stage(dir string, f file) (string, error) {
	tmp, err := os.CreateTemp(dir, "."+f.name+".*") // with mode 0600
	if err != nil {
		return "", err
	}
	_, err = tmp.Write(f.data)
	if err == nil {
		err = tmp.Chmod(f.mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return "", errors.Join(err, os.Remove(tmp.Name()))
	}
	return tmp.Name(), nil
}

// place gives the staged files their names, and returns the paths that are new.
// Those come first, keys before certificates: where it ends halfway, what was
// replaced fits what is there.
func (p *Plan) place(staged []string) (placed []string, err error) {
	for _, replace := range []bool{false, true} {
		for i, f := range p.files {
			path := filepath.Join(p.dir, f.name)
			switch {
			case f.replace != replace:
				continue
			case replace:
				err = os.Rename(staged[i], path)
			default: // link(2) never replaces, rename(2) does
				if err = os.Link(staged[i], path); err == nil {
					placed = append(placed, path)
				}
			}
			if err != nil {
				return placed, fmt.Errorf("put %s there: %w", path, err)
			}
		}
	}
	return placed, nil
}

// syncDir has the names on the disk as well.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
