// leasehold-sim lives through many simulated clusters and says what it saw.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"leasehold/internal/sim"
)

func main() { os.Exit(run()) }

func run() int {
	var o sim.Options
	seeds := flag.Uint64("seeds", 1000, "how many worlds")
	flag.Uint64Var(&o.Seed, "first", 1, "the seed of the first")
	flag.StringVar(&o.Profile, "profile", "", "one of: wild, one fault, others, paused; empty: as the seed says")
	verbose := flag.Bool("v", false, "replay the first seed and print its timeline")
	counters := flag.Bool("coverage", false, "print every counter")
	most := flag.Int("failures", 1, "stop after that many")
	workers := flag.Int("workers", runtime.GOMAXPROCS(0), "how many at a time")
	flag.Parse()
	debug.SetGCPercent(800) // worlds are small and live for milliseconds

	if *verbose {
		o.Trace = true
		r := sim.Run(o, sim.NewCoverage())
		fmt.Printf("%sseed %d, %v in its world, %d events\n", r.Story, o.Seed, r.Time.Round(time.Millisecond), r.Events)
		if r.Bad != "" {
			fmt.Println("FAILED", r.Bad)
			return 1
		}
		return 0
	}
	t := sim.RunMany(o, *seeds, *workers, *most)
	fmt.Print(t.Report(*counters))
	if len(t.Failed) > 0 || o.Profile == "" && len(t.Missing()) > 0 {
		return 1
	}
	return 0
}
