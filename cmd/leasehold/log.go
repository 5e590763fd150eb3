package main

import (
	"io"

	"github.com/hashicorp/go-hclog"
)

// newLogger makes the daemon's log. Under systemd the lines carry no time: the
// journal has its own.
func newLogger(cfg LogConfig, w io.Writer, getenv func(string) string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:        "leasehold",
		Level:       hclog.LevelFromString(cfg.Level),
		JSONFormat:  cfg.JSON,
		Output:      w,
		DisableTime: getenv("JOURNAL_STREAM") != "" && !cfg.JSON,
		TimeFormat:  "2006-01-02T15:04:05.000Z0700",
	})
}
