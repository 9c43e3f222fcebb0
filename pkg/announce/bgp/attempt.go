package bgp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// counts is what metrics tell of a peer, by cause.
type counts struct {
	failures map[Cause]uint64 // attempts that came to nothing
	resets   map[Cause]uint64 // ends of established sessions
	sessions uint64           // established ones
}

// minReset is the least time between two resets from outside: a path that
// flaps must not take the session with it each time.
const minReset = 5 * time.Second

// attempts holds a session with the router, again and again.
func (p *peer) attempts(ctx context.Context, settings Peer, e engine) {
	pause := backoff{rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	for {
		end, held := p.attempt(ctx, settings, e)
		if ctx.Err() != nil {
			p.ended(end, held, 0, 0)
			return
		}
		wait := pause.next(time.Duration(p.connectTime.Load()), held)
		p.ended(end, held, wait, pause.failures)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-p.kick:
		case <-t.C:
		}
		t.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// attempt returns when the session it has tried to hold is over, and for how
// long it was established.
func (p *peer) attempt(ctx context.Context, settings Peer, e engine) (*ending, time.Duration) {
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	p.mu.Lock()
	p.cut = cut
	p.mu.Unlock()
	p.update(func(st *Status) { st.become(Connecting) })

	router, err := p.dial(ctx, settings)
	if err != nil {
		return whyEnded(ctx, err), 0
	}
	p.update(func(st *Status) {
		st.become(Opening)
		st.LocalAddress = localAddress(router)
	})
	g := &guard{peer: settings, router: router, traffic: &p.traffic}
	if err := p.joinLibrary(ctx, g, e); err != nil {
		router.Close()
		return whyEnded(ctx, err), 0
	}
	defer func() {
		if err := e.disconnect(); err != nil {
			p.log.Error("a session could not be taken down", "err", err)
		}
	}()
	var since time.Time
	g.up = func() {
		since = time.Now()
		p.established(settings, g.in.open)
	}
	end := g.run(ctx)
	if since.IsZero() {
		return end, 0
	}
	return end, time.Since(since)
}

// joinLibrary makes the library connect to the guard.
func (p *peer) joinLibrary(ctx context.Context, g *guard, e engine) error {
	l, err := listenLoopback()
	if err != nil {
		return err
	}
	defer l.close()
	if err := e.connect(g.peer, l.port()); err != nil {
		return err
	}
	if g.library, err = l.accept(ctx); err != nil {
		return errors.Join(err, e.disconnect())
	}
	return nil
}

// whyEnded is the reason for an attempt that never had two ends.
func whyEnded(ctx context.Context, err error) *ending {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var bye *farewell
	if errors.As(err, &bye) {
		return &bye.ending
	}
	var end *ending
	if errors.As(err, &end) {
		return end
	}
	return &ending{Internal, err.Error()}
}

// established is called on one of the guard's goroutines, once.
func (p *peer) established(settings Peer, o *open) {
	p.mu.Lock()
	p.counts.sessions++
	p.mu.Unlock()
	hold := settings.HoldTime
	if theirs := time.Duration(o.holdTime) * time.Second; theirs < hold {
		hold = theirs
	}
	p.update(func(st *Status) {
		st.become(Established)
		st.RouterID, st.HoldTime = o.RouterID(), hold
		st.IPv4, st.IPv6 = o.ipv4 || !o.multiprotocol, o.ipv6
		st.GracefulRestart = settings.RestartTime > 0 && o.restart.offered
	})
	p.log.Info("BGP session is up", "local", p.current().LocalAddress)
}

// ended notes the end of an attempt.
func (p *peer) ended(end *ending, held, wait time.Duration, failures int) {
	was := p.current().State
	p.mu.Lock()
	p.cut = nil
	if was == Established {
		increment(&p.counts.resets, end.cause)
	} else {
		increment(&p.counts.failures, end.cause)
	}
	p.mu.Unlock()
	p.update(func(st *Status) {
		*st = Status{Peer: st.Peer, State: Waiting, Since: time.Now(), Cause: end.cause, Reason: end.reason, Failures: failures, Routes: st.Routes}
		if wait > 0 {
			st.Retry = st.Since.Add(wait)
		}
	})
	p.logEnd(end, was, held, failures)
}

// logEnd logs the end of sessions, and the first failure in a row.
func (p *peer) logEnd(end *ending, was State, held time.Duration, failures int) {
	level := slog.LevelWarn
	if end.cause == Stopped || end.cause == Removed || end.cause == Reconfigured {
		level = slog.LevelInfo
	}
	if was == Established {
		p.log.Log(context.Background(), level, "BGP session is down", "reason", end.reason, "held", held.Round(time.Millisecond))
	} else if failures == 1 {
		p.log.Log(context.Background(), level, "no BGP session", "reason", end.reason)
	}
}

func increment(m *map[Cause]uint64, c Cause) {
	if *m == nil {
		*m = map[Cause]uint64{}
	}
	(*m)[c]++
}

// become moves to a state. Connecting and Opening keep the reason for the last
// failure, which is what an operator wants to see meanwhile.
func (st *Status) become(s State) {
	st.State, st.Since, st.Retry = s, time.Now(), time.Time{}
	if s == Established {
		st.Failures = 0
	}
}

// update changes the status and tells it.
func (p *peer) update(change func(*Status)) {
	p.telling.Lock() // two goroutines have something to tell
	defer p.telling.Unlock()
	p.mu.Lock()
	before := p.status
	change(&p.status)
	now := p.status
	p.mu.Unlock()
	if now != before {
		p.notify(now)
	}
}

func (p *peer) current() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// reset ends an established session for a reason from outside, at most once
// in a while. An attempt still under way is left alone.
func (p *peer) reset(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == nil || p.status.State != Established || time.Since(p.lastCut) < minReset {
		return
	}
	p.lastCut = time.Now()
	p.cut(&ending{PathDown, reason})
}
