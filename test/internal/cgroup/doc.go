// Package cgroup keeps a lab's processes in control groups of their own.
//
// A cgroup is the lab's list of what is its own: whatever a lab's process
// starts is in its cgroup too, so that killing what is in the cgroup ends all
// of it and nothing else, and no record of process ids can be out of date. It
// is also how a node is frozen and how each kubelet gets a root of its own.
//
// On cgroup v1 a group is one directory in each hierarchy, below the cgroups
// that the lab's creator was in, so that limits set on the creator hold for
// the lab. On cgroup v2 it is one directory below the root: a process's own
// cgroup can't be used there, since a cgroup with processes in it can't hand
// controllers to children. Only v1 has been tried.
package cgroup
