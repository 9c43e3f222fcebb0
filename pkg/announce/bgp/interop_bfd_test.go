package bgp

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bfd"
	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
)

// watched is a Speaker with BFD beside it, as the announcer wires them.
type watched struct {
	*running
	bfd        *bfd.Manager
	stopBFD    func()
	minimumTTL uint8 // where there are several hops
}

func startWatched(t *testing.T) *watched {
	w := &watched{running: start(t)}
	w.bfd = bfd.New(bfd.Options{Logger: testLog(t), Notify: func(s bfd.Status) {
		switch {
		case s.State == bfd.Up:
			w.Retry(s.Key)
		case s.Lost():
			w.Reset(s.Key, "BFD: "+s.Reason)
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.bfd.Run(ctx) }()
	w.stopBFD = func() { cancel(); <-done }
	t.Cleanup(w.stopBFD)
	return w
}

func (w *watched) apply(d Desired) {
	w.Apply(map[string]Desired{"rt": d})
	path := bfd.SessionConfig{Peer: d.Peer.Address, TransmitInterval: 100 * time.Millisecond, ReceiveInterval: 100 * time.Millisecond, DetectMultiplier: 5}
	if d.Peer.Multihop {
		path.Multihop, path.MinimumTTL = true, w.minimumTTL
	}
	w.bfd.Apply(map[string]bfd.SessionConfig{"rt": path})
}

func (w *watched) up(t *testing.T) {
	t.Helper()
	w.waitFor("rt", Established, 30*time.Second)
	bgptest.Eventually(t, 10*time.Second, "BFD", func() error {
		if s := w.bfd.States(); len(s) != 1 || s[0].State != bfd.Up {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// What a router does with routes when BFD goes down is its operator's choice
// (RFC 5882, section 4.3). These are the choices that FRR and BIRD offer, with
// graceful restart agreed. A restart closes BGP first and BFD a moment later.
func TestBFDWithFRR(t *testing.T) {
	bgptest.Run(t, func(t *testing.T) {
		r := bgptest.NewRouter(t, "rt1", twoLinks)
		r.StartFRR(frrConfig("rt1", 65000, frrNeighbor{addr: "10.1.0.1", asn: 64512, more: []string{"bfd 5 100 100"}}))
		testBFD(t, r, choice{restartUnnoticed: true, deadNodeDropped: true})
	}, append(bgptest.FRR, "nft")...)
}

func TestBFDWithFRRAndControlPlaneCheck(t *testing.T) {
	bgptest.Run(t, func(t *testing.T) {
		r := bgptest.NewRouter(t, "rt1", twoLinks)
		r.StartFRR(frrConfig("rt1", 65000, frrNeighbor{addr: "10.1.0.1", asn: 64512, more: []string{"bfd 5 100 100", "bfd check-control-plane-failure"}}))
		testBFD(t, r, choice{restartUnnoticed: true})
	}, append(bgptest.FRR, "nft")...)
}

func TestBFDWithBIRD(t *testing.T) {
	bgptest.Run(t, func(t *testing.T) {
		r := bgptest.NewRouter(t, "rt2", twoLinks)
		r.StartBIRD(strings.Replace(birdConfig(65000, "on", "10.1.0.1", 64512), "passive on;", "passive on;\n\tbfd on;\n\terror wait time 1, 5;", 1))
		testBFD(t, r, choice{deadNodeDropped: true})
	}, append(bgptest.BIRD, "nft")...)
}

func TestBFDWithBIRDGraceful(t *testing.T) {
	bgptest.Run(t, func(t *testing.T) {
		r := bgptest.NewRouter(t, "rt2", twoLinks)
		r.StartBIRD(strings.Replace(birdConfig(65000, "on", "10.1.0.1", 64512), "passive on;", "passive on;\n\tbfd graceful;\n\terror wait time 1, 5;", 1))
		testBFD(t, r, choice{restartUnnoticed: true})
	}, append(bgptest.BIRD, "nft")...)
}

type choice struct{ restartUnnoticed, deadNodeDropped bool }

// testBFD restarts the node's side, and then lets the node vanish. The
// intervals are longer than one would use: tests share their CPUs with others.
func testBFD(t *testing.T, r *bgptest.Router, want choice) {
	node := nodeWithVIP(t)
	node.Peer.KeepOnNotification = true
	w := startWatched(t)
	w.apply(node)
	w.up(t)
	installed := func() {
		t.Helper()
		bgptest.Eventually(t, 15*time.Second, "route", func() error { _, err := r.KernelRoute(vip); return err })
	}
	installed()
	time.Sleep(2 * time.Second) // FRR sets its BFD session up anew when BGP comes up

	probe, watch := r.Probe("192.0.2.1"), r.WatchRoutes()
	w.stop()
	time.Sleep(100 * time.Millisecond)
	w.stopBFD()
	w = startWatched(t)
	w.apply(node)
	w.up(t)
	installed()
	lost, sent := probe.Lost()
	changes := watch.Changes(vip)
	t.Logf("restart: %d of %d probes lost, kernel: %v", lost, sent, changes)
	if unnoticed := lost == 0 && len(changes) == 0; unnoticed != want.restartUnnoticed {
		t.Errorf("restart: %d of %d probes lost, kernel: %v", lost, sent, changes)
	}

	// The node is gone from one moment to the next, and no link goes down.
	time.Sleep(6 * time.Second)
	cut := time.Now()
	cutOff(r)
	bgptest.Eventually(t, 5*time.Second, "our session is reset", func() error {
		if n := w.endings("rt", PathDown); n != 1 {
			return fmt.Errorf("%+v", w.status("rt"))
		}
		return nil
	})
	if want.deadNodeDropped {
		gone(t, r)
		t.Logf("the node vanished: route gone after %s", time.Since(cut))
	} else {
		time.Sleep(time.Until(cut.Add(2 * time.Second)))
		installed()
	}
	r.Exec("nft", "delete table inet cut")
	mended := time.Now()
	w.up(t)
	installed()
	t.Logf("session back %s after the cable was mended", time.Since(mended))
}

// cutOff makes a router lose all packets, without any link going down.
func cutOff(r *bgptest.Router) {
	r.Exec("nft", "add table inet cut; add chain inet cut in { type filter hook prerouting priority -300; policy drop; }; add chain inet cut out { type filter hook output priority -300; policy drop; }")
}
