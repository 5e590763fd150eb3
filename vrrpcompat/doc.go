// Package vrrpcompat lets a node of ours live in one virtual router with
// keepalived: it reads and writes protocol 112, and runs one router's state
// machine.
//
// It owns the packet formats (VRRP version 2 of RFC 3768 with the authentication
// of RFC 2338, version 3 of RFC 5798 and RFC 9568), the order in which an advert
// is checked, the timers, and the states Initialize, Backup and Active. Where
// keepalived departs from the RFCs and a mixed cluster needs the same, it does as
// keepalived 2.2.7 does, and a comment says so. The words are RFC 9568's, also for
// version 2.
//
// It must not know what a tenure rests on, how an address gets on the host, or
// whether a service is well: a caller tells the machine (TenureGained, TenureLost,
// Shutdown), and carries out its actions.
//
// A Codec and a Machine do no I/O and read no clock. The codec belongs to one
// goroutine, because VRRP's authentication header has one counter for both
// directions; the machine is a value.
package vrrpcompat
