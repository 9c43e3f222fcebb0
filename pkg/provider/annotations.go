package provider

import v1 "k8s.io/api/core/v1"

// LoadBalancerClass is the spec.loadBalancerClass of Services that are always
// served.
const LoadBalancerClass = "herald-lb.io/herald"

// What a Service may ask for by annotation. Each may be written with any of
// the prefixes herald-lb.io/, metallb.io/ and metallb.universe.tf/; where
// several are there, the first of these counts.
const (
	// AnnotationAddressPool names the pool that the address comes from.
	AnnotationAddressPool = "address-pool"
	// AnnotationLoadBalancerIPs asks for addresses: one per family, separated
	// by a comma.
	AnnotationLoadBalancerIPs = "loadBalancerIPs"
	// AnnotationAllowSharedIP is the sharing key: Services with the same key
	// may have the same address if their ports differ.
	AnnotationAllowSharedIP = "allow-shared-ip"
)

// Annotations of the two ConfigMaps.
const (
	// AnnotationAllowAddressLoss, when "true" on the ConfigMap config, accepts
	// edits that take addresses from Services.
	AnnotationAllowAddressLoss = "herald-lb.io/allow-address-loss"
	// AnnotationGeneration is on config-live: a decimal number that grows by
	// one with each accepted change.
	AnnotationGeneration = "herald-lb.io/generation"
	// AnnotationHash is on config-live: the hexadecimal SHA-256 of the document.
	AnnotationHash = "herald-lb.io/hash"
)

// annotation returns what the Service says under name, by whichever prefix.
func annotation(svc *v1.Service, name string) string {
	for _, prefix := range []string{"herald-lb.io/", "metallb.io/", "metallb.universe.tf/"} {
		if value, ok := svc.Annotations[prefix+name]; ok {
			return value
		}
	}
	return ""
}
