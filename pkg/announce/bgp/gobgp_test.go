package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
	"github.com/herald-lb/herald/pkg/config"
)

// loopRouter is a GoBGP server that plays the router, at a port of loopback.
type loopRouter struct {
	*server.BgpServer
	t    *testing.T
	port uint16
}

func newLoopRouter(t *testing.T, asn uint32, clients ...uint32) *loopRouter {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	r := &loopRouter{t: t, port: uint16(port), BgpServer: server.NewBgpServer(server.LoggerOption(gobgpLogger{slog.New(slog.DiscardHandler)}))}
	go r.Serve()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{Asn: asn, RouterId: "10.255.0.1", ListenPort: int32(port), ListenAddresses: []string{"127.0.0.1"}, Families: []uint32{0, 1}}}))
	for i, client := range clients {
		must(r.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
			Conf:      &api.PeerConf{NeighborAddress: fmt.Sprintf("127.0.0.%d", 11+i), PeerAsn: client},
			Transport: &api.Transport{PassiveMode: true, LocalAddress: "127.0.0.1"},
			AfiSafis: []*api.AfiSafi{
				{Config: &api.AfiSafiConfig{Family: familyIPv4(), Enabled: true}},
				{Config: &api.AfiSafiConfig{Family: familyIPv6(), Enabled: true}},
			},
		}}))
	}
	t.Cleanup(r.Stop)
	return r
}

// peer is the settings for the router's nth client.
func (r *loopRouter) peer(nth int, local, remote uint32) Peer {
	return Peer{
		LocalASN: local, PeerASN: remote, Address: addr("127.0.0.1"), Port: r.port,
		SourceAddress: addr(fmt.Sprintf("127.0.0.%d", 11+nth)), RouterID: addr(fmt.Sprintf("10.0.0.%d", 1+nth)),
		HoldTime: 9 * time.Second,
	}
}

