// Package announcetest gives tests a network of their own: the test program runs
// itself again in a new network namespace, as root or in a user namespace, and
// makes a LAN of further namespaces in it. Nothing outlives the process, and the
// machine's own network is never touched.
package announcetest
