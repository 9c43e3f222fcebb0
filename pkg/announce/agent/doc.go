// Package agent is the announcer's one loop. It brings what the edges see
// together, has package announce decide, and hands the decision to the
// speakers.
//
//	SetCluster (API server) ─┐                            ┌─► Layer2.Apply
//	SetMembers (membership) ─┼─► Snapshot ─┬─► Decide ────┼─► Membership.Publish
//	SetLinks   (kernel)     ─┤             │              └─► Recorder.Record
//	Observe    (speakers)   ─┘             └─► Routes ──────► BGP.Apply
//	                                             ▲
//	next hops, sessions, the time routes wait ───┘
//
// It knows interfaces only; the program's wiring says what is behind them.
//
// # Decisions
//
// Edges only say that something is new; one goroutine reads all there is and
// acts, so that there is one order of events and no lock around decisions. The
// first change after a quiet time is acted on at once, since a failover waits
// for it; what comes within milliseconds after it is taken together.
//
// A node is ready, and so may be elected, once it has seen the whole cluster,
// its own links and its fellow members. A node that joins is told of the others
// before it claims anything; one that finds nobody waits a little, in case
// others are starting too. While it is not ready it decides all the same, and
// so learns who had an address before it. That is what a speaker needs to know:
// an address that nobody had is probed first, one of a living node is taken over
// while that one still answers, one of a dead node after a second opinion.
//
// A node that stops says so to the others first (draining), goes on answering
// for each address until the next owner verifiably answers, and only then
// leaves; for a few seconds at most, because a node that nobody can replace must
// not hang.
//
// # Routes
//
// What routers are told depends on more than a plan: on this node's addresses
// towards each of them, on keys in Secrets, and on time, for routes leave in two
// steps (RFC 8326). A node that is on its way out first marks with
// GRACEFUL_SHUTDOWN, and with local preference 0, what other nodes announce as
// well, and withdraws it two seconds later (shutdownWait): routers have moved new
// connections by then. What nobody else announces stays. A node is on its way out
//   - when it is cordoned, as "kubectl drain" does first, or its kubelet says
//     that the machine is shutting down: until it is uncordoned,
//   - when it is labelled out of external load balancers: then all goes, last
//     or not,
//   - when the announcer is told to stop, towards routers that would forget it.
//
// A cordon alone is enough, since it is the first anybody says of a node's end;
// it costs the node's share of the traffic and nothing else.
//
// Routers that agreed to graceful restart (RFC 4724) are left alone when the
// announcer stops: its session ends without a Cease, they keep the routes, the
// kernel goes on forwarding, and the next announcer confirms all of them before
// its End-of-RIB. So a rolling restart breaks not even established connections,
// which a withdrawal would: it makes routers hash them to other nodes. That is
// right for a restart and wrong for a machine that goes down without a cordon,
// which is then believed for as long as after a power failure. Where BFD watches
// the session, routers drop the routes when BFD ends (RFC 5882 leaves it to them,
// and both FRR and BIRD do), so that those are drained like others.
//
// At last, sessions over which nothing is announced any more get a Cease, so
// that routers do not wait for a restart; all others just close, and BFD ends
// with AdminDown after them. The last node of an address thereby gives its routes
// to graceful restart, if there is any.
//
// Changes of sessions are told in Events on the Node, at most one a minute for
// each, and the last state always.
package agent
