package bgp

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/herald-lb/herald/pkg/config"
)

var node = Peer{LocalASN: 64512, PeerASN: 65000, Address: netip.MustParseAddr("192.0.2.1"), Port: 179, RouterID: netip.MustParseAddr("10.0.0.1"), HoldTime: 90 * time.Second}

// tableOf starts a GoBGP server.
func tableOf(t *testing.T) *table {
	t.Helper()
	e, err := (&library{log: slog.New(slog.DiscardHandler)}).open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	return e.(*table)
}

// listed is what a GoBGP server says it has.
func listed(t *testing.T, e *table) []Route {
	t.Helper()
	var routes []Route
	for _, family := range []*api.Family{familyIPv4(), familyIPv6()} {
		err := e.server.ListPath(t.Context(), &api.ListPathRequest{TableType: api.TableType_GLOBAL, Family: family}, func(d *api.Destination) {
			for _, p := range d.Paths {
				routes = append(routes, backFromLibrary(t, d.Prefix, p.Pattrs))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(routes, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	return routes
}

func backFromLibrary(t *testing.T, prefix string, attributes []*anypb.Any) Route {
	t.Helper()
	r := Route{Prefix: netip.MustParsePrefix(prefix)}
	for _, a := range attributes {
		m, err := a.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		switch a := m.(type) {
		case *api.OriginAttribute:
			if a.Origin != 0 {
				t.Errorf("%s: origin %d", prefix, a.Origin)
			}
		case *api.NextHopAttribute:
			r.NextHop = netip.MustParseAddr(a.NextHop)
		case *api.MpReachNLRIAttribute:
			r.NextHop = netip.MustParseAddr(a.NextHops[0])
		case *api.LocalPrefAttribute:
			r.LocalPref = a.LocalPref
		case *api.CommunitiesAttribute:
			for _, c := range a.Communities {
				r.Communities = append(r.Communities, config.Community(c))
			}
		case *api.LargeCommunitiesAttribute:
			for _, c := range a.Communities {
				r.LargeCommunities = append(r.LargeCommunities, config.LargeCommunity{Global: c.GlobalAdmin, Local1: c.LocalData1, Local2: c.LocalData2})
			}
		default:
			t.Errorf("%s: unexpected %T", prefix, a)
		}
	}
	return r
}

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// Every form of route goes into a real server and is listed back.
func TestRoutesSurviveTheLibrary(t *testing.T) {
	routes := []Route{
		{Prefix: prefix("192.0.2.0/24"), NextHop: addr("10.0.0.1")},
		{Prefix: prefix("192.0.2.1/32"), NextHop: addr("10.0.0.1"), LocalPref: 100},
		{Prefix: prefix("192.0.2.2/32"), NextHop: addr("10.0.0.1"), LocalPref: 4294967295,
			Communities:      []config.Community{64512<<16 | 1, 65535 << 16, 0xffffff01},
			LargeCommunities: []config.LargeCommunity{{Global: 64512, Local1: 1, Local2: 4294967295}, {}}},
		{Prefix: prefix("192.0.2.3/32"), NextHop: addr("2001:db8::1")},
		{Prefix: prefix("2001:db8:1::/48"), NextHop: addr("2001:db8::1")},
		{Prefix: prefix("2001:db8:1::1/128"), NextHop: addr("2001:db8::1"), LocalPref: 7, Communities: []config.Community{1}},
	}
	e := tableOf(t)
	for _, r := range routes {
		if err := e.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(routes, listed(t, e), comparePrefixes, compareAddrs); diff != "" {
		t.Errorf("listed (-want +got): %s", diff)
	}

	changed := routes[1]
	changed.LocalPref, changed.Communities = 0, []config.Community{65535 << 16}
	if err := e.add(changed); err != nil {
		t.Fatal(err)
	}
	for _, r := range append(routes[2:], Route{Prefix: prefix("203.0.113.9/32")}) {
		if err := e.remove(r.Prefix); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]Route{routes[0], changed}, listed(t, e), comparePrefixes, compareAddrs); diff != "" {
		t.Errorf("after changes (-want +got): %s", diff)
	}
}

func TestRouteWithoutNextHopIsRefused(t *testing.T) {
	if err := tableOf(t).add(Route{Prefix: prefix("192.0.2.1/32")}); err == nil {
		t.Error("accepted")
	}
}

func TestStoppedServersAreUsedAgain(t *testing.T) {
	l := &library{log: slog.New(slog.DiscardHandler)}
	first, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.add(Route{Prefix: prefix("192.0.2.1/32"), NextHop: addr("10.0.0.1")}); err != nil {
		t.Fatal(err)
	}
	first.close()
	second, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	defer second.close()
	if first.(*table).server != second.(*table).server {
		t.Error("a second server was made")
	}
	if routes := listed(t, second.(*table)); len(routes) != 0 {
		t.Errorf("it has routes of its former peer: %v", routes)
	}
	g, err := second.(*table).server.GetBgp(t.Context(), &api.GetBgpRequest{})
	if err != nil || g.Global.ListenPort != -1 {
		t.Errorf("it listens: %v, %v", g, err)
	}
}

// The library must never get to know what is not its business.
func TestNeighborHasNothingOfTheRealConnection(t *testing.T) {
	p := node
	p.Password, p.SourceAddress, p.Multihop, p.RestartTime, p.KeepOnNotification = "secret", addr("192.0.2.7"), true, 5000*time.Second, true
	got := neighbor(p, 4711)
	want := &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: "127.0.0.1", LocalAsn: 64512, PeerAsn: 65000},
		Transport: &api.Transport{LocalAddress: "127.0.0.1", RemotePort: 4711},
		Timers:    &api.Timers{Config: &api.TimersConfig{HoldTime: 90, ConnectRetry: 1}},
		AfiSafis: []*api.AfiSafi{
			{Config: &api.AfiSafiConfig{Family: familyIPv4(), Enabled: true}, MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}}},
			{Config: &api.AfiSafiConfig{Family: familyIPv6(), Enabled: true}, MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}}},
		},
		GracefulRestart: &api.GracefulRestart{Enabled: true, RestartTime: 4095, NotificationEnabled: true},
	}
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
