package layer2

import (
	"net/netip"

	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/announce"
)

// Desired is everything the speaker is to bring about, handed over whole.
// It is immutable once applied.
type Desired struct {
	// Addresses are all addresses of the plan that are announced by layer 2,
	// this node's and the others', unmapped. One that is missing is no longer announced
	// by anybody: this node stops answering for it at once.
	Addresses map[netip.Addr]Address

	// Pools are the ranges that such addresses are taken from, sorted and
	// disjoint. Questions for an address of them that no Service has are not
	// answered, and counted on the links that serve others.
	Pools []netipx.IPRange

	// Members says whose a MAC is, for every link of every known node, this
	// one and those whose announcer is down included.
	Members map[announce.MAC]string

	// Down are the known nodes whose announcer is not alive. A claim of such a
	// node means that only the membership lost it.
	Down []string

	// Witnesses are other hosts of the LAN that are expected to answer, such
	// as gateways and nodes, for addresses with NeedsWitness.
	Witnesses []netip.Addr

	// Links are this node's usable links.
	Links []announce.Link
}

// Address is what is wanted for one address.
type Address struct {
	// Links are the names of this node's links that serve the address. Without
	// one this node, if not elected, stops answering at once.
	Links []string

	// Mine says that this node is elected.
	Mine bool

	// Owner is the elected node; empty when nobody is to announce the
	// address, and then this node stops answering at once.
	Owner string

	// Lead is the address in whose name the owner is elected; it is another one
	// where several are to have one owner.
	Lead netip.Addr

	// Previous says what became of the owner before this node. It is read
	// only when Mine becomes true.
	Previous Predecessor

	// NeedsWitness says that Previous is this node's verdict alone, or that it
	// hears no other node: before an address that isn't taken from a living
	// node is taken, one of Witnesses must have answered.
	NeedsWitness bool

	// Unserved says that this node can't serve the address's traffic any longer,
	// so that there is no good moment to wait for when another one takes over.
	Unserved bool

	// Order are the eligible nodes, the elected one first. It may be cut.
	Order []string
}

// Predecessor says what became of the owner before this node.
type Predecessor uint8

const (
	// Nobody: the address was not in use. It is probed before it is taken.
	Nobody Predecessor = iota
	// Alive: the previous owner still answers. It is asked to hand the address
	// over, and given most of a second for it.
	Alive
	// Itself: it was this node, before a restart or a time without an owner. The
	// address is taken at once.
	Itself
	// Down: the previous owner is taken for dead. The LAN is asked for a
	// second opinion before the address is taken.
	Down
	// Unheard: this node had no link to the address's LAN until now, and knows
	// nothing that is fresh. The LAN is asked, and a node that answers is left
	// to it for more than a second: until this node's kernel finds its neighbors
	// again, which it asks for once a second, it has the traffic but can't
	// forward it.
	Unheard
)

// Family is the protocol by which an address is resolved.
type Family uint8

const (
	// IPv4 addresses are resolved by ARP.
	IPv4 Family = 4
	// IPv6 addresses are resolved by neighbour discovery.
	IPv6 Family = 6
)

// FamilyOf returns the family of an unmapped address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// String returns "ipv4" or "ipv6".
func (f Family) String() string {
	if f == IPv4 {
		return "ipv4"
	}
	return "ipv6"
}
