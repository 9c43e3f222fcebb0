package bgp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
	"github.com/herald-lb/herald/pkg/config"
)

const vip = "192.0.2.1/32"

func birdConfig(asn uint32, graceful, neighbor string, neighborASN uint32) string {
	return fmt.Sprintf(`
router id 10.255.0.2;
protocol device {}
protocol direct { ipv4; ipv6; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; merge paths on; }
protocol kernel { ipv6 { export where source = RTS_BGP; }; merge paths on; }
protocol bfd { interface "node" { min rx interval 100 ms; min tx interval 100 ms; multiplier 5; }; }
protocol bgp node {
	local as %d;
	neighbor %s as %d;
	passive on;
	hold time 9;
	graceful restart %s;
	ipv4 { import filter { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; }; export none; };
	ipv6 { import all; export none; };
}
`, asn, neighbor, neighborASN, graceful)
}

// node is a node with the address that its router probes.
func nodeWithVIP(t *testing.T) Desired {
	t.Helper()
	bgptest.Command(t, "ip", "address", "add", vip, "dev", "lo")
	return Desired{
		Peer:   Peer{LocalASN: 64512, PeerASN: 65000, Address: addr("10.1.0.2"), Port: 179, RouterID: addr("10.1.0.1"), HoldTime: 9 * time.Second, RestartTime: 30 * time.Second},
		Routes: []Route{via("10.1.0.1")(vip)},
	}
}

func TestRestartWithFRR(t *testing.T)  { bgptest.Run(t, testRestartWithFRR, bgptest.FRR...) }
func TestRestartWithBIRD(t *testing.T) { bgptest.Run(t, testRestartWithBIRD, bgptest.BIRD...) }

func testRestartWithFRR(t *testing.T) {
	r := bgptest.NewRouter(t, "rt1", twoLinks)
	r.StartFRR(frrConfig("rt1", 65000, frrNeighbor{addr: "10.1.0.1", asn: 64512}))
	restarts(t, r)
}

func testRestartWithBIRD(t *testing.T) {
	r := bgptest.NewRouter(t, "rt2", twoLinks)
	r.StartBIRD(birdConfig(65000, "on", "10.1.0.1", 64512))
	restarts(t, r)
}

