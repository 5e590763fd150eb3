package demo

import "time"

// view is one moment of the network, as the screen shows it. It is drawn without
// asking anybody.
type view struct {
	elapsed   time.Duration
	hosts     []hostView // the nodes, in their order
	asked     int        // probes so far
	lost      int
	strip     string // of the probes
	sql       string // of the queries; empty with stand-ins
	apart     bool   // the two MySQL hosts cannot reach each other
	standIn   bool   // mysqld is none
	now       *step
	happening string   // the latest line about it
	said      []string // what came of the steps before, newest last
}

// hostView is one host of it.
type hostView struct {
	name, addr string
	off        bool // without power
	unplugged  bool
	vip        bool // its kernel has the VIP
	mysqld     string
	role       string        // of its daemon
	left, ttl  time.Duration // of the tenure that its daemon had, 0: none
	etcd       string
}

// Words of the screen.
const (
	isUp     = "up"
	isDown   = "down"
	isNone   = "-"
	isHolder = "HOLDER"
	isLeader = "LEADER"
)
