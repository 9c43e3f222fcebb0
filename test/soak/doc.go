// Package soak wears Herald down: a cluster under load has one fault after
// another, chosen at random by a seed, with a client for each address.
//
//	deck of faults ──► one fault ──► settle ──► judge ──► next
//	                        ▲                     │
//	         a prober and a watch for each address┘
//
// What must hold whatever happens, and ends the run with an error if it does
// not:
//
//   - After each fault every Service's addresses have one owner again, the same
//     for both families.
//   - No address is ever silent for longer than a few seconds.
//   - What is not a failure, such as load, loss and stalls, moves no address.
//   - What is planned costs no connection but those under way at the moment of a
//     move, whose first packets went through another node.
//   - An announcer's memory stays within bounds and does not creep up.
package soak
