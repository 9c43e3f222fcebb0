// Package router runs the routers that Herald speaks BGP with in tests: FRR and
// BIRD, as Debian packages them, on a host of a lab, with a configuration given
// as text.
//
// Their files are in the lab's directory and they see a /var/tmp of their own,
// so that they neither use nor leave anything of the machine's.
package router
