package sdlab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// mountRoot mounts the lab's file system: lower, with a tmpfs on top that takes
// every write, and without the services that the host has enabled.
func (l *Lab) mountRoot(lower string) error {
	ov := l.path("ov")
	if err := os.Mkdir(ov, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", ov, "tmpfs", 0, "size=512m,mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(ov, d), 0o755); err != nil {
			return err
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, ov, ov)
	if err := unix.Mount("overlay", filepath.Join(ov, "root"), "overlay", 0, data); err != nil {
		return fmt.Errorf("mount overlay (%s): %w", data, err)
	}
	return l.quieten(filepath.Join(ov, "root"))
}

// quieten keeps what the host has enabled from starting in the lab, and gives the
// lab a machine id of its own.
func (l *Lab) quieten(root string) error {
	for _, enabled := range []string{"etc/systemd/system/*.wants/*", "etc/rc?.d/*"} {
		files, err := filepath.Glob(filepath.Join(root, enabled))
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	for _, unit := range []string{
		"console-getty.service", "getty.target", "networking.service",
		"systemd-logind.service", "systemd-networkd.service", "systemd-resolved.service",
	} {
		link := filepath.Join(root, "etc/systemd/system", unit)
		if err := os.RemoveAll(link); err != nil {
			return err
		}
		if err := os.Symlink("/dev/null", link); err != nil { // systemctl mask
			return err
		}
	}
	id := make([]byte, 16)
	rand.Read(id)
	file := filepath.Join(root, "etc/machine-id")
	if err := os.RemoveAll(file); err != nil { // it may be a link
		return err
	}
	return os.WriteFile(file, []byte(hex.EncodeToString(id)+"\n"), 0o444)
}

// makeNetwork makes the two namespaces and the cable between them.
func (l *Lab) makeNetwork(ctx context.Context, o Options) error {
	for _, args := range [][]string{
		{"netns", "add", l.NS},
		{"netns", "add", l.Peer},
		{"-n", l.NS, "link", "set", "lo", "up"},
		{"-n", l.Peer, "link", "set", "lo", "up"},
		{"-n", l.NS, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", l.Peer},
		{"-n", l.NS, "addr", "add", o.Addr.String(), "dev", "eth0"},
		{"-n", l.Peer, "addr", "add", o.Peer.String(), "dev", "eth0"},
		{"-n", l.NS, "link", "set", "eth0", "up"},
		{"-n", l.Peer, "link", "set", "eth0", "up"},
	} {
		if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	ns, err := netns.GetFromName(l.NS)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", l.NS, err)
	}
	defer ns.Close()
	l.netlink, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	return err
}

// HasAddr reports whether the kernel of the lab has ip on eth0, whatever its prefix
// length, label and lifetime.
func (l *Lab) HasAddr(ip netip.Addr) (bool, error) {
	link, err := l.netlink.LinkByName("eth0")
	if err != nil {
		return false, fmt.Errorf("eth0 in %s: %w", l.NS, err)
	}
	addrs, err := l.netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return false, fmt.Errorf("addresses of eth0 in %s: %w", l.NS, err)
	}
	for _, a := range addrs {
		if got, ok := netip.AddrFromSlice(a.IP); ok && got.Unmap() == ip {
			return true, nil
		}
	}
	return false, nil
}
