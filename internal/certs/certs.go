// Package certs makes a private CA and the certificates of nodes, for whoever has
// no CA of his own. One certificate of a node serves its etcd member, towards
// clients and peers, and the daemon, which is a client.
//
// It owns the files in one directory, and knows neither the configuration nor
// where on the hosts the files go.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"
)

// What certificates are valid for unless something else is asked for.
const (
	DefaultValid   = 5 * 365 * 24 * time.Hour
	DefaultCAValid = 10 * 365 * 24 * time.Hour
)

// CAName is what the files of the CA are called. No node can have this name.
const CAName = "ca"

// Soon is how long before its end a certificate is worth a word.
const Soon = 30 * 24 * time.Hour

// CertFile returns the name of the file with a certificate.
func CertFile(name string) string { return name + ".pem" }

// KeyFile returns the name of the file with a private key.
func KeyFile(name string) string { return name + ".key" }

// Node is what one certificate is for.
type Node struct {
	Name  string       // its subject, and what its files are called
	Addrs []netip.Addr // which peers see it come from, and clients ask it under
}

// Order is what there shall be.
type Order struct {
	Dir     string // where the files are, and are made
	Nodes   []Node // of different names, none of them CAName
	Valid   time.Duration
	CAValid time.Duration // of a new CA
	Renew   bool          // certificates that are there already, too
}

// Plan is what becomes of an order. Everything in it has been made and checked,
// and nothing is written yet.
type Plan struct {
	CA    Outcome
	Nodes []Outcome // in their order
	Signs bool      // whether ca.key is in the directory, or will be

	dir   string
	files []file
}

// Outcome is what becomes of one certificate and its key.
type Outcome struct {
	Name  string
	New   bool     // there was no certificate before
	Made  []string // the files that were made; none: everything is left alone
	Until time.Time
	SANs  []string // what the certificate is for
	Why   string   // it is as it is; empty: there was nothing
	Notes []string // what should be known, and perhaps done
}

// Prepare reads what is in the directory and makes what is missing, in memory.
// Files that are there already are used, never replaced, but for the certificates
// of nodes with Renew; those keep their keys, so that there is one file to replace.
// A file that is not the one that belongs there is an error.
func Prepare(o Order, now time.Time) (*Plan, error) {
	if err := checkDir(o.Dir); err != nil {
		return nil, err
	}
	p := &Plan{dir: o.Dir}
	ca, err := p.authority(o, now)
	if err != nil {
		return nil, err
	}
	for _, n := range o.Nodes {
		out, err := p.node(ca, n, o, now)
		if err != nil {
			return nil, err
		}
		p.Nodes = append(p.Nodes, out)
	}
	return p, nil
}

// authority loads the CA, or makes one. A key without its certificate is used: by
// taking ca.pem away a CA gets a new term, and what it has signed stays good.
func (p *Plan) authority(o Order, now time.Time) (*authority, error) {
	certPath, keyPath := filepath.Join(o.Dir, CertFile(CAName)), filepath.Join(o.Dir, KeyFile(CAName))
	cert, err := readCert(certPath)
	if err != nil {
		return nil, err
	}
	key, err := readKey(keyPath)
	if err != nil {
		return nil, err
	}
	p.CA = Outcome{Name: CAName, New: cert == nil}
	if cert != nil {
		ca := &authority{cert: cert, key: key, path: certPath, keyPath: keyPath}
		p.CA.Until, p.CA.Why, p.Signs = cert.NotAfter, "it is there", key != nil
		if now.Add(Soon).After(cert.NotAfter) {
			p.CA.Notes = append(p.CA.Notes, fmt.Sprintf("ends within a month, and every certificate with it; %s", newTerm(certPath)))
		}
		return ca, ca.check(now)
	}
	if key != nil {
		p.CA.Why = "its key was there, and what it has signed stays good"
	} else if key, err = p.newKey(&p.CA); err != nil {
		return nil, err
	}
	ca, err := newAuthority(key, now, o.CAValid)
	if err != nil {
		return nil, err
	}
	ca.path, ca.keyPath = certPath, keyPath
	p.CA.Until, p.Signs = ca.cert.NotAfter, true
	p.add(&p.CA, file{name: CertFile(CAName), data: encodeCert(ca.cert), mode: certMode})
	return ca, nil
}

