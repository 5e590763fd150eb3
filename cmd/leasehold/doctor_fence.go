package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
	"leasehold/vip"
	"leasehold/vip/fence"
)

// fenceFindings says whether there can be a fence here, and how those are that
// there are. daemon is nil where none answers.
func fenceFindings(cfg *Config, daemon *daemonReply) []Finding {
	wish := fenceWish(cfg)
	if wish == vip.FenceOff {
		return []Finding{okay("fence", "turned off (fence: off): only the kernel's address lifetimes guard the VIP")}
	}
	found := []Finding{bpffsFinding(wish, cfg.BPFDir, isBPFFS), bpfFinding(wish, fence.Probe)}
	said := count(found, levelOK) < len(found) // why there is none
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.Fence == vip.FenceOff {
			continue
		}
		var loop LoopFence
		if daemon != nil {
			loop = daemon.Services[s.Name].Loop.Fence
		}
		for _, f := range readFences(cfg.BPFDir, s, fence.Read) {
			switch none := errors.Is(f.err, fs.ErrNotExist); {
			case none && (said || loop.NoGuard != ""): // the daemon's finding says that one
			case none && loop.Why != "":
				found = append(found, refusedFinding(f.addr, loop.Why))
			default:
				found = append(found, pinnedFinding(f, boottime.Now(), daemon != nil))
			}
		}
	}
	pinned, err := fence.List(cfg.BPFDir)
	if err != nil {
		return found // the fences of ours have said why
	}
	return append(found, leftFindings(cfg, pinned)...)
}

// leftFindings names the fences of VIPs that the configuration does not name.
func leftFindings(cfg *Config, pinned []netip.Addr) []Finding {
	known := map[netip.Addr]bool{}
	for i := range cfg.Services {
		for _, v := range cfg.Services[i].VIPs {
			known[v.Spec.Prefix.Addr()] = true
		}
	}
	var found []Finding
	for _, addr := range pinned {
		if !known[addr] {
			found = append(found, warning("fence", fmt.Sprintf("of %s is left over, no service has that VIP: shut, it keeps this host from using the address", addr),
				"start the daemon, which takes it away; or, for good: leasehold release --purge"))
		}
	}
	return found
}

// isBPFFS reports whether a directory, or where it would be made, is on a bpffs.
func isBPFFS(dir string) (bool, error) {
	for {
		var s unix.Statfs_t
		err := unix.Statfs(dir, &s)
		up := filepath.Dir(dir)
		switch {
		case err == nil:
			return s.Type == unix.BPF_FS_MAGIC, nil
		case !errors.Is(err, unix.ENOENT) || up == dir:
			return false, &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		dir = up
	}
}

func bpffsFinding(wish vip.FenceMode, dir string, is func(string) (bool, error)) Finding {
	const check = "bpffs"
	on, err := is(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return warning(check, fmt.Sprintf("bpf_dir cannot be looked at by this user: %v", err), "sudo leasehold doctor")
	case err != nil:
		return withoutFence(wish, check, err.Error(), "write a bpf_dir that is on a bpffs, "+defaultBPFDir+" is the default")
	case !on:
		return withoutFence(wish, check, fmt.Sprintf("bpf_dir %s is not on a bpffs, where the fence is pinned to outlast the daemon", dir),
			"mount -t bpf bpf /sys/fs/bpf, and for good: bpf /sys/fs/bpf bpf defaults 0 0 in /etc/fstab (systemd mounts it by itself)")
	}
	return okay(check, "%s is on a bpffs", dir)
}

func bpfFinding(wish vip.FenceMode, probe func() (fence.Kind, error)) Finding {
	const check = "bpf"
	kind, err := probe()
	switch {
	case errors.Is(err, unix.EPERM) && os.Geteuid() != 0:
		return warning(check, "whether the kernel takes the fence cannot be tried by this user", "sudo leasehold doctor")
	case err != nil:
		return withoutFence(wish, check, "the kernel refuses the fence: "+reason(err.Error()),
			"cure what it names; to do without, write fence: off and a ttl of "+shortestTTL().String()+" or more")
	}
	return okay(check, "the kernel takes the fence, attached by %s", kind)
}

// reason is what package fence says after its sentinel.
func reason(text string) string {
	if _, after, ok := strings.Cut(text, fence.ErrRefused.Error()+": "); ok {
		return after
	}
	return text
}

// refusedFinding is about a daemon that has none where this command could: it
// has fewer rights.
func refusedFinding(addr netip.Addr, why string) Finding {
	return withoutFence(vip.FenceAuto, "fence", fmt.Sprintf("of %s: the kernel refuses it to the daemon: %s", addr, reason(why)),
		"cure what it names, in the unit as a rule; the daemon tries again every 5s")
}

func pinnedFinding(f fenceOf, now boottime.Instant, running bool) Finding {
	check := "fence"
	name := "of " + f.addr.String()
	s := f.state
	switch {
	case errors.Is(f.err, fs.ErrNotExist) && running:
		return failure(check, name+" is missing though the daemon runs: nothing in the kernel ends a tenure on time", "see the daemon's log for why; then systemctl restart leasehold")
	case errors.Is(f.err, fs.ErrNotExist):
		return okay(check, "%s: none yet, the daemon makes it when it starts", name)
	case errors.Is(f.err, fence.ErrForeign):
		return failure(check, fmt.Sprintf("%s: %v", name, f.err), "with the daemon stopped and the VIP elsewhere: leasehold release --purge")
	case errors.Is(f.err, fs.ErrPermission):
		return warning(check, fmt.Sprintf("%s cannot be read: %v", name, f.err), "sudo leasehold doctor")
	case f.err != nil:
		return failure(check, fmt.Sprintf("%s cannot be read: %v", name, f.err), "with the daemon stopped and the VIP elsewhere: leasehold release --purge")
	case len(s.Devices) == 0:
		return failure(check, name+" is pinned and attached to no device", "the daemon puts it back within a second; with none running: leasehold release --purge")
	case s.Claimed:
		return failure(check, fmt.Sprintf("%s is shut by a claim of %s: another host announces the VIP", name, net.HardwareAddr(s.ClaimMAC[:])),
			"find that MAC in the switches' tables and take the VIP off there (a keepalived, an ifcfg file)")
	case now.Before(s.Until):
		return okay(check, "%s is open, %s left, %s on %s", name, tenths(s.Until.Sub(now).Seconds()), s.Kind, strings.Join(s.Devices, ", "))
	}
	return okay(check, "%s is shut, %s on %s", name, s.Kind, strings.Join(s.Devices, ", "))
}
