package bgp

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
	"github.com/herald-lb/herald/pkg/config"
)

// twoLinks is the cable of most tests: the node has several addresses, so that
// one router has several sessions with it.
var twoLinks = bgptest.Link{
	Node:   []string{"10.1.0.1/24", "10.1.0.11/24", "10.1.0.12/24", "10.1.0.13/24", "2001:db8:1::1/64", "2001:db8:1::11/64"},
	Router: []string{"10.1.0.2/24", "2001:db8:1::2/64"},
}

// neighbor is a session as the router is told of it.
type frrNeighbor struct {
	addr string
	asn  uint32
	more []string // lines after "neighbor ADDR"
}

// frrConfig is a router's configuration: both families on every session.
func frrConfig(name string, asn uint32, neighbors ...frrNeighbor) string {
	var b strings.Builder
	fmt.Fprintf(&b, "hostname %s\nlog timestamp precision 3\nrouter bgp %d\n bgp router-id 10.255.0.1\n", name, asn)
	b.WriteString(" no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n bgp bestpath as-path multipath-relax\n timers bgp 3 9\n bgp graceful-restart\n")
	for _, n := range neighbors {
		for _, line := range append([]string{fmt.Sprintf("remote-as %d", n.asn), "passive"}, n.more...) {
			fmt.Fprintf(&b, " neighbor %s %s\n", n.addr, line)
		}
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, " address-family %s unicast\n  maximum-paths 8\n", family)
		for _, n := range neighbors {
			fmt.Fprintf(&b, "  neighbor %s activate\n", n.addr)
		}
		b.WriteString(" exit-address-family\n")
	}
	return b.String()
}

// frrPath is one path of a prefix, as FRR has it.
type frrPath struct {
	asPath, nextHop string
	localPref       uint32
	communities     string
	large           string
}

func (p frrPath) String() string {
	return strings.Join(strings.Fields(fmt.Sprintf("via %s as=%s localpref=%d %s %s", p.nextHop, p.asPath, p.localPref, p.communities, p.large)), " ")
}

// frrPaths asks FRR for a prefix. There are none if it does not know it.
func frrPaths(t *testing.T, r *bgptest.Router, p string) []string {
	t.Helper()
	family := "ipv4"
	if prefix(p).Addr().Is6() {
		family = "ipv6"
	}
	var entry struct {
		Paths []struct {
			ASPath   struct{ String string }
			LocPrf   uint32
			Nexthops []struct {
				IP    string
				Scope string
			}
			Community      struct{ String string }
			LargeCommunity struct{ String string }
		}
	}
	out := r.Vtysh("show bgp " + family + " unicast " + p + " json")
	if err := json.Unmarshal([]byte(out), &entry); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var all []string
	for _, path := range entry.Paths {
		all = append(all, frrPath{path.ASPath.String, path.Nexthops[0].IP, path.LocPrf, path.Community.String, path.LargeCommunity.String}.String())
	}
	slices.Sort(all)
	return all
}

// frrPrefixes lists the prefixes that FRR has learned.
func frrPrefixes(t *testing.T, r *bgptest.Router) []string {
	t.Helper()
	var all []string
	for _, family := range []string{"ipv4", "ipv6"} {
		var table struct{ Routes map[string]any }
		if err := json.Unmarshal([]byte(r.Vtysh("show bgp "+family+" unicast json")), &table); err != nil {
			t.Fatal(err)
		}
		all = slices.AppendSeq(all, maps.Keys(table.Routes))
	}
	slices.Sort(all)
	return all
}

func expectFRR(t *testing.T, r *bgptest.Router, want map[string][]string) time.Duration {
	t.Helper()
	return bgptest.Eventually(t, 15*time.Second, "the router's table", func() error {
		if got := frrPrefixes(t, r); len(got) != len(want) {
			return fmt.Errorf("prefixes %v", got)
		}
		for p, paths := range want {
			if got := frrPaths(t, r, p); !slices.Equal(got, paths) {
				return fmt.Errorf("%s: %v, want %v", p, got, paths)
			}
		}
		return nil
	})
}

func via(nextHop string, more ...func(*Route)) func(p string) Route {
	return func(p string) Route {
		r := Route{Prefix: prefix(p), NextHop: addr(nextHop), LocalPref: 123}
		for _, f := range more {
			f(&r)
		}
		return r
	}
}

func TestFRR(t *testing.T) { bgptest.Run(t, testFRR, bgptest.FRR...) }

