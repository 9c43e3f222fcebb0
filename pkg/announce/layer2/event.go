package layer2

import (
	"net/netip"

	"github.com/herald-lb/herald/pkg/announce"
)

// EventKind says what happened to an address.
type EventKind uint8

const (
	// TookOver: this node answers for the address from now on.
	TookOver EventKind = iota + 1
	// Yielded: another node verifiably answers, this one stopped.
	Yielded
	// Released: this node stopped because nobody is to announce the address.
	Released
	// Held: this node is elected and doesn't answer, because somebody else
	// does or, without MAC, because no witness confirmed that this node is
	// still connected.
	Held
	// Conflict: a host that is no member uses an address this node announces.
	Conflict
	// ConflictOver: it hasn't been seen again for some minutes.
	ConflictOver
	// SplitBrain: another node claims an address this node announces. Won
	// says whether this node goes on.
	SplitBrain
)

// String returns the kind's name in lower case, fit for a metric's label.
func (k EventKind) String() string {
	switch k {
	case TookOver:
		return "took over"
	case Yielded:
		return "yielded"
	case Released:
		return "released"
	case Held:
		return "held"
	case Conflict:
		return "conflict"
	case ConflictOver:
		return "conflict over"
	case SplitBrain:
		return "split brain"
	}
	return "unknown"
}

// Event is one thing that happened to one address.
type Event struct {
	Kind    EventKind
	Address netip.Addr
	Link    string       // where it was seen; empty for TookOver and Released
	MAC     announce.MAC // of the other party; zero when there is none
	Node    string       // the other party's name; empty for a stranger
	Won     bool         // SplitBrain only
}

// ProxyARP reports whether the other party's MAC is the virtual one of a
// first-hop redundancy protocol: then a router answers by proxy ARP for an
// address that it takes for somebody else's, rather than a host using it.
func (e Event) ProxyARP() bool { return isVirtualRouter(e.MAC) }

// isVirtualRouter matches VRRP over IPv4 and IPv6, HSRP and HSRP version 2.
func isVirtualRouter(m announce.MAC) bool {
	switch [3]byte(m[:3]) {
	case [3]byte{0x00, 0x00, 0x5e}:
		return m[3] == 0 && (m[4] == 1 || m[4] == 2)
	case [3]byte{0x00, 0x00, 0x0c}:
		return m[3] == 7 && m[4] == 0xac || m[3] == 0x9f && m[4]>>4 == 0xf
	}
	return false
}
