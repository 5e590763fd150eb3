package vrrpcompat

import "golang.org/x/sys/unix"

// deaf passes nothing.
func deaf() []unix.SockFilter {
	return []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
}

// onlyRouter passes the packets of router c, so that the adverts of others wake
// nobody. What is too short to name a router is none. A raw socket's filter sees
// IPv4 from its header on (raw_rcv in net/ipv4/raw.c), IPv6 behind it (rawv6_rcv in
// net/ipv6/raw.c).
func onlyRouter(c Config) []unix.SockFilter {
	at := uint32(vrrpVRID)
	if c.Auth.Type == AuthAH {
		at += ahHeader
	}
	load := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: at}}
	if !c.IPv6() {
		load = []unix.SockFilter{
			{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0}, // the header's length
			{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: at},
		}
	}
	return append(load,
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(c.VRID), Jf: 1},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	)
}

func setFilter(fd int, filter []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}
