package member

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap has etcd log into ours. Its info lines, forty at a start and one for each
// compaction, are our debug; of a warning that repeats, as one about a member that
// is off does each second, one a minute is kept.
func newZap(log hclog.Logger) *zap.Logger {
	return zap.New(zapcore.NewSamplerWithOptions(&bridge{log: log}, time.Minute, 1, 0))
}

// bridge is a zapcore.Core that writes to an hclog.Logger.
type bridge struct {
	log    hclog.Logger
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
	return &bridge{log: b.log, fields: append(slices.Clip(b.fields), fields...)}
}

func (b *bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

// harmless are warnings of etcd's about how it is run here, on purpose: gRPC and its
// gateway on one port, and tokens of a login that is not used without users.
func harmless(message string) bool {
	return strings.HasPrefix(message, "Running http and grpc server on single port") ||
		strings.HasPrefix(message, "simple token is not cryptographically signed")
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if harmless(e.Message) && !b.log.IsDebug() {
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
	b.log.Log(levelOf(e.Level), e.Message, args...)
	return nil
}

func (b *bridge) Sync() error { return nil }
