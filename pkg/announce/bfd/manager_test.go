package bfd

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addrA, addrB = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	toB          = SessionConfig{Peer: addrB, Local: addrA, TransmitInterval: 50 * time.Millisecond, ReceiveInterval: 50 * time.Millisecond, DetectMultiplier: 3}
	toA          = SessionConfig{Peer: addrA, Local: addrB, TransmitInterval: 50 * time.Millisecond, ReceiveInterval: 50 * time.Millisecond, DetectMultiplier: 3}
)

// wire carries datagrams between Managers, without sockets.
type wire struct {
	mu   sync.Mutex
	cut  bool
	ttl  int
	fail error
	far  map[netip.Addr]func(datagram)
	seen []Packet
}

func newWire() *wire { return &wire{ttl: 255, far: map[netip.Addr]func(datagram){}} }

func (w *wire) open(c SessionConfig, deliver func(datagram)) (link, netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return nil, netip.Addr{}, w.fail
	}
	w.far[c.Local] = deliver
	return &wireLink{w, c}, c.Local, nil
}

func (w *wire) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

type wireLink struct {
	*wire
	config SessionConfig
}

func (l *wireLink) send(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	p, _ := ParsePacket(b)
	l.seen = append(l.seen, p)
	if deliver := l.far[l.config.Peer]; deliver != nil && !l.cut {
		deliver(datagram{endpoint{l.config.Local, l.config.Peer, l.config.Multihop}, l.ttl, b})
	}
	return nil
}

func (l *wireLink) close() {}

// begin starts a Manager on the wire.
func (w *wire) start(t *testing.T) (*Manager, context.CancelFunc, *[]Status) {
	var history []Status
	m := New(Options{Logger: slog.New(slog.DiscardHandler), Notify: func(s Status) { history = append(history, s) }})
	m.network = w
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return m, stop, &history
}

func state(t *testing.T, m *Manager, key string) Status {
	t.Helper()
	synctest.Wait()
	for _, s := range m.States() {
		if s.Key == key {
			return s
		}
	}
	t.Fatalf("no session %q", key)
	return Status{}
}

func TestManagersFindEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, _, history := w.start(t)
		b, _, _ := w.start(t)
		a.Apply(map[string]SessionConfig{"b": toB})
		b.Apply(map[string]SessionConfig{"a": toA})
		time.Sleep(3 * time.Second)
		if s := state(t, a, "b"); s.State != Up || s.Interval != 50*time.Millisecond || s.Detection != 150*time.Millisecond || s.Reason != "" || s.Local != addrA {
			t.Fatalf("%+v", s)
		}
		w.set(func() { w.cut = true })
		cut := time.Now()
		time.Sleep(time.Second)
		s := state(t, a, "b")
		if took := s.Since.Sub(cut); s.State != Down || took > 150*time.Millisecond || s.Flaps != 1 || s.Reason != "nothing was heard from 192.0.2.2 for 150ms" {
			t.Errorf("after %s: %+v", took, s)
		}
		w.set(func() { w.cut = false })
		time.Sleep(5 * time.Second)
		if s := state(t, a, "b"); s.State != Up {
			t.Errorf("%+v", s)
		}
		var states []State
		for _, h := range *history {
			if len(states) == 0 || states[len(states)-1] != h.State {
				states = append(states, h.State)
			}
		}
		if len(states) < 4 {
			t.Errorf("told of %v", states)
		}
		err := testutil.CollectAndCompare(a, strings.NewReader(`
			# HELP herald_bfd_session_flaps_total How often the BFD session with the peer has gone down.
			# TYPE herald_bfd_session_flaps_total counter
			herald_bfd_session_flaps_total{peer="b"} 1
			# HELP herald_bfd_session_up 1 while the BFD session with the peer is up.
			# TYPE herald_bfd_session_up gauge
			herald_bfd_session_up{peer="b"} 1
		`), "herald_bfd_session_up", "herald_bfd_session_flaps_total")
		if err != nil {
			t.Error(err)
		}
	})
}

