package bgp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
)

// behindAnother makes a router that another one is on the way to.
func behindAnother(t *testing.T) (between, far *bgptest.Router) {
	between = bgptest.NewRouter(t, "between", twoLinks)
	far = between.Behind("far", bgptest.Link{Node: []string{"10.2.0.1/24"}, Router: []string{"10.2.0.2/24"}})
	bgptest.Command(t, "ip", "route", "add", "10.2.0.0/24", "via", "10.1.0.2")
	far.IP("route", "add", "10.1.0.0/24", "via", "10.2.0.1")
	between.IP("route", "add", vip, "via", "10.1.0.1")
	return between, far
}

// Sessions over several hops (ebgp-multihop) with a password, and the path to
// the router watched by multihop BFD (RFC 5883).
func TestMultihopWithFRR(t *testing.T) {
	bgptest.Run(t, func(t *testing.T) {
		between, r := behindAnother(t)
		r.StartFRR(frrConfig("far", 65000, frrNeighbor{addr: "10.1.0.1", asn: 64512, more: []string{"ebgp-multihop 2", "password right", "bfd 5 100 100"}}))
		testMultihop(t, between, r, 254)
	}, append(bgptest.FRR, "nft")...)
}

const birdMultihop = `
router id 10.255.0.2;
protocol device {}
protocol direct { ipv4; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol static { ipv4; route 10.1.0.0/24 via 10.2.0.1; }
protocol bfd { multihop { min rx interval 100 ms; min tx interval 100 ms; multiplier 5; }; }
protocol bgp node {
	local 10.2.0.2 as 65000;
	neighbor 10.1.0.1 as 64512;
	multihop 2;
	passive on;
	password "right";
	bfd on;
	error wait time 1, 5;
	graceful restart on;
	ipv4 { import all; export none; };
}
`

func TestMultihopWithBIRD(t *testing.T) {
	bgptest.Run(t, func(t *testing.T) {
		between, r := behindAnother(t)
		r.StartBIRD(birdMultihop)
		testMultihop(t, between, r, 63) // BIRD sends with TTL 64
	}, append(bgptest.BIRD, "nft")...)
}

func testMultihop(t *testing.T, between, r *bgptest.Router, minimumTTL uint8) {
	node := nodeWithVIP(t)
	node.Peer.Address, node.Peer.Password = addr("10.2.0.2"), "right"
	node.Peer.KeepOnNotification = true
	s := start(t)
	s.Apply(map[string]Desired{"rt": node})
	bgptest.Eventually(t, 15*time.Second, "one hop is not enough", func() error {
		if st := s.status("rt"); st.Cause != Unreachable || !strings.Contains(st.Reason, "needs ebgp-multihop") {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	s.stop()

	node.Peer.Multihop = true
	w := startWatched(t)
	w.minimumTTL = 254 // the usual one
	w.apply(node)
	if minimumTTL < 254 {
		bgptest.Eventually(t, 15*time.Second, "BFD does not take what seems to come from far", func() error {
			if s := w.bfd.States(); len(s) != 1 || !strings.Contains(s[0].Reason, fmt.Sprintf("TTL %d, less than 254", minimumTTL)) {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		w.minimumTTL = minimumTTL
		w.apply(node)
	}
	w.up(t)
	installed := func() {
		t.Helper()
		bgptest.Eventually(t, 15*time.Second, "route", func() error { _, err := r.KernelRoute(vip); return err })
	}
	installed()
	probe := r.Probe("192.0.2.1")
	time.Sleep(2 * time.Second) // FRR sets its BFD session up anew when BGP comes up
	if lost, sent := probe.Lost(); lost > 0 || sent < 50 {
		t.Errorf("%d of %d probes lost", lost, sent)
	}
	if n := w.endings("rt", PathDown); n != 0 {
		t.Errorf("the path was down %d times", n)
	}

	// The way breaks where neither end sees it.
	cut := time.Now()
	cutOff(between)
	gone(t, r)
	t.Logf("route gone %s after the way between was cut", time.Since(cut))
	bgptest.Eventually(t, 5*time.Second, "our session is reset", func() error {
		if n := w.endings("rt", PathDown); n != 1 {
			return fmt.Errorf("%+v", w.status("rt"))
		}
		return nil
	})
	between.Exec("nft", "delete table inet cut")
	w.up(t)
	installed()
}
