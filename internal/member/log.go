package member

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap has etcd log into ours. Its info lines, forty at a start and one for each
// compaction, are our debug; of a warning that repeats, as one about a member that
// is off does each second, one a minute is kept.
// Once quiet is set everything is debug: a member that stops complains of each
// connection that it ends.
func newZap(log hclog.Logger, quiet *atomic.Bool) *zap.Logger {
	return zap.New(zapcore.NewSamplerWithOptions(&bridge{log: log, quiet: quiet}, time.Minute, 1, 0))
}

// bridge is a zapcore.Core that writes to an hclog.Logger.
type bridge struct {
	log    hclog.Logger
	quiet  *atomic.Bool
	fields []zapcore.Field
}

// levelOf is ours for etcd's.
func levelOf(l zapcore.Level) hclog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return hclog.Error
	case l == zapcore.WarnLevel:
		return hclog.Warn
	case l == zapcore.InfoLevel:
		return hclog.Debug
	}
	return hclog.Trace
}

func (b *bridge) Enabled(l zapcore.Level) bool { return levelOf(l) >= b.log.GetLevel() }

func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{log: b.log, quiet: b.quiet, fields: append(slices.Clip(b.fields), fields...)}
}

func (b *bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

// harmless are warnings of etcd's about how it is run here, on purpose: gRPC and its
// gateway on one port, and tokens of a login that is not used without users; and of
// a database that is new, and has no version yet.
func harmless(message string) bool {
	return slices.ContainsFunc([]string{
		"Running http and grpc server on single port", "simple token is not cryptographically signed",
		"Failed to detect schema version", "failed to update storage version",
	}, func(s string) bool { return strings.HasPrefix(message, s) })
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := levelOf(e.Level)
	if b.quiet.Load() || harmless(e.Message) {
		level = min(level, hclog.Debug)
	}
	if level < b.log.GetLevel() {
		return nil
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(slices.Clip(b.fields), fields...) {
		f.AddTo(enc)
	}
	args := make([]any, 0, 2*len(enc.Fields))
	for _, k := range slices.Sorted(maps.Keys(enc.Fields)) {
		args = append(args, k, enc.Fields[k])
	}
	b.log.Log(level, e.Message, args...)
	return nil
}

func (b *bridge) Sync() error { return nil }
