// Package part is what benchmarks of BGP run in processes of their own: in
// namespaces that end with the process, so that nothing of the machine's network
// is touched and nothing is left, and apart from each other, so that a process's
// memory is that of one program.
//
//	bench ──► Isolated: site ──► BIRD, in a network of its own, four times
//	                      │
//	                      └────► announcer: Herald's, or GoBGP alone
//
// The parts are the benchmark's own program, started again with "part" as its
// first argument; it must hand that to [Main]. A part takes its settings as
// JSON in its arguments, and writes what it measured as JSON.
package part
