package election

import (
	"testing"
	"time"

	"leasehold/internal/boottime"
)

// TestFreeFrom: a record that says "released" counts only without a holder key,
// which a release deletes in the same transaction.
func TestFreeFrom(t *testing.T) {
	const seen = boottime.Instant(1_000_000_000_000)
	held := &TenureKey{TenureValue: TenureValue{State: TenureHeld}, Seen: seen}
	released := &TenureKey{TenureValue: TenureValue{State: TenureReleased}, Seen: seen}
	bad := &TenureKey{TenureValue: TenureValue{State: TenureReleased}, Seen: seen, Bad: "no JSON"}
	holder := &HolderKey{Lease: 7, Seen: seen}
	for name, c := range map[string]struct {
		view View
		want time.Duration
	}{
		"held":                        {View{Tenure: held, Holder: holder}, testTTL},
		"held, lease ended":           {View{Tenure: held}, testTTL},
		"released":                    {View{Tenure: released}, 0},
		"released, says a stranger":   {View{Tenure: released, Holder: holder}, testTTL},
		"released, in a broken value": {View{Tenure: bad}, testTTL},
		"nothing known":               {View{}, testTTL},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.view.freeFrom(seen, 0, testTTL).Sub(seen); got != c.want {
				t.Errorf("free after %v; want %v", got, c.want)
			}
		})
	}
}

// TestTurn: the node whose tenure ended is not waited for, although its member
// key outlives a tenure of less than the least etcd lease of 2 s.
func TestTurn(t *testing.T) {
	const a, b, c = "db20-024", "db20-025", "db20-026"
	member := func(node string, priority int, eligible bool) Member {
		return Member{MemberValue: MemberValue{Node: node, Priority: priority, Eligible: eligible}}
	}
	all := []Member{member(a, 110, true), member(b, 100, true), member(c, 90, true)}
	of := func(node, state string) *TenureKey {
		return &TenureKey{TenureValue: TenureValue{Node: node, State: state}}
	}
	for name, tc := range map[string]struct {
		view View
		me   string
		want time.Duration
	}{
		"the best after the lost holder":    {View{Members: all, Tenure: of(a, TenureHeld)}, b, 0},
		"the next after the lost holder":    {View{Members: all, Tenure: of(a, TenureHeld)}, c, stagger},
		"the lost holder is back":           {View{Members: all, Tenure: of(a, TenureHeld)}, a, 2 * stagger},
		"after a release":                   {View{Members: all, Tenure: of(a, TenureReleased)}, b, 0},
		"the best after a holder below it":  {View{Members: all, Tenure: of(c, TenureHeld)}, a, 0},
		"nobody has held yet":               {View{Members: all}, b, stagger},
		"a better one that is not eligible": {View{Members: []Member{member(a, 110, false), member(b, 100, true)}}, b, 0},
		"named by a switchover": {View{
			Members: all, Tenure: of(a, TenureReleased), Switchover: &SwitchoverKey{SwitchoverValue: SwitchoverValue{To: c}},
		}, c, 0},
		"a switchover names another": {View{
			Members: all, Tenure: of(a, TenureReleased), Switchover: &SwitchoverKey{SwitchoverValue: SwitchoverValue{To: c}},
		}, b, switchoverHead},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.view.turn(tc.me); got != tc.want {
				t.Errorf("turn(%s) = %v; want %v", tc.me, got, tc.want)
			}
		})
	}
}
