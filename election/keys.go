package election

import "strconv"

// Root is where every key of Leasehold lives.
const Root = "/leasehold/"

// Keys names the keys of one service. They are a public interface: operators
// read them with etcdctl.
type Keys struct{ prefix string }

// KeysOf returns the keys of a service, which live under /leasehold/<service>/.
func KeysOf(service string) Keys { return Keys{prefix: Root + service} }

// Prefix is the start of every key of the service, with its closing slash.
func (k Keys) Prefix() string { return k.prefix + "/" }

// Holder hangs on the lease of the node that holds the VIP.
func (k Keys) Holder() string { return k.prefix + "/holder" }

// Tenure is the record of the latest tenure. It hangs on no lease.
func (k Keys) Tenure() string { return k.prefix + "/tenure" }

// Members is the start of the members' keys.
func (k Keys) Members() string { return k.prefix + "/members/" }

// Member hangs on the lease of the node that it names.
func (k Keys) Member(node string) string { return k.prefix + "/members/" + node }

// Pause stops every take-over while it exists, whatever its value.
func (k Keys) Pause() string { return k.prefix + "/pause" }

// Switchover names the node that shall hold the VIP next.
func (k Keys) Switchover() string { return k.prefix + "/switchover" }

// HistoryPrefix is the start of the history's keys.
func (k Keys) HistoryPrefix() string { return k.prefix + "/history/" }

// History is the entry of one tenure.
func (k Keys) History(epoch int64) string { return k.HistoryPrefix() + strconv.FormatInt(epoch, 10) }