// routes lists the router's table: prefix, AS path's last ASN, communities.
func (r *loopRouter) routes() map[string][]config.Community {
	all := map[string][]config.Community{}
	for _, family := range []*api.Family{familyIPv4(), familyIPv6()} {
		err := r.ListPath(context.Background(), &api.ListPathRequest{TableType: api.TableType_GLOBAL, Family: family}, func(d *api.Destination) {
			for _, p := range d.Paths {
				var c api.CommunitiesAttribute
				all[d.Prefix] = nil
				for _, a := range p.Pattrs {
					if a.UnmarshalTo(&c) == nil {
						for _, v := range c.Communities {
							all[d.Prefix] = append(all[d.Prefix], config.Community(v))
						}
					}
				}
			}
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return all
}

func (r *loopRouter) expect(want ...string) {
	r.t.Helper()
	slices.Sort(want)
	bgptest.Eventually(r.t, 10*time.Second, "the router's routes", func() error {
		var got []string
		for p := range r.routes() {
			got = append(got, p)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("got %v, want %v", got, want)
		}
		return nil
	})
}

func (r *running) updates(name string) uint64 { return r.peer(name).traffic.updates.Load() }

func route6(p string) Route {
	return Route{Prefix: prefix(p), NextHop: addr("2001:db8::1")}
}

func TestRoutersFollowWhatIsDesired(t *testing.T) {
	a, b := newLoopRouter(t, 65000, 64512), newLoopRouter(t, 64512, 64512)
	s := start(t)
	toA, toB := a.peer(0, 64512, 65000), b.peer(0, 64512, 64512)
	want := map[string]Desired{
		"a": {Peer: toA, Routes: []Route{r4(1), r4(2), route6("2001:db8:1::1/128")}},
		"b": {Peer: toB, Routes: []Route{r4(1)}},
	}
	s.Apply(want)
	s.waitFor("a", Established, 10*time.Second)
	s.waitFor("b", Established, 10*time.Second)
	a.expect("192.0.2.1/32", "192.0.2.2/32", "2001:db8:1::1/128")
	b.expect("192.0.2.1/32")

	before := s.updates("a") + s.updates("b")
	s.Apply(want)
	if err := s.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // for messages that must not come
	if now := s.updates("a") + s.updates("b"); now != before {
		t.Errorf("an equal Apply sent %d UPDATEs", now-before)
	}

	drained := r4(1)
	drained.Communities = []config.Community{65535 << 16, 64512<<16 | 7}
	s.Apply(map[string]Desired{"a": {Peer: toA, Routes: []Route{drained, route6("2001:db8:1::/64")}}, "b": want["b"]})
	a.expect("192.0.2.1/32", "2001:db8:1::/64")
	if c := a.routes()["192.0.2.1/32"]; !slices.Equal(c, drained.Communities) {
		t.Errorf("communities %v", c)
	}
	if n := s.updates("a") + s.updates("b") - before; n != 4 {
		t.Errorf("%d UPDATEs for 2 routes added and 2 withdrawn", n)
	}
	if st := s.status("b"); st.State != Established || len(s.statesOf("b")) != 3 {
		t.Errorf("b was disturbed: %v", s.statesOf("b"))
	}

	s.Apply(map[string]Desired{"b": want["b"]})
	a.expect()
	if err := s.Settled(t.Context()); err != nil || len(s.Statuses()) != 1 {
		t.Errorf("%v, %v", err, s.Statuses())
	}
	err := testutil.CollectAndCompare(s, strings.NewReader(`
		# HELP herald_bgp_session_up 1 while the session with the peer is established.
		# TYPE herald_bgp_session_up gauge
		herald_bgp_session_up{peer="b"} 1
		# HELP herald_bgp_routes_advertised Routes of this node for the peer; none reach it while the session is down.
		# TYPE herald_bgp_routes_advertised gauge
		herald_bgp_routes_advertised{peer="b"} 1
		# HELP herald_bgp_sessions_total Sessions that were established with the peer.
		# TYPE herald_bgp_sessions_total counter
		herald_bgp_sessions_total{peer="b"} 1
	`), "herald_bgp_session_up", "herald_bgp_routes_advertised", "herald_bgp_sessions_total", "herald_bgp_session_resets_total", "herald_bgp_connect_failures_total")
	if err != nil {
		t.Error(err)
	}
	if b.expect("192.0.2.1/32"); len(s.statesOf("b")) != 3 {
		t.Errorf("b was disturbed: %v", s.statesOf("b"))
	}
}

// statesOf returns the states that a peer went through.
func (r *running) statesOf(name string) []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []State
	for _, s := range r.history {
		if s.Peer == name && (len(all) == 0 || all[len(all)-1] != s.State) {
			all = append(all, s.State)
		}
	}
	return slices.DeleteFunc(all, func(s State) bool { return s == Waiting })
}

func TestChangedSettingsResetOneSession(t *testing.T) {
	a := newLoopRouter(t, 65000, 64512, 64513)
	s := start(t)
	first, second := a.peer(0, 64512, 65000), a.peer(1, 64513, 65000)
	s.Apply(map[string]Desired{"1": {Peer: first, Routes: []Route{r4(1)}}, "2": {Peer: second, Routes: []Route{r4(2)}}})
	s.waitFor("1", Established, 10*time.Second)
	s.waitFor("2", Established, 10*time.Second)
	first.HoldTime = 30 * time.Second
	s.Apply(map[string]Desired{"1": {Peer: first, Routes: []Route{r4(1)}}, "2": {Peer: second, Routes: []Route{r4(2)}}})
	bgptest.Eventually(t, 30*time.Second, "new hold time", func() error {
		if st := s.status("1"); st.State != Established || st.HoldTime != 30*time.Second {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	a.expect("192.0.2.1/32", "192.0.2.2/32")
	if n := len(s.statesOf("2")); n != 3 {
		t.Errorf("the other session: %v", s.statesOf("2"))
	}
	if n := s.endings("1", Reconfigured); n != 1 {
		t.Errorf("%d resets for new settings", n)
	}

	s.Reset("1", "BFD says that the path is down")
	s.Reset("1", "twice")
	s.Reset("nobody", "no such peer")
	bgptest.Eventually(t, 10*time.Second, "reset", func() error {
		if n := s.endings("1", PathDown); n != 1 {
			return fmt.Errorf("%d resets", n)
		}
		return nil
	})
	s.waitFor("1", Established, 30*time.Second) // GoBGP as the router refuses for 5 s
	if n := s.endings("1", PathDown); n != 1 {
		t.Errorf("%d resets within five seconds", n)
	}
}

// endings counts how often the peer's status came to Waiting for a cause.
func (r *running) endings(name string, cause Cause) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for i, s := range r.history {
		if s.Peer == name && s.State == Waiting && s.Cause == cause && (i == 0 || r.history[i-1].Since != s.Since) {
			n++
		}
	}
	return n
}

func TestManyPeersAtOnce(t *testing.T) {
	asns := make([]uint32, 20)
	for i := range asns {
		asns[i] = uint32(64600 + i)
	}
	a := newLoopRouter(t, 65000, asns...)
	s := start(t)
	want := map[string]Desired{}
	var prefixes []string
	for i, asn := range asns {
		want[fmt.Sprint(i)] = Desired{Peer: a.peer(i, asn, 65000), Routes: []Route{r4(i)}}
		prefixes = append(prefixes, r4(i).Prefix.String())
	}
	s.Apply(want)
	a.expect(prefixes...)
	var wg sync.WaitGroup
	for i := range asns {
		wg.Go(func() { s.Reset(fmt.Sprint(i), "test") })
	}
	wg.Wait()
	s.Apply(nil)
	if err := s.Settled(t.Context()); err != nil {
		t.Error(err)
	}
	a.expect()
}
