package member

import (
	"net/netip"
	"reflect"
	"slices"
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
	// Isolated says that no other member is alive, and that of two or more
	// only this node thinks so: what is down is rather its own connection.
	// An isolated node keeps what it has and takes nothing. Where there is
	// one other node only, its State says NeedsWitness.
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

// view returns the membership as it is now.
func (c *core) view() View {
	v := View{Members: make(map[string]State, len(c.nodes)+1)}
	v.Members[c.self] = State{Name: c.self, Addr: c.addr, Ready: c.local.Ready, Draining: c.local.Draining, Links: c.local.Links,
		ConfigHash: c.local.ConfigHash, Session: uint64(c.session), Alive: true, Since: c.started}
	alive, unsure := 0, 0
	there := map[netip.Addr]struct{}{}
	for name, n := range c.nodes {
		v.Members[name] = State{Name: name, Addr: n.addr, Ready: n.meta.ready, Draining: n.meta.draining, Links: slices.Clone(n.meta.links),
			ConfigHash: n.meta.config, Session: uint64(n.meta.session), Alive: n.down == 0, Down: n.down,
			NeedsWitness: n.down == Unknown || n.down != 0 && n.verdict.alone, Since: n.since}
		there[n.addr] = struct{}{}
		if n.presence != gone {
			v.Known++
		}
		switch {
		case n.down == 0:
			alive++
		case v.Members[name].NeedsWitness:
			unsure++
		}
	}
	for p := range c.peers {
		if _, ok := there[p]; !ok {
			v.Known++
			unsure++
		}
	}
	v.Isolated = alive == 0 && unsure >= 2
	return v
}
