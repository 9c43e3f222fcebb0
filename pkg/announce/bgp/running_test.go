package bgp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
)

// testLog collects the Speaker's log for a test, until the test ends: GoBGP
// has a last word to say in the background.
func testLog(t *testing.T) *slog.Logger {
	w := &untilEnd{w: t.Output()}
	t.Cleanup(w.end)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type untilEnd struct {
	mu sync.Mutex
	w  io.Writer
}

func (u *untilEnd) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.w = io.Discard
}

func (u *untilEnd) Write(b []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.w.Write(b)
}

// running is a Speaker that runs until the test ends.
type running struct {
	*Speaker
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	history []Status
}

func start(t *testing.T) *running {
	r := &running{t: t, done: make(chan struct{})}
	r.Speaker = New(Options{Logger: testLog(t), Notify: func(s Status) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.history = append(r.history, s)
	}})
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	go func() {
		defer close(r.done)
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.cancel()
	<-r.done
}

func (r *running) status(name string) Status {
	for _, s := range r.Statuses() {
		if s.Peer == name {
			return s
		}
	}
	return Status{}
}

func (r *running) waitFor(name string, state State, within time.Duration) Status {
	r.t.Helper()
	var last Status
	bgptest.Eventually(r.t, within, name+" becomes "+state.String(), func() error {
		if last = r.status(name); last.State != state {
			return fmt.Errorf("it is %s: %s", last.State, last.Reason)
		}
		return nil
	})
	return last
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func containsWord(s, word string) bool { return strings.Contains(s, "via "+word) }

// wasTold reports whether a status of the peer had a reason.
func (r *running) wasTold(name, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.history, func(s Status) bool { return s.Peer == name && strings.Contains(s.Reason, reason) })
}
