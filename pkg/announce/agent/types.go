package agent

import (
	"net/netip"
	"time"

	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

// Layer2 announces addresses on the links. Its methods do not block.
type Layer2 interface {
	// Apply replaces what is desired.
	Apply(Desired)
	// Owned returns the addresses that this node answers for at this moment.
	Owned() []netip.Addr
}

// BGP announces routes to routers. Its methods do not block.
type BGP interface {
	// Apply replaces what each router is to be told, by the names of the peers.
	// A router that is no peer any more is told goodbye.
	Apply(map[string]announce.PeerRoutes)
	// Settled reports whether all that Apply asked for is on its way.
	Settled() bool
	// NextHops returns this node's addresses towards peers, by their names.
	NextHops([]config.Peer) map[string]announce.NextHops
	// Sessions returns the sessions with routers, sorted by peer.
	Sessions() []Session
}

// Session is how the session with one router stands.
type Session struct {
	Peer   string
	State  string // for people
	Up     bool
	Since  time.Time // of State
	Reason string    // why there is no session, or why the last one ended

	LocalAddress    netip.Addr // this node's, once it is known
	GracefulRestart bool       // the router keeps this node's routes while the node restarts
	BFD             string     // state of the BFD session; "": there is none
	BFDReason       string     // why that is not up, or last was not
}

// Membership tells the other nodes about this one. Its method does not block.
type Membership interface {
	Publish(Local)
}

// Recorder tells the users of a Service, and who looks after a Node, what
// happens to it. Its method does not block; it may drop.
type Recorder interface {
	Record(Notice)
}

// Notice is news about one Service, or one Node.
type Notice struct {
	Service string // namespace/name
	UID     string // of the Service
	Node    string // set if it is about a Node
	Warning bool
	Reason  string // in CamelCase, for machines
	Message string
}

// Local is what this node says of itself.
type Local struct {
	Ready, Draining bool
	Links           []announce.Link
	ConfigHash      [8]byte // the first bytes of the configuration's hash
}

// Members is the whole membership at one moment. It is immutable once handed
// over.
type Members struct {
	All map[string]Member // by node: the living, this one included, and those known to be down
	// Others is the number of other nodes that should be members.
	Others int
	// Isolated says that there should be others and none is alive: it may be
	// this node that is cut off.
	Isolated bool
}

// Member is what is known of a node's announcer.
type Member struct {
	announce.Member
	Address    netip.Addr
	ConfigHash [8]byte
	Alive      bool
	Down       string // why it is not alive, in words
	// NeedsWitness says that nobody but this node says that the member is
	// down.
	NeedsWitness bool
	Since        time.Time // of Alive or Down
}

// Desired is all that the layer-2 speaker is to bring about, handed over whole.
// It is immutable.
type Desired struct {
	Self      string
	Addresses []Address        // those of layer-2 pools, sorted by address
	Pools     []netipx.IPRange // of all layer-2 pools, sorted and disjoint
	Members   map[string]Member
	Links     []announce.Link // this node's
}

// Address is what is decided about an address, and whose it was before.
type Address struct {
	*announce.Address
	// From is the owner before the present one, "" if there was none since
	// this node first saw the address.
	From         string
	Predecessor  Predecessor
	NeedsWitness bool // before this node takes it, some neighbour must have answered
}

// Predecessor says what became of the owner before the present one.
type Predecessor uint8

const (
	// Nobody: the address was not in use.
	Nobody Predecessor = iota
	// Alive: the announcer of the previous owner is alive.
	Alive
	// Itself: it was this node.
	Itself
	// Down: the announcer of the previous owner is not alive.
	Down
	// Unheard: this node had no link that serves the address, so another may
	// have taken it meanwhile.
	Unheard
)

// String returns "nobody", "alive", "itself", "down" or "unheard".
func (p Predecessor) String() string {
	return [...]string{"nobody", "alive", "itself", "down", "unheard"}[p]
}

// Observation is something that a speaker saw happen to an address.
type Observation struct {
	Addr netip.Addr
	// Took says that this node began to answer for the address.
	Took bool
	// Reason and Message are for the users of the Services on the address;
	// without a Reason nobody is told.
	Reason, Message string
}
