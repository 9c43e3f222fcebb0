package announce

import (
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/config"
)

// BGPRoute is what one router is told of one prefix.
type BGPRoute struct {
	Prefix           netip.Prefix // masked
	NextHop          netip.Addr   // an address of this node
	LocalPref        uint32       // means nothing to eBGP peers, who never see it
	Communities      []config.Community
	LargeCommunities []config.LargeCommunity
}

// Equal reports whether a router would see no difference.
func (r BGPRoute) Equal(o BGPRoute) bool {
	return r.Prefix == o.Prefix && r.NextHop == o.NextHop && r.LocalPref == o.LocalPref &&
		slices.Equal(r.Communities, o.Communities) && slices.Equal(r.LargeCommunities, o.LargeCommunities)
}
