package bgp

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// refuseLearned is the import policy of every server: what is added here is
// accepted, what a router says is not. A plain "reject" would refuse our own
// routes, too, and say nothing.
const refuseLearned = "local-only"

// global is the same for all servers. The ASN and router-id are placeholders:
// the one is a neighbor's own setting, the other is the guard's to write.
func global() *api.Global {
	return &api.Global{
		Asn:        64512,
		RouterId:   loopbackAddress.String(),
		ListenPort: -1, // 0 would be 179
		Families:   []uint32{0, 1},
	}
}

func importPolicy() (*api.Policy, *api.PolicyAssignment) {
	policy := &api.Policy{Name: refuseLearned, Statements: []*api.Statement{{
		Name:       refuseLearned,
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ACCEPT},
	}}}
	return policy, &api.PolicyAssignment{
		Name:          "global",
		Direction:     api.PolicyDirection_IMPORT,
		Policies:      []*api.Policy{{Name: refuseLearned}},
		DefaultAction: api.RouteAction_REJECT,
	}
}

// neighbor is the router as the library sees it: the guard's end of the
// loopback. Everything that concerns the real connection (source, password,
// hops, timing) stays with the guard.
func neighbor(p Peer, port uint16) *api.Peer {
	restart := p.RestartTime > 0
	hold := p.HoldTime
	if hold == 0 {
		hold = placeholderHoldTime
	}
	n := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: loopbackAddress.String(),
			LocalAsn:        p.LocalASN,
			PeerAsn:         p.PeerASN,
		},
		Transport: &api.Transport{LocalAddress: loopbackAddress.String(), RemotePort: uint32(port)},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime:          seconds(hold),
			KeepaliveInterval: seconds(p.KeepaliveTime), // 0: a third of the hold time
			ConnectRetry:      1,
		}},
	}
	for _, family := range []*api.Family{familyIPv4(), familyIPv6()} {
		n.AfiSafis = append(n.AfiSafis, &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: family, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: restart}},
		})
	}
	if restart {
		n.GracefulRestart = &api.GracefulRestart{
			Enabled:             true,
			RestartTime:         uint32(min(seconds(p.RestartTime), 4095)), // 12 bits in the OPEN
			NotificationEnabled: p.KeepOnNotification,
		}
	}
	return n
}

func seconds(d time.Duration) uint64 { return uint64(math.Ceil(d.Seconds())) }

func familyIPv4() *api.Family {
	return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
}

func familyIPv6() *api.Family {
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}

// path is a route in the library's terms.
func path(r Route) (*api.Path, error) {
	if !r.NextHop.IsValid() {
		return nil, fmt.Errorf("route %s has no next hop", r.Prefix)
	}
	bare, err := barePath(r.Prefix)
	if err != nil {
		return nil, err
	}
	attributes := []proto.Message{&api.OriginAttribute{}} // IGP
	if r.Prefix.Addr().Is4() && r.NextHop.Is4() {
		attributes = append(attributes, &api.NextHopAttribute{NextHop: r.NextHop.String()})
	} else {
		attributes = append(attributes, &api.MpReachNLRIAttribute{
			Family: bare.Family, NextHops: []string{r.NextHop.String()}, Nlris: []*anypb.Any{bare.Nlri},
		})
	}
	attributes = append(attributes, &api.LocalPrefAttribute{LocalPref: r.LocalPref}) // GoBGP sends it to iBGP peers only
	if len(r.Communities) > 0 {
		list := &api.CommunitiesAttribute{}
		for _, c := range r.Communities {
			list.Communities = append(list.Communities, uint32(c))
		}
		attributes = append(attributes, list)
	}
	if len(r.LargeCommunities) > 0 {
		list := &api.LargeCommunitiesAttribute{}
		for _, c := range r.LargeCommunities {
			list.Communities = append(list.Communities, &api.LargeCommunity{GlobalAdmin: c.Global, LocalData1: c.Local1, LocalData2: c.Local2})
		}
		attributes = append(attributes, list)
	}
	for _, a := range attributes {
		packed, err := anypb.New(a)
		if err != nil {
			return nil, fmt.Errorf("route %s: %w", r.Prefix, err)
		}
		bare.Pattrs = append(bare.Pattrs, packed)
	}
	return bare, nil
}

// barePath is enough of a path to withdraw it.
func barePath(p netip.Prefix) (*api.Path, error) {
	nlri, err := anypb.New(&api.IPAddressPrefix{Prefix: p.Masked().Addr().String(), PrefixLen: uint32(p.Bits())})
	if err != nil {
		return nil, fmt.Errorf("prefix %s: %w", p, err)
	}
	family := familyIPv4()
	bare := &api.Path{Family: family, Nlri: nlri}
	if p.Addr().Is6() {
		bare.Family = familyIPv6()
	}
	return bare, nil
}
