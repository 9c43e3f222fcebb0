// Package rig is the machinery under a lab: its record on disk, its LAN, its
// processes, and taking all of it away.
//
// Everything a lab makes is written to its record before it is made, and
// teardown works from the record alone. So a lab whose creator was killed at
// any moment is taken down by whoever comes next: the guard that watches the
// creator, or "lab down".
//
// Nothing is shared between two labs: the LAN is a bridge in a namespace of the
// lab's own, and no interface, address or rule is made in the machine's.
package rig
