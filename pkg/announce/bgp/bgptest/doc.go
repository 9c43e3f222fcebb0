// Package bgptest starts real routers, FRR and BIRD, for tests, in network
// namespaces that vanish with the test.
//
// A test that calls Isolate runs in a process of its own with namespaces of
// its own for network, mounts and processes: that process is the node. A
// Router is a network namespace joined to it by a veth pair, with the daemons
// of FRR or BIRD in it. Nothing outside is touched, and killing the one
// process ends all of it.
package bgptest
