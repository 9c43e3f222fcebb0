// Package node is what runs as a node of a lab: the first process of a set of
// namespaces, which gives the node a disk, a cgroup root and an /etc of its
// own, and then runs containerd, kube-proxy and a real kubelet.
//
//	Boot   (outside)  joins the node's cgroup and network, makes the other
//	                  namespaces, starts Init in them and ends
//	Init   (inside)   mounts, writes the configuration, starts the daemons,
//	                  restarts one that ends, reaps
//
// A node is switched off by killing Init: the kernel then ends everything else
// in its pid namespace, and what was mounted is gone with the mount namespace.
//
// Decisions:
//   - The machine's root file system is the node's too, but read-only, so that
//     no pod can write to it. /var is a directory of the lab, /etc an overlay,
//     /run and /tmp are in memory.
//   - The kernel settings that a kubelet writes are the whole machine's. It
//     gets files of its own to write them to.
//   - Pods are connected by ptp rather than bridge: a pod then reaches another
//     pod of its node through a Service without br_netfilter.
//   - cgroups left over from the node's last life are removed before the next:
//     the kubelet spends six seconds on each.
package node
