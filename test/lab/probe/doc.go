// Package probe measures whether a Service answers, by opening new connections
// to it at a steady rate and asking each for an answer.
//
// One thread does it all, with sockets of the client host's network namespace,
// epoll for the answers and a timer of the kernel's for the pace: a few system
// calls a connection, and no other goroutine can hold it up. Where it was held
// up itself, the report says for how long, so that a gap of the prober's making
// is not taken for the network's.
package probe
