package vip

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckCapabilities returns an error that names which of CAP_NET_ADMIN and
// CAP_NET_RAW this process lacks, and what to do; nil when it has both. Source:
// CapEff in /proc/self/status, proc_pid_status(5), capabilities(7).
func CheckCapabilities() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("read the capabilities of this process: %w", err)
	}
	return checkStatus(string(status))
}

func checkStatus(status string) error {
	for line := range strings.Lines(status) {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		effective, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil {
			return fmt.Errorf("read CapEff of /proc/self/status: %w", err)
		}
		return missing(effective)
	}
	return fmt.Errorf("/proc/self/status has no CapEff line")
}

func missing(effective uint64) error {
	var lacks []string
	if effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		lacks = append(lacks, "CAP_NET_ADMIN (to bind and delete addresses)")
	}
	if effective&(1<<unix.CAP_NET_RAW) == 0 {
		lacks = append(lacks, "CAP_NET_RAW (to announce them by ARP and NDP)")
	}
	if len(lacks) == 0 {
		return nil
	}
	return fmt.Errorf("missing %s; run as root, or set AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in the unit, or setcap cap_net_admin,cap_net_raw+ep on the binary", strings.Join(lacks, " and "))
}
