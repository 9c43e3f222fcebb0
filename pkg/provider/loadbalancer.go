package provider

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	cloudprovider "k8s.io/cloud-provider"
)

// balancer is what the stock service controller drives. It decides in memory
// and never writes: the controller does.
type balancer struct {
	ledger   *ledger
	services corelisters.ServiceLister
	told     func(svc *v1.Service, d decision, others []decision)
}

var _ cloudprovider.LoadBalancer = (*balancer)(nil)

// GetLoadBalancer tells what the Service holds. The answer comes from the
// ledger and never from the Service's status: the API server empties that when
// the type changes, before anybody could look at it.
func (b *balancer) GetLoadBalancer(_ context.Context, _ string, svc *v1.Service) (*v1.LoadBalancerStatus, bool, error) {
	held, _ := b.ledger.holds(svc.UID)
	return status(held), len(held) > 0, nil
}

// GetLoadBalancerName returns a name for messages.
func (b *balancer) GetLoadBalancerName(_ context.Context, _ string, svc *v1.Service) string {
	return svc.Namespace + "/" + svc.Name
}

// EnsureLoadBalancer gives the Service what it asks for. A Service that has to
// wait is parked: ImplementedElsewhere makes the controller forget it without
// an error, a retry or a write; it is nudged when something changes. If it
// still shows an address, an empty status takes that away.
func (b *balancer) EnsureLoadBalancer(_ context.Context, _ string, svc *v1.Service, _ []*v1.Node) (*v1.LoadBalancerStatus, error) {
	d, others := b.ledger.ensure(asks(svc))
	if !b.current(svc) {
		b.ledger.release(svc.UID)
		return nil, cloudprovider.ImplementedElsewhere
	}
	b.told(svc, d, others)
	if len(d.addresses) == 0 && len(svc.Status.LoadBalancer.Ingress) == 0 {
		return nil, cloudprovider.ImplementedElsewhere
	}
	return status(d.addresses), nil
}

// UpdateLoadBalancer has nothing to do: which nodes there are is the
// announcers' business. It may run at the same time as EnsureLoadBalancer for
// the same Service, with an older copy of it.
func (b *balancer) UpdateLoadBalancer(context.Context, string, *v1.Service, []*v1.Node) error {
	return cloudprovider.ImplementedElsewhere
}

// EnsureLoadBalancerDeleted takes back what the Service holds.
func (b *balancer) EnsureLoadBalancerDeleted(_ context.Context, _ string, svc *v1.Service) error {
	b.ledger.release(svc.UID)
	return nil
}

// current tells whether the Service still wants an address by what the cache
// shows now. The copy that EnsureLoadBalancer got may be older than the news
// of its end, which would then have come before the address was given, and
// nobody would take the address back. The cache is always ahead of the news.
func (b *balancer) current(svc *v1.Service) bool {
	now, err := b.services.Services(svc.Namespace).Get(svc.Name)
	return err == nil && now.UID == svc.UID && wanted(now)
}

// asks returns what a Service asks for.
func asks(svc *v1.Service) ask {
	r, invalid := request(svc)
	return ask{
		uid:     svc.UID,
		key:     types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name},
		created: svc.CreationTimestamp.Time,
		request: r,
		invalid: invalid,
	}
}
