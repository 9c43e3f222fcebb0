package provider

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/herald-lb/herald/pkg/ipam"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// request says in the allocator's words what a Service asks for. With an
// error, what the Service says can't be made sense of, but the request still
// identifies it.
func request(svc *v1.Service) (ipam.Request, *ipam.Refusal) {
	r := ipam.Request{
		UID:        string(svc.UID),
		Service:    svc.Namespace + "/" + svc.Name,
		Namespace:  svc.Namespace,
		Families:   families(svc),
		Policy:     policy(svc),
		Pool:       annotation(svc, AnnotationAddressPool),
		SharingKey: annotation(svc, AnnotationAllowSharedIP),
	}
	if svc.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyLocal {
		r.BackendKey = labels.Set(svc.Spec.Selector).String()
	}
	for _, p := range svc.Spec.Ports {
		protocol := p.Protocol
		if protocol == "" {
			protocol = v1.ProtocolTCP
		}
		r.Ports = append(r.Ports, ipam.Port{Protocol: string(protocol), Port: uint16(p.Port)})
	}
	addresses, err := asked(svc)
	if err != nil {
		return r, &ipam.Refusal{Reason: ipam.InvalidRequest, Service: r.Service, Detail: err.Error()}
	}
	r.Addresses = addresses
	return r, nil
}

// families returns the address families of a Service, the wanted one first.
func families(svc *v1.Service) []ipam.Family {
	var out []ipam.Family
	for _, f := range svc.Spec.IPFamilies {
		switch f {
		case v1.IPv4Protocol:
			out = append(out, ipam.IPv4)
		case v1.IPv6Protocol:
			out = append(out, ipam.IPv6)
		}
	}
	return out
}

// policy translates spec.ipFamilyPolicy.
func policy(svc *v1.Service) ipam.DualStack {
	switch ptr.Deref(svc.Spec.IPFamilyPolicy, v1.IPFamilyPolicySingleStack) {
	case v1.IPFamilyPolicyPreferDualStack:
		return ipam.PreferDualStack
	case v1.IPFamilyPolicyRequireDualStack:
		return ipam.RequireDualStack
	}
	return ipam.SingleStack
}

// asked returns the addresses that a Service asks for explicitly.
func asked(svc *v1.Service) ([]netip.Addr, error) {
	list := annotation(svc, AnnotationLoadBalancerIPs)
	if svc.Spec.LoadBalancerIP == "" && list == "" {
		return nil, nil
	}
	if svc.Spec.LoadBalancerIP != "" && list != "" {
		return nil, fmt.Errorf("both spec.loadBalancerIP and the annotation %s are set; use one of them", AnnotationLoadBalancerIPs)
	}
	where, texts := "spec.loadBalancerIP", []string{svc.Spec.LoadBalancerIP}
	if list != "" {
		where, texts = "annotation "+AnnotationLoadBalancerIPs, strings.Split(list, ",")
	}
	var out []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil || a.Zone() != "" {
			return nil, fmt.Errorf("%s: %.64q is not an IP address", where, text)
		}
		out = append(out, a.Unmap())
	}
	return out, nil
}

// shown returns the addresses in a Service's status.
func shown(svc *v1.Service) []netip.Addr {
	var out []netip.Addr
	for _, ingress := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(ingress.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// status is what the API has to show for a Service that holds the addresses.
// The mode is always set: the API server would fill it in, and a status
// without it would then differ from the cached one at every sync and be
// written again.
func status(addresses []netip.Addr) *v1.LoadBalancerStatus {
	s := &v1.LoadBalancerStatus{}
	for _, a := range addresses {
		s.Ingress = append(s.Ingress, v1.LoadBalancerIngress{IP: a.String(), IPMode: ptr.To(v1.LoadBalancerIPModeVIP)})
	}
	return s
}

// showsExactly tells whether the status of a Service shows the addresses and
// nothing else. That somebody wrote one of them in another spelling, or in
// another order, counts as a difference.
func showsExactly(svc *v1.Service, addresses []netip.Addr) bool {
	return slices.EqualFunc(svc.Status.LoadBalancer.Ingress, addresses, func(i v1.LoadBalancerIngress, a netip.Addr) bool {
		vip := ptr.Deref(i.IPMode, v1.LoadBalancerIPModeVIP) == v1.LoadBalancerIPModeVIP
		return i.IP == a.String() && i.Hostname == "" && len(i.Ports) == 0 && vip
	})
}
