package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Before there is a cluster its members meet: each answers on its peer port that
// it waits, and on what terms it would start. So lists of members that differ are
// found before anything is started, and a member whose disk was replaced does not
// begin a cluster of its own while it cannot reach the others.

// greeting is what a member says that waits to start.
type greeting struct {
	Name  string    `json:"name"`
	Terms string    `json:"terms"`
	Now   time.Time `json:"now"`
}

// greetingPath does not exist on a peer port of etcd.
const greetingPath = "/leasehold/waiting"

// membersPath is etcd's (etcdserver/api/etcdhttp/peer.go).
const membersPath = "/members"

// heard is what came from one of the other members.
type heard struct {
	peer    Peer
	waiting *greeting // it waits to start
	listing *listing  // it is in a cluster
	clock   time.Duration
	err     error // neither of them
}

// listing is the cluster as one of its members has it.
type listing struct {
	cluster uint64
	members []listed
}

// listed is one member of it.
type listed struct {
	ID         hexID    `json:"id"`
	Name       string   `json:"name"`     // empty until it has started once, where it was added later
	PeerURLs   []string `json:"peerURLs"` // where the others reach it
	ClientURLs []string `json:"clientURLs"`
}

// hexID is an id that etcd writes as a JSON number of 64 bits.
type hexID uint64

func (h hexID) String() string { return strconv.FormatUint(uint64(h), 16) }

// askLimit bounds the question to one member; on a LAN it takes 1 or 2 ms.
const askLimit = 400 * time.Millisecond

// askOthers asks all other members at once. It takes no longer than askLimit, and
// answers in the order of the peers.
func (c *Config) askOthers(ctx context.Context, client *http.Client) []heard {
	others := c.others()
	out := make([]heard, len(others))
	var g errgroup.Group
	for i, p := range others {
		g.Go(func() error {
			out[i] = c.ask(ctx, client, p)
			return nil
		})
	}
	_ = g.Wait() // errors are answers here
	return out
}

func (c *Config) ask(ctx context.Context, client *http.Client, p Peer) heard {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	h := heard{peer: p}
	body, header, err := get(ctx, client, c.peerURL(p)+membersPath)
	switch {
	case err != nil:
		h.err = brief(err)
		return h
	case header.Get("X-Etcd-Cluster-Id") != "":
		h.listing, h.err = readListing(body, header)
		h.clock = clockOf(header)
		return h
	}
	body, _, err = get(ctx, client, c.peerURL(p)+greetingPath)
	var g greeting
	if err == nil {
		err = json.Unmarshal(body, &g)
	}
	if err != nil {
		h.err = fmt.Errorf("port %d of %s is not a member's: %w", c.PeerPort, p.Addr, brief(err))
		return h
	}
	h.waiting, h.clock = &g, time.Since(g.Now)
	return h
}

// brief is the cause alone: which member was asked, and for what, is said elsewhere.
func brief(err error) error {
	var no syscall.Errno
	var u *url.Error
	switch {
	case errors.As(err, &no):
		return no
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer")
	case errors.As(err, &u):
		return u.Err
	}
	return err
}

func readListing(body []byte, header http.Header) (*listing, error) {
	id, err := strconv.ParseUint(header.Get("X-Etcd-Cluster-Id"), 16, 64)
	if err != nil {
		return nil, fmt.Errorf("its cluster id: %w", err)
	}
	l := &listing{cluster: id}
	if err := json.Unmarshal(body, &l.members); err != nil {
		return nil, fmt.Errorf("its list of members: %w", err)
	}
	return l, nil
}

// clockOf is how far this host's clock is ahead of the answering one's, which says
// its time in whole seconds.
func clockOf(header http.Header) time.Duration {
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return 0
	}
	return time.Since(at).Truncate(time.Second)
}

// mostOfAnswer bounds what is read of an answer: a list of nine members is 2 kB.
const mostOfAnswer = 1 << 20

// get returns the body of an answer, also of one that says there is no such page.
func get(ctx context.Context, client *http.Client, url string) (body []byte, header http.Header, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, mostOfAnswer))
	return body, resp.Header, err
}

// client asks other members, with the own certificate where there is one. Its
// connections end with the answer: the port is another program's a moment later.
func (c *Config) client() (*http.Client, error) {
	t := &http.Transport{DisableKeepAlives: true}
	if c.TLS.on() {
		conf, err := c.TLS.config()
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = conf
	}
	return &http.Client{Transport: t}, nil
}

// config asks for and shows certificates of the one CA, at both ends.
func (t TLS) config() (*tls.Config, error) {
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: no certificate in %s; it must be PEM", t.CA)
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("cert and key: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair},
		RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// door answers on the peer port while the member waits to start.
type door struct {
	server *http.Server
	done   chan error
}

// openDoor listens on the peer port. It serves until close.
func (c *Config) openDoor(ctx context.Context) (*door, error) {
	l, err := c.listen(ctx, c.own().Addr.String(), c.PeerPort)
	if err != nil {
		return nil, err
	}
	if c.TLS.on() {
		l = tls.NewListener(l, &tls.Config{
			MinVersion:         tls.VersionTLS12,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.TLS.config() },
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+greetingPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(greeting{Name: c.Name, Terms: c.terms(), Now: time.Now()}) // who asked has gone
	})
	d := &door{server: &http.Server{Handler: mux, ReadTimeout: time.Second, WriteTimeout: time.Second}, done: make(chan error, 1)}
	go func() { d.done <- d.server.Serve(l) }() // ends with close
	return d, nil
}

// close returns when the port is free again.
func (d *door) close() error {
	err := d.server.Close()
	if served := <-d.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// listen listens on a port of this host, and says in an operator's words why not.
func (c *Config) listen(ctx context.Context, addr string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
	if err != nil {
		return nil, portProblem(addr, port, err)
	}
	return l, nil
}
