package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

func TestRouteClock(t *testing.T) {
	const wait = 10 * time.Second
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, b := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	key := announce.RouteKey{Peer: "tor", Prefix: a}
	routes := func(list ...announce.BGPRoute) map[string]announce.PeerRoutes {
		return map[string]announce.PeerRoutes{"tor": {Routes: list}}
	}
	leaving, staying := announce.BGPRoute{Prefix: a, Leaving: true}, announce.BGPRoute{Prefix: a}
	other := announce.BGPRoute{Prefix: b}

	var c RouteClock
	if first := c.Observe(start, routes(staying, other)); !first.IsZero() || len(c.Waited(start.Add(time.Hour), wait)) != 0 {
		t.Errorf("nothing leaves, but: %v", first)
	}
	if first := c.Observe(start, routes(leaving, other)); first != start {
		t.Errorf("leaving since %v", first)
	}
	if first := c.Observe(start.Add(5*time.Second), routes(leaving, other)); first != start {
		t.Errorf("leaving since %v", first)
	}
	if n := len(c.Waited(start.Add(9*time.Second), wait)); n != 0 {
		t.Errorf("%d have waited too early", n)
	}
	if w := c.Waited(start.Add(wait), wait); len(w) != 1 || !w[key] {
		t.Errorf("waited: %v", w)
	}
	// It is withdrawn, and stays so.
	if first := c.Observe(start.Add(wait), routes(other)); !first.IsZero() || !c.Waited(start.Add(wait), wait)[key] {
		t.Errorf("forgotten: %v", first)
	}
	// It is needed again, and waits anew when it is to leave once more.
	later := start.Add(time.Minute)
	c.Observe(later, routes(staying, other))
	c.Observe(later, routes(leaving, other))
	if len(c.Waited(later.Add(9*time.Second), wait)) != 0 {
		t.Error("it did not wait anew")
	}
	c.Observe(later, nil)
	if len(c.since) != 0 {
		t.Errorf("the peer is gone, but: %v", c.since)
	}
}
