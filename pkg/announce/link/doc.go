// Package link watches this node's network interfaces and tells which of them
// can serve addresses to a LAN.
//
//	kernel ── events ──► "look again" ── list ──► usable links, prefixes, gateways ──► Snapshot
//
// Events only say that something changed; each time everything is listed and
// handed on whole, if it differs. So a lost event costs nothing but time, and
// there is no state that could drift. The first event after a quiet time is
// followed at once, those that come in a burst are gathered for 20 ms.
package link
