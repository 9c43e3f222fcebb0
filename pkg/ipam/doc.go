// Package ipam decides which Service has which address.
//
// It is pure: an Allocator is a value that its owner changes by one call at a
// time. It knows no Kubernetes object, no clock and no log. What the API shows
// comes in as values (Adopt, Observe), what shall be shown goes out as values
// (Allocate).
//
//	at start:  every Service's status ──► AdoptAll
//	           accepted pools         ──► Reconfigure
//	then:      Service wants           ──► Allocate ──► Assignment | *Refusal
//	           Service wants no more   ──► Release
//	           Service as the API has it ► Observe  ──► what became free
//	           new document            ──► Stranded ──► who would lose what
//	                                   ──► Reconfigure
//
// # The life of an address
//
// An address is free, held, or draining. Release, or an Allocate that takes it
// away, makes it draining: nobody else gets it, because the API still shows it,
// and if we died now, our successor would find two Services with it. It is free
// when Observe says that the API does not show it. Until then the Service that
// gave it up gets it back if it asks.
//
// # Rules
//
// Which address:
//
//   - Pools and their ranges in document order, in a range the lowest address.
//     Pools without auto-assign only for Services that name them.
//   - A Service with a sharing key gets the first address in this order that is
//     free or that it may share. So it joins others only if their address comes
//     before the first free one, as in MetalLB.
//   - avoid-buggy-ips leaves out IPv4 addresses that end in .0 and .255, also
//     when they are asked for, and when they are held already.
//   - An address asked for must be of a pool (auto-assign or not), of the pool
//     asked for, if one is, and free or to be shared.
//
// Sharing: several Services hold one address if they all have the same
// non-empty sharing key and the same backend key, and no port of one protocol
// twice. The only holder of an address may change keys and ports in place.
// Namespaces don't matter, as in MetalLB.
//
// Dual stack: RequireDualStack gets both families or none. PreferDualStack gets
// both from the first pool that has both, else the first family; the other is
// added by a later Allocate when the pool has one. Both come from one pool,
// unless the Service asks for both addresses explicitly. If it asks for one, the
// other comes out of the same pool.
//
// What a Service keeps: everything that it holds and that its own request and
// the pools allow. Removing an explicit address or a pool name from a Service
// takes nothing from it. What the request or the pools don't allow is cleared
// with the reason, and something else is given in the same call if there is
// anything. In particular:
//
//   - An explicit address changed to one that can't be had clears the old one:
//     the Service does not want that one any more. MetalLB does the same.
//   - Ports or keys changed so that they clash with others on the address: the
//     one who changed goes, the others stay.
//   - RequireDualStack set on a Service with one family: the other one comes
//     from the same pool; if it has none, both come from the first pool that
//     has both; if none has, the Service loses what it had. The same happens
//     when one of its two addresses goes.
//   - A request that contradicts itself changes nothing, like a document that
//     contradicts itself.
//
// After a start, what the API shows is adopted before anything is given out.
// If it shows two Services against the sharing rules, the better entitled one
// (AdoptAll) holds the address. The other one still blocks it for newcomers; it
// loses it in its next Allocate, unless the first has gone by then.
//
// # Invariants
//
//  1. No two Services hold an address, unless the sharing rules allow it.
//  2. Nothing outside the pools, or left out by them, is newly given.
//  3. Adopting what the API shows and then allocating for the same Services in
//     any order gives nobody's address away, and moves nobody that is alone
//     with what it shows, or shares it by the rules.
//  4. An address is freed exactly once per use, only by Observe, and only when
//     the API does not show it.
//  5. The same calls give the same results.
//  6. A Service that requires dual stack holds two families or nothing after
//     its Allocate.
//  7. Usage equals a recount of what is held and drains.
//
// # Who waits
//
// Allocate keeps nothing of a Service that gets nothing: the owner keeps those
// that wait, and those with PreferDualStack that hold one family of two. There are three occasions on which a waiting Service may succeed:
// Reconfigure, an Observe that returns something, and an Allocate whose
// Assignment has Opened addresses. Then it is enough to call Allocate for the
// waiting in their order, oldest first, in the same critical section, so that
// no newcomer is faster: a refusal costs some microseconds however full the
// pools are. Who succeeds has the address from then on.
//
// # Cost
//
// One map from address to record holds all that is in use. A range finds its
// lowest free address by a cursor and a heap of the addresses freed below it,
// so memory goes with what is in use (at most at one time), never with the size
// of a pool. A group of shared addresses finds the first one with free ports by
// bisection. MetalLB scans from the start for each Service.
package ipam
