package sim

import (
	"time"

	"leasehold/internal/boottime"
)

// kernel is a host's: what answers for the VIP, whatever becomes of the process.
type kernel struct {
	h     *host
	addr  address
	stray bool // another copy of the VIP, by hand, with another prefix
	fence fence
	link  bool // carrier
	lan   bool // frames get to the other hosts and back; the link may be up all the same
	gen   int  // grows with every boot
}

// address is the VIP as configured.
type address struct {
	there  bool
	byHand bool             // somebody put it there, or took its lifetime away
	end    boottime.Instant // the kernel removes it then, lateness included; zero: never
}

// fence is the eBPF program with its map (docs/adr/0007). The values of its
// deadline are those of vip/fence: 0 is shut, 1 is shut by a claim.
type fence struct {
	can      bool // the kernel has bpf
	attached bool
	deadline boottime.Instant
	claims   uint64
	claimed  boottime.Instant // when, last
	disputed bool             // and nothing has opened it since
}

const byClaim = boottime.Instant(1)

// answers reports whether this host would answer for the VIP on the wire.
func (k *kernel) answers() bool {
	if k.h.off || k.h.suspended || !k.addr.there && !k.stray {
		return false
	}
	if k.fence.attached {
		return k.h.clock() < k.fence.deadline
	}
	// What somebody adds by hand where nothing but lifetimes guards, no daemon
	// can take back before it has seen it.
	return k.addr.there && !k.addr.byHand
}

// until is when it stops to answer by itself, in real time; never: not.
func (k *kernel) until() time.Duration {
	end := k.addr.end
	if k.fence.attached {
		end = k.fence.deadline
	}
	if end == 0 {
		return never
	}
	return k.h.real(end)
}

// set adds the address or replaces its lifetime, which begins now (rtnetlink(7),
// IFA_CACHEINFO) and ends up to a second late.
func (k *kernel) set(lifetime time.Duration) {
	k.addr = address{there: true, end: k.h.clock().Add(lifetime + k.h.w.upTo(kernelLateness))}
	k.expire()
}

// kernelLateness is what vip takes it for.
const kernelLateness = time.Second

// expire removes the address when its time has come.
func (k *kernel) expire() {
	gen, end := k.gen, k.addr.end
	k.h.w.at(k.h.real(end)-k.h.w.now, func() {
		if k.gen != gen || !k.addr.there || k.addr.end != end {
			return
		}
		k.h.w.logf("%s: kernel removes the address", k.h.name)
		k.h.w.cov.hit(lifetimeEnded)
		k.addr = address{}
		k.report()
	})
}

func (k *kernel) remove() {
	k.addr, k.stray = address{}, false
	k.report()
}

// report tells the process that addresses or links have changed.
func (k *kernel) report() { k.h.heardOfKernel(k.h.w.latency()) }

// claim is a frame on the wire that claims the VIP, from a foreign MAC.
func (k *kernel) claim() {
	h := k.h
	if h.off || h.suspended || !k.link || !k.lan {
		return
	}
	if k.fence.attached && h.clock() < k.fence.deadline {
		k.fence.deadline, k.fence.claims, k.fence.claimed = byClaim, k.fence.claims+1, h.clock()
		k.fence.disputed = true
		h.w.cov.hit(fenceClaimed)
		h.w.logf("%s: the fence shuts, somebody else claims the VIP", h.name)
	}
	if k.addr.there {
		h.heardClaim()
	}
}

// store sets the fence's deadline.
func (k *kernel) store(until boottime.Instant) {
	k.fence.deadline = until
	if until > byClaim {
		k.h.w.judgeOpening(k.h)
		k.fence.disputed = false
	}
}

// boot is the kernel anew: nothing of it is kept.
func (k *kernel) boot() {
	k.gen++
	k.addr, k.stray = address{}, false
	k.fence = fence{can: k.fence.can}
}

// claimed lets everybody but from see a claim.
func (w *world) claimed(from *host) {
	for _, h := range w.hosts {
		if h != from && (from == nil || from.kernel.link && from.kernel.lan) {
			h.kernel.claim()
		}
	}
}

// asked is an ARP probe by h: whether anybody answers it.
func (w *world) asked(h *host) bool {
	if !h.kernel.link || !h.kernel.lan {
		return false
	}
	if w.squatter {
		return true
	}
	for _, o := range w.hosts {
		if o != h && o.kernel.link && o.kernel.lan && (o.kernel.answers() || o.kernel.addr.byHand && !o.kernel.fence.attached) {
			return true
		}
	}
	return false
}
