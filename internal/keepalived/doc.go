// Package keepalived reads keepalived.conf the way keepalived 2.2.7 does, and
// says what of it a configuration of Leasehold can say: Read, then Convert.
//
// It owns keepalived's grammar, its defaults, and the table of what becomes what.
// It opens the named file and what that includes, and nothing else; it asks
// neither the kernel nor etcd, and writes no file.
//
// The grammar follows lib/parser.c of acassen/keepalived at v2.2.7, the words
// keepalived.conf(5) and keepalived/vrrp/vrrp_parser.c of that version.
package keepalived