// restarts goes through all the ways in which a session ends from this side.
func restarts(t *testing.T, r *bgptest.Router) {
	want := nodeWithVIP(t)
	s := start(t)
	s.Apply(map[string]Desired{"rt": want})
	s.waitFor("rt", Established, 30*time.Second)
	installed := func() {
		t.Helper()
		bgptest.Eventually(t, 10*time.Second, "route", func() error { _, err := r.KernelRoute(vip); return err })
	}
	unharmed := func(what string, do func()) {
		t.Helper()
		installed()
		probe, watch := r.Probe("192.0.2.1"), r.WatchRoutes()
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		do()
		s.waitFor("rt", Established, 30*time.Second)
		took := time.Since(began)
		time.Sleep(2 * time.Second) // for what comes after End-of-RIB
		lost, sent := probe.Lost()
		changes := watch.Changes(vip)
		t.Logf("%s: %d of %d probes lost, back after %s, kernel: %d changes %v", what, lost, sent, took.Round(time.Millisecond), len(changes), changes)
		if lost > 0 {
			t.Errorf("%s lost %d of %d probes", what, lost, sent)
		}
	}
	unharmed("a restart", func() {
		s.stop()
		s = start(t)
		s.Apply(map[string]Desired{"rt": want})
	})
	unharmed("new settings", func() {
		want.Peer.HoldTime = 12 * time.Second
		s.Apply(map[string]Desired{"rt": want})
		bgptest.Eventually(t, 30*time.Second, "settings", func() error {
			if st := s.status("rt"); st.HoldTime != 9*time.Second && st.HoldTime != 12*time.Second || s.endings("rt", Reconfigured) == 0 {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	})
	unharmed("a broken connection", func() {
		r.Exec("ss", "-K", "dst", "10.1.0.1", "sport", "=", "179")
		bgptest.Eventually(t, 10*time.Second, "broken", func() error {
			if s.endings("rt", ConnectionLost) == 0 {
				return fmt.Errorf("%+v", s.status("rt"))
			}
			return nil
		})
	})

	s.Apply(map[string]Desired{"rt": {Peer: want.Peer, Routes: []Route{via("10.1.0.1", func(r *Route) { r.Communities = []config.Community{65535 << 16} })(vip)}}})
	installed()
	watch := r.WatchRoutes()
	s.Apply(nil)
	t.Logf("removed for good: route gone after %s", gone(t, r))
	if changes := watch.Changes(vip); len(changes) == 0 {
		t.Error("the kernel's changes are not seen: the tests above are worth nothing")
	}
}

// A router that has not agreed to graceful restart drops the routes together
// with the session, however that ends.
func TestNoRestartWithFRR(t *testing.T)  { bgptest.Run(t, testNoRestartWithFRR, bgptest.FRR...) }
func TestNoRestartWithBIRD(t *testing.T) { bgptest.Run(t, testNoRestartWithBIRD, bgptest.BIRD...) }

func testNoRestartWithFRR(t *testing.T) {
	r := bgptest.NewRouter(t, "rt1", twoLinks)
	r.StartFRR(strings.Replace(frrConfig("rt1", 65000, frrNeighbor{addr: "10.1.0.1", asn: 64512}), "bgp graceful-restart", "bgp graceful-restart-disable", 1))
	forgets(t, r)
}

func testNoRestartWithBIRD(t *testing.T) {
	r := bgptest.NewRouter(t, "rt2", twoLinks)
	r.StartBIRD(birdConfig(65000, "off", "10.1.0.1", 64512))
	forgets(t, r)
}

func forgets(t *testing.T, r *bgptest.Router) {
	want := map[string]Desired{"rt": nodeWithVIP(t)}
	installed := func() {
		t.Helper()
		bgptest.Eventually(t, 10*time.Second, "route", func() error { _, err := r.KernelRoute(vip); return err })
	}
	s := start(t)
	s.Apply(want)
	if st := s.waitFor("rt", Established, 30*time.Second); st.GracefulRestart {
		t.Errorf("the router is believed to keep routes: %+v", st)
	}
	installed()
	s.stop()
	t.Logf("stopped: route gone after %s", gone(t, r))

	s = start(t)
	s.Apply(want)
	s.waitFor("rt", Established, 30*time.Second)
	installed()
	watch := r.WatchRoutes()
	r.Exec("ss", "-K", "dst", "10.1.0.1", "sport", "=", "179")
	bgptest.Eventually(t, 10*time.Second, "broken", func() error {
		if s.endings("rt", ConnectionLost) == 0 {
			return fmt.Errorf("%+v", s.status("rt"))
		}
		return nil
	})
	s.waitFor("rt", Established, 30*time.Second)
	installed()
	changes := watch.Changes(vip)
	if len(changes) < 2 || !strings.Contains(changes[0], "Deleted") {
		t.Errorf("a broken connection: kernel: %v", changes)
	}
}

// gone waits until the router has no route, and says how long that took.
func gone(t *testing.T, r *bgptest.Router) time.Duration {
	t.Helper()
	return bgptest.Eventually(t, time.Second, "withdrawal", func() error {
		if route, err := r.KernelRoute(vip); err == nil {
			return fmt.Errorf("still there: %s", route)
		}
		return nil
	})
}

// Two nodes announce an address; one marks its route. New traffic goes to the
// other at once, and no route is ever missing.
func TestGracefulShutdownWithFRR(t *testing.T) {
	bgptest.Run(t, func(t *testing.T) {
		r := bgptest.NewRouter(t, "rt1", twoLinks)
		r.StartFRR(frrConfig("rt1", 65000, frrNeighbor{addr: "10.1.0.1", asn: 64512}, frrNeighbor{addr: "10.1.0.11", asn: 64512}))
		testGracefulShutdown(t, r)
	}, bgptest.FRR...)
}

func TestGracefulShutdownWithBIRD(t *testing.T) {
	bgptest.Run(t, func(t *testing.T) {
		r := bgptest.NewRouter(t, "rt2", twoLinks)
		one := birdConfig(65000, "on", "10.1.0.1", 64512)
		two := birdConfig(65000, "on", "10.1.0.11", 64512)
		r.StartBIRD(one + strings.Replace(two[strings.Index(two, "protocol bgp node"):], "node", "second", 1))
		testGracefulShutdown(t, r)
	}, bgptest.BIRD...)
}

func testGracefulShutdown(t *testing.T, r *bgptest.Router) {
	first := nodeWithVIP(t)
	second := first
	first.Peer.SourceAddress, second.Peer.SourceAddress = addr("10.1.0.1"), addr("10.1.0.11")
	second.Peer.RouterID = addr("10.1.0.11")
	second.Routes = []Route{via("10.1.0.11")(vip)}
	s := start(t)
	s.Apply(map[string]Desired{"first": first, "second": second})
	bgptest.Eventually(t, 20*time.Second, "both next hops", func() error { return nextHopsAre(r, "10.1.0.1", "10.1.0.11") })
	probe := r.Probe("192.0.2.1")

	first.Routes = []Route{via("10.1.0.1", func(r *Route) { r.Communities, r.LocalPref = []config.Community{65535 << 16}, 0 })(vip)}
	s.Apply(map[string]Desired{"first": first, "second": second})
	moved := bgptest.Eventually(t, 5*time.Second, "traffic moves", func() error { return nextHopsAre(r, "10.1.0.11") })
	if n := waysTo(r); n != 2 {
		t.Errorf("the router knows of %d ways while one is about to go", n)
	}
	first.Routes = nil
	s.Apply(map[string]Desired{"first": first, "second": second})
	bgptest.Eventually(t, 5*time.Second, "withdrawal", func() error {
		if n := waysTo(r); n != 1 {
			return fmt.Errorf("%d ways", n)
		}
		return nil
	})
	lost, sent := probe.Lost()
	t.Logf("moved after %s, %d of %d probes lost", moved, lost, sent)
	if lost > 0 {
		t.Errorf("%d of %d probes lost", lost, sent)
	}
}

// waysTo counts the paths to the address in the router's own table.
func waysTo(r *bgptest.Router) int {
	if out, err := r.TryVtysh("show bgp ipv4 unicast " + vip); err == nil {
		return strings.Count(out, "Origin IGP")
	}
	out, _ := r.TryBirdc("show", "route", "all", vip)
	return strings.Count(out, "BGP.next_hop")
}

// nextHopsAre looks at the router's kernel.
func nextHopsAre(r *bgptest.Router, want ...string) error {
	route, err := r.KernelRoute(vip)
	if err != nil {
		return err
	}
	for _, hop := range []string{"10.1.0.1 ", "10.1.0.11 "} {
		has, wanted := containsWord(route, hop), false
		for _, w := range want {
			wanted = wanted || w+" " == hop
		}
		if has != wanted {
			return fmt.Errorf("kernel: %s", route)
		}
	}
	return nil
}