func TestIntentionalEndIsTold(t *testing.T) {
	for name, end := range map[string]func(*Manager, func()){
		"Apply":      func(m *Manager, _ func()) { m.Apply(nil) },
		"end of Run": func(_ *Manager, stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire()
				a, stop, _ := w.start(t)
				b, _, _ := w.start(t)
				a.Apply(map[string]SessionConfig{"b": toB})
				b.Apply(map[string]SessionConfig{"a": toA})
				time.Sleep(3 * time.Second)
				began := time.Now()
				end(a, stop)
				if took := time.Since(began); took > longestGoodbye {
					t.Errorf("took %s", took)
				}
				time.Sleep(time.Second)
				if s := state(t, b, "a"); s.State != Down || s.RemoteState != AdminDown || s.Reason != "192.0.2.1 has shut the session down" {
					t.Errorf("%+v", s)
				}
				n := 0
				for _, p := range w.seen {
					if p.State == AdminDown {
						n++
					}
				}
				if n != goodbyes || len(a.leftovers()) != 0 {
					t.Errorf("%d AdminDown packets, left: %v", n, a.leftovers())
				}
			})
		})
	}
}

func (m *Manager) leftovers() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.desired != nil {
		return nil
	}
	var all []Status
	for _, s := range m.statuses {
		all = append(all, s)
	}
	return all
}

func TestNewIntervalsKeepTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, _, _ := w.start(t)
		b, _, _ := w.start(t)
		a.Apply(map[string]SessionConfig{"b": toB})
		b.Apply(map[string]SessionConfig{"a": toA})
		time.Sleep(3 * time.Second)
		before := state(t, a, "b")
		changed := toB
		changed.TransmitInterval, changed.ReceiveInterval, changed.DetectMultiplier = 400*time.Millisecond, 100*time.Millisecond, 5
		a.Apply(map[string]SessionConfig{"b": changed})
		time.Sleep(5 * time.Second)
		after := state(t, a, "b")
		if after.State != Up || after.Since != before.Since || after.Interval != 400*time.Millisecond || after.Detection != 300*time.Millisecond {
			t.Errorf("%+v", after)
		}
		if s := state(t, b, "a"); s.Flaps != 0 || s.Detection != 2*time.Second {
			t.Errorf("the other side: %+v", s)
		}
		passive := changed
		passive.Passive = true
		a.Apply(map[string]SessionConfig{"b": passive})
		time.Sleep(15 * time.Second) // the other side first forgets the old discriminator
		if s := state(t, a, "b"); s.State != Up || !s.Since.After(before.Since) {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhatDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, _, _ := w.start(t)
		far := toB
		far.Peer, far.Multihop, far.MinimumTTL = netip.MustParseAddr("203.0.113.1"), true, 60
		a.Apply(map[string]SessionConfig{"b": toB, "far": far})
		time.Sleep(time.Millisecond)
		synctest.Wait()
		down := Packet{State: Down, Multiplier: 3, My: 7, DesiredTx: time.Second, RequiredRx: time.Second}
		single, multi := endpoint{addrB, addrA, false}, endpoint{far.Peer, addrA, true}
		send := func(e endpoint, ttl int, p []byte) { a.deliver(datagram{e, ttl, p}) }
		send(single, 254, down.Append(nil))
		send(multi, 59, down.Append(nil))
		send(endpoint{addrB, addrA, true}, 255, down.Append(nil))
		send(endpoint{netip.MustParseAddr("192.0.2.3"), addrA, false}, 255, down.Append(nil))
		send(single, 255, []byte("hello"))
		forged := down
		forged.Your = 4711
		send(single, 255, forged.Append(nil))
		synctest.Wait()
		if s := state(t, a, "b"); s.State != Down || s.RemoteState != Down || state(t, a, "far").State != Down {
			t.Errorf("%+v", s)
		}
		for reject, want := range map[Reject]uint64{RejectTTL: 2, RejectSource: 2, RejectLength: 1, RejectDiscriminator: 1} {
			for i := range rejects {
				if got := a.counts.rejected[i].Load(); rejects[i] == reject && got != want {
					t.Errorf("%s: %d, want %d", reject, got, want)
				}
			}
		}
		if got := state(t, a, "far").Reason; !strings.Contains(got, "TTL 59, less than 60") {
			t.Errorf("reason: %s", got)
		}
		send(multi, 60, down.Append(nil))
		send(single, 255, down.Append(nil))
		if state(t, a, "far").State != Init || state(t, a, "b").State != Init {
			t.Error("good packets were not taken")
		}
	})
}

func TestTroubleWithSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.fail = errors.New("no such address")
		a, _, _ := w.start(t)
		b, _, _ := w.start(t)
		bad := toB
		bad.Peer, bad.DetectMultiplier = netip.MustParseAddr("192.0.2.3"), 0
		a.Apply(map[string]SessionConfig{"b": toB, "bad": bad})
		b.Apply(map[string]SessionConfig{"a": toA})
		time.Sleep(5 * time.Second)
		if s := state(t, a, "b"); s.State != Down || s.Reason != "no such address" {
			t.Errorf("%+v", s)
		}
		if s := state(t, a, "bad"); s.Reason != "the detect multiplier is 0" {
			t.Errorf("%+v", s)
		}
		w.set(func() { w.fail = nil })
		time.Sleep(5 * time.Second)
		if s := state(t, a, "b"); s.State != Up || s.Reason != "" {
			t.Errorf("%+v", s)
		}
		w.set(func() { w.fail = errors.New("gone") })
		time.Sleep(time.Second)
		if s := state(t, a, "b"); s.State != Down || s.Reason != "gone" {
			t.Errorf("%+v", s)
		}
		w.set(func() { w.fail = nil })
		time.Sleep(5 * time.Second)
		if s := state(t, a, "b"); s.State != Up {
			t.Errorf("%+v", s)
		}
	})
}

func TestValidateSession(t *testing.T) {
	for name, change := range map[string]func(*SessionConfig){
		"no peer":       func(c *SessionConfig) { c.Peer = netip.Addr{} },
		"two families":  func(c *SessionConfig) { c.Local = netip.MustParseAddr("2001:db8::1") },
		"no multiplier": func(c *SessionConfig) { c.DetectMultiplier = 0 },
		"no interval":   func(c *SessionConfig) { c.TransmitInterval = 0 },
		"two hours":     func(c *SessionConfig) { c.ReceiveInterval = 2 * time.Hour },
	} {
		c := toB
		if change(&c); c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := toB.Validate(); err != nil {
		t.Error(err)
	}
}

// Two BGP peers at one router share its path.
func TestKeysShareASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, _, history := w.start(t)
		b, _, _ := w.start(t)
		slower := toB
		slower.TransmitInterval = time.Second
		a.Apply(map[string]SessionConfig{"1": toB, "2": slower})
		b.Apply(map[string]SessionConfig{"a": toA})
		time.Sleep(3 * time.Second)
		one, two := state(t, a, "1"), state(t, a, "2")
		two.Key = "1"
		if one.State != Up || one != two || one.Interval != 50*time.Millisecond {
			t.Errorf("%+v, %+v", one, two)
		}
		told := map[string]bool{}
		for _, h := range *history {
			told[h.Key] = told[h.Key] || h.State == Up
		}
		if !told["1"] || !told["2"] {
			t.Errorf("told: %v", told)
		}
		since := one.Since
		a.Apply(map[string]SessionConfig{"2": slower})
		time.Sleep(5 * time.Second)
		if s := state(t, a, "2"); s.State != Up || s.Since != since || s.Interval != time.Second || len(a.States()) != 1 {
			t.Errorf("%+v", a.States())
		}
	})
}