func testFRR(t *testing.T) {
	r := bgptest.NewRouter(t, "rt1", twoLinks)
	r.StartFRR(frrConfig("rt1", 65000,
		frrNeighbor{addr: "10.1.0.1", asn: 64512},
		frrNeighbor{addr: "10.1.0.11", asn: 65000},
		frrNeighbor{addr: "2001:db8:1::1", asn: 4200000000},
	))
	base := Peer{PeerASN: 65000, Address: addr("10.1.0.2"), Port: 179, RouterID: addr("10.1.0.1"), HoldTime: 9 * time.Second, RestartTime: 120 * time.Second}
	ebgp, ibgp, six := base, base, base
	ebgp.LocalASN, ebgp.SourceAddress = 64512, addr("10.1.0.1")
	ibgp.LocalASN, ibgp.SourceAddress, ibgp.RouterID = 65000, addr("10.1.0.11"), addr("10.1.0.11")
	six.LocalASN, six.Address, six.SourceAddress, six.RouterID, six.HoldTime = 4200000000, addr("2001:db8:1::2"), addr("2001:db8:1::1"), addr("1.2.3.4"), 0
	tagged := func(r *Route) {
		r.Communities = []config.Community{64512<<16 | 7, 65535<<16 | 0xff01}
		r.LargeCommunities = []config.LargeCommunity{{Global: 64512, Local1: 1, Local2: 4294967295}}
	}
	want := map[string]Desired{
		"ebgp": {ebgp, []Route{via("10.1.0.1", tagged)("192.0.2.1/32"), via("2001:db8:1::1")("2001:db8:99::1/128")}},
		"ibgp": {ibgp, []Route{via("10.1.0.11", tagged)("192.0.2.1/32")}},
		"six":  {six, []Route{via("10.1.0.12")("192.0.2.6/32"), via("2001:db8:1::1", tagged)("2001:db8:99::1/128")}},
	}
	s := start(t)
	s.Apply(want)
	for name := range want {
		st := s.waitFor(name, Established, 30*time.Second)
		if !st.IPv4 || !st.IPv6 || !st.GracefulRestart || st.HoldTime != want[name].Peer.HoldTime || st.LocalAddress != want[name].Peer.SourceAddress || st.RouterID != addr("10.255.0.1") {
			t.Errorf("%s: %+v", name, st)
		}
	}
	table := map[string][]string{
		"192.0.2.1/32": {
			"via 10.1.0.1 as=64512 localpref=0 64512:7 no-export 64512:1:4294967295",
			"via 10.1.0.11 as=Local localpref=123 64512:7 no-export 64512:1:4294967295",
		},
		"192.0.2.6/32": {"via 10.1.0.12 as=4200000000 localpref=0"},
		"2001:db8:99::1/128": {
			"via 2001:db8:1::1 as=4200000000 localpref=0 64512:7 no-export 64512:1:4294967295",
			"via 2001:db8:1::1 as=64512 localpref=0",
		},
	}
	expectFRR(t, r, table)
	for _, line := range []string{"192.0.2.1 nhid", "192.0.2.6 nhid", "2001:db8:99::1 nhid"} {
		if out := r.IP("route", "show", "proto", "bgp") + r.IP("-6", "route", "show", "proto", "bgp"); !strings.Contains(out, line) {
			t.Errorf("the kernel has no %s: %s", line, out)
		}
	}
	if out := r.Vtysh("show bgp neighbors 2001:db8:1::1 json"); !strings.Contains(out, `"remoteRouterId":"1.2.3.4"`) || !strings.Contains(out, `"bgpTimerHoldTimeMsecs":0`) {
		t.Errorf("router-id or hold time: %s", out)
	}

	// Live changes touch nothing else: the aggregate replaces its part, then
	// a session goes and another gets a thousand routes more.
	want["ebgp"] = Desired{ebgp, []Route{via("10.1.0.1")("192.0.2.0/24")}}
	s.Apply(want)
	table["192.0.2.0/24"] = []string{"via 10.1.0.1 as=64512 localpref=0"}
	table["192.0.2.1/32"] = table["192.0.2.1/32"][1:]
	table["2001:db8:99::1/128"] = table["2001:db8:99::1/128"][:1]
	expectFRR(t, r, table)

	delete(want, "ebgp")
	many := want["ibgp"]
	for i := range 1000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), 32).String()
		many.Routes = append(many.Routes, via("10.1.0.11")(p))
		table[p] = nil
	}
	want["ibgp"] = many
	delete(table, "192.0.2.0/24")
	s.Apply(want)
	for p := range table {
		if strings.HasPrefix(p, "100.") {
			table[p] = []string{"via 10.1.0.11 as=Local localpref=123"}
		}
	}
	took := bgptest.Eventually(t, 10*time.Second, "a thousand routes", func() error {
		if n := len(frrPrefixes(t, r)); n != len(table) {
			return fmt.Errorf("%d prefixes", n)
		}
		return nil
	})
	t.Logf("a thousand routes after %s", took)
	for _, name := range []string{"ibgp", "six"} {
		if n := len(s.statesOf(name)); s.status(name).State != Established || s.sessions(name) != 1 {
			t.Errorf("%s was disturbed: %d states, %v", name, n, s.statesOf(name))
		}
	}
	if out := r.Vtysh("show bgp neighbors 10.1.0.1 json"); !strings.Contains(out, "Peer Unconfigured") && !strings.Contains(out, "Peer De-configured") && !strings.Contains(out, "Peer Deconfigured") {
		t.Errorf("the removed session got no Cease: %s", out)
	}
}

