package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
)

// openEtcd makes the client of etcd as the configuration says. It reads the
// certificates and the password, and connects at first use only.
func openEtcd(cfg *Config, log hclog.Logger) (*election.Cluster, error) {
	opts := election.Options{Endpoints: cfg.Etcd.Endpoints, Username: cfg.Etcd.User}
	if cfg.Etcd.TLS() {
		t, err := tlsConfig(cfg.Etcd)
		if err != nil {
			return nil, Problems{{cfg.File, cfg.Etcd.line, "etcd.tls: " + err.Error()}}
		}
		opts.TLS = t
	}
	if f := cfg.Etcd.PasswordFile; f != nil {
		secret, err := f.Read(os.Getenv)
		if err != nil {
			return nil, Problems{{cfg.File, f.Line, "etcd.password_file: " + err.Error()}}
		}
		opts.Password = secret.Reveal()
	}
	return election.Open(opts, log)
}

// tlsConfig reads the certificates. The node's own is read anew for every
// connection, so that a renewed one counts without a restart.
func tlsConfig(e EtcdConfig) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CA != "" {
		pem, err := os.ReadFile(e.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: no certificate in %s; it must be PEM", e.CA)
		}
	}
	if e.Cert == "" {
		return t, nil
	}
	if _, err := keyPair(e); err != nil {
		return nil, err
	}
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := keyPair(e)
		return &pair, err
	}
	return t, nil
}

func keyPair(e EtcdConfig) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(e.Cert, e.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cert and key: %w", err)
	}
	return pair, nil
}

// withEtcd opens etcd for one command, and closes it after. The command ends
// with the timeout.
func (a *app) withEtcd(ctx context.Context, timeout time.Duration, cfg *Config, do func(context.Context, *election.Cluster) error) (err error) {
	cluster, err := openEtcd(cfg, hclog.NewNullLogger())
	if err != nil {
		return err
	}
	defer func() {
		if e := cluster.Close(); e != nil && err == nil {
			err = fmt.Errorf("close the connection to etcd: %w", e)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return do(ctx, cluster)
}

// withService is withEtcd for a command that is about one service: the one that
// args name, or the only one there is.
func (a *app) withService(ctx context.Context, timeout time.Duration, args []string, do func(context.Context, *Config, *election.Cluster, *Service) error) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	svc, err := a.service(cfg, args)
	if err != nil {
		return err
	}
	return a.withEtcd(ctx, timeout, cfg, func(ctx context.Context, c *election.Cluster) error {
		return do(ctx, cfg, c, svc)
	})
}

// operator names who types, for the keys that say who did it.
func operator(getenv func(string) string) string {
	name := getenv("SUDO_USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	if name == "" {
		name = "somebody"
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// etcdTrouble says that etcd could not be asked, and what to do.
func etcdTrouble(cfg *Config, what string, err error) error {
	return fmt.Errorf("%s: etcd at %v: %w; see whether it runs: etcdctl --endpoints %s endpoint status", what, cfg.Etcd.Endpoints, err, cfg.Etcd.Endpoints[0])
}

// await reads etcd's view of a service every step until done says so, or until
// ctx is over: ok is whether done did. It returns the last view that etcd gave,
// and an error only when it gave none: one that falters for a moment is waited out.
func await(ctx context.Context, step time.Duration, read func(context.Context) (election.View, error), done func(election.View) bool) (last election.View, ok bool, err error) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	seen := false
	for {
		switch v, e := read(ctx); {
		case e == nil:
			last, seen, err = v, true, nil
			if done(v) {
				return last, true, nil
			}
		case !seen:
			err = e
		}
		select {
		case <-ctx.Done():
			return last, false, err
		case <-tick.C:
		}
	}
}

// reading is etcd's view of a service, for await.
func reading(c *election.Cluster, service string) func(context.Context) (election.View, error) {
	return func(ctx context.Context) (election.View, error) { return election.Read(ctx, c, service) }
}
