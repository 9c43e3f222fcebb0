// Package lab is a real Kubernetes cluster on one machine, in network
// namespaces, for tests, benchmarks and the demonstration.
//
//	       router .1     client .100    more hosts
//	          │              │              │
//	LAN ──────┴───┬──────────┴─┬────────────┴─┬─── 192.168.31.0/24, fd31::/64
//	              │            │              │
//	control plane .2       node n1 .11    node n2 .12 …
//	etcd, kube-apiserver,  containerd, kubelet, kube-proxy (nftables),
//	controller manager,    pods in containers of runc
//	scheduler
//
// Every host is a network namespace with a cable to a bridge, which is the LAN;
// 192.168.31.240 to .254 and fd31::240 to fd31::2ff are left free for pools of
// addresses. Nothing is made in the machine's own network, so that labs run side
// by side.
//
// A lab belongs to the process that brings it up: a guard takes it down when
// that process is gone, however it ended. [Lab.Keep] lets it live on.
package lab
