// Package announce decides which node announces which address, and how.
//
// It is a function from values to values:
//
//	accepted configuration ─┐
//	Services and endpoints ─┼─► Snapshot ─► Decide ─► Plan ─► Diff ─► Changes
//	Nodes                  ─┤                 │
//	members and links      ─┘                 └─ Explain: the same rules, told
//
// Nothing here reads a clock, opens a socket, logs or knows Kubernetes types;
// what does lives in the packages below this one. So each rule exists once and
// answers the daemon, the debug pages and the tests.
//
// # Rules
//
// An address is announced only if a Service of ours shows it and a pool of the
// accepted configuration contains it, whatever a status says.
//
// A node is eligible for an address of a layer-2 pool if
//   - its announcer is alive and ready (Member.Ready),
//   - its Node exists, is not labelled out of external load balancers, and its
//     network is available,
//   - one of its links reaches the address (LinksFor); where some member has
//     the address in an on-link prefix, only such nodes do: the address's
//     clients are there, not behind other nodes' default routes,
//   - it has a ready endpoint for each Service on the address with
//     externalTrafficPolicy Local.
//
// A Service without any ready endpoint has no traffic to lose, so it does not
// count: it neither gets its address announced nor keeps a co-tenant of the
// address from being reached. An address on which no Service has a ready
// endpoint is announced by nobody.
//
// # Decisions
//
// The owner is the eligible node with the highest score for the address
// (rendezvous hashing): every node computes the same answer from the same
// facts without asking anyone, and a node that comes or goes moves only the
// addresses it gains or loses. The score belongs to the address, not to the
// Service, so Services that share an address always have one owner.
//
// A draining member ranks behind all that are not: it goes on announcing what
// nobody else can.
//
// Hashes are made once for each node and each address with SHA-256, so that
// neither a node name nor an address can be chosen cheaply to attract or avoid
// a node; a pair is then scored with two 64×64-bit multiplications.
// Addresses are visited in order, and everything that depends only on where an
// address lies (its pool, the prefixes that contain it) is worked out once for
// each such region, so that thousands of addresses over a hundred nodes take
// milliseconds.
package announce
