// Package provider is the Kubernetes side of the controller: it gives
// LoadBalancer Services addresses, and decides which configuration is live.
//
//	Services ──► informer ──► classes.transform ──► stock service controller
//	                │                                  │ ▲          │
//	                │                     balancer ◄───┘ │ nudge    └──► finalizer, status
//	                │                        ▼           │
//	                └──► controller.saw ──► ledger ──────┤
//	                        │             (pkg/ipam)     │
//	                        └──► verifier ───────────────┘
//	ConfigMap config ──► configurator ──► judge ──► ConfigMap config-live
//	                          └──► ledger            reporter ──► conditions, Events
//
// The stock service controller of k8s.io/cloud-provider, unmodified, drives the
// balancer and does all writes of finalizers and status.loadBalancer. It knows
// of no Services with a class, never looks at a Service again without a change
// of its spec, and forgets a Service that lost its finalizer. What is around it
// makes up for that.
//
// # Decisions
//
//   - Looking again. The controller's event handler is captured when it
//     registers on the informer (nudger); to hand it a Service again costs no
//     write and less than a millisecond.
//   - Nodes. Which nodes there are is the announcers' business, so the stock
//     controller hears of no change of them, and runs no sync over all Services
//     for it.
//   - Classes. The cached copies of Services are changed so that the stock
//     controller sees ours without a class and all others with one (classes).
//     The cleanup finalizer of Services that aren't ours is hidden too.
//   - Nothing is given out before the ledger knows every address that the API
//     shows (prime). A Service that waits may well come first after a start.
//   - An address is given away again only when the API no longer shows it with
//     its last holder: had it been earlier, a crash could leave two. News that
//     are older than our own last write don't count (writes).
//   - Those that wait are kept in the ledger and served in the order of their
//     age, in the same critical section that frees something, so that no
//     newcomer overtakes them. They cost no retries: EnsureLoadBalancer
//     returns ImplementedElsewhere, and they are nudged when they have an address.
//   - A Service keeps what it holds while its annotations can't be read, and
//     while there is no configuration.
//   - Status or finalizer changed by others, and writes that the stock
//     controller skips because its cache is behind, are found by the verifier.
//   - Reasons are told by a condition and an Event, once per change of reason.
//     A Service that gets its address at once causes the two writes of the
//     stock controller and no more: no condition, no Event.
//
// # Configuration
//
// What the user writes (config) and what is accepted (config-live) are two
// objects. Only the leader judges, by the rules of the document and by the
// addresses in use. What is refused changes nothing, and stays refused after a
// restart of everything, because the leader starts from config-live. An edit
// refused because of Services is judged again when an address is given back.
//
// When config is deleted, config-live stays as it is: Services keep and
// announcers announce what there is; only new Services wait, for the reason
// NoConfiguration, until there is a config again, which is judged against
// config-live as ever. To have Herald forget everything, delete both while no
// controller runs.
//
// A config-live that somebody deletes or edits is restored.
//
// # Hand-over
//
// Leader election is the stock one. A leader that gets SIGTERM lets no write
// begin any more (fence), waits for those under way, and then gives the lease
// back, so that the next leader sees all that this one did.
package provider
