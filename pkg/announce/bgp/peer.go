package bgp

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// engines opens a table of routes and a state machine for each peer. GoBGP
// implements it.
type engines interface {
	open() (engine, error)
}

// engine is what a peer needs of the BGP library. Routes stay in it whether or
// not there is a session, and each new session begins by sending all of them.
type engine interface {
	add(Route) error // or replace
	remove(netip.Prefix) error
	connect(p Peer, port uint16) error // start a session by connecting to the port on loopback
	disconnect() error
	close()
}

// applyRetry is how long after a failed change of routes the peer tries again.
const applyRetry = 5 * time.Second

// peer makes one router see what is desired.
type peer struct {
	name    string
	log     *slog.Logger
	engines engines
	dial    func(context.Context, Peer) (net.Conn, error)
	notify  func(Status)
	settled func()
	traffic traffic

	connectTime atomic.Int64 // a time.Duration

	changed chan struct{} // capacity 1: desired was replaced
	kick    chan struct{} // capacity 1: do not wait for the next attempt

	telling sync.Mutex // keeps the calls of notify in order

	mu         sync.Mutex // guards the fields below
	desired    *Desired   // nil: the peer is to go
	generation uint64     // of desired
	applied    uint64     // generation that the engine has
	status     Status
	counts     counts
	cut        context.CancelCauseFunc // ends the current attempt
	lastCut    time.Time
}

// set replaces what is desired.
func (p *peer) set(d *Desired, generation uint64) {
	p.mu.Lock()
	p.desired, p.generation = d, generation
	p.mu.Unlock()
	poke(p.changed)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run returns when the peer is gone, or when ctx is cancelled: then without a
// word to the router, which may keep the routes for the next start.
func (p *peer) run(ctx context.Context) {
	s := session{peer: p}
	defer s.close()
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			s.stop(&ending{Stopped, "the announcer of this node is stopping"})
			return
		case <-p.changed:
		case <-retry:
		}
		p.mu.Lock()
		want, generation := p.desired, p.generation
		p.mu.Unlock()
		if want == nil {
			s.stop(&farewell{ending{Removed, "the router is not a peer of this node any more"}})
			return
		}
		if err := s.apply(ctx, want); err != nil {
			p.log.Error("a router's routes could not be applied", "err", err)
			retry = time.After(applyRetry)
			continue
		}
		p.mu.Lock()
		p.applied = generation
		p.mu.Unlock()
		p.settled()
	}
}

// session is what run keeps between two changes.
type session struct {
	peer      *peer
	engine    engine
	settings  Peer
	installed map[netip.Prefix]Route // what the engine has

	cancel  context.CancelCauseFunc // nil: no attempts are made
	stopped chan struct{}
}

// apply makes engine and session those of want, with no more than the
// difference.
func (s *session) apply(ctx context.Context, want *Desired) error {
	if err := want.Peer.Validate(); err != nil {
		s.stop(&farewell{ending{Reconfigured, err.Error()}})
		s.peer.update(func(st *Status) {
			if st.State != Misconfigured {
				st.become(Misconfigured)
			}
			st.Cause, st.Reason = Reconfigured, err.Error()
		})
		return nil
	}
	before, now := s.settings, want.Peer
	before.ConnectTime = now.ConnectTime // nothing that a session depends on
	s.peer.connectTime.Store(int64(now.ConnectTime))
	if s.engine != nil && before != now {
		s.stop(reconfigured(before, now))
	}
	s.settings = now
	if s.engine == nil {
		e, err := s.peer.engines.open()
		if err != nil {
			return err
		}
		s.engine, s.installed = e, map[netip.Prefix]Route{}
	}
	err := s.sync(want.Routes)
	if s.cancel == nil { // last: a session begins with all routes, then End-of-RIB
		s.start(ctx)
	}
	return err // one bad route does not keep the others from the router
}

// reconfigured is how a session ends that is to come back with other settings:
// silently, so that the router keeps the routes, unless the router would not
// see that it is the same session.
func reconfigured(before, now Peer) error {
	end := ending{Reconfigured, "its settings were changed"}
	if before.Address != now.Address || before.Port != now.Port || before.SourceAddress != now.SourceAddress || before.LocalASN != now.LocalASN {
		return &farewell{end}
	}
	return &end
}

// sync gives the engine the difference. Routes are added before others are
// withdrawn, so that an aggregate replaces its parts without a gap.
func (s *session) sync(routes []Route) error {
	var errs []error
	kept := 0
	for _, r := range routes {
		if have, ok := s.installed[r.Prefix]; !ok || !have.Equal(r) {
			if err := s.engine.add(r); err != nil {
				errs = append(errs, err)
				continue
			}
			s.installed[r.Prefix] = r
		}
		kept++
	}
	if kept < len(s.installed) { // one more of thousands is told without looking for those that go
		errs = append(errs, s.withdraw(routes))
	}
	n := len(s.installed)
	s.peer.update(func(st *Status) { st.Routes = n })
	return errors.Join(errs...)
}

// withdraw takes from the engine what is not among the routes, in order.
func (s *session) withdraw(routes []Route) error {
	gone := maps.Clone(s.installed)
	for _, r := range routes {
		delete(gone, r.Prefix)
	}
	var errs []error
	for _, prefix := range slices.SortedFunc(maps.Keys(gone), netip.Prefix.Compare) {
		if err := s.engine.remove(prefix); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(s.installed, prefix)
	}
	return errors.Join(errs...)
}

func (s *session) start(ctx context.Context) {
	ctx, s.cancel = context.WithCancelCause(ctx)
	s.stopped = make(chan struct{})
	settings, engine, stopped := s.settings, s.engine, s.stopped
	go func() {
		defer close(stopped)
		s.peer.attempts(ctx, settings, engine)
	}()
}

// stop returns when the session is down and no more attempts are made.
func (s *session) stop(why error) {
	if s.cancel == nil {
		return
	}
	s.cancel(why)
	<-s.stopped
	s.cancel = nil
}

func (s *session) close() {
	s.stop(&ending{Stopped, "the announcer of this node is stopping"})
	if s.engine != nil {
		s.engine.close()
		s.engine, s.installed = nil, nil
	}
}
