package member

import (
	"net/netip"
	"reflect"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

// Cause is why a member is down. The zero Cause is that of a member that isn't.
type Cause uint8

const (
	// Left is a member that said goodbye.
	Left Cause = 1 + iota
	// AgentGone is a node whose kernel answers and whose announcer is gone.
	AgentGone
	// HostGone is a node that doesn't answer at all.
	HostGone
	// Stalled is an announcer that hasn't answered for seconds, on a node
	// whose kernel still does.
	Stalled
	// Unknown is a member that memberlist gave up on.
	Unknown
)

var causeNames = [...]string{"", "left", "agent gone", "host gone", "stalled", "unknown"}

// String returns the cause in words, "" for the zero Cause.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "invalid"
}

// State is what is known of a member at one moment.
type State struct {
	Name            string
	Addr            netip.Addr
	Ready, Draining bool
	Links           []announce.Link // Index and LinkLocal are those of this node's links only
	ConfigHash      [8]byte
	// Session is random at each start of the member: another one is a
	// member that restarted and owns nothing any more.
	Session uint64
	Alive   bool
	Down    Cause // why not Alive
	// NeedsWitness says that nobody but this node, or the slow detection
	// alone, says that the member is down: before acting on it, make sure
	// that it isn't this node that is cut off.
	NeedsWitness bool
	Since        time.Time // of Alive, Down or Session, whichever changed last
}

// View is the whole of the membership at one moment. It is immutable.
type View struct {
	// Members has every member by name, this node included, and those that
	// went down, until they are forgotten.
	Members map[string]State
	// Isolated says that others are known and none of them is alive: what
	// is down may well be this node's own connection. An isolated node
	// keeps what it has and takes nothing.
	Isolated bool
	// Known is the number of other nodes that should be there: members
	// that didn't leave, and peers never heard of.
	Known int
}

// equal reports whether two views say the same.
func (v View) equal(o View) bool { return reflect.DeepEqual(v, o) }

// Local is what this node says of itself.
type Local struct {
	Ready, Draining bool
	Links           []announce.Link
	ConfigHash      [8]byte
}
