// Package deploy has no code: it is what gets installed beside the binary (unit
// file, reference config, the etcd role, the user), and tests that hold each of them
// against the real thing: systemd, etcd, the daemon.
package deploy
