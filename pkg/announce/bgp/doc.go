// Package bgp makes the state of BGP routers equal to the wanted one: which
// routers this node speaks with, and what each of them is told.
//
// # Data flow
//
//	Apply(map[name]Desired) ─► Speaker ─► peer ─► sync: difference ──► GoBGP's table of the peer
//	                                       └────► attempts ─► dialRouter ─► guard ◄─ loopback ◄─ GoBGP's session
//	Notify(Status) ◄───────────────────────────────────────────┘
//
// Each peer has a goroutine of its own, a table of routes in the library that
// lives as long as the peer, and at most one connection. A router that hangs,
// floods or refuses keeps nothing but its own session waiting.
//
// # Decisions
//
// GoBGP stays in two files, gobgp.go and convert.go. The library is two small
// interfaces to the rest, engines and engine: add and remove routes, start and
// end a session over a loopback connection. Another library is a day's work.
//
// Every peer has a GoBGP server of its own (8 KiB): which router gets which
// route is then the content of a table, and never an export policy, which
// GoBGP v3 does not withdraw by when it changes. A stopped server can't be
// freed (its goroutine never ends), so that they are used again. (Now and then a
// session that ends while it opens leaves a goroutine of GoBGP's behind, of 2 KiB:
// the growing pause between attempts bounds that, too.)
//
// Nothing that a router sends reaches a decoder of GoBGP's: one message of 19
// bytes, even before the OPEN, would end the process, and a router, or whoever
// answers at its address, could repeat it to every node. As Herald learns no
// routes, nothing needs decoding. So GoBGP connects to a loopback end of the
// guard, which connects to the router, and writes every message that GoBGP
// gets itself: an OPEN made of the capabilities it knows, KEEPALIVE, NOTIFICATION,
// ROUTE-REFRESH, End-of-RIB. UPDATEs become KEEPALIVEs, since they say that the
// router is alive. The guard bounds what a router can take: bytes a second,
// time without OPEN, time without reading, full tables on request.
//
// That end of the loopback is part of a session that the router takes for
// authenticated: it exists only while GoBGP is expected, and takes only the
// connection that one of this process's own sockets is the other end of.
//
// The guard owns all that concerns the real connection: source address, TCP
// MD5 key, hops, pauses between attempts, and the reasons for failures, which
// GoBGP does not tell.
//
// Graceful restart (RFC 4724). The guard sets R and F in our OPEN at the start
// of each session: forwarding is the kernel's and goes on whatever happens to
// this process. GoBGP sets them when told that it restarts, but then waits for
// the router's End-of-RIB, seconds in which a new node announces nothing. A
// session that is to come back (changed settings, Reset, the end of Run) is
// closed without a Cease, so that the router keeps the routes meanwhile. A peer
// that was removed gets a Cease, and the routes are gone at once. RFC 8538
// keeps routes over errors and hold timers as well, a dead node's too:
// Peer.KeepOnNotification is for sessions that BFD watches.
//
// A planned stop needs no mechanism here: announcing with GRACEFUL_SHUTDOWN
// (RFC 8326) is a change of a route's attributes, which routers take as an
// implicit update without a gap, and what comes after is a withdrawal. Both are
// calls of Apply, decided by pkg/announce.
//
// Routes are added before others are withdrawn, and before a session begins:
// an aggregate replaces its parts without a gap, and End-of-RIB follows a whole
// table.
package bgp
