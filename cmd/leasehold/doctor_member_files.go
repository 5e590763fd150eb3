package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// memberDir is what the kernel says of the data directory of a member.
type memberDir struct {
	path     string
	err      error
	dir      bool
	uid      uint32
	mode     fs.FileMode
	readOnly bool
	kind     string // of the filesystem
	process  *uint32
	foreign  string // a file in it of another user
}

func readMemberDir(path string, pid int) memberDir {
	d := memberDir{path: path, process: userOf(pid)}
	var st unix.Stat_t
	if d.err = unix.Stat(path, &st); d.err != nil {
		return d
	}
	d.dir, d.uid, d.mode = st.Mode&unix.S_IFMT == unix.S_IFDIR, st.Uid, fs.FileMode(st.Mode&0o777)
	var f unix.Statfs_t
	if d.err = unix.Statfs(path, &f); d.err != nil {
		return d
	}
	d.readOnly, d.kind = f.Flags&unix.ST_RDONLY != 0, filesystem(f.Type)
	for _, name := range []string{"member", "member/wal", "member/snap", "member/snap/db"} {
		if err := unix.Stat(filepath.Join(path, name), &st); err == nil && st.Uid != d.uid { // what is not there is nobody's
			d.foreign = filepath.Join(path, name)
		}
	}
	return d
}

// userOf is the user that a process runs as; nil: it is not known.
func userOf(pid int) *uint32 {
	if pid == 0 {
		return nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil // it has ended, or is hidden from this user
	}
	for line := range strings.Lines(string(b)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			// Real, effective, saved, filesystem: see proc_pid_status(5).
			if f := strings.Fields(ids); len(f) == 4 {
				if n, err := strconv.ParseUint(f[3], 10, 32); err == nil {
					uid := uint32(n)
					return &uid
				}
			}
		}
	}
	return nil
}

// filesystem names the kind, as mount(8) calls it; the numbers are statfs(2)'s.
func filesystem(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case 0x2fc12fc1: // not in the kernel's list: OpenZFS, include/os/linux/zfs/sys/zfs_vfsops_os.h
		return "zfs"
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "cifs"
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	case unix.V9FS_MAGIC:
		return "9p"
	}
	return fmt.Sprintf("a filesystem of type %#x", magic)
}

// memberDirFinding is the worst that is to be said of the data directory.
func memberDirFinding(d memberDir) Finding {
	const check = "member"
	switch {
	case errors.Is(d.err, fs.ErrNotExist):
		return okay(check, "%s is not there yet, the member makes it", d.path)
	case errors.Is(d.err, fs.ErrPermission):
		return warning(check, d.path+" cannot be looked at by this user", "sudo leasehold doctor")
	case d.err != nil:
		return failure(check, fmt.Sprintf("%s: %v", d.path, d.err), "write an etcd.embedded.dir that the member can use, "+defaultMemberDir+" is the default")
	case !d.dir:
		return failure(check, d.path+" is not a directory", "move it away, or write another etcd.embedded.dir")
	case d.readOnly:
		return failure(check, d.path+" is on a filesystem that is mounted read-only", "see dmesg for why; the member starts by itself when it can write again")
	case d.process != nil && *d.process != 0 && *d.process != d.uid:
		return failure(check, fmt.Sprintf("%s belongs to user %d, and the member runs as user %d: it cannot write there", d.path, d.uid, *d.process), fmt.Sprintf("chown -R %d %s", *d.process, d.path))
	case d.mode&0o700 != 0o700:
		return failure(check, fmt.Sprintf("%s has mode %04o: its own user may not write there", d.path, d.mode), "chmod 700 "+d.path)
	case d.foreign != "":
		return failure(check, fmt.Sprintf("%s does not belong to user %d, as %s does: somebody has started a member by hand", d.foreign, d.uid, d.path), fmt.Sprintf("chown -R %d %s", d.uid, d.path))
	case d.kind == "tmpfs":
		return warning(check, d.path+" is on a tmpfs: a reboot takes the data, and the member has to be replaced each time", "write an etcd.embedded.dir on a disk, "+defaultMemberDir+" is the default")
	case d.kind == "nfs" || d.kind == "cifs" || d.kind == "fuse" || d.kind == "9p":
		return warning(check, fmt.Sprintf("%s is on %s: what etcd has written has to be there after a crash, and writing must be quick", d.path, d.kind), "write an etcd.embedded.dir on a local disk")
	}
	return okay(check, "%s is on %s", d.path, d.kind)
}

