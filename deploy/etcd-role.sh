#!/bin/sh
# Makes the etcd role and user that Leasehold needs: read and write below
# /leasehold/, and nothing else. May be run again: what is there stays, except the
# password, when one is given. Every change to users and roles makes all clients of
# the cluster log in again.
#
#   etcd-role.sh                 a user without a password, for a cluster that goes
#                                by the name in the client's certificate (CN=leasehold)
#   etcd-role.sh PASSWORD_FILE   a user whose password is the file's first line
#
# etcdctl is told where etcd is, and who asks, by its environment (etcdctl(1)):
#   ETCDCTL_ENDPOINTS=https://10.20.8.50:2379 ETCDCTL_CACERT=ca.pem
#   ETCDCTL_CERT=root.pem ETCDCTL_KEY=root.key    or    ETCDCTL_USER=root:PASSWORD
# Other names: LEASEHOLD_ROLE and LEASEHOLD_USER in the environment.
#
# Nothing here takes effect before auth is enabled, which concerns everybody who
# uses the cluster, and is therefore left to you:
#   etcdctl user add root; etcdctl user grant-role root root; etcdctl auth enable
set -eu

role=${LEASEHOLD_ROLE:-leasehold}
user=${LEASEHOLD_USER:-leasehold}
prefix=/leasehold/
export ETCDCTL_API=3

if [ $# -gt 1 ]; then
  echo "usage: $0 [PASSWORD_FILE]" >&2
  exit 2
fi

# Leases need no permission of their own: to revoke one takes write access to every
# key that hangs on it. Watches and transactions count as reads and writes.
if ! etcdctl role get "$role" >/dev/null 2>&1; then
  etcdctl role add "$role"
fi
if ! etcdctl role get "$role" | grep -q "(prefix $prefix)"; then
  etcdctl role grant-permission "$role" --prefix=true readwrite "$prefix" >/dev/null
fi

# The password goes through standard input: arguments show in ps.
if etcdctl user get "$user" >/dev/null 2>&1; then
  if [ $# = 1 ]; then
    head -n 1 "$1" | etcdctl user passwd "$user" --interactive=false
  fi
elif [ $# = 1 ]; then
  head -n 1 "$1" | etcdctl user add "$user" --interactive=false
else
  etcdctl user add "$user" --no-password
fi
if ! etcdctl user get "$user" | grep -q "^Roles:.* $role\( \|\$\)"; then
  etcdctl user grant-role "$user" "$role" >/dev/null
fi
etcdctl role get "$role"
