package vip

import (
	"slices"
	"testing"
	"time"
)

// eachBenchGuard runs a benchmark without a fence and with one.
func eachBenchGuard(b *testing.B, bench func(*testing.B, setMaker)) {
	b.Helper()
	b.Run("lifetimes", func(b *testing.B) { b.Helper(); bench(b, newSet) })
	b.Run("fence", func(b *testing.B) { b.Helper(); bench(b, fencedSets(b)) })
}

// BenchmarkBindAnnounce measures from Bind to the first gratuitous ARP at the
// peer, with Run running: median and worst.
func BenchmarkBindAnnounce(b *testing.B) {
	for name, probe := range map[string]bool{"clean": false, "probe": true} {
		b.Run(name, func(b *testing.B) {
			b.Helper()
			eachBenchGuard(b, func(b *testing.B, newSet setMaker) { b.Helper(); benchBindAnnounce(b, newSet, probe) })
		})
	}
}

func benchBindAnnounce(b *testing.B, newSet setMaker, probe bool) {
	b.Helper()
	p := network(b)
	s := newSet(b, spec4)
	run(b, s)
	frames := capture(b, p)
	var took []time.Duration
	for b.Loop() {
		start, n := time.Now(), len(frames.all())
		if err := s.Bind(b.Context(), in(60*time.Second), probe); err != nil {
			b.Fatal(err)
		}
		if err := s.Announce(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		await(b, "the frame", func() bool { return len(frames.all()) > n })
		took = append(took, frames.all()[n].at.Sub(start))
		release(b, s)
		await(b, "both frames", func() bool { return len(frames.all()) > n+1 })
		b.StartTimer()
	}
	report(b, took)
}

// report adds the spread of what was measured.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "median-µs")
	b.ReportMetric(float64(took[len(took)*95/100].Nanoseconds())/1e3, "p95-µs")
	b.ReportMetric(float64(took[len(took)-1].Nanoseconds())/1e3, "max-µs")
}

// BenchmarkExtend measures the renewals of one VIP at a ttl of 3 s, one each
// 600 ms of a tenure: without a fence each sets a lifetime.
func BenchmarkExtend(b *testing.B) {
	eachBenchGuard(b, func(b *testing.B, newSet setMaker) {
		b.Helper()
		network(b)
		s := newSet(b, spec4)
		run(b, s)
		bind(b, s, time.Minute)
		var took []time.Duration
		until := in(time.Minute)
		for b.Loop() {
			start := time.Now()
			if err := s.Extend(b.Context(), until); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
			until = until.Add(time.Microsecond) // not the clock: a fence's lifetime lasts meanwhile
		}
		report(b, took)
	})
}

// BenchmarkRelease measures a release without sessions.
func BenchmarkRelease(b *testing.B) {
	eachBenchGuard(b, func(b *testing.B, newSet setMaker) {
		b.Helper()
		network(b)
		s := newSet(b, spec4)
		run(b, s)
		for b.Loop() {
			b.StopTimer()
			bind(b, s, time.Minute)
			b.StartTimer()
			release(b, s)
		}
	})
}

// BenchmarkTendGuard measures what Run does each second for one fence.
func BenchmarkTendGuard(b *testing.B) {
	network(b)
	s := fencedSet(b, bpffs(b), spec4)
	for b.Loop() {
		s.tendGuard(b.Context())
	}
}

// BenchmarkNew measures how long a daemon takes to adopt a fence.
func BenchmarkNew(b *testing.B) {
	network(b)
	dir := bpffs(b)
	fencedSet(b, dir, spec4)
	for b.Loop() {
		s, err := New(Config{VIPs: specs(b, spec4), Fence: FenceRequired, BPFDir: dir})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
