package interop

import (
	"context"
	"os"
	"syscall"

	"leasehold/internal/lab"
)

// start starts daemons.
func start(units ...Unit) Action {
	return func(_ context.Context, s *stage) error {
		for _, u := range units {
			if err := s.start(u); err != nil {
				return err
			}
		}
		return nil
	}
}

// stop stops a daemon in order. keepalived lives on for a second after it has let
// go.
func stop(u Unit) Action {
	return func(ctx context.Context, s *stage) error {
		p, err := s.process(u)
		if err != nil {
			return err
		}
		return p.Stop(ctx)
	}
}

// kill ends a daemon and its children with SIGKILL.
func kill(u Unit) Action {
	return func(_ context.Context, s *stage) error {
		p, err := s.process(u)
		if err != nil {
			return err
		}
		if err := p.SignalGroup(syscall.SIGKILL); err != nil {
			return err
		}
		<-p.Done()
		return nil
	}
}

// freeze stops a daemon and its children where they are.
func freeze(u Unit) Action { return freezing(u, syscall.SIGSTOP, true) }

// thaw lets them go on.
func thaw(u Unit) Action { return freezing(u, syscall.SIGCONT, false) }

func freezing(u Unit, sig syscall.Signal, frozen bool) Action {
	return func(_ context.Context, s *stage) error {
		p, err := s.process(u)
		if err != nil {
			return err
		}
		s.frozen[u] = frozen
		return p.SignalGroup(sig)
	}
}

// reload has a daemon read its configuration anew.
func reload(u Unit) Action {
	return func(_ context.Context, s *stage) error {
		p, err := s.process(u)
		if err != nil {
			return err
		}
		return p.Signal(syscall.SIGHUP)
	}
}

// pull takes the cable out of a host's NIC.
func pull(host string) Action {
	return func(_ context.Context, s *stage) error { return s.CablePull(host) }
}

// plug puts it back.
func plug(host string) Action {
	return func(_ context.Context, s *stage) error { return s.CablePlug(host) }
}

// cut drops every frame from and to a host, which cannot see it.
func cut(host string) Action {
	return func(ctx context.Context, s *stage) error { return s.CutAll(ctx, host) }
}

// cutVRRP drops VRRP from one host to another, and nothing else.
func cutVRRP(from, to string) Action {
	return func(ctx context.Context, s *stage) error { return s.CutVRRP(ctx, from, to) }
}

// heal ends all cuts.
func heal(ctx context.Context, s *stage) error { return s.Heal(ctx) }

// sicken kills what stands for mysqld on a host.
func sicken(host string) Action {
	return func(_ context.Context, s *stage) error { return s.mysqld[host].Kill() }
}

// cure starts it again.
func cure(host string) Action {
	return func(_ context.Context, s *stage) error { return s.wakeMysqld(host) }
}

// strip takes the VIP off a host by hand.
func strip(host string) Action { //nolint:unparam // so far it is always the same
	return func(ctx context.Context, s *stage) error {
		_, err := s.Exec(ctx, host, "ip", "address", "delete", s.VIP.String(), "dev", "eth0")
		return err
	}
}

// ready waits until a node of ours could take over.
func ready(host string) Action {
	return func(ctx context.Context, s *stage) error {
		return lab.Wait(ctx, generous, "the node of host "+host+" to be eligible", func() (bool, error) {
			m, ok, err := s.member(ctx, host)
			return ok && m.Eligible, err
		})
	}
}

// switchover asks for the node of a host.
func switchover(host string) Action {
	return func(ctx context.Context, s *stage) error {
		h, err := s.Host(host)
		if err != nil {
			return err
		}
		_, err = s.leasehold(ctx, host, "switchover", "--to", h.Name)
		return err
	}
}

// pause has HA paused for an hour.
func pause(host string) Action {
	return func(ctx context.Context, s *stage) error {
		_, err := s.leasehold(ctx, host, "pause", "--for", "1h", "--reason", "interop")
		return err
	}
}

// resume ends the pause.
func resume(host string) Action {
	return func(ctx context.Context, s *stage) error {
		_, err := s.leasehold(ctx, host, "resume")
		return err
	}
}

// killParent ends a daemon with SIGKILL, and not its children.
func killParent(u Unit) Action {
	return func(_ context.Context, s *stage) error {
		p, err := s.process(u)
		if err != nil {
			return err
		}
		return p.Kill()
	}
}

// freezeEtcd stops etcd where it is.
func freezeEtcd(ctx context.Context, s *stage) error { return s.etcd.Process(E).Freeze(ctx) }

// thawEtcd lets it go on.
func thawEtcd(_ context.Context, s *stage) error { return s.etcd.Process(E).Thaw() }

// failScript has keepalived's script on a host fail, see Peer.Script.
func failScript(host string) Action {
	return func(_ context.Context, s *stage) error { return os.WriteFile(s.scriptFails(host), nil, 0o600) }
}

// mendScript has it work again.
func mendScript(host string) Action {
	return func(_ context.Context, s *stage) error { return os.Remove(s.scriptFails(host)) }
}
