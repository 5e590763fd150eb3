package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// end is one end of a connection: with a node's certificate of a directory, trusting
// that directory's CA.
func end(t *testing.T, dir, node string) *tls.Config {
	t.Helper()
	c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool(), ClientAuth: tls.RequireAndVerifyClientCert}
	c.RootCAs.AddCert(mustCert(t, dir, CAName))
	c.ClientCAs = c.RootCAs
	if node != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, CertFile(node)), filepath.Join(dir, KeyFile(node)))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// talk has the client say a word over TCP on loopback, and returns what went wrong
// at each end.
func talk(t *testing.T, server, client *tls.Config) (atServer, atClient error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	limit, done := time.Now().Add(20*time.Second), make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		c := tls.Server(conn, server)
		if err = conn.SetDeadline(limit); err == nil {
			_, err = io.Copy(c, c)
		}
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	ctx, cancel := context.WithDeadline(t.Context(), limit)
	defer cancel()
	atClient = func() error {
		d := tls.Dialer{Config: client}
		conn, err := d.DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(limit); err != nil {
			return err
		}
		if v := conn.(*tls.Conn).ConnectionState().Version; v != tls.VersionTLS13 {
			t.Errorf("TLS version %x", v)
		}
		if _, err := io.WriteString(conn, "x"); err != nil {
			return err
		}
		// In TLS 1.3 a client learns that its certificate is refused when it reads.
		_, err = io.ReadFull(conn, make([]byte, 1))
		return err
	}()
	return <-done, atClient
}

// Each node takes each, at both ends; strangers are refused on either side.
func TestHandshake(t *testing.T) {
	o, stranger := order(t), order(t)
	now := time.Now()
	carryOut(t, o, now)
	carryOut(t, stranger, now)
	a, b := end(t, o.Dir, "db20-024"), end(t, o.Dir, "witness")
	asHost := a.Clone()
	asHost.ServerName = "witness"
	mistaken := a.Clone()
	mistaken.ServerName = "10.20.8.50"
	late := a.Clone()
	late.Time = func() time.Time { return now.Add(DefaultValid + time.Hour) }
	for name, c := range map[string]struct {
		server, client *tls.Config
		good           bool
	}{
		"a node asks a node":              {b, a, true},
		"and the other way round":         {a, b, true},
		"under its name":                  {b, asHost, true},
		"it is another node":              {b, mistaken, false},
		"years later":                     {b, late, false},
		"the client is a stranger":        {a, end(t, stranger.Dir, "witness"), false},
		"the server is a stranger":        {end(t, stranger.Dir, "witness"), a, false},
		"the client has no certificate":   {a, end(t, o.Dir, ""), false},
		"the certificate is a stranger's": {a, &tls.Config{RootCAs: a.RootCAs, Certificates: end(t, stranger.Dir, "witness").Certificates}, false},
	} {
		t.Run(name, func(t *testing.T) {
			atServer, atClient := talk(t, c.server, c.client)
			if c.good != (atClient == nil) || c.good && atServer != nil {
				t.Errorf("at the server: %v, at the client: %v", atServer, atClient)
			}
		})
	}
}
