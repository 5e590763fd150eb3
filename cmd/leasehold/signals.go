package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// signals returns a context that SIGTERM and SIGINT end, and the channel of
// SIGHUP, which must not end the daemon. stop gives the signals back.
func signals(ctx context.Context) (terminated context.Context, hup <-chan os.Signal, stop func()) {
	ctx, giveBack := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGHUP)
	return ctx, ch, func() { signal.Stop(ch); giveBack() }
}

// hangups answers SIGHUP, until there is something for it to do.
func hangups(ctx context.Context, hup <-chan os.Signal, log hclog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			log.Warn("reload comes with a later release, restart to read the configuration again")
		}
	}
}
