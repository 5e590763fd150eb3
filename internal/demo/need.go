package demo

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"leasehold/internal/lab"
)

// missing says what the demo needs and this machine lacks, and what to do about
// it. It leaves nothing behind.
func missing(o Options) error {
	if err := needRoot(); err != nil {
		return err
	}
	errs := []error{lab.Check(), needMemory()}
	if !o.NoMySQL {
		if err := lab.CheckMariaDB(); err != nil {
			errs = append(errs, fmt.Errorf("%w; apt-get install --no-install-recommends mariadb-server-core installs it without starting one, "+
				"--no-mysql shows the demo with stand-ins", err))
		}
	}
	return errors.Join(errs...)
}

// memory is what a demo takes at most, measured: 420 MB in its processes, 140 MB
// in its files.
const memory = 600 << 20

// needMemory keeps the demo from pushing out what this machine is for.
func needMemory() error {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("how much memory is free: %w", err)
	}
	free, err := memAvailable(string(b))
	if err == nil && free < memory {
		err = fmt.Errorf("the demo takes up to %d MB of memory, and %d MB are free; run it on another machine", memory>>20, free>>20)
	}
	return err
}

// memAvailable reads what can be had without swapping, in bytes, see proc_meminfo(5).
func memAvailable(meminfo string) (uint64, error) {
	for line := range strings.Lines(meminfo) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			var kb uint64
			if _, err := fmt.Sscanf(rest, "%d kB", &kb); err != nil {
				return 0, fmt.Errorf("how much memory is free: %q: %w", line, err)
			}
			return kb << 10, nil
		}
	}
	return 0, errors.New("how much memory is free: /proc/meminfo has no MemAvailable")
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the demo makes network namespaces on this machine, and needs root for it; run it with sudo")
	}
	return nil
}
