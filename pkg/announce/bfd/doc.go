// Package bfd tells within a fraction of a second that a path to a router is
// broken: Bidirectional Forwarding Detection, asynchronous mode (RFC 5880), on
// one hop (RFC 5881) and several (RFC 5883), for IPv4 and IPv6.
//
// # Data flow
//
//	Apply(map[key]SessionConfig) ─► Manager ─► machine (pure: packets and time in, packets out) ─► sender
//	sockets ─► ParsePacket (pure) ─► demultiplexing ──┘              └─► Notify(Status)
//
// One goroutine owns all sessions; one for each socket reads. A socket is bound
// to a local address, so that other addresses of the node may have another BFD
// daemon.
//
// # Decisions
//
// Time is an argument of the machine, and chance (jitter, discriminators) comes
// from a *rand.Rand, so that every timing rule of section 6.8 is a test.
//
// The transmit timer follows the router's wish at once: a router that asks for
// a packet each 50 ms when the session comes up would otherwise hear nothing
// for the rest of the slow second, and take the path down.
//
// A detection time that ran out is not believed when this process itself was
// late to notice: then packets are waiting unread, and a second look a moment
// later decides.
//
// The C bit is 0: this process announces the routes, too, and they share their
// fate (RFC 5882, section 4.3). When Run ends, and when a session is removed,
// the other side is told AdminDown, which is not a failure of the path (RFC
// 5882, section 3.2); routers that take it for one lose nothing by it that
// silence would have kept. So BFD stops after BGP has withdrawn.
//
// Source ports are of the range that RFC 5881 section 4 asks for, but none is
// required of others: BIRD does not keep to it. The TTL is: 255 on one hop, so
// that no packet from further away counts, and a configured minimum otherwise.
//
// Not supported: echo mode, demand mode of our own, authentication.
package bfd
