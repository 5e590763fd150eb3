package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// renewing are the signals that have the daemon start itself anew, in place: with
// the configuration and the binary as they are on disk now. The unit's reload
// sends SIGHUP, the package's upgrade SIGUSR2.
var renewing = []os.Signal{syscall.SIGHUP, syscall.SIGUSR2} //nolint:gochecknoglobals // a constant, if Go had such

// signals returns a context that SIGTERM and SIGINT end, and the channel of those
// that must not end the daemon. stop gives the signals back.
func signals(ctx context.Context) (terminated context.Context, renew chan os.Signal, stop func()) {
	ctx, giveBack := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, renewing...)
	return ctx, ch, func() { signal.Stop(ch); giveBack() }
}
