package election

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"leasehold/internal/boottime"
)

// errForgotten says that etcd no longer takes our token: it restarted, or its
// users changed, or the token was not used for long.
var errForgotten = errors.New("etcd no longer knows our login, logging in again")

// again is how long an endpoint that refused the password is not asked: to check
// one costs etcd 60 ms of CPU (bcrypt at its default cost of 10).
const again = time.Second

// connect returns the endpoint's client. With a user and password it logs in
// first, one at a time, and fails when ctx ends before the endpoint answers.
func (c *Cluster) connect(ctx context.Context, e *endpoint) (*clientv3.Client, error) {
	if cli := e.get(); cli != nil {
		return cli, nil
	}
	select {
	case e.login <- struct{}{}:
		defer func() { <-e.login }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if cli := e.get(); cli != nil {
		return cli, nil
	}
	token, err := c.token(ctx, e)
	if err != nil {
		return nil, err
	}
	cli, err := c.dial(e.url, token)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.client = cli
	e.mu.Unlock()
	return cli, nil
}

// token logs in with a connection of its own. The client library would send the
// old token along when it asks for a new one; etcd 3.4 refuses that, and the
// library (v3.7.3, retry_interceptor.go) then asks again without end.
func (c *Cluster) token(ctx context.Context, e *endpoint) (string, error) {
	if c.opts.Username == "" {
		return "", nil
	}
	if boottime.Now().Before(e.refusedUntil) {
		return "", rpctypes.ErrAuthFailed
	}
	cli, err := c.dial(e.url, "")
	if err != nil {
		return "", err
	}
	defer cli.Close()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	r, err := cli.Authenticate(ctx, c.opts.Username, c.opts.Password)
	switch {
	case errors.Is(err, rpctypes.ErrAuthNotEnabled):
		return "", nil // a user and password are not asked for yet
	case err != nil:
		if errors.Is(err, rpctypes.ErrAuthFailed) {
			e.refusedUntil = boottime.Now().Add(again)
		}
		return "", fmt.Errorf("log in: %w", err)
	}
	return r.Token, nil
}

// dial returns a client for one endpoint. It does no I/O.
func (c *Cluster) dial(url, token string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:            []string{url},
		TLS:                  c.opts.TLS,
		Token:                token,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    pingTime,
		DialKeepAliveTimeout: time.Second,
		MaxUnaryRetries:      1, // the core decides what is sent again, and where to
		Logger:               zap.NewNop(),
		// gRPC goes by HTTPS_PROXY unless told otherwise; etcd is on the LAN.
		DialOptions: []grpc.DialOption{grpc.WithNoProxy(), grpc.WithChainUnaryInterceptor(failFast), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: dialTimeout,
		})},
	})
}

// failFast makes a request fail when the connection attempt does, with its
// reason: a refused port, a certificate. The client library would have it wait
// for its whole time, and then say no more than that time is up (options.go).
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoker(ctx, method, req, reply, cc, append(slices.Clip(opts), grpc.WaitForReady(false))...)
}

// forgotten gives a client up whose login etcd does not take any more, so that
// the next request logs in anew. It returns the error to show.
func (c *Cluster) forgotten(e *endpoint, cli *clientv3.Client, err error) error {
	if c.opts.Username == "" || !errors.Is(err, rpctypes.ErrInvalidAuthToken) &&
		!errors.Is(err, rpctypes.ErrAuthOldRevision) && !errors.Is(err, rpctypes.ErrUserEmpty) {
		return err
	}
	e.mu.Lock()
	current := e.client == cli
	if current {
		e.client = nil
	}
	e.mu.Unlock()
	if current {
		if err := cli.Close(); err != nil {
			c.log.Debug("close the connection of an old login", "endpoint", e.url, "err", err)
		}
	}
	return fmt.Errorf("%w: %w", errForgotten, err)
}

// explain adds to an error what an operator has to do about it. A certificate
// that etcd refuses shows in two ways: as etcd's alert, or, when a request was
// written before that was read, as the end of the connection (TLS 1.3 has the
// client's certificate checked after the client's handshake is done).
func (c *Cluster) explain(err error) error {
	text := err.Error()
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
	}
	ended := says("EOF", "broken pipe", "reset by peer")
	switch {
	case c.opts.TLS == nil && says("reading server preface"):
		return fmt.Errorf("%w: if etcd wants TLS, write https:// in etcd.endpoints and set etcd.tls", err)
	case c.opts.TLS != nil && says("failed to verify certificate"):
		return fmt.Errorf("%w: etcd's certificate is not to be trusted: check etcd.tls.ca and the endpoint's name", err)
	case c.opts.TLS != nil && (ended || says("remote error: tls")):
		return fmt.Errorf("%w: etcd ended the connection, perhaps over our certificate: check etcd.tls.cert, its CA and its dates", err)
	}
	return explain(err)
}

func (e *endpoint) get() *clientv3.Client {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.client
}
