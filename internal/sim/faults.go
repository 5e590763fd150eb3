package sim

// fault is something that happens to a cluster, or the end of it.
type fault uint8

const (
	cutOff fault = iota
	loseRequests
	loseReplies
	slowReplies
	freezeProcess
	thawProcess
	killProcess
	killAndRestart
	startProcess
	stopProcess
	strikeKill
	strikeFreeze
	strikeRestart
	crashHost
	suspendHost
	resumeHost
	mysqldDown
	mysqldUp
	allMysqldDown
	linkFlips
	lanFlips
	wallStep
	bindBreaks
	vipRemoved
	vipMadePermanent
	strayVIP
	fenceDetached
	foreignClaim
	squatterFlips
	leaderLost
	leaderLostLong
	quorumFlips
	memberHangs
	memberRefuses
	etcdFull
	compacted
	watchLags
	watchSilent
	watchBreaks
	ownLeaseRevoked
	holderLeaseRevoked
	holderDeleted
	tenureDeleted
	memberDeleted
	holderForged
	tenureForged
	memberForged
	garbageWritten
	pauseTimed
	pauseEndless
	pauseRemoved
	switchoverAsked
	releaseForced
	faults
)

func (f fault) String() string {
	return [faults]string{
		"cut off", "requests lost", "replies lost", "replies slow", "process frozen", "process thawed", "process killed", "process killed and restarted",
		"process started", "process stopped", "killed between two instructions", "frozen between two instructions", "restarted between two instructions",
		"host lost", "host suspended", "host resumed", "mysqld down", "mysqld up", "mysqld of all down", "link down or up", "LAN cut or whole",
		"wall clock stepped", "bind fails or works", "VIP removed by hand", "VIP made permanent", "stray VIP by hand", "fence detached", "foreign claim",
		"foreign host has the VIP or not", "etcd leader lost", "etcd leader lost for long", "quorum lost or back", "member hangs or not",
		"member refuses or not", "etcd full or not", "compaction", "watch lags", "watch silent", "watch breaks", "own lease revoked",
		"holder's lease revoked", "holder key deleted", "tenure deleted", "member key deleted", "holder key forged", "tenure forged",
		"member key forged", "garbage written", "pause with an end", "pause without an end", "pause removed", "switchover", "release forced",
	}[f]
}
