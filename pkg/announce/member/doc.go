// Package member knows which nodes' announcers are alive, what they say of
// themselves, and how the others died.
//
//	memberlist ─┐                                          ┌─► View (Views)
//	watchers ───┼─► events ─► core (one goroutine, pure) ──┼─► pings, connects, opinions
//	Publish ────┘                                          └─► keys in use, who may knock
package member
