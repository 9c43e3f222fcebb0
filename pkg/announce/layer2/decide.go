package layer2

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/mdlayher/arp"
	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/announce"
)

// table is what frames are judged by. It is replaced as a whole when the
// desired state changes and read without a lock; only the entries' answers
// flag changes in between.
type table struct {
	self      string
	addresses map[netip.Addr]*entry
	pools     []netipx.IPRange // sorted and disjoint
	members   map[announce.MAC]string
	witnesses map[netip.Addr]struct{}
}

// entry is one address of the plan.
type entry struct {
	links   []int // indexes of the links that serve it
	answers atomic.Bool
	serves  atomic.Bool // also while it doesn't answer for a moment
}

// show makes an ownership's answers those of the read loops.
func (e *entry) show(o *ownership) {
	e.answers.Store(o.answers())
	e.serves.Store(o.state.serves())
}

// knows reports whether a is in the plan and served by l.
func (t *table) knows(a netip.Addr, l announce.Link) bool {
	e := t.addresses[a]
	return e != nil && slices.Contains(e.links, l.Index)
}

// answers reports whether a, which is in the plan, is this node's to answer for.
func (t *table) answers(a netip.Addr) bool { return t.addresses[a].answers.Load() }

// unassigned reports whether a is an address of a pool that no Service has.
func (t *table) unassigned(a netip.Addr) bool {
	if t.addresses[a] != nil {
		return false
	}
	i, starts := slices.BinarySearchFunc(t.pools, a, func(r netipx.IPRange, a netip.Addr) int { return r.From().Compare(a) })
	return starts || i > 0 && t.pools[i-1].Contains(a)
}

// sightingKind says what a received frame was.
type sightingKind uint8

const (
	sawNothing    sightingKind = iota // nothing to do with the plan's addresses
	sawMalformed                      // refused; reason says why
	sawOwn                            // this node's own frame came back
	sawRequest                        // a client asks; answered if the address is this node's
	sawProbe                          // the asker is about to use the address; answered if it is this node's
	sawMember                         // another node asks: not answered
	sawClaim                          // somebody else uses an address of the plan
	sawWitness                        // a witness answered
	sawUnassigned                     // somebody asks for an address of a pool that no Service has: not answered
	sightingKinds
)

// String returns the kind's label in metrics.
func (k sightingKind) String() string {
	return [...]string{"other", "malformed", "own", "request", "probe", "member", "claim", "witness", "unassigned"}[k]
}

// sighting is what one received frame says.
type sighting struct {
	kind   sightingKind
	addr   netip.Addr   // which address it is about
	mac    announce.MAC // who sent it
	node   string       // whose mac is; empty for a stranger
	reason malformed
}

func refused(r malformed) sighting { return sighting{kind: sawMalformed, reason: r} }

// decide judges one frame received on l. The reply, appended to out, is nil
// when there is none. It reads nothing but its arguments.
//
// A node's own kernel asks for an address when it forwards traffic that no
// Service takes. If another node answered that, the packet would travel between
// both until its hops are used up; so members are answered only when they
// probe, which no kernel does when it forwards.
func decide(l announce.Link, t *table, frame, out []byte) ([]byte, sighting) {
	if len(frame) == taggedFrame {
		return nil, refused(vlanTagged)
	}
	e, ok := parseEthernet(frame)
	if !ok {
		return nil, refused(tooShort)
	}
	if !isUnicast(e.src) {
		return nil, refused(badSender)
	}
	switch e.etherType {
	case etherTypeARP:
		return decideARP(l, t, e, frame[ethernetHeader:], out)
	case etherTypeIPv6:
		return decideNeighbor(l, t, e, frame[ethernetHeader:], out)
	}
	return nil, refused(badEtherType)
}

// own reports whether a frame's source is this node, on this link or another.
func (t *table) own(mac announce.MAC, l announce.Link) bool {
	return mac == l.MAC || t.self != "" && t.members[mac] == t.self
}

func decideARP(l announce.Link, t *table, e ethernet, b, out []byte) ([]byte, sighting) {
	p, reason := parseARP(b)
	if reason != wellFormed {
		return nil, refused(reason)
	}
	if t.own(e.src, l) {
		return nil, sighting{kind: sawOwn}
	}
	if p.senderMAC != e.src {
		return nil, refused(spoofedSender)
	}
	if e.dst != l.MAC && e.dst != broadcastMAC() {
		return nil, sighting{}
	}
	s := sighting{addr: p.senderIP, mac: e.src, node: t.members[e.src]}
	_, witness := t.witnesses[p.senderIP]
	switch {
	case t.knows(p.senderIP, l):
		s.kind = sawClaim
		if s.node != "" && p.op == arp.OperationRequest && !p.gratuitous() {
			// A node whose kernel uses the address as its source: it
			// doesn't claim to answer for it.
			s.kind = sawMember
		}
		return nil, s
	case p.op == arp.OperationReply && witness:
		s.kind = sawWitness
		return nil, s
	case p.op == arp.OperationRequest && t.unassigned(p.targetIP):
		s.kind, s.addr = sawUnassigned, p.targetIP
		return nil, s
	case p.op != arp.OperationRequest || !t.knows(p.targetIP, l):
		return nil, sighting{}
	}
	s.addr = p.targetIP
	s.kind = requestKind(p.isProbe(), s.node)
	if s.kind == sawMember || !t.answers(p.targetIP) {
		return nil, s
	}
	return arpReply(out, l.MAC, p), s
}

func decideNeighbor(l announce.Link, t *table, e ethernet, b, out []byte) ([]byte, sighting) {
	n, reason := parseNeighbor(b)
	if reason != wellFormed {
		return nil, refused(reason)
	}
	if t.own(e.src, l) {
		return nil, sighting{kind: sawOwn}
	}
	if n.mac != (announce.MAC{}) && n.mac != e.src {
		return nil, refused(spoofedSender)
	}
	if e.dst != l.MAC && [2]byte(e.dst[:2]) != [2]byte{0x33, 0x33} {
		return nil, sighting{}
	}
	s := sighting{mac: e.src, node: t.members[e.src]}
	_, witness := t.witnesses[n.target]
	switch {
	case n.advertisement && t.knows(n.target, l):
		s.kind, s.addr = sawClaim, n.target
		return nil, s
	case n.advertisement && witness:
		s.kind, s.addr = sawWitness, n.target
		return nil, s
	case n.advertisement:
		return nil, sighting{}
	case t.knows(n.src, l):
		s.kind, s.addr = sawClaim, n.src
		if s.node != "" {
			s.kind = sawMember
		}
		return nil, s
	case t.unassigned(n.target):
		s.kind, s.addr = sawUnassigned, n.target
		return nil, s
	case !t.knows(n.target, l):
		return nil, sighting{}
	}
	s.addr = n.target
	s.kind = requestKind(n.src.IsUnspecified(), s.node)
	if s.kind == sawMember || !t.answers(n.target) || !l.LinkLocal.IsValid() {
		return nil, s
	}
	return neighborReply(out, l, e.src, n), s
}

func requestKind(probe bool, node string) sightingKind {
	switch {
	case probe:
		return sawProbe
	case node != "":
		return sawMember
	}
	return sawRequest
}