// node loads what there is of a node, and makes what is missing.
func (p *Plan) node(ca *authority, n Node, o Order, now time.Time) (Outcome, error) {
	out := Outcome{Name: n.Name}
	certPath, keyPath := filepath.Join(o.Dir, CertFile(n.Name)), filepath.Join(o.Dir, KeyFile(n.Name))
	cert, err := readCert(certPath)
	if err != nil {
		return out, err
	}
	key, err := readKey(keyPath)
	if err != nil {
		return out, err
	}
	out.New = cert == nil
	if cert != nil {
		if err := ca.checkIssued(cert, key, n, certPath, keyPath); err != nil {
			return out, err
		}
		if !o.Renew {
			return kept(n, cert, key, now), nil
		}
	}
	if ca.key == nil {
		return out, fmt.Errorf("%s is not there, and without it nothing can be signed for %s; bring it back for the time of this command", ca.keyPath, n.Name)
	}
	var public crypto.PublicKey
	switch {
	case cert != nil: // its key may have been taken to the host, and is not needed
		out.Why, public = "the key stays", cert.PublicKey
	case key != nil:
		out.Why, public = "its key was there", key.Public()
	default:
		if key, err = p.newKey(&out); err != nil {
			return out, err
		}
		public = key.Public()
	}
	fresh, err := ca.issue(n, public, now, o.Valid)
	if err != nil {
		return out, err
	}
	out.Until, out.SANs = fresh.NotAfter, sans(fresh)
	if fresh.NotAfter.Before(now.Add(o.Valid).Truncate(time.Second)) {
		out.Notes = append(out.Notes, fmt.Sprintf("valid shorter than asked for: until %s, when the CA ends", fresh.NotAfter.Format(time.DateOnly)))
	}
	p.add(&out, file{name: CertFile(n.Name), data: encodeCert(fresh), mode: certMode, replace: cert != nil})
	return out, nil
}

// kept says what is to be known about a certificate that is left alone.
func kept(n Node, cert *x509.Certificate, key crypto.Signer, now time.Time) Outcome {
	out := Outcome{Name: n.Name, Until: cert.NotAfter, SANs: sans(cert), Why: "it is there"}
	if key == nil {
		out.Why += ", without its key, which is on the host, it seems"
	}
	switch {
	case now.After(cert.NotAfter):
		out.Notes = append(out.Notes, fmt.Sprintf("ran out on %s, and is refused everywhere; --renew makes a new one", cert.NotAfter.Format(time.DateOnly)))
	case now.Add(Soon).After(cert.NotAfter):
		out.Notes = append(out.Notes, fmt.Sprintf("runs out on %s; --renew makes a new one", cert.NotAfter.Format(time.DateOnly)))
	}
	for _, addr := range n.Addrs {
		if !slices.Contains(out.SANs, addr.String()) {
			out.Notes = append(out.Notes, fmt.Sprintf("is not for %s: peers and clients of that address refuse it; --renew makes one that is", addr))
		}
	}
	return out
}

// newKey makes a private key, and has it written.
func (p *Plan) newKey(out *Outcome) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for %s: %w", out.Name, err)
	}
	data, err := encodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %s: %w", out.Name, err)
	}
	p.add(out, file{name: KeyFile(out.Name), data: data, mode: keyMode})
	return key, nil
}

func (p *Plan) add(out *Outcome, f file) {
	p.files = append(p.files, f)
	out.Made = append(out.Made, f.name)
}
