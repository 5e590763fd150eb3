package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// atOnce is the limit for what needs no waiting for a lease.
const atOnce = 100 * time.Millisecond

// steps are the story after the start, in the order of the operators' table. The
// words of keepalived are from their notes.
func steps(ttl time.Duration) []*step {
	return []*step{
		{
			ID: "N2", Fault: "the standby's NIC fails, and comes back (STANDBY)", Short: "standby's NIC fails",
			Noted: "the VIP stays", Must: "stays",
			run: pullStandby, holds: stays,
		},
		{
			ID: "N1", Fault: "the holder's NIC fails, and comes back (HOLDER)", Short: "holder's NIC fails",
			Noted: "the VIP moves", Must: "within " + seconds(ttl+time.Second),
			run: pullHolder, holds: moves(ttl + time.Second),
		},
		{
			ID: "N3", Fault: "the two MySQL hosts cannot reach each other", Short: "hosts cannot meet",
			Noted: "two masters, when VRRP is cut as well", Must: "stays",
			run: cutBetween, holds: stays,
		},
		{
			ID: "D1", Fault: "the holder's daemon is stopped, and its member of etcd (HOLDER)", Short: "holder's daemon stopped",
			Noted: "the VIP moves", Must: "within 100 ms",
			run: stopDaemon, holds: moves(atOnce),
		},
		{
			ID: "D5", Fault: "the holder's daemon is killed (-9), and restarted (HOLDER)", Short: "holder's daemon killed",
			Noted: "not noted; it leaves the VIP up, and two hosts have it", Must: "stays",
			run: killDaemon, holds: stays,
		},
		{
			ID: "M1", Fault: "the holder's MYSQLD is killed (-9) (HOLDER)", Short: "holder's MYSQLD killed",
			Noted: "the VIP moves, as the unit stops keepalived too", Must: "within 100 ms",
			run: killMySQL, holds: moves(atOnce),
		},
		{
			ID: "hard", Fault: "the holder's host loses power, and led etcd (HOLDER)", Short: "host lost, led etcd",
			Noted: "not noted; it has no etcd to lose", Must: "within " + seconds(hardLimit(ttl)),
			prepare: leadFromHolder, run: losePower, holds: moves(hardLimit(ttl)),
		},
		{
			ID: "P3", Fault: "HA is paused for an hour, the holder's daemon stopped (HOLDER)", Short: "pause, daemon stopped",
			Noted: "by hand: stop the slave's only, never the master's", Must: "stays",
			run: pause, holds: stays,
		},
		{
			ID: "move", Fault: "an operator's switchover, for maintenance (HOLDER)", Short: "switchover",
			Noted: "not noted; it has no command for it", Must: "within 100 ms",
			run: switchover, holds: moves(atOnce),
		},
	}
}

// hardLimit is how long the loss of the holder's host and of etcd's leader in one
// may cost: the longer of the tenure and two elections, and half a second.
func hardLimit(ttl time.Duration) time.Duration {
	return max(ttl, 2*electionTimeout) + 500*time.Millisecond
}

func seconds(d time.Duration) string { return fmt.Sprintf("%g s", d.Seconds()) }

func pullStandby(ctx context.Context, s *scene) error {
	s.board.tell("cable of %s pulled", s.standby)
	if err := errors.Join(s.plug(s.standby, false), lab.Pass(ctx, 2*s.ttl)); err != nil {
		return err
	}
	s.board.tell("cable of %s plugged in again", s.standby)
	return errors.Join(s.plug(s.standby, true), lab.Pass(ctx, s.ttl))
}

func pullHolder(ctx context.Context, s *scene) error {
	s.board.tell("cable of %s pulled: it can neither renew nor be heard", s.holder)
	if err := errors.Join(s.plug(s.holder, false), s.answeredBy(ctx, s.standby)); err != nil {
		return err
	}
	// With the cable the old address would come back, if it were still there.
	s.board.tell("%s has it; cable of %s plugged in again", s.standby, s.holder)
	return errors.Join(s.plug(s.holder, true), lab.Pass(ctx, s.ttl))
}

