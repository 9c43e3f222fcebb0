// Package layer2 makes a LAN send the traffic of addresses that are on no
// interface to the node that owns them: it answers ARP and neighbour discovery,
// announces what it took over, and moves ownership between nodes without a gap.
//
//	Desired ──► Speaker.Apply ──► engine ──► ownership (one state machine per address)
//	                                │             │ effects
//	            table (atomic) ◄────┤             ▼
//	                 │              ├──► announcer, prober (when, how fast) ──► port ──► Wire
//	                 ▼              │
//	    Wire ──► port: decide ──────┴── claims, probes, witnesses
//	                 └──► reply ──► Wire
//
// The pure part takes and returns values, with time as an argument: the codecs
// (arp.go, ndp.go), what to do about a frame (decide.go), the socket's filter
// (filter.go), when to announce and to probe (schedule.go, probe.go), when an
// address's traffic rests (traffic.go), and who answers (ownership.go, dispute.go).
// The shell is one goroutine that owns all state (engine.go, apply.go), one read
// loop for each link and family (port.go) and while addresses are handed over one
// more (handover.go), one for the multicast memberships (groups.go), and the
// kernel behind the interfaces of wire.go.
//
// # Decisions
//
// Packet sockets, not addresses on an interface: the kernel then decides nothing
// about the addresses, nothing is left behind by a crash, and NET_RAW suffices.
// For neighbour discovery too, because a raw ICMPv6 socket is never given the
// unicast solicitations by which clients check their entries. The price is a
// filter of two dozen instructions on each received IPv6 packet of the link.
//
// The read loops answer from an immutable table behind an atomic pointer and take
// no lock; whether an address is answered for is one atomic flag in it, so that a
// change of ownership costs one store.
//
// A takeover is announced by the gratuitous request first and then by the
// gratuitous reply whose target MAC is the sender's: both pass the second for
// which Linux locks an entry after each change. The frames that clients wait for,
// first announcements and second opinions, are paced at 10,000 and 25,000 a
// second, so that 500 addresses of a dead node are announced 40 ms after the
// first one is; repeats have a lane of their own at 2,000 a second.
//
// An old owner goes on answering until the new one asks it to hand over, or
// verifiably answers, by a claim or by its answer to a probe. A plan alone doesn't
// make it stop: only what was seen on the LAN shows that clients are served. What
// moves an address costs connections that are open, as their state stays behind in
// the old node's kernel. So the old owner, which alone sees the traffic, says when
// (handover.go, traffic.go). It tells so by a frame that any version understands,
// a probe, and what it is told by is one, too: no node depends on the other's
// having the same release.
//
// Two owners settle it by frames alone, in milliseconds and without any membership,
// because both know an order of nodes that doesn't depend on their views. While
// views of the election differ only because one is late, its order decides; it is
// asked for no longer than half a second. See dispute.
//
// Members are never answered, except probes: see decide.
//
// While a known node is out of sight owners announce more often, because the LAN
// may be split: see healEvery.
package layer2
