// Package kube is the announcer's edge to the Kubernetes API server.
//
//	Services, EndpointSlices, Nodes ─┐
//	config-live, announcer Pods     ─┼─► reflectors ─► tables of small values ─► Source ─► announce.Cluster
//	                                 │                                             │
//	state file of the last run ──────┴──── until the first sync, if it takes long ─┘
//
//	Recorder ─► Events on Services
//
// # Decisions
//
// Every node watches all EndpointSlices of the cluster, so what is kept of an
// object counts. Reflectors fill tables of our own: an object is turned into a
// few strings as it arrives and is garbage at once; no informer keeps it, and
// no client set with every API group is linked in. An object that changes
// without changing what is kept of it, as most do, wakes nobody.
//
// A node has a ready endpoint for a Service if an endpoint there is ready (nil
// counts as ready). Where no endpoint anywhere is ready, those that are still
// serving while they terminate count, since kube-proxy falls back to them.
// MetalLB takes both alike; then an address stays on a node whose last endpoint
// is about to go until it is gone, and moves with a gap.
//
// Status is written by whoever may write it. Only type, class and syntax are
// judged here; that an address is in a pool is for package announce, which is
// asked each time.
//
// The API server being away changes nothing: tables keep what was seen last.
// For a restart during an outage, the last Cluster is kept in a file on the
// node. It is used only if the API server has not answered for some seconds,
// and only by the pod that wrote it, since it lives in the pod's emptyDir.
package kube
