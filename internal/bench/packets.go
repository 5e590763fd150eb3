package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"leasehold/internal/lab"
	"leasehold/vip/fence"
)

// PacketOptions say what to measure.
type PacketOptions struct {
	Rounds int       // default 24
	Log    io.Writer // a line per round; default none
}

const (
	// pings and datagrams are how many make one sample, 0.1 to 0.2 s.
	pings     = 10_000
	datagrams = 30_000
	// pairDevice is at both ends of the pair.
	pairDevice = "pair0"
)

// The ends of the pair, the VIP on the far one, and VIPs that nobody asks for.
//
//nolint:gochecknoglobals // constants, but for the type
var (
	nearAddr  = netip.MustParsePrefix("192.0.2.1/24")
	farAddr   = netip.MustParsePrefix("192.0.2.2/24")
	pairVIP   = netip.MustParsePrefix("192.0.2.10/24")
	otherVIPs = []netip.Addr{netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("192.0.2.78")}
)

// fencing is what stands on the far end while packets are sent.
type fencing struct {
	name string
	kind fence.Kind // empty: no fence
	open bool       // one for the VIP, open
	shut int        // so many for other VIPs, shut
}

func fencings() []fencing {
	all := []fencing{{name: "none"}}
	for _, kind := range []fence.Kind{fence.TCX, fence.Clsact} {
		all = append(all,
			fencing{string(kind) + ", shut for another VIP", kind, false, 1},
			fencing{string(kind) + ", open for this VIP", kind, true, 0},
			fencing{string(kind) + ", open, and two more shut", kind, true, 2})
	}
	return all
}

// sample is one measurement.
type sample struct {
	built time.Duration // to put the fences up
	rtt   time.Duration // of an echo, the median
	send  time.Duration // per datagram, delivered to a socket of the far end
}

// Packets measures what the fence costs each packet, on a pair of network
// namespaces that is gone when it returns. Without a fence and with one take
// turns, so that a machine that grows busier favours neither.
func Packets(ctx context.Context, o PacketOptions) (_ *PacketResult, err error) {
	if o.Rounds == 0 {
		o.Rounds = 24
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	l, err := lab.New(ctx, lab.Config{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	p, err := openPair(l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	r := &PacketResult{Rounds: o.Rounds, samples: make([][]sample, len(fencings())), machine: kernelAndLoad()}
	for round := range o.Rounds {
		for i := range fencings() {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			at := (i + round) % len(fencings())
			s, err := p.measure(fencings()[at])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", fencings()[at].name, err)
			}
			r.samples[at] = append(r.samples[at], s)
		}
		fmt.Fprintf(o.Log, "round %d of %d\n", round+1, o.Rounds)
	}
	return r, nil
}
