package member

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	logEvery = time.Second // a line of memberlist, on average
	logBurst = 20
)

// logBridge turns memberlist's lines into records of a slog.Logger, few
// enough that nobody on the network can fill a disk with them.
type logBridge struct {
	logger *slog.Logger

	mu      sync.Mutex // guards the fields below
	limit   *rate.Limiter
	dropped int
}

func newLogBridge(logger *slog.Logger) *log.Logger {
	return log.New(&logBridge{logger: logger, limit: rate.NewLimiter(rate.Every(logEvery), logBurst)}, "", 0)
}

// Write implements io.Writer for log.Logger: one call is one line.
func (b *logBridge) Write(line []byte) (int, error) {
	level, text := parseLine(string(line))
	if !b.logger.Enabled(context.Background(), level) {
		return len(line), nil
	}
	b.mu.Lock()
	if !b.limit.Allow() {
		b.dropped++
		b.mu.Unlock()
		return len(line), nil
	}
	dropped := b.dropped
	b.dropped = 0
	b.mu.Unlock()
	var attrs []slog.Attr
	if dropped > 0 {
		attrs = append(attrs, slog.Int("dropped", dropped))
	}
	b.logger.LogAttrs(context.Background(), level, text, attrs...)
	return len(line), nil
}

// parseLine splits a line of memberlist, "[WARN] memberlist: Text", into level
// and text. What it calls an error is a peer's failure, which is expected of
// peers: a warning to us.
func parseLine(line string) (slog.Level, string) {
	line = strings.TrimSpace(line)
	level := slog.LevelWarn
	for _, p := range []struct {
		prefix string
		level  slog.Level
	}{{"[DEBUG] ", slog.LevelDebug}, {"[INFO] ", slog.LevelDebug}, {"[WARN] ", slog.LevelWarn}, {"[ERR] ", slog.LevelWarn}, {"[ERROR] ", slog.LevelWarn}} {
		if rest, ok := strings.CutPrefix(line, p.prefix); ok {
			level, line = p.level, rest
			break
		}
	}
	return level, strings.TrimPrefix(line, "memberlist: ")
}

// report logs and counts what people want to know.
func (m *Member) report(n note) {
	metrics := m.options.Metrics
	switch n.what {
	case noteDown:
		metrics.verdicts.WithLabelValues(n.cause.String()).Inc()
		m.log.Info("Member is down", "node", n.node, "cause", n.cause.String())
	case noteAlive:
		m.log.Info("Member is alive", "node", n.node)
	case noteRestarted:
		metrics.restarts.Inc()
		m.log.Info("Member restarted", "node", n.node)
	case noteUnread:
		m.log.Warn("Member can't be understood, so it gets no addresses: is its version another one?", "node", n.node)
	case noteAccused:
		metrics.accused.Inc()
		m.log.Debug("A watcher says that this node is down", "node", n.by, "cause", n.cause.String())
	case noteOpinion:
		m.log.Debug("Watched member", "node", n.node, "down", n.cause.String())
	case noteLate:
		metrics.late.Inc()
	}
}
