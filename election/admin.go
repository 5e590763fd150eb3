package election

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"leasehold/internal/boottime"
)

// This file is what operators' commands need of etcd. They ask now, once, and
// believe nothing that a daemon remembers.

// ErrNotThere says that the key which a command is about does not exist.
var ErrNotThere = errors.New("not there")

// onceTimeout bounds one try of a command at one endpoint.
const onceTimeout = 2 * time.Second

// ask sends a request to one endpoint after the other until one answers, at most
// twice to each.
func (c *Cluster) ask(ctx context.Context, service string, r Request) (Reply, error) {
	r.Timeout = onceTimeout
	var errs []error
	for range 2 * len(c.endpoints) {
		rep, _ := c.send(ctx, KeysOf(service), r, clock{now: boottime.Now, wall: time.Now})
		if rep.Err == nil {
			return rep, nil
		}
		if !rep.Down || ctx.Err() != nil {
			return rep, rep.Err
		}
		if len(errs) < len(c.endpoints) {
			errs = append(errs, rep.Err)
		}
	}
	return Reply{}, fmt.Errorf("no etcd endpoint answers: %w", errors.Join(errs...))
}

// Read returns one linearizable snapshot of a service's keys.
func Read(ctx context.Context, c *Cluster, service string) (View, error) {
	rep, err := c.ask(ctx, service, Request{Kind: KindRead})
	if err != nil {
		return View{}, err
	}
	v := View{Cluster: rep.Cluster, Revision: rep.Revision, At: rep.Sent}
	for _, kv := range rep.KVs {
		v.apply(KeysOf(service), kv, rep.Got, rep.Wall)
	}
	return v, nil
}

// LeaseLeft returns what etcd says is left of a lease, in whole seconds cut
// down; negative when etcd no longer knows it.
func LeaseLeft(ctx context.Context, c *Cluster, l LeaseID) (time.Duration, error) {
	rep, err := c.ask(ctx, "", Request{Kind: KindTimeToLive, Lease: l})
	return time.Duration(rep.TTL) * time.Second, err
}

// Pause writes the pause key. With d it hangs on a lease of that length, so that
// it ends even if nobody is there to end it; a d of 0 is a pause without an end.
func Pause(ctx context.Context, c *Cluster, service string, p PauseValue, d time.Duration) error {
	var lease LeaseID
	if d > 0 {
		rep, err := c.ask(ctx, service, Request{Kind: KindGrant, Seconds: ceilSeconds(d)})
		if err != nil {
			return fmt.Errorf("open a lease for the pause: %w", err)
		}
		lease = rep.Lease
	}
	_, err := c.ask(ctx, service, Request{Kind: KindMember, Txn: Txn{Then: []Write{put(KeysOf(service).Pause(), encode(p), lease)}}})
	return err
}

// Resume deletes the pause key. It fails with ErrNotThere when there is none.
func Resume(ctx context.Context, c *Cluster, service string) error {
	v, err := Read(ctx, c, service)
	if err != nil {
		return err
	}
	if v.Pause == nil {
		return fmt.Errorf("pause key of %s: %w", service, ErrNotThere)
	}
	_, err = c.ask(ctx, service, Request{Kind: KindPauseEnd, Txn: Txn{Then: []Write{del(KeysOf(service).Pause())}}})
	return err
}

// switchoverLife is how long a switchover may wait to be carried out.
const switchoverLife = 30 * time.Second

// RequestSwitchover asks the holder to hand over.
func RequestSwitchover(ctx context.Context, c *Cluster, service string, s SwitchoverValue) error {
	rep, err := c.ask(ctx, service, Request{Kind: KindGrant, Seconds: ceilSeconds(switchoverLife)})
	if err != nil {
		return fmt.Errorf("open a lease for the switchover: %w", err)
	}
	_, err = c.ask(ctx, service, Request{Kind: KindMember, Txn: Txn{Then: []Write{put(KeysOf(service).Switchover(), encode(s), rep.Lease)}}})
	return err
}

// ForceRelease marks the latest tenure as released and deletes the holder key,
// so that a standby takes over at once. It is only safe when the host of that
// tenure is off, or its VIP known to be gone. It fails with ErrNotThere when
// there is no tenure to release.
func ForceRelease(ctx context.Context, c *Cluster, service, why, by string) error {
	v, err := Read(ctx, c, service)
	if err != nil {
		return err
	}
	if v.Tenure == nil || v.released() {
		return fmt.Errorf("a tenure of %s that is held: %w", service, ErrNotThere)
	}
	t := v.Tenure.TenureValue
	t.State, t.Why, t.At = TenureReleased, why+" (forced by "+by+")", time.Now().UTC().Truncate(time.Millisecond)
	keys := KeysOf(service)
	rep, err := c.ask(ctx, service, Request{Kind: KindRelease, Txn: Txn{
		If:   []Cond{isMod(keys.Tenure(), v.Tenure.ModRevision)},
		Then: []Write{put(keys.Tenure(), encode(t), 0), del(keys.Holder())},
	}})
	if err != nil {
		return err
	}
	if !rep.Succeeded {
		return fmt.Errorf("the tenure of %s changed while it was being released: look at the status and try again", service)
	}
	return nil
}

// History returns the newest entries of a service's history, newest first.
func History(ctx context.Context, c *Cluster, service string, limit int) ([]HistoryValue, error) {
	var out []HistoryValue
	err := c.each(ctx, func(ctx context.Context, cli *clientv3.Client) error {
		out = nil
		r, err := cli.Get(ctx, KeysOf(service).HistoryPrefix(), clientv3.WithPrefix(),
			clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend), clientv3.WithLimit(int64(limit)))
		if err != nil {
			return err
		}
		for _, kv := range r.Kvs {
			var h HistoryValue
			if decode(kv.Value, &h) == nil {
				out = append(out, h)
			}
		}
		return nil
	})
	return out, err
}

// Services returns the names of the services that etcd has keys of.
func Services(ctx context.Context, c *Cluster) ([]string, error) {
	var out []string
	err := c.each(ctx, func(ctx context.Context, cli *clientv3.Client) error {
		out = nil
		r, err := cli.Get(ctx, Root, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(10000))
		if err != nil {
			return err
		}
		for _, kv := range r.Kvs {
			name, _, ok := strings.Cut(strings.TrimPrefix(string(kv.Key), Root), "/")
			if ok && (len(out) == 0 || out[len(out)-1] != name) {
				out = append(out, name)
			}
		}
		return nil
	})
	return out, err
}

// each calls f with one endpoint after the other until it succeeds.
func (c *Cluster) each(ctx context.Context, f func(context.Context, *clientv3.Client) error) error {
	var errs []error
	for range c.endpoints {
		i := c.pick(0)
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, onceTimeout)
			defer cancel()
			cli, err := c.connect(ctx, c.endpoints[i])
			if err != nil {
				return err
			}
			return c.forgotten(c.endpoints[i], cli, f(ctx, cli))
		}()
		if err == nil {
			return nil
		}
		c.judge(i, err, false)
		errs = append(errs, fmt.Errorf("etcd %s: %w", c.endpoints[i].url, c.explain(err)))
	}
	return errors.Join(errs...)
}