func cutBetween(ctx context.Context, s *scene) error {
	s.board.tell("no frame passes between them; the witness reaches both")
	if err := errors.Join(s.part(true), lab.Pass(ctx, 2*s.ttl)); err != nil {
		return err
	}
	s.board.tell("they reach each other again")
	return errors.Join(s.part(false), lab.Pass(ctx, s.ttl))
}

func stopDaemon(ctx context.Context, s *scene) error {
	old := s.node(s.holder)
	s.board.tell("SIGTERM to leasehold on %s, as systemctl stop does", s.holder)
	if err := errors.Join(old.Term(), s.answeredBy(ctx, s.standby), ended(ctx, old)); err != nil {
		return err
	}
	return lab.Pass(ctx, toSee)
}

func killDaemon(ctx context.Context, s *scene) error {
	s.board.tell("kill -9 leasehold on %s; back 20 ms later, as by systemd", s.holder)
	// RestartSec of deploy/leasehold.service.
	if err := errors.Join(s.node(s.holder).Kill(), lab.Pass(ctx, 20*time.Millisecond), s.startNode(s.holder)); err != nil {
		return err
	}
	return lab.Pass(ctx, 2*s.ttl)
}

func killMySQL(ctx context.Context, s *scene) error {
	s.board.tell("kill -9 of the %s on %s: the kernel tells leasehold at once", s.mysqldName(), s.holder)
	return errors.Join(s.mysqld.Process(s.holder).Kill(), s.answeredBy(ctx, s.standby), lab.Pass(ctx, toSee))
}

// leadFromHolder makes the holder's member etcd's leader, which leasehold itself
// would undo within a second.
func leadFromHolder(ctx context.Context, s *scene) error { return s.etcd.move(ctx, s.holder) }

func losePower(ctx context.Context, s *scene) error {
	s.board.tell("%s is off: no VIP, no etcd leader, and no word from either", s.holder)
	if err := errors.Join(s.powerOff(s.holder), s.answeredBy(ctx, s.standby)); err != nil {
		return err
	}
	return lab.Pass(ctx, s.ttl)
}

func pause(ctx context.Context, s *scene) error {
	if err := s.command(ctx, s.holder, "pause", "--for", "1h", "--reason", "disk swap"); err != nil {
		return err
	}
	old := s.node(s.holder)
	if err := errors.Join(old.Term(), ended(ctx, old)); err != nil {
		return err
	}
	s.board.tell("leasehold on %s is stopped; its VIP stays, and nobody takes it", s.holder)
	if err := errors.Join(lab.Pass(ctx, 2*s.ttl), s.startNode(s.holder), s.holdsAgain(ctx)); err != nil {
		return err
	}
	return errors.Join(s.command(ctx, s.holder, "resume"), lab.Pass(ctx, s.ttl))
}

func switchover(ctx context.Context, s *scene) error {
	return errors.Join(s.command(ctx, s.holder, "switchover"), s.answeredBy(ctx, s.standby), lab.Pass(ctx, toSee))
}

// mysqldName is what the servers are called on the screen.
func (n *network) mysqldName() string {
	if n.real {
		return "mysqld"
	}
	return "stand-in"
}

// shell writes arguments as a person types them.
func shell(args []string) string {
	var words []string
	for _, a := range args {
		words = append(words, shellWord(a))
	}
	return strings.Join(words, " ")
}

// command types a command on a host, for everybody to see.
func (s *scene) command(ctx context.Context, host string, args ...string) error {
	s.board.tell("%s# leasehold %s", host, shell(args))
	out, err := s.leasehold(ctx, host, args...)
	if err != nil {
		return err
	}
	s.board.tell("%s", out)
	return nil
}

func (s *scene) answeredBy(ctx context.Context, host string) error {
	return s.obs.Prober.WaitAnswer(ctx, host, patience)
}

// holdsAgain waits until the holder's daemon has taken its tenure up again.
func (s *scene) holdsAgain(ctx context.Context) error {
	return patiently(ctx, "leasehold on "+s.holder+" to take up its tenure", func() (bool, error) {
		loop, err := askDaemon(ctx, s.lab.RunDir(s.holder))
		return loop.Role == "holder", err
	})
}

// ended waits for the end of a process, whatever its exit status.
func ended(ctx context.Context, p *lab.Process) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.Wait(ctx); ctx.Err() != nil {
		return err
	}
	return nil
}
