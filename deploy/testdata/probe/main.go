// Command probe tries, from inside the unit's sandbox, what the daemon has to be
// able to do and what it must not. One line each: "ok WHAT" or "FAIL WHAT: WHY".
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func main() {
	for _, c := range []struct {
		what string
		try  func() error
	}{
		{"addresses", addresses},
		{"promote_secondaries", func() error {
			return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/promote_secondaries", []byte("1"), 0)
		}},
		{"packet socket", func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0x0608) }}, // ETH_P_ARP, network order
		{"icmpv6 socket", func() error { return socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6) }},
		{"vrrp socket", func() error { return socket(unix.AF_INET, unix.SOCK_RAW, 112) }},
		{"process connector", func() error { return socket(unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_CONNECTOR) }},
		{"reset a connection", resetConnection},
		{"pidfd of another user", pidfd},
		{"proc of another user", func() error { _, err := os.ReadFile("/proc/1/stat"); return err }},
		{"read the clock's rate", func() error { _, err := unix.Adjtimex(&unix.Timex{}); return err }},
		{"state file", func() error { return os.WriteFile("/run/leasehold/probe", nil, 0o600) }},
		{"unix socket in /run", func() error { return dial("/run/test/mysql.sock") }},
		{"unix socket in /tmp", func() error { return dial("/tmp/mysql.sock") }},
		{"run a check", func() error { return exec.Command("/bin/true").Run() }}, //nolint:noctx // ends by itself
		{"capabilities", func() error {
			return line("/proc/self/status", "CapEff:", 1<<unix.CAP_NET_ADMIN|1<<unix.CAP_NET_RAW|1<<unix.CAP_BPF)
		}},
		{"nice -15", nice},
		{"a place for pins", place},
		{"fence", attach},

		{"no write to /etc", refused(func() error { return os.WriteFile("/etc/probe", nil, 0o600) })},
		{"no write to /tmp", refused(func() error { return os.WriteFile("/tmp/probe", nil, 0o600) })},
		{"no write to the host's bpffs", refused(func() error { return os.Mkdir("/sys/fs/bpf/probe", 0o700) })},
		{"no other sysctl", refused(func() error { return os.WriteFile("/proc/sys/kernel/panic", []byte("0"), 0) })},
		{"no setting the clock", refused(func() error {
			return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: time.Now().Unix()})
		})},
		{"no signal to others", refused(func() error { return unix.Kill(1, unix.SIGCONT) })},
		{"no namespaces", refused(func() error { return unix.Unshare(unix.CLONE_NEWUSER) })},
	} {
		if err := c.try(); err != nil {
			fmt.Printf("FAIL %s: %v\n", c.what, err)
			continue
		}
		fmt.Println("ok", c.what)
	}
}

// addresses binds, extends and removes an address as package vip does.
func addresses() error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr("10.20.8.199/24")
	if err != nil {
		return err
	}
	a.Label, a.ValidLft, a.PreferedLft = "eth0:1", 2, 2
	return errors.Join(netlink.AddrReplace(link, a), netlink.AddrReplace(link, a), netlink.AddrDel(link, a))
}

func socket(family, typ, proto int) error {
	fd, err := unix.Socket(family, typ, proto)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func dial(path string) error {
	c, err := net.Dial("unix", path) //nolint:noctx // local, and it answers at once or not at all
	if err != nil {
		return err
	}
	return c.Close()
}

// resetConnection destroys a connection of another user's, here the probe's own.
func resetConnection() error {
	l, err := net.Listen("tcp4", "10.20.8.50:0") //nolint:noctx // local
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String()) //nolint:noctx // local
	if err != nil {
		return err
	}
	defer c.Close()
	return netlink.SocketDestroy(c.LocalAddr(), c.RemoteAddr())
}

// pidfd opens and polls the pidfd of a process of root.
func pidfd() error {
	fd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err
}

// line compares the hexadecimal value of a line of a file in /proc.
func line(file, name string, want uint64) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(b), name)
	value, _, _ := strings.Cut(rest, "\n")
	if got, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err != nil || got != want {
		return fmt.Errorf("%s %x, %v, want %x", name, got, err, want)
	}
	return nil
}

func nice() error {
	if n, err := unix.Getpriority(unix.PRIO_PROCESS, 0); n != 20+15 || err != nil { // the system call's scale, getpriority(2)
		return fmt.Errorf("getpriority = %d, %v", n, err)
	}
	return nil
}

// place makes a directory where the fences are pinned, on a bpffs.
func place() error {
	const dir = "/sys/fs/bpf/leasehold/probe"
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/bpf/leasehold", &fs); err != nil || fs.Type != unix.BPF_FS_MAGIC {
		return fmt.Errorf("file system %#x, %v, want a bpffs", fs.Type, err)
	}
	return errors.Join(os.Mkdir(dir, 0o700), os.Remove(dir))
}

// attach loads a map that can be mapped and a classifier that reads the boot
// clock, pins both and takes them away again.
func attach() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		return err
	}
	defer m.Close()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.FnKtimeGetBootNs.Call(), asm.Mov.Imm(asm.R0, 0), asm.Return(),
	}})
	if err != nil {
		return err
	}
	defer p.Close()
	for _, pin := range []interface {
		Pin(path string) error
		Unpin() error
	}{m, p} {
		if err := errors.Join(pin.Pin("/sys/fs/bpf/leasehold/probe"), pin.Unpin()); err != nil {
			return err
		}
	}
	b, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return unix.Munmap(b)
}

// refused turns an error for want of a right into success.
func refused(try func() error) func() error {
	return func() error {
		err := try()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS) {
			return nil
		}
		return fmt.Errorf("got %v, want a refusal", err) //nolint:errorlint // there may be none
	}
}
