package agent

import (
	"maps"
	"reflect"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	// shutdownWait is how long routes that are about to go are marked with
	// GRACEFUL_SHUTDOWN before they are withdrawn: routers move new connections
	// to other nodes meanwhile.
	shutdownWait = 2 * time.Second
	// linger is how long a session is held after the last withdrawal, so that
	// it arrives before the session ends.
	linger = 300 * time.Millisecond
)

// routers is the part of the loop that concerns BGP. Only the goroutine of Run
// uses it.
type routers struct {
	bgp   BGP
	clock RouteClock
	news  news

	hops     map[string]announce.NextHops
	sessions []Session       // as the last decision knew them
	keeping  map[string]bool // by peer, once this node drains: the router keeps the routes meanwhile

	due      time.Time // when a route has been leaving for long enough; zero: none is
	changed  time.Time // when routes were last handed over
	farewell bool      // sessions without routes are being ended
}

// route says what each router is to be told, and hands it over, unless nothing
// that it depends on has changed. Decided says that what plans depend on has.
func (a *Agent) route(before, after *state, decided bool, now time.Time) {
	r := &a.routers
	sessions := r.bgp.Sessions()
	a.tellSessions(r.news.take(now, sessions))
	c := after.input.cluster
	if c == nil || c.Config == nil || after.waiting != "" {
		return
	}
	moved := before.input.cluster == nil || before.input.cluster.Config != c.Config ||
		!reflect.DeepEqual(before.local.Links, after.local.Links) || !sameWays(r.sessions, sessions)
	if r.sessions = sessions; moved || r.hops == nil {
		hops := r.bgp.NextHops(c.Config.Peers)
		decided = decided || !maps.Equal(r.hops, hops)
		r.hops = hops
	}
	if !decided && (r.due.IsZero() || now.Before(r.due)) || r.farewell {
		return
	}
	routes, ok := announce.Routes(a.snapshot(after), announce.RouteFacts{
		NextHops: r.hops, Passwords: c.Passwords, Before: before.routes, Keeping: r.keeping, Waited: r.clock.Waited(now, shutdownWait),
	})
	if !ok {
		return
	}
	after.routes = routes
	r.due = time.Time{}
	if first := r.clock.Observe(now, routes); !first.IsZero() {
		r.due = first.Add(shutdownWait)
	}
	r.bgp.Apply(routes)
	r.changed = now
}

// sameWays reports whether sessions leave this node by the same addresses.
func sameWays(a, b []Session) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Peer != b[i].Peer || a[i].LocalAddress != b[i].LocalAddress {
			return false
		}
	}
	return true
}

// keep notes, when this node is about to stop, which routers keep its routes
// until it is back. One that watches it by BFD does not: it sees BFD end.
func (r *routers) keep() {
	r.keeping = map[string]bool{}
	for _, s := range r.bgp.Sessions() {
		if s.Up && s.GracefulRestart && s.BFD == "" {
			r.keeping[s.Peer] = true
		}
	}
}

// gone reports whether all that is to be withdrawn before this node stops has
// been, and ends the sessions over which nothing is announced any more: their
// routers need not wait for a restart.
func (r *routers) gone(s *state, now time.Time) bool {
	if !r.farewell {
		if !r.due.IsZero() || !r.bgp.Settled() || len(s.routes) > 0 && now.Sub(r.changed) < linger {
			return false
		}
		rest := map[string]announce.PeerRoutes{}
		for name, p := range s.routes {
			if len(p.Routes) > 0 {
				rest[name] = p
			}
		}
		if r.farewell = true; len(rest) < len(s.routes) {
			r.bgp.Apply(rest)
		}
	}
	return r.bgp.Settled()
}

// tellSessions passes news of sessions on to those who look after the Node.
func (a *Agent) tellSessions(news []Notice) {
	for _, n := range news {
		n.Node = a.options.Node
		a.options.Recorder.Record(n)
	}
}
