package election

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"leasehold/internal/boottime"
)

// guardedEtcd starts an etcd with the user that deploy/etcd-role.sh makes, and
// returns it with a client of root's.
func guardedEtcd(t *testing.T, args ...string) (*etcdServer, *clientv3.Client, Options) {
	t.Helper()
	if _, err := exec.LookPath("etcdctl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, so this test must run: %v; install etcd-client", err)
		}
		t.Skipf("%v; install etcd-client", err)
	}
	e := startEtcd(t, 1, append([]string{"--bcrypt-cost", "4"}, args...)...)[0]
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := exec.Command("sh", "../deploy/etcd-role.sh", secret)
	script.Env = append(os.Environ(), "ETCDCTL_ENDPOINTS="+e.url)
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("etcd-role.sh: %v\n%s", err, out)
	}
	cli := e.client(t)
	if _, err := cli.UserAdd(t.Context(), "root", "toor"); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.UserGrantRole(t.Context(), "root", "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.AuthEnable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e, asRoot(t, e), Options{Endpoints: []string{e.url}, Username: "leasehold", Password: "s3cret"}
}

// asRoot returns a client of root's, freshly logged in: the library cannot renew
// its own login with etcd 3.4, see token.
func asRoot(t *testing.T, e *etcdServer) *clientv3.Client {
	t.Helper()
	root, err := clientv3.New(clientv3.Config{Endpoints: []string{e.url}, Username: "root", Password: "toor", Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// TestRoleIsEnough: a user that may read and write below /leasehold/ and nothing
// else can do all that the daemon and the commands do.
func TestRoleIsEnough(t *testing.T) {
	t.Parallel()
	e, root, opts := guardedEtcd(t, "--auth-token-ttl", "1")
	cfg := testConfig(t, "a")
	vacate(t, root, cfg.Service)
	var j referee
	a := j.join(t, cfg, open(t, opts))
	waitBound(t, soon, a)
	cfg.Node = "b"
	b := j.join(t, cfg, open(t, opts))
	eventually(t, soon, "a sees b", func() bool { return a.c.State().OthersEligible })

	// A member's lease with the holder key on it is revoked after a release.
	lease := a.c.State().Lease
	a.ill("test")
	waitBound(t, soon, b)
	eventually(t, soon, "the lease is revoked", func() bool {
		r, err := root.TimeToLive(t.Context(), clientv3.LeaseID(lease))
		return err == nil && r.TTL == -1
	})
	a.ill("")
	b.c.Record(HistoryValue{Epoch: b.bound(), From: "a", To: "b", Why: "test", At: time.Now().UTC()})
	administer(t, open(t, opts), cfg.Service, a, b)
	t.Logf("%s did all of it with a token life of 1 s", e.url)
}

// administer runs what the commands do.
func administer(t *testing.T, cluster *Cluster, service string, a, b *tenant) {
	t.Helper()
	ctx := t.Context()
	eventually(t, soon, "a is eligible", func() bool { return b.c.State().OthersEligible })
	if err := RequestSwitchover(ctx, cluster, service, SwitchoverValue{To: "a", By: "test"}); err != nil {
		t.Fatal(err)
	}
	waitBound(t, soon, a)
	v, err := Read(ctx, cluster, service)
	if err != nil || v.Holder == nil || v.Holder.Node != "a" {
		t.Fatalf("Read = %+v, %v; want the holder a", v, err)
	}
	if d, err := LeaseLeft(ctx, cluster, v.Holder.Lease); err != nil || d <= 0 {
		t.Errorf("LeaseLeft = %v, %v", d, err)
	}
	until := time.Now().Add(time.Hour)
	if err := Pause(ctx, cluster, service, PauseValue{Until: &until}, time.Hour); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "the tenure covers the pause", func() bool { return a.c.State().Long })
	if err := Resume(ctx, cluster, service); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "the tenure is short again", func() bool { s := a.c.State(); return !s.Long && !s.Paused })
	if list, err := History(ctx, cluster, service, 10); err != nil || len(list) != 1 || list[0].To != "b" {
		t.Errorf("History = %+v, %v; want b's line", list, err)
	}
	if list, err := Services(ctx, cluster); err != nil || len(list) != 1 || list[0] != service {
		t.Errorf("Services = %q, %v; want %s", list, err, service)
	}
	epoch := a.bound()
	a.judge.forced.Store(true) // its host is not off: whether it hears of it in time is luck
	if err := ForceRelease(ctx, cluster, service, "host is off", "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "a new tenure", func() bool { return max(a.bound(), b.bound()) > epoch })
	a.end()
	b.end()
	if err := ForceRelease(ctx, cluster, service, "host is off", "test"); !errors.Is(err, ErrNotThere) {
		t.Errorf("ForceRelease of what is released: %v, want ErrNotThere", err)
	}
}

// TestTokensExpire: etcd forgets its tokens when it restarts and when its users
// change, and each endpoint's own when it is not used for long.
func TestTokensExpire(t *testing.T) {
	t.Parallel()
	e, root, opts := guardedEtcd(t, "--auth-token-ttl", "1")
	cfg := testConfig(t, "a")
	vacate(t, root, cfg.Service)
	var j referee
	a := j.join(t, cfg, open(t, opts))
	waitBound(t, soon, a)
	watchOver(t, 3*time.Second, floor(300*time.Millisecond), map[string]*tenant{"token life 1 s": a})
	if _, err := asRoot(t, e).UserAdd(t.Context(), "somebody", "else"); err != nil {
		t.Fatal(err)
	}
	watchOver(t, 2*time.Second, floor(300*time.Millisecond), map[string]*tenant{"users changed": a})
	e.kill(t)
	e.start(t)
	watchOver(t, testTTL, floor(1300*time.Millisecond), map[string]*tenant{"etcd restarted": a})
	if a.bound() != 8 || !a.c.State().Synced {
		t.Errorf("%v, want it in its first tenure and in step", a)
	}
}

// TestSilentEndpointWithPassword: to fetch a token from an endpoint that does
// not answer must not hold up those that do.
func TestSilentEndpointWithPassword(t *testing.T) {
	t.Parallel()
	e, root, opts := guardedEtcd(t)
	opts.Endpoints = []string{silentEndpoint(t), e.url, silentEndpoint(t)}
	cfg := testConfig(t, "a")
	vacate(t, root, cfg.Service)
	var j referee
	a := j.join(t, cfg, open(t, opts))
	_, took := waitBound(t, 2*testTTL, a)
	t.Logf("bound after %v", took)
	watchOver(t, 3*testTTL, floor(300*time.Millisecond), map[string]*tenant{"silent endpoints": a})
}

func TestNotLetIn(t *testing.T) {
	t.Parallel()
	e, root, good := guardedEtcd(t)
	for _, u := range []string{"narrow", "nobody"} {
		if _, err := root.UserAdd(t.Context(), u, "s3cret"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.RoleAdd(t.Context(), "narrow"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.RoleGrantPermission(t.Context(), "narrow", Root, clientv3.GetPrefixRangeEnd(Root), clientv3.PermissionType(clientv3.PermRead)); err != nil {
		t.Fatal(err)
	}
	if _, err := root.UserGrantRole(t.Context(), "narrow", "narrow"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		user, password, want string
	}{
		"wrong password": {good.Username, "wrong", "etcd.password_file"},
		"no password":    {"", "", "etcd.password_file"},
		"no role":        {"nobody", "s3cret", "etcd-role.sh"},
		"reads only":     {"narrow", "s3cret", "etcd-role.sh"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t, "a")
			vacate(t, root, cfg.Service)
			var j referee
			opts := Options{Endpoints: []string{e.url}, Username: c.user, Password: c.password}
			a := j.join(t, cfg, open(t, opts))
			staysOut(t, a, c.want)
			if _, err := Read(t.Context(), open(t, opts), cfg.Service); name != "reads only" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Read: %v; want an error that contains %q", err, c.want)
			}
		})
	}
}

// staysOut fails when the node holds, or when its trouble does not say want for
// most of the time.
func staysOut(t *testing.T, a *tenant, want string) {
	t.Helper()
	eventually(t, soon, "the trouble contains "+want, func() bool { return strings.Contains(a.c.State().Trouble, want) })
	t.Logf("trouble: %s", a.c.State().Trouble)
	var told, all int
	var other string
	for end := boottime.Now().Add(2 * time.Second); boottime.Now().Before(end); {
		s := a.c.State()
		if s.HeldUntil != 0 {
			t.Fatalf("it holds: %v", a)
		}
		all++
		if strings.Contains(s.Trouble, want) {
			told++
		} else {
			other = s.Trouble
		}
		<-time.After(5 * time.Millisecond)
	}
	if told*10 < all*9 {
		t.Errorf("the trouble was told in %d of %d readings, in others %q", told, all, other)
	}
}
