package layer2

import (
	"errors"
	"net/netip"

	"github.com/herald-lb/herald/pkg/announce"
)

// ErrLinkDown is what reading and writing return while a link is down. It is
// not final: the same Wire works again when the link is up.
var ErrLinkDown = errors.New("link is down")

// Wire sends and receives the frames of one family on one link.
type Wire interface {
	// ReadFrame waits for a frame and copies it, cut to the length of b. After
	// Close it returns an error that wraps net.ErrClosed.
	ReadFrame(b []byte) (int, error)
	// WriteFrame sends a whole Ethernet frame.
	WriteFrame(b []byte) error
	// SetRanges narrows what ReadFrame returns to frames that may concern the
	// ranges. Others may still come.
	SetRanges([]Range) error
	// Drops returns how many frames were lost for want of a buffer since it
	// was last called.
	Drops() (uint64, error)
	// Close ends a ReadFrame under way.
	Close() error
}

// Opener opens the wires of this node's links.
type Opener interface {
	// Open opens a wire for the frames by which addresses are resolved.
	Open(announce.Link, Family, []Range) (Wire, error)
	// OpenTraffic opens one from which the beginnings of the IP packets can be
	// read that come in for the ranges. Nothing is written to it.
	OpenTraffic(announce.Link, Family, []Range) (Wire, error)
}

// Groups holds this node's memberships of IPv6 multicast groups.
type Groups interface {
	// Keep makes the groups joined on a link, by its index, exactly these.
	// An error leaves as many joined as could be.
	Keep(link int, groups []netip.Addr) error
	// Close leaves all.
	Close() error
}
