// Package member knows which nodes' announcers are alive, what they say of
// themselves, and how those that aren't ended. It needs no API server.
//
//	memberlist ─┐                                         ┌─► View (Views)
//	watchers ───┼─► mailbox ─► core (pure, one goroutine) ┼─► pings, connects, opinions
//	Publish ────┤                                         ├─► who may knock (gate)
//	SetPeers ───┘                                         └─► which keys are used (rotate)
//
// # Two detectors
//
// A failure detector that only listens can't be both fast and calm: the time
// it takes to see a death is the stall that it forgives. So there are two.
// memberlist is set to be calm. It says who exists, spreads their metadata, and
// gives up on a silent member after about two seconds.
//
// Beside it each member is watched by the three before it on a ring of hashed
// names, which ping it every 50 ms. Two missed echoes, or one refusal by the
// member's kernel, start a probe of 75 ms: five pings and five TCP connects.
// A kernel completes a connect while the agent stands still, resets it when
// the agent is gone, and says nothing when the host is gone, which makes the
// Cause. A watcher that itself stood still counts nothing that it missed
// meanwhile. Two watchers of three must agree; each sends its opinion to all
// members, and repeats it. A host is seen gone in about 0.2 s and an agent in
// under 0.1 s by all, whatever the number of nodes. Stalls of a second, loss of
// 20 % and busy CPUs lead to no verdict.
//
// # Decisions
//
//   - Watchers are counted over the nodes that are known, not over those that
//     memberlist still hears: a node cut off alone would else bury the others,
//     become the only watcher there is, and judge. What only one node says is
//     marked NeedsWitness, and a View in which everything is of that kind
//     Isolated.
//   - A verdict is dropped when a watcher hears the member again and fewer than
//     two say that it is down, not when the watchers change.
//   - Each run of a member has a random session. Opinions are of a session: a
//     member that restarts between two pings is alive again, and shown as
//     another one.
//   - memberlist's word alone makes a member down only after another second: a
//     node back from a partition spreads that others are dead, who must deny it.
//   - A goodbye looks like a death in memberlist's API. So a member shows that
//     it is draining before it says goodbye, and waits for that to spread.
//   - memberlist doesn't find lost members by itself after a partition. An own
//     loop joins those missing, once a second.
//
// # On the wire
//
// Everything passes an own transport on one UDP and one TCP port. Encryption is
// the transport's and not memberlist's: memberlist takes up to 20 MB of a
// stream before it knows whether it is authentic, remembers no counters, so
// everything can be played to it again, and can't drop one of three keys
// without a data race. Here a packet's key is derived from the shared one for
// the sender's session and its nonce is a counter, which also tells replays.
// A stream's keys are derived from both ends' salts, and memberlist sees it
// after its first authentic frame. Before all this, the gate lets only known
// addresses in, and few streams.
//
// The keys come from a Secret. A change of it reaches the nodes over minutes,
// in any order. Each holds all keys it was ever given that are still in use
// anywhere, shows their ids, and uses the Secret's primary key when all
// members show it.
package member
