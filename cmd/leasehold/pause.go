package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"leasehold/election"
)

// longestPause guards against a slip of the unit: 1000h is six weeks without HA.
const longestPause = 31 * 24 * time.Hour

// pauseFlags are the flags of the pause command.
type pauseFlags struct {
	length  time.Duration
	until   string
	noEnd   bool
	reason  string
	timeout time.Duration
}

func (a *app) pauseCommand() *cobra.Command {
	var flags pauseFlags
	cmd := &cobra.Command{
		Use:   "pause (--for 1h | --until 18:30 | --no-end) [--reason TEXT] [service]",
		Short: "Keep the VIP where it is, whatever happens, for a while",
		Long: `While HA is paused the VIP stays where it is: the daemon may be stopped, upgraded
or killed, mysqld restarted, etcd taken away. Nobody takes over either, even
when the holder's host dies. HA comes back by itself at the end; leasehold
resume ends a pause early. A pause that is there already is replaced.

The command returns when the holder has made its tenure last until the end.
The same with stock tools, and without an end: etcdctl put /leasehold/SERVICE/pause ''`,
		Args: oneService,
		RunE: func(c *cobra.Command, args []string) error { return a.pause(c.Context(), flags, args) },
	}
	cmd.ValidArgsFunction = a.completeService
	f := cmd.Flags()
	f.DurationVar(&flags.length, "for", 0, "how long, as in 90m or 2h")
	f.StringVar(&flags.until, "until", "", "until when: 18:30, 2006-01-02 18:30 (this host's time zone), or RFC 3339")
	f.BoolVar(&flags.noEnd, "no-end", false, "until leasehold resume, however long that takes")
	f.StringVar(&flags.reason, "reason", "", "shown in status to everybody else")
	f.DurationVar(&flags.timeout, "timeout", 10*time.Second, "how long to wait for etcd and the holder")
	return cmd
}

// pauseLength returns how long the pause shall be; 0: without an end.
func pauseLength(flags pauseFlags, now time.Time) (time.Duration, error) {
	given := 0
	for _, set := range []bool{flags.length != 0, flags.until != "", flags.noEnd} {
		if set {
			given++
		}
	}
	d := flags.length
	switch {
	case given == 0:
		return 0, usagef("pause: for how long? a pause that is forgotten is no HA on the day it is needed; give --for 1h or --until 18:30, or --no-end if you mean that")
	case given > 1:
		return 0, usagef("pause: give one of --for, --until and --no-end")
	case flags.noEnd:
		return 0, nil
	case flags.until != "":
		end, err := parseUntil(flags.until, now)
		if err != nil {
			return 0, err
		}
		d = end.Sub(now)
	}
	switch {
	case d < time.Second:
		return 0, usagef("pause: %s is over before it begins; give a time to come", d.Round(time.Second))
	case d > longestPause:
		return 0, usagef("pause: %s is over 31 days; give a shorter one, or --no-end", d.Round(time.Second))
	}
	return d, nil
}

// parseUntil reads a point in time. A time of day is the next one.
func parseUntil(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	t, err := time.ParseInLocation("15:04", s, now.Location())
	if err != nil {
		return time.Time{}, usagef("pause: --until %q is not a time; write 18:30, %q or RFC 3339", s, now.Format("2006-01-02")+" 18:30")
	}
	t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location())
	if !t.After(now) {
		t = t.AddDate(0, 0, 1)
	}
	return t, nil
}

func (a *app) pause(ctx context.Context, flags pauseFlags, args []string) error {
	now := time.Now()
	length, err := pauseLength(flags, now)
	if err != nil {
		return err
	}
	value := election.PauseValue{Reason: flags.reason, By: operator(os.Getenv)}
	if length > 0 {
		end := now.Add(length).Round(time.Second)
		value.Until = &end
	}
	return a.withService(ctx, flags.timeout, args, func(ctx context.Context, cfg *Config, c *election.Cluster, svc *Service) error {
		if err := election.Pause(ctx, c, svc.Name, value, length); err != nil {
			return etcdTrouble(cfg, "pause "+svc.Name, err)
		}
		return a.awaitPause(ctx, cfg, c, svc, length)
	})
}

// awaitPause waits until the holder's tenure outlasts the pause: before that a
// daemon that is stopped would still take the VIP along.
func (a *app) awaitPause(ctx context.Context, cfg *Config, c *election.Cluster, svc *Service, length time.Duration) error {
	need := max(length, svc.TTL)
	if length == 0 {
		need = longestTTL // the holder takes a day, and renews it
	}
	v, ok, err := await(ctx, 50*time.Millisecond, reading(c, svc.Name), func(v election.View) bool {
		return !holds(v) || time.Duration(v.Holder.TTL) > need
	})
	switch {
	case err != nil:
		return etcdTrouble(cfg, "see whether the holder of "+svc.Name+" has followed", err)
	case !ok:
		return fmt.Errorf("pause %s: the pause is written, and %s has not followed yet: its VIP still depends on its daemon; "+
			"do not stop anything, and look at leasehold status and the daemon's log there", svc.Name, v.Holder.Node)
	case !holds(v):
		_, err = fmt.Fprintf(a.out, "%s is paused, and nobody holds its VIP: nobody will take it before the end of the pause (leasehold resume ends it)\n", svc.Name)
		return err
	}
	end := "until leasehold resume"
	if v.Pause != nil && v.Pause.Until != nil {
		end = "until " + v.Pause.Until.Local().Format("2006-01-02 15:04:05")
	}
	_, err = fmt.Fprintf(a.out, "%s is paused %s: %s keeps %v, also while its daemon is stopped\n", svc.Name, end, v.Holder.Node, svc.prefixes())
	return err
}
