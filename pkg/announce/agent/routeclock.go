package agent

import (
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

// RouteClock remembers since when routes are Leaving: announce.Routes says
// what is to leave, and depends on no clock itself. The zero value is ready.
type RouteClock struct {
	since map[announce.RouteKey]time.Time
}

// Waited returns the routes that have been Leaving for the time given.
func (c *RouteClock) Waited(now time.Time, wait time.Duration) map[announce.RouteKey]bool {
	out := map[announce.RouteKey]bool{}
	for key, since := range c.since {
		if now.Sub(since) >= wait {
			out[key] = true
		}
	}
	return out
}

// Observe takes in the routes as they are announced now. It returns the
// earliest time from which on one of them has been Leaving, or the zero Time
// if none is.
func (c *RouteClock) Observe(now time.Time, all map[string]announce.PeerRoutes) time.Time {
	next := map[announce.RouteKey]time.Time{}
	for key, since := range c.since {
		if _, ok := all[key.Peer]; ok {
			next[key] = since // withdrawn by now, unless the routes say otherwise
		}
	}
	var first time.Time
	for peer, p := range all {
		for _, r := range p.Routes {
			key := announce.RouteKey{Peer: peer, Prefix: r.Prefix}
			if !r.Leaving {
				delete(next, key) // it stays, or is here again: should it leave, it waits anew
				continue
			}
			if _, ok := next[key]; !ok {
				next[key] = now
			}
			if first.IsZero() || next[key].Before(first) {
				first = next[key]
			}
		}
	}
	c.since = next
	return first
}
