// Package build compiles what a lab runs: the cluster's own programs, from the
// modules in test/tools that pin their versions, and Herald's, from this tree.
//
// The cluster's programs take some ten minutes on two cores the first time.
// They are kept in a cache, in a directory named after everything that
// determines them, which comes into being whole: a build that is cut off leaves
// nothing that looks complete. Herald's are built every time, which Go's own
// cache makes quick.
package build