// nodeCerts are the certificates of this node, as its member shows them.
type nodeCerts struct {
	err   error
	own   *x509.Certificate
	chain *x509.CertPool // what comes with it
	cas   []*x509.Certificate
	roots *x509.CertPool
}

func readCerts(e EtcdConfig) nodeCerts {
	c := nodeCerts{chain: x509.NewCertPool(), roots: x509.NewCertPool()}
	pair, err := keyPair(e)
	if err != nil {
		return nodeCerts{err: err}
	}
	for i, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nodeCerts{err: fmt.Errorf("cert: %w", err)}
		}
		if i == 0 {
			c.own = cert
		} else {
			c.chain.AddCert(cert)
		}
	}
	rest, err := os.ReadFile(e.CA)
	if err != nil {
		return nodeCerts{err: fmt.Errorf("ca: %w", err)}
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nodeCerts{err: fmt.Errorf("ca: %w", err)}
		}
		c.cas = append(c.cas, cert)
		c.roots.AddCert(cert)
	}
	return c
}

// anew is how a certificate is made anew, and its files get here.
const anew = "where the CA's key is: leasehold certs --renew; then copy the files here"

// newTerm is how a CA is.
const newTerm = "where its key is: move ca.pem away, leasehold certs; then copy the new ca.pem to every host"

// certFindings says whether the other members and every client will take this
// node's certificate: etcd's own peers compare its addresses too.
func certFindings(c nodeCerts, addr netip.Addr, now time.Time) []Finding {
	const check = "member"
	switch {
	case errors.Is(c.err, fs.ErrPermission):
		return []Finding{warning(check, fmt.Sprintf("the certificates cannot be looked at by this user: %v", c.err), "sudo leasehold doctor")}
	case c.err != nil:
		return []Finding{failure(check, "etcd.tls: "+c.err.Error(), anew)}
	}
	found := dateFindings("the certificate of this node", anew, c.own, now)
	for _, ca := range c.cas {
		found = append(found, dateFindings("the CA "+ca.Subject.CommonName, newTerm, ca, now)...)
	}
	verify := func(usage x509.ExtKeyUsage) error {
		_, err := c.own.Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: c.chain, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
		return err
	}
	err := verify(x509.ExtKeyUsageAny)
	_, stranger := errors.AsType[x509.UnknownAuthorityError](err)
	switch {
	case stranger:
		found = append(found, failure(check, "the certificate of this node is not signed by etcd.tls.ca: no other member takes it", "take both from the same directory of leasehold certs"))
	case err != nil && count(found, levelFail) == 0: // else it is the dates
		found = append(found, failure(check, "the certificate of this node: "+err.Error(), anew))
	case err == nil && (verify(x509.ExtKeyUsageServerAuth) != nil || verify(x509.ExtKeyUsageClientAuth) != nil):
		found = append(found, failure(check, "the certificate of this node lacks one of the usages server and client authentication, and a member is both to the others", anew))
	}
	if c.own.VerifyHostname(addr.String()) != nil {
		found = append(found, failure(check, fmt.Sprintf("the certificate of this node does not have its address %s (it has %s): the others refuse it", addr, names509(c.own)), anew))
	}
	if len(found) == 0 {
		found = append(found, okay(check, "its certificate is good until %s", c.own.NotAfter.Format(time.DateOnly)))
	}
	return found
}

// names509 are the addresses and names that a certificate is for.
func names509(c *x509.Certificate) string {
	all := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return orNone(all)
}

func dateFindings(what, cure string, c *x509.Certificate, now time.Time) []Finding {
	const check = "member"
	day := c.NotAfter.Format(time.DateOnly)
	switch {
	case now.Before(c.NotBefore):
		return []Finding{failure(check, fmt.Sprintf("%s is good from %s on only, and here it is %s", what, c.NotBefore.Format(time.DateTime), now.Format(time.DateTime)), "set this host's clock: chronyc makestep")}
	case now.After(c.NotAfter):
		return []Finding{failure(check, fmt.Sprintf("%s ran out on %s", what, day), cure)}
	case now.Add(certWarning).After(c.NotAfter):
		return []Finding{warning(check, fmt.Sprintf("%s runs out on %s", what, day), cure)}
	}
	return nil
}
