package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"leasehold/election"
)

// daemonFindings looks at the daemon, and at what it keeps for its next start.
func daemonFindings(cfg *Config, d *daemonReply, err error) []Finding {
	found := append([]Finding{daemonFinding(d, err)}, runDirFinding(cfg.RunDir))
	if errors.Is(err, errNoDaemon) && len(cfg.Services) == 0 {
		found[0] = okay(found[0].Check, "not running; a witness gives its vote without, by its etcd member")
	}
	if err == nil {
		found = append(found, loopFindings(cfg, d)...)
	}
	for _, s := range cfg.Services {
		if f := stateFinding(filepath.Join(cfg.RunDir, s.Name+".json")); f.Level != levelOK {
			found = append(found, f)
		}
	}
	return found
}

func daemonFinding(d *daemonReply, err error) Finding {
	const check = "daemon"
	switch {
	case errors.Is(err, errNoDaemon):
		return warning(check, "not running: this host cannot take the VIP", "systemctl enable --now leasehold")
	case err != nil:
		return warning(check, err.Error(), "see journalctl -u leasehold")
	case d.Version != versionText():
		return warning(check, fmt.Sprintf("pid %d runs version %s, and this command is %s", d.PID, d.Version, versionText()), "systemctl restart leasehold, or tell it to take up the new binary: kill -USR2 its pid")
	}
	return okay(check, "pid %d, version %s", d.PID, d.Version)
}

// loopFindings passes on why this node could not take over.
func loopFindings(cfg *Config, d *daemonReply) []Finding {
	const check = "daemon"
	var found []Finding
	for _, s := range cfg.Services {
		l, ok := d.Services[s.Name]
		switch {
		case !ok:
			found = append(found, failure(check, "runs without the service "+s.Name+": it was started with another configuration", "systemctl reload leasehold"))
		case l.Loop.Fence.NoGuard != "":
			found = append(found, failure(check, fmt.Sprintf("%s: this host may not hold: %s", s.Name, reason(l.Loop.Fence.NoGuard)), "cure what it names; the daemon tries again by itself"))
		case !l.Loop.Eligible:
			found = append(found, warning(check, fmt.Sprintf("%s: not eligible: %s", s.Name, l.Loop.EligibleWhy), "cure what it names; the daemon sees it by itself"))
		case l.Loop.Failing != "":
			found = append(found, failure(check, fmt.Sprintf("%s: %s", s.Name, l.Loop.Failing), "cure what it names; the daemon tries again by itself"))
		}
	}
	return found
}

// runDirFinding: the unit makes the run_dir, so only one that is there can be bad.
func runDirFinding(dir string) Finding {
	const check = "run_dir"
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return okay(check, "%s is not there yet, the daemon makes it", dir)
	case err != nil:
		return failure(check, fmt.Sprintf("%s: %v", dir, err), "write a run_dir that the daemon can use, "+defaultRunDir+" is the default")
	case s.Flags&unix.ST_RDONLY != 0:
		return failure(check, dir+" is on a file system that is mounted read-only", "write a run_dir on a tmpfs, "+defaultRunDir+" is the default")
	case s.Bavail == 0 && s.Blocks > 0 || s.Ffree == 0 && s.Files > 0:
		return failure(check, dir+": no space is left: a daemon that is killed could not take its VIP up again", "make room: df "+dir)
	case s.Type != unix.TMPFS_MAGIC && s.Type != unix.RAMFS_MAGIC:
		return warning(check, dir+" is on a disk: it outlives a reboot, and a slow disk holds the daemon up", "write run_dir: "+defaultRunDir)
	}
	if os.Geteuid() == 0 {
		return okay(check, "%s", dir) // root may write anywhere; whether the daemon may, its log says
	}
	return okay(check, "%s is there", dir)
}

// stateFinding looks at a state file as the daemon's next start would. As root it
// stands in for the user that the run_dir belongs to.
func stateFinding(path string) Finding {
	const check = "state"
	uid := os.Geteuid()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Dir(path), &st); err == nil && uid == 0 {
		uid = int(st.Uid)
	}
	_, err := election.ReadSavedOf(path, uid)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return okay(check, "%s", path)
	case errors.Is(err, fs.ErrPermission):
		return warning(check, fmt.Sprintf("cannot be looked at by this user: %v", err), "sudo leasehold doctor")
	}
	return warning(check, strings.TrimSpace(err.Error())+": a daemon that starts now does not take its VIP up again but elects anew", "the daemon replaces it; or, while none runs: rm "+path)
}
