package election

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"leasehold/internal/boottime"
)

// View is what etcd said of one service, with what this node knows of when. It
// is a value: whoever has one may keep it.
type View struct {
	Cluster  uint64           // etcd's cluster id
	Revision int64            // etcd's revision that this is the state of
	At       boottime.Instant // when etcd said so; zero: never

	Holder     *HolderKey
	Tenure     *TenureKey
	Pause      *PauseKey
	Switchover *SwitchoverKey
	Members    []Member // best first
	Strange    []string // what strangers wrote, for people

	term time.Duration // the ttl of the latest tenure, which stands when somebody deletes its keys
	top  int64         // the highest epoch seen
}

// HolderKey is the holder key as it stands.
type HolderKey struct {
	HolderValue
	Lease       LeaseID
	ModRevision int64
	Bad         string           // why the value is not ours; empty: it is
	Seen        boottime.Instant // this node's clock when it saw this revision
}

// TenureKey is the tenure record as it stands.
type TenureKey struct {
	TenureValue
	ModRevision int64
	Bad         string
	Seen        boottime.Instant
}

// PauseKey is the pause key as it stands.
type PauseKey struct {
	PauseValue
	ModRevision int64
	Lease       LeaseID
	Left        time.Duration    // of Until when it was read; 0: no end
	Seen        boottime.Instant // when it was read
}

// End is when the pause ends on this node's clock, counted from when it was
// read; zero: no end.
func (p *PauseKey) End() boottime.Instant {
	if p == nil || p.Until == nil {
		return 0
	}
	return p.Seen.Add(p.Left)
}

// SwitchoverKey is the switchover key as it stands.
type SwitchoverKey struct {
	SwitchoverValue
	ModRevision int64
}

// Member is one member key.
type Member struct {
	MemberValue
	Lease LeaseID
	Seen  boottime.Instant
}

// apply takes one key as it stands in etcd into the view. now is when it was
// read on both clocks.
func (v *View) apply(k Keys, kv *mvccpb.KeyValue, now boottime.Instant, wall time.Time) {
	key := string(kv.Key)
	switch {
	case key == k.Holder():
		h := HolderKey{Lease: LeaseID(kv.Lease), ModRevision: kv.ModRevision, Seen: now}
		if err := decode(kv.Value, &h.HolderValue); err != nil {
			h.Bad = err.Error()
		} else if h.Node == "" {
			h.Bad = "names no node"
		} else if h.Lease == 0 {
			h.Bad = "hangs on no lease"
		}
		boundEpoch(&h.Epoch, &h.Bad)
		if v.Holder == nil || v.Holder.ModRevision != kv.ModRevision {
			v.Holder = &h
		}
		v.top = max(v.top, h.Epoch)
		if h.Bad == "" {
			v.term = max(v.term, time.Duration(h.TTL))
		}
	case key == k.Tenure():
		t := TenureKey{ModRevision: kv.ModRevision, Seen: now}
		if err := decode(kv.Value, &t.TenureValue); err != nil {
			t.Bad = err.Error()
		} else if t.State != TenureHeld && t.State != TenureReleased {
			t.Bad = "state is neither held nor released"
		}
		boundEpoch(&t.Epoch, &t.Bad)
		if v.Tenure == nil || v.Tenure.ModRevision != kv.ModRevision {
			v.Tenure = &t
		}
		v.top = max(v.top, t.Epoch)
		if t.Bad == "" {
			v.term = time.Duration(t.TTL)
			if h := v.Holder; h != nil && h.Bad == "" {
				v.term = max(v.term, time.Duration(h.TTL))
			}
		}
	case key == k.Pause():
		p := PauseKey{PauseValue: DecodePause(kv.Value), ModRevision: kv.ModRevision, Lease: LeaseID(kv.Lease), Seen: now}
		if p.Until != nil {
			p.Left = min(max(0, p.Until.Sub(wall)), longestPause)
		}
		if v.Pause == nil || v.Pause.ModRevision != kv.ModRevision {
			v.Pause = &p
		}
	case key == k.Switchover():
		s := SwitchoverKey{ModRevision: kv.ModRevision}
		if decode(kv.Value, &s.SwitchoverValue) != nil {
			s.SwitchoverValue = SwitchoverValue{To: strings.TrimSpace(string(kv.Value[:min(len(kv.Value), 200)]))}
		}
		v.Switchover = &s
	case strings.HasPrefix(key, k.Members()):
		v.applyMember(strings.TrimPrefix(key, k.Members()), kv, now)
	case strings.HasPrefix(key, k.HistoryPrefix()):
	default:
		v.strange(key + " is not a key of Leasehold")
	}
}

// boundEpoch takes an epoch for none that would leave no room for the next ones.
func boundEpoch(epoch *int64, bad *string) {
	if *epoch < 0 || *epoch > maxEpoch {
		*epoch, *bad = 0, "epoch is out of range"
	}
}

// applyMember takes a member key in. A key that is not what its node would have
// written is shown and never counted.
func (v *View) applyMember(node string, kv *mvccpb.KeyValue, now boottime.Instant) {
	v.dropMember(node)
	m := Member{Lease: LeaseID(kv.Lease), Seen: now}
	if err := decode(kv.Value, &m.MemberValue); err != nil {
		v.strange(string(kv.Key) + ": " + err.Error())
		return
	}
	if m.Node != node || m.Lease == 0 {
		v.strange(string(kv.Key) + ": names another node, or hangs on no lease")
		return
	}
	members := append(slices.Clip(v.Members), m)
	slices.SortFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Node, b.Node))
	})
	v.Members = members
}

// dropMember takes a member out, and leaves the slice that others may hold alone.
func (v *View) dropMember(node string) {
	v.Members = slices.DeleteFunc(slices.Clone(v.Members), func(m Member) bool { return m.Node == node })
}

// strange notes something that people should see, a bounded number of times.
func (v *View) strange(what string) {
	if len(v.Strange) < 10 && !slices.Contains(v.Strange, what) {
		v.Strange = append(slices.Clip(v.Strange), what)
	}
}

// drop takes a deleted key out of the view.
func (v *View) drop(k Keys, key string) {
	switch {
	case key == k.Holder():
		v.Holder = nil
	case key == k.Tenure():
		v.Tenure = nil
	case key == k.Pause():
		v.Pause = nil
	case key == k.Switchover():
		v.Switchover = nil
	case strings.HasPrefix(key, k.Members()):
		v.dropMember(strings.TrimPrefix(key, k.Members()))
	}
}

// Member returns the named member, or nil.
func (v *View) Member(node string) *Member {
	for i := range v.Members {
		if v.Members[i].Node == node {
			return &v.Members[i]
		}
	}
	return nil
}
