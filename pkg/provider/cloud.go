package provider

import (
	"cmp"
	"context"

	v1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
)

// Name is the name of the cloud provider, and the scheme of provider IDs.
const Name = "herald"

// cloud is what the stock controllers see of Herald.
type cloud struct {
	balancer *balancer // nil where only nodes are looked after
	leading  func()    // called when this process becomes the leader
}

var _ cloudprovider.Interface = cloud{}

// Initialize is called when this process has become the leader.
func (c cloud) Initialize(cloudprovider.ControllerClientBuilder, <-chan struct{}) { c.leading() }

// LoadBalancer returns the balancer, if there is one.
func (c cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool) {
	if c.balancer == nil {
		return nil, false
	}
	return c.balancer, true
}

// Instances is superseded by InstancesV2.
func (cloud) Instances() (cloudprovider.Instances, bool) { return nil, false }

// InstancesV2 initialises nodes whose kubelet waits for a cloud provider.
func (cloud) InstancesV2() (cloudprovider.InstancesV2, bool) { return instances{}, true }

// Zones is superseded by InstancesV2.
func (cloud) Zones() (cloudprovider.Zones, bool) { return nil, false }

// Clusters is not supported, and nobody asks.
func (cloud) Clusters() (cloudprovider.Clusters, bool) { return nil, false }

// Routes is not supported: the network plugin's business.
func (cloud) Routes() (cloudprovider.Routes, bool) { return nil, false }

// ProviderName returns "herald".
func (cloud) ProviderName() string { return Name }

// HasClusterID is true: there is nothing to mix up with another cluster.
func (cloud) HasClusterID() bool { return true }

// instances answers about nodes from the nodes themselves: there is no cloud
// that could know better.
type instances struct{}

var _ cloudprovider.InstancesV2 = instances{}

// InstanceExists is always true. A node that doesn't exist would be deleted.
func (instances) InstanceExists(context.Context, *v1.Node) (bool, error) { return true, nil }

// InstanceShutdown is always false.
func (instances) InstanceShutdown(context.Context, *v1.Node) (bool, error) { return false, nil }

// InstanceMetadata returns what the node itself says. Without a provider ID,
// or without the address that the kubelet was told by --node-ip, the node would
// keep its uninitialized taint; nil metadata would crash the node controller.
func (instances) InstanceMetadata(_ context.Context, node *v1.Node) (*cloudprovider.InstanceMetadata, error) {
	return &cloudprovider.InstanceMetadata{
		ProviderID:    cmp.Or(node.Spec.ProviderID, Name+"://"+node.Name),
		NodeAddresses: node.Status.Addresses,
	}, nil
}
