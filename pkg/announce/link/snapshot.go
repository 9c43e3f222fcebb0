package link

import (
	"net/netip"

	"github.com/herald-lb/herald/pkg/announce"
)

// Snapshot is what the kernel says of this node's links at one moment.
type Snapshot struct {
	// Links are the usable links, sorted by name.
	Links []announce.Link
	// Gateways are the next hops of the default routes of both families,
	// sorted, link-local ones without zone.
	Gateways []netip.Addr
}
