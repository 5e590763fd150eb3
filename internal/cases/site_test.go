package cases

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
	"leasehold/vip"
)

// TestCases is the operators' table: every row, on one site, one after the other.
// ETCD=embedded has Leasehold's own members instead of Debian's etcd.
func TestCases(t *testing.T) {
	if os.Getenv("ETCD") == "embedded" {
		runCases(t, embedded(), All())
		return
	}
	runCases(t, Options{}, All())
}

// TestCasesEmbedded are the rows that end or stall a member where Leasehold runs
// them itself, on both MySQL hosts and a witness. The others do not know whose etcd
// it is: make cases ETCD=embedded runs all.
func TestCasesEmbedded(t *testing.T) {
	runCases(t, embedded(), pick("N1", "N2", "N3 the two", "D1", "D5 holder's daemon killed (-9)", "M1 holder's mysqld killed",
		"P3 pause 1h, daemon", "P3 pause 1h, all of etcd"))
}

// embedded has the default ttl of a configuration with a member.
func embedded() Options { return Options{Embedded: true, TTL: 2 * time.Second} }

// TestCasesWithoutFence are the rows in which the kernel may have to end the
// tenure, where lifetimes of whole seconds are all that it has.
func TestCasesWithoutFence(t *testing.T) {
	runCases(t, Options{Fence: vip.FenceOff.String()}, pick("N1", "D1", "D5", "P2 VIP deleted", "P3 pause 1h, daemon"))
}

// TestCasesBriefTTL are those, and the fence's that a ttl matters to, at one that only
// a fence allows.
func TestCasesBriefTTL(t *testing.T) {
	runCases(t, Options{TTL: time.Second},
		pick("N1", "D5", "P2 VIP deleted", "P3 pause 1h, daemon", "P3 the pause ends", "F2", "F3"))
}

// pick returns the cases that begin like one of these.
func pick(begins ...string) []Case {
	return slices.DeleteFunc(All(), func(c Case) bool {
		return !slices.ContainsFunc(begins, func(b string) bool { return strings.HasPrefix(c.ID+" "+c.Name, b) })
	})
}

func runCases(t *testing.T, o Options, cases []Case) {
	o.Binary = labtest.Binary(t)
	l := labtest.Start(t, lab.Config{}, lab.NeedsEtcd, lab.NeedsMariaDB)
	s, err := Open(t.Context(), l, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, l.Logs(20))
	}
	var rows []Row
	t.Cleanup(func() {
		if err := Table(os.Stdout, rows); err != nil {
			t.Error(err)
		}
	})
	for _, c := range cases {
		if only := os.Getenv("CASE"); only != "" && only != c.ID {
			continue
		}
		t.Run(c.ID+"/"+c.Name, func(t *testing.T) {
			row := Row{Case: c}
			if row.Err = s.Settle(t.Context()); row.Err == nil {
				row.Measured, row.Err = c.Run(t.Context(), s)
			}
			rows = append(rows, row)
			if row.Err != nil {
				t.Errorf("%v\n%s\n%s", row.Err, s.Daemon(lab.A).Tail(25), s.Daemon(lab.B).Tail(25))
			}
		})
	}
}
