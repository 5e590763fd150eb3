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
// A Codec and a Machine do no I/O and read no clock. Around them belongs a loop
// that does this, and in this order where several things are due at once:
//
//   - a packet: ParseAdvert; where Heard says that it is an event, Step. Else it is
//     counted by its Reason, and Explain says what to do about it.
//   - a change of the tenure, of the node's health or priority: Step.
//   - Wake: Step with a Tick.
//
// and carries out what Step returns, one after the other. SendAdvert is NextRound,
// before it Overtake where the action says so, and AppendAdvert for each of
// Destinations.
//
// A Conn is the sockets that the packets come from and go to, and OpenVMAC the
// interface of a virtual MAC address, for keepalived's use_vmac: these do I/O, and
// know no state.
//
// The codec belongs to one goroutine, because VRRP's authentication header has one
// counter for both directions; the machine is a value. All nodes of ours listen,
// with a machine each: one that has the tenure is Active, or Backup to a keepalived
// with a better claim; one that has not is Backup, and its timer tells whether a
// foreign router would stand in its way.
package vrrpcompat
