// Package e2e tests Herald as its users meet it: the shipped manifests, on a real
// cluster, asked from a client on the LAN.
//
// Its tests share one cluster of three nodes, each in a namespace of its own;
// those that need another kind of cluster bring it up themselves.
package e2e
