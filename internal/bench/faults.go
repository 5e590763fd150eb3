package bench

import (
	"context"
	"time"

	"leasehold/internal/cases"
	"leasehold/internal/lab"
)

// fault is one row of the table.
type fault struct {
	name   string
	before func(ctx context.Context, site *cases.Site, round int) error // what the round needs; may be nil
	do     func(ctx context.Context, s system, site *cases.Site) error
	after  func(ctx context.Context, s system) error // when it was measured; may be nil
	target target
	// process says that it is not the host that fails but only mysqld on it.
	// The prober is answered as long as the VIP is there, so that the time runs
	// from the fault, not from the last answer.
	process bool
	quick   bool // tests bring it about as well
}

// target is what design and README promise for Leasehold.
type target struct {
	limit time.Duration
	worst bool // holds for every round, not for the median
}

func faults() []fault {
	return []fault{
		{
			name: "mysqld killed", process: true, quick: true, target: target{50 * time.Millisecond, false},
			do: func(_ context.Context, _ system, site *cases.Site) error { return site.DB.Process(lab.A).Kill() },
		},
		{
			name: "daemon stopped", target: target{50 * time.Millisecond, false},
			do:    func(_ context.Context, s system, _ *cases.Site) error { return s.Daemon(lab.A).Term() },
			after: func(ctx context.Context, s system) error { return ended(ctx, s.Daemon(lab.A)) },
		},
		{
			name: "daemon killed", quick: true, target: target{ttl + 100*time.Millisecond, true},
			do: func(_ context.Context, s system, _ *cases.Site) error { return killGroup(s.Daemon(lab.A)) },
		},
		{
			name: "host lost", target: target{ttl + 100*time.Millisecond, true},
			// Etcd's leader is lost with the host in one round of three.
			before: func(ctx context.Context, site *cases.Site, round int) error {
				return site.Etcd.MoveLeader(ctx, []string{lab.A, lab.B, lab.C}[round%3])
			},
			do: func(_ context.Context, _ system, site *cases.Site) error { return site.PowerOff(lab.A) },
		},
		{
			name: "switchover", target: target{50 * time.Millisecond, false},
			do: func(ctx context.Context, s system, _ *cases.Site) error { return s.Switchover()(ctx) },
		},
	}
}
