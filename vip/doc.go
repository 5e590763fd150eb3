// Package vip puts virtual IP addresses on this host and takes them away again:
// netlink, ARP, NDP, sock_diag, and the fence (package fence) that ends a tenure
// in the kernel. It owns what the kernel shows of a VIP (address, lifetime, label,
// the routes that came with it, the sessions on it, its announcements, and the
// claims of others to it). It knows nothing of etcd, leases or roles: a caller
// hands it a moment on CLOCK_BOOTTIME until which the VIPs may stay, and says when
// they must go.
//
// Only addresses whose IP is one of the configured VIPs are ever changed or
// removed, and of those never one that looks like the host's own (ErrOwnAddress).
//
// Everything works as an ordinary user with CAP_NET_ADMIN and CAP_NET_RAW, the
// fence with CAP_BPF and a bpffs to write to.
package vip