// sessions is how often a peer was established.
func (r *running) sessions(name string) uint64 {
	p := r.peer(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts.sessions
}

func TestFRRPasswords(t *testing.T) { bgptest.Run(t, testFRRPasswords, bgptest.FRR...) }

func testFRRPasswords(t *testing.T) {
	r := bgptest.NewRouter(t, "rt1", twoLinks)
	r.IP("address", "add", "10.255.0.1/32", "dev", "lo")
	bgptest.Command(t, "ip", "route", "add", "10.255.0.1/32", "via", "10.1.0.2")
	r.StartFRR(frrConfig("rt1", 65000,
		frrNeighbor{addr: "10.1.0.1", asn: 64512, more: []string{"password right"}},
		frrNeighbor{addr: "10.1.0.11", asn: 64512, more: []string{"password right"}},
		frrNeighbor{addr: "10.1.0.12", asn: 64512},
		frrNeighbor{addr: "10.1.0.13", asn: 64512, more: []string{"ebgp-multihop 3", "update-source 10.255.0.1"}},
		frrNeighbor{addr: "2001:db8:1::1", asn: 64512, more: []string{"password right"}},
		frrNeighbor{addr: "2001:db8:1::11", asn: 64513},
	))
	peer := func(source, password string) Peer {
		p := Peer{LocalASN: 64512, PeerASN: 65000, Address: addr("10.1.0.2"), Port: 179, RouterID: addr("10.1.0.1"), HoldTime: 9 * time.Second, SourceAddress: addr(source), Password: config.Secret(password)}
		if p.SourceAddress.Is6() {
			p.Address = addr("2001:db8:1::2")
		}
		return p
	}
	hops := peer("10.1.0.13", "")
	hops.Address, hops.Multihop = addr("10.255.0.1"), true
	foreign := peer("10.99.0.1", "")
	closed := peer("10.1.0.12", "")
	closed.Port = 1790
	want := map[string]Desired{
		"right":    {Peer: peer("10.1.0.1", "right")},
		"right6":   {Peer: peer("2001:db8:1::1", "right")},
		"wrong":    {Peer: peer("10.1.0.11", "wrong")},
		"needless": {Peer: peer("10.1.0.12", "needless")},
		"multihop": {Peer: hops},
		"foreign":  {Peer: foreign},
		"closed":   {Peer: closed},
		"asn":      {Peer: peer("2001:db8:1::11", "")},
	}
	s := start(t)
	s.Apply(want)
	for _, name := range []string{"right", "right6", "multihop"} {
		s.waitFor(name, Established, 30*time.Second)
	}
	for name, reason := range map[string]string{
		"wrong":    "no answer to TCP SYN: wrong password, filtered or down",
		"needless": "no answer to TCP SYN: wrong password, filtered or down",
		"foreign":  "source-address 10.99.0.1 is not an address of this node",
		"closed":   "connection refused: no BGP on port 1790 of the router",
		"asn":      "the router ended the session: bad peer AS (2/2); the router expects another ASN of this node: compare my-asn with its configuration",
	} {
		bgptest.Eventually(t, 20*time.Second, name, func() error {
			if st := s.status(name); st.Reason != reason {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	}

	// The router changes a password under us, then we follow; the wrong one is
	// put right.
	r.Configure("router bgp 65000", "neighbor 10.1.0.1 password changed")
	bgptest.Eventually(t, 40*time.Second, "changed password", func() error {
		if st := s.status("right"); st.Cause != NoAnswer {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	want["right"] = Desired{Peer: peer("10.1.0.1", "changed")}
	want["wrong"] = Desired{Peer: peer("10.1.0.11", "right")}
	changed := time.Now()
	s.Apply(want)
	s.waitFor("right", Established, 30*time.Second)
	t.Logf("up %s after the password was put right", time.Since(changed))
	s.waitFor("wrong", Established, 30*time.Second)
	if s.sessions("right6") != 1 || s.sessions("multihop") != 1 {
		t.Error("other sessions were disturbed")
	}
}
