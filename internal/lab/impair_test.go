package lab_test

import (
	"io"
	"net"
	"testing"
	"time"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// roundTrip returns what a probe from one host to another takes, or 0 when none
// is answered in that time.
func roundTrip(t *testing.T, l *lab.Lab, from, to string, within time.Duration) time.Duration {
	t.Helper()
	host := must2(l.Host(to))(t)
	p := must2(l.StartProber(lab.ProberConfig{From: from, To: host.Addr.Addr(), Hosts: []string{to}}))(t)
	_ = p.WaitAnswer(t.Context(), to, within) // or there is none
	check(t, p.Stop())
	for _, probe := range p.Probes() {
		if !probe.Answered.IsZero() {
			return probe.Answered.Sub(probe.Sent)
		}
	}
	return 0
}

// A host sends late: what it answers takes that long, large segments that a NIC
// would cut come through whole, and a cut holds for what is late, too.
func TestImpairDelay(t *testing.T) {
	l := labtest.Start(t, lab.Config{})
	ctx := t.Context()
	const delay = 80 * time.Millisecond
	check(t, l.Impair(ctx, []lab.Impairment{{From: lab.B, Delay: delay}}))
	if d := roundTrip(t, l, lab.A, lab.B, 20*time.Second); d < delay || d > 20*delay {
		t.Errorf("a round trip to a host that sends %v late took %v", delay, d)
	}
	if d := roundTrip(t, l, lab.A, lab.C, 20*time.Second); d == 0 || d > delay {
		t.Errorf("a round trip between others took %v", d)
	}
	host := must2(l.Host(lab.B))(t)
	conn := must2(l.Dial(ctx, lab.A, "tcp", net.JoinHostPort(host.Addr.Addr().String(), "4188")))(t) // its responder's echo
	check(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	sent, back := make([]byte, 1<<20), make([]byte, 1<<20)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		written <- err
	}()
	if _, err := io.ReadFull(conn, back); err != nil {
		t.Errorf("a megabyte to a host that sends late, and back: %v", err)
	}
	check(t, <-written)
	check(t, conn.Close())

	check(t, l.Impair(ctx, []lab.Impairment{{From: lab.B, Delay: delay}, {From: lab.B, To: lab.A, Lose: 100}}))
	if d := roundTrip(t, l, lab.A, lab.B, time.Second); d != 0 {
		t.Errorf("a round trip through a cut took %v", d)
	}
	if d := roundTrip(t, l, lab.C, lab.B, 20*time.Second); d < delay {
		t.Errorf("a round trip beside the cut took %v", d)
	}
	check(t, l.Impair(ctx, nil))
	if d := roundTrip(t, l, lab.A, lab.B, 20*time.Second); d == 0 || d > delay {
		t.Errorf("a round trip after all has ended took %v", d)
	}
	if err := l.Impair(ctx, []lab.Impairment{{From: lab.A, To: lab.B, Delay: delay}}); err == nil {
		t.Error("a delay between two hosts was accepted")
	}
}
