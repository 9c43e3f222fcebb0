package bgp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
	"github.com/herald-lb/herald/pkg/config"
)

// Two sessions: eBGP over IPv4 with a password, iBGP over IPv6 on another port.
const birdTwoSessions = `
router id 10.255.0.2;
protocol device {}
protocol direct { ipv4; ipv6; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; merge paths on; }
protocol kernel { ipv6 { export where source = RTS_BGP; }; merge paths on; }
template bgp node {
	passive on;
	ipv4 { import all; export none; };
	ipv6 { import all; export none; };
}
protocol bgp outside from node { local 10.1.0.2 as 65000; neighbor 10.1.0.1 as 64512; password "right"; }
protocol bgp inside from node { local 2001:db8:1::2 port 1790 as 65000; neighbor 2001:db8:1::11 as 65000; }
`

func TestBIRD(t *testing.T) { bgptest.Run(t, testBIRD, bgptest.BIRD...) }

func testBIRD(t *testing.T) {
	r := bgptest.NewRouter(t, "rt2", twoLinks)
	r.StartBIRD(birdTwoSessions)
	ebgp := Peer{LocalASN: 64512, PeerASN: 65000, Address: addr("10.1.0.2"), Port: 179, RouterID: addr("10.1.0.1"), SourceAddress: addr("10.1.0.1"), Password: "right", HoldTime: 9 * time.Second}
	ibgp := Peer{LocalASN: 65000, PeerASN: 65000, Address: addr("2001:db8:1::2"), Port: 1790, RouterID: addr("10.1.0.11"), SourceAddress: addr("2001:db8:1::11"), HoldTime: 9 * time.Second, RestartTime: time.Minute}
	tagged := func(r *Route) {
		r.Communities = []config.Community{64512<<16 | 7, 65535<<16 | 0xff01}
		r.LargeCommunities = []config.LargeCommunity{{Global: 64512, Local1: 1, Local2: 2}}
	}
	want := map[string]Desired{
		"ebgp": {ebgp, []Route{via("10.1.0.1", tagged)("192.0.2.1/32"), via("2001:db8:1::1")("2001:db8:99::/64")}},
		"ibgp": {ibgp, []Route{via("10.1.0.11", tagged)("192.0.2.2/32"), via("2001:db8:1::11", tagged)("2001:db8:99::1/128")}},
	}
	s := start(t)
	s.Apply(want)
	for name := range want {
		s.waitFor(name, Established, 30*time.Second)
	}
	for protocol, want := range map[string][]string{
		"outside": {"Neighbor AS:      64512", "Neighbor ID:      10.1.0.1", "external", "/9"},
		"inside":  {"Neighbor AS:      65000", "Neighbor ID:      10.1.0.11", "internal"},
	} {
		out := r.Birdc("show", "protocols", "all", protocol)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in %s", protocol, w, out)
			}
		}
	}
	expect := func(prefix string, want ...string) {
		t.Helper()
		bgptest.Eventually(t, 10*time.Second, prefix, func() error {
			out, _ := r.TryBirdc("show", "route", "all", "for", prefix)
			for _, w := range want {
				if !strings.Contains(out, w) {
					return fmt.Errorf("no %q in %s", w, out)
				}
			}
			return nil
		})
	}
	expect("192.0.2.1/32", "via 10.1.0.1 ", "BGP.as_path: 64512", "BGP.community: (64512,7) (65535,65281)", "BGP.large_community: (64512, 1, 2)")
	expect("2001:db8:99::/64", "via 2001:db8:1::1 ", "BGP.as_path: 64512")
	expect("192.0.2.2/32", "via 10.1.0.11 ", "BGP.local_pref: 123", "BGP.large_community: (64512, 1, 2)")
	expect("2001:db8:99::1/128", "via 2001:db8:1::11 ", "BGP.local_pref: 123")
	for _, p := range []string{"192.0.2.1/32", "192.0.2.2/32", "2001:db8:99::/64", "2001:db8:99::1/128"} {
		if _, err := r.KernelRoute(p); err != nil {
			t.Error(err)
		}
	}

	want["ebgp"] = Desired{ebgp, []Route{via("10.1.0.1")("192.0.2.0/24")}}
	s.Apply(want)
	expect("192.0.2.0/24", "via 10.1.0.1 ")
	bgptest.Eventually(t, 10*time.Second, "withdrawal", func() error {
		if out, err := r.TryBirdc("show", "route", "192.0.2.1/32"); err == nil {
			return fmt.Errorf("still there: %s", out)
		}
		return nil
	})
	if s.sessions("ebgp") != 1 || s.sessions("ibgp") != 1 {
		t.Error("sessions were disturbed")
	}
}

// birdPasswords has sessions with a key, and one without.
const birdPasswords = `
router id 10.255.0.2;
protocol device {}
template bgp node {
	local 10.1.0.2 as 65000;
	passive on;
	ipv4 { import all; export none; };
}
protocol bgp n1 from node { neighbor 10.1.0.1 as 64512; password "right"; }
protocol bgp n2 from node { neighbor 10.1.0.11 as 64512; password "right"; }
protocol bgp n3 from node { neighbor 10.1.0.12 as 64512; }
`

func TestBIRDPasswords(t *testing.T) { bgptest.Run(t, testBIRDPasswords, bgptest.BIRD...) }

func testBIRDPasswords(t *testing.T) {
	r := bgptest.NewRouter(t, "rt2", twoLinks)
	r.StartBIRD(birdPasswords)
	peer := func(source string, password config.Secret) Desired {
		return Desired{Peer: Peer{
			LocalASN: 64512, PeerASN: 65000, Address: addr("10.1.0.2"), Port: 179, RouterID: addr(source), SourceAddress: addr(source),
			HoldTime: 9 * time.Second, Password: password,
		}}
	}
	want := map[string]Desired{"keyed": peer("10.1.0.1", "right"), "wrong": peer("10.1.0.11", "wrong"), "needless": peer("10.1.0.12", "needless")}
	s := start(t)
	s.Apply(want)
	s.waitFor("keyed", Established, 30*time.Second)
	unanswered := func(name string) {
		t.Helper()
		bgptest.Eventually(t, 40*time.Second, name, func() error {
			if st := s.status(name); st.Cause != NoAnswer || !strings.Contains(st.Reason, "wrong password") {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	}
	unanswered("wrong")
	unanswered("needless")

	// The router changes a key under us, then we follow; the others are put
	// right, and one does not mind the other.
	r.ReconfigureBIRD(strings.Replace(birdPasswords, `"right"`, `"changed"`, 1))
	unanswered("keyed")
	want["wrong"], want["needless"] = peer("10.1.0.11", "right"), peer("10.1.0.12", "")
	s.Apply(want)
	s.waitFor("wrong", Established, 30*time.Second)
	s.waitFor("needless", Established, 30*time.Second)
	want["keyed"] = peer("10.1.0.1", "changed")
	s.Apply(want)
	s.waitFor("keyed", Established, 30*time.Second)
	if s.sessions("wrong") != 1 || s.sessions("needless") != 1 {
		t.Error("other sessions were disturbed")
	}
}
