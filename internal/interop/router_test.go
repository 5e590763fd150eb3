package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

func TestSection(t *testing.T) {
	r := Router{Version: 3, Interval: 100 * time.Millisecond, Auth: "AH", Unicast: true, Excluded: []string{"10.20.8.199/24"}}
	got := Node{Priority: 150, Extra: []string{"preempt: false"}}.section(r, A, []string{K}, "/secret")
	want := `    vrrp: {router_id: 51, version: 3, advert_interval: 100ms, priority: 150, auth: {type: AH, password_file: /secret}, ` +
		`unicast: {source: "10.20.8.50", peers: ["10.20.8.40"]}, excluded: ["10.20.8.199"], preempt: false}` + "\n"
	if got != want {
		t.Errorf("section:\n%swant\n%s", got, want)
	}
	if got := (Node{}).section(Router{}, A, nil, ""); got != "    vrrp: {router_id: 51, version: 2, advert_interval: 1s}\n" {
		t.Errorf("the section of nothing: %s", got)
	}
	r.VIPs = []string{"fe80::8:188/64", "fd00:20:8::188/64"}
	if got := r.watched().String(); got != "fd00:20:8::188/64" {
		t.Errorf("watched is %s", got)
	}
	if got := r.address(K).String(); got != "fd00:20:8::40" {
		t.Errorf("host k's address is %s", got)
	}
}

// Every keepalived.conf of every trial is one that keepalived finds nothing wrong
// with.
func TestConfs(t *testing.T) {
	labtest.Require(t, lab.NeedsKeepalived...)
	checked := map[string]bool{}
	for _, trial := range All() {
		for host, p := range trial.Theirs {
			text := p.conf(trial.Router, host, trial.others(host), "/none")
			if checked[text] {
				continue
			}
			checked[text] = true
			file := filepath.Join(t.TempDir(), "keepalived.conf")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			// It looks for the interface, which the lab's hosts have.
			said, err := configTest(t.Context(), file)
			if err != nil {
				t.Errorf("%s, host %s: %v: %s\n%s", trial.Name, host, err, said, text)
			}
		}
	}
	if len(checked) < 20 {
		t.Errorf("%d different configurations were checked", len(checked))
	}
}

// configTest has keepalived look at a file in a namespace that has an eth0.
func configTest(ctx context.Context, file string) (string, error) {
	script := "ip link add eth0 type veth peer name eth1 && keepalived --config-test --use-file '" + file + "'"
	cmd := exec.CommandContext(ctx, "unshare", "--net", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
