package vrrpcompat

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// session opens the sockets and serves them until they break, the interface gets
// another address, or ctx ends.
func (r *Router) session(ctx context.Context) (err error) {
	own, err := r.source()
	if err != nil {
		return err
	}
	codec, err := NewCodec(r.cfg.Config, own)
	if err != nil {
		return err
	}
	r.number(codec) // of a router that is Active already
	conn, err := r.open(own)
	if err != nil {
		return err
	}
	r.begin(conn, codec, own)
	broken := make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() { broken <- r.read(conn) })
	aside := r.ears(own)
	for _, ear := range aside {
		reading.Go(func() { _ = r.read(ear) }) // what it does not hear is not missed
	}
	err = r.serve(ctx, conn, broken)
	r.mu.Lock()
	r.conn = nil
	r.mu.Unlock()
	for _, w := range append(aside, conn) {
		err = errors.Join(err, w.Close())
	}
	reading.Wait()
	return err
}

// begin puts new sockets to use. Another source address makes another router of
// this one; what it was, it goes on to be.
func (r *Router) begin(conn wire, codec *Codec, own netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn, r.codec, r.trouble, r.sending = conn, codec, "", ""
	if r.own != own {
		succeeds := r.machine.State() == Active || r.succeeds()
		r.own, r.machine, r.started = own, NewMachine(r.cfg.Config, own), false
		if r.held {
			r.apply(TenureGained{Succeeds: succeeds})
		}
		if r.held && succeeds {
			r.start()
		}
	}
	r.log.Info("listening for adverts", "iface", r.cfg.Interface, "source", own, "vrid", r.cfg.VRID, "version", r.full.Version, "mode", r.cfg.Mode)
	r.tell()
}

// succeeds reports whether it still counts that one of ours was Active until now:
// that one's last advert keeps a Backup waiting for three intervals, and was sent up
// to one before.
func (r *Router) succeeds() bool {
	return r.follows != 0 && r.now().Sub(r.follows) < r.full.Interval
}

// fail notes why there are no sockets.
func (r *Router) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble == "" {
		r.broke = r.now()
	}
	if why := err.Error(); why != r.trouble {
		r.log.Error("VRRP does not work, and without it the VIP is not held; tried again each second", "iface", r.cfg.Interface, "err", err)
		r.trouble = why
	}
	r.tell() // it may have lasted long enough
}

// read hands every packet to the machine until the sockets are closed.
func (r *Router) read(conn wire) error {
	buf := make([]byte, MaxPacket+1)
	for {
		p, err := conn.Receive(buf)
		if err != nil {
			return err
		}
		r.receive(p)
	}
}

// serve keeps the timers. It returns when ctx ends, the sockets break, or the
// interface is another one or has another address.
func (r *Router) serve(ctx context.Context, conn wire, broken <-chan error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	looked := r.now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-broken:
			return fmt.Errorf("the sockets on %s broke: %w", r.cfg.Interface, err)
		case <-r.poke:
		case <-timer.C:
		}
		rest := r.turn()
		if now := r.now(); now.Sub(looked) >= reopenAfter {
			looked = now
			if conn.Gone() {
				return fmt.Errorf("%s is not there any more, or was made anew", r.cfg.Interface)
			}
			if own, err := r.source(); err == nil && own != r.address() {
				r.log.Warn("adverts come from another address from now on", "iface", r.cfg.Interface, "was", r.address(), "is", own)
				return nil
			}
		}
		timer.Reset(rest)
	}
}

func (r *Router) address() netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.own
}
