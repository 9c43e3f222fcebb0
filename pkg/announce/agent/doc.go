// Package agent is the announcer's one loop. It brings what the edges see
// together, has package announce decide, and hands the decision to the
// speakers.
//
//	SetCluster (API server) ─┐                            ┌─► Layer2.Apply
//	SetMembers (membership) ─┼─► Snapshot ─► Decide ─► ───┼─► Membership.Publish
//	SetLinks   (kernel)     ─┤                            └─► Recorder.Record
//	Observe    (speakers)   ─┘
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
package agent
