package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// TestWire runs the real thing on a test network, one after the other.
func TestWire(t *testing.T) {
	bin := labtest.Binary(t)
	t.Run("faults", func(t *testing.T) { faultsAreBorne(t, bin) })
	t.Run("impostors", func(t *testing.T) { impostorsAreSeen(t, bin) })
}

// faultsAreBorne is one round; LEASEHOLD_CHAOS_SEED gives it another seed.
func faultsAreBorne(t *testing.T, bin string) {
	o := Options{Binary: bin, Duration: time.Second, Seed: 20261122, Out: t.Output()}
	if s := os.Getenv("LEASEHOLD_CHAOS_SEED"); s != "" {
		var err error
		if o.Seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	l := labtest.Start(t, lab.Config{}, lab.NeedsEtcd, lab.NeedsMariaDB)
	if err := Run(t.Context(), l, o); err != nil {
		t.Error(err)
	}
}

// impostorsAreSeen: a second host that speaks as the VIP is seen by the judge, on
// the wire. It is why a run without violations says something.
func impostorsAreSeen(t *testing.T, bin string) {
	o := Options{
		Binary: bin, Duration: time.Second, Seed: 1, Nodes: 2, Out: t.Output(), Keep: t.TempDir(),
		plan: Plan{
			{Kind: "impostor", On: lab.Client, At: 100 * ms, For: 300 * ms},
			{Kind: "unguarded", On: standby, At: time.Second, For: 3 * time.Second},
		},
	}
	l := labtest.Start(t, lab.Config{}, lab.NeedsEtcd, lab.NeedsMariaDB)
	err := Run(t.Context(), l, o)
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a failure", err)
	}
	for _, want := range []string{"^client, which is no node, spoke as the VIP$", "^one question was answered by (a and b|b and a)$"} {
		said := regexp.MustCompile(want)
		if !slices.ContainsFunc(f.Violations, func(v Violation) bool { return v.Rule == "J1" && said.MatchString(v.What) }) {
			t.Errorf("the judge did not say %q: %v", want, f)
		}
	}
	for _, name := range []string{"report.txt", "daemon-a.log", "etcd-c.log"} {
		if info, err := os.Stat(filepath.Join(f.Dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s of a failed run: %v", name, err)
		}
	}
}
