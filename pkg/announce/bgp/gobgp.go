package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	api "github.com/osrg/gobgp/v3/api"
	gobgplog "github.com/osrg/gobgp/v3/pkg/log"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// library is GoBGP: a table of routes and a state machine for each router.
type library struct {
	log *slog.Logger

	mu   sync.Mutex
	idle []*server.BgpServer // started, empty
}

var _ engines = (*library)(nil)

// batch is how many servers are started together. Starting one writes to
// variables of GoBGP's packages that all others read, always the same values:
// so it is done once, before any of them works, for more peers than most nodes
// have.
const batch = 32

// open returns an empty table. Every peer has a server of its own, so that
// "which router gets which route" is the content of a table. A server can't be
// freed, its goroutine never ends: so they are used again. They need not know
// whose they are, since the guard writes the OPENs.
func (l *library) open() (engine, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.idle) == 0 {
		for range batch {
			s, err := newServer(l.log)
			if err != nil {
				return nil, fmt.Errorf("starting GoBGP: %w", err)
			}
			l.idle = append(l.idle, s)
		}
	}
	last := len(l.idle) - 1
	t := &table{library: l, server: l.idle[last]}
	l.idle = l.idle[:last]
	return t, nil
}

func newServer(log *slog.Logger) (*server.BgpServer, error) {
	ctx := context.Background() // these calls ignore it
	s := server.NewBgpServer(server.LoggerOption(gobgpLogger{log}))
	go s.Serve()
	if err := s.StartBgp(ctx, &api.StartBgpRequest{Global: global()}); err != nil {
		return nil, err
	}
	policy, assignment := importPolicy()
	if err := s.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return nil, err
	}
	return s, s.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: assignment})
}

// table is one of GoBGP's servers.
type table struct {
	library *library
	server  *server.BgpServer
}

func (t *table) add(r Route) error {
	p, err := path(r)
	if err != nil {
		return err
	}
	_, err = t.server.AddPath(context.Background(), &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: p})
	if err != nil {
		return fmt.Errorf("adding route %s: %w", r.Prefix, err)
	}
	return nil
}

func (t *table) remove(prefix netip.Prefix) error {
	p, err := barePath(prefix)
	if err != nil {
		return err
	}
	p.IsWithdraw = true
	if err := t.server.DeletePath(context.Background(), &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Path: p}); err != nil {
		return fmt.Errorf("withdrawing route %s: %w", prefix, err)
	}
	return nil
}

func (t *table) connect(p Peer, port uint16) error {
	if err := t.server.AddPeer(context.Background(), &api.AddPeerRequest{Peer: neighbor(p, port)}); err != nil {
		return fmt.Errorf("starting a session in GoBGP: %w", err)
	}
	return nil
}

func (t *table) disconnect() error {
	err := t.server.DeletePeer(context.Background(), &api.DeletePeerRequest{Address: loopbackAddress.String()})
	if err != nil {
		return fmt.Errorf("ending a session in GoBGP: %w", err)
	}
	return nil
}

// close gives the server back, empty. Sessions have been disconnected.
func (t *table) close() {
	if err := t.server.DeletePath(context.Background(), &api.DeletePathRequest{}); err != nil {
		t.library.log.Error("emptying a BGP table", "err", err)
		return // better to lose it than to hand its routes to another peer
	}
	t.library.mu.Lock()
	defer t.library.mu.Unlock()
	t.library.idle = append(t.library.idle, t.server)
}

// gobgpLogger puts GoBGP's messages where they belong. What they say about
// sessions is known better, and with reasons, by the guard: so they are for
// debugging, but for errors.
type gobgpLogger struct{ log *slog.Logger }

var _ gobgplog.Logger = gobgpLogger{}

// Panic logs and panics: GoBGP goes on into undefined states otherwise.
func (l gobgpLogger) Panic(msg string, f gobgplog.Fields) { l.die(msg, f) }

// Fatal is the same as Panic.
func (l gobgpLogger) Fatal(msg string, f gobgplog.Fields) { l.die(msg, f) }

func (l gobgpLogger) die(msg string, f gobgplog.Fields) {
	l.write(slog.LevelError, msg, f)
	panic("gobgp: " + msg)
}

// Error logs.
func (l gobgpLogger) Error(msg string, f gobgplog.Fields) { l.write(slog.LevelError, msg, f) }

// Warn logs for debugging.
func (l gobgpLogger) Warn(msg string, f gobgplog.Fields) { l.write(slog.LevelDebug, msg, f) }

// Info logs for debugging.
func (l gobgpLogger) Info(msg string, f gobgplog.Fields) { l.write(slog.LevelDebug, msg, f) }

// Debug drops the message: there is one for each packet.
func (l gobgpLogger) Debug(string, gobgplog.Fields) {}

// SetLevel is for GoBGP's own interface, which nothing serves here.
func (l gobgpLogger) SetLevel(gobgplog.LogLevel) {}

// GetLevel keeps GoBGP from formatting what Debug drops.
func (l gobgpLogger) GetLevel() gobgplog.LogLevel { return gobgplog.InfoLevel }

func (l gobgpLogger) write(level slog.Level, msg string, f gobgplog.Fields) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("message", msg)}
	for _, key := range []string{"State", "Reason", "Code", "Subcode", "Error"} {
		if v, ok := f[key]; ok {
			attrs = append(attrs, slog.String(key, fmt.Sprint(v)))
		}
	}
	l.log.LogAttrs(ctx, level, "GoBGP", attrs...)
}
