package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/herald-lb/herald/pkg/announce"
)

// Names that the outside world uses for Herald.
const (
	// Class is the spec.loadBalancerClass of Services that are always ours.
	Class = "herald-lb.io/herald"
	// AcceptedConfig is the ConfigMap in which the controller publishes the
	// document that it accepted.
	AcceptedConfig = "config-live"

	documentKey          = "config"
	classlessKey         = "classless"
	generationAnnotation = "herald-lb.io/generation"
	hashAnnotation       = "herald-lb.io/hash"
)

// shuttingDown is in the message by which the kubelet's graceful node shutdown
// says why a Node is not ready. Nothing else tells.
const shuttingDown = "node is shutting down"

// maxAddresses bounds what is believed of one status. A dual-stack Service has
// two addresses.
const maxAddresses = 8

// service is what is kept of a Service of type LoadBalancer.
type service struct {
	uid       string
	classless bool // it names no class
	local     bool
	addresses []netip.Addr
}

// convertService returns false for a Service that can not be ours.
func convertService(s *corev1.Service) (service, bool) {
	class := s.Spec.LoadBalancerClass
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || class != nil && *class != Class {
		return service{}, false
	}
	return service{
		uid:       string(s.UID),
		classless: class == nil,
		local:     s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		addresses: ingressAddresses(s.Status.LoadBalancer.Ingress),
	}, true
}

// ingressAddresses returns the IP addresses of a status, each once. What is no
// plain IP address is left out.
func ingressAddresses(ingress []corev1.LoadBalancerIngress) []netip.Addr {
	var addresses []netip.Addr
	for _, in := range ingress {
		a, err := netip.ParseAddr(in.IP)
		if err != nil || a.Zone() != "" || a.Is4In6() || slices.Contains(addresses, a) {
			continue
		}
		if addresses = append(addresses, a); len(addresses) == maxAddresses {
			break
		}
	}
	return addresses
}

// endpoints is what is kept of an EndpointSlice, and what several of them say
// together.
type endpoints struct {
	service string // namespace/name
	ready   places
	serving places // terminating, but still answering
}

// places says where endpoints are.
type places struct {
	any   bool
	nodes []string // without those whose node is not known
}

func (p *places) add(node *string) {
	p.any = true
	if node != nil && *node != "" && !slices.Contains(p.nodes, *node) {
		p.nodes = append(p.nodes, *node)
	}
}

// convertSlice returns false for an EndpointSlice that belongs to no Service.
func convertSlice(s *discoveryv1.EndpointSlice) (endpoints, bool) {
	name := s.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return endpoints{}, false
	}
	out := endpoints{service: s.Namespace + "/" + name}
	for _, e := range s.Endpoints {
		switch c := e.Conditions; {
		case c.Ready == nil || *c.Ready:
			out.ready.add(e.NodeName)
		case c.Serving != nil && *c.Serving:
			out.serving.add(e.NodeName)
		}
	}
	return out, true
}

func convertNode(n *corev1.Node) (announce.Node, bool) {
	_, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]
	out := announce.Node{
		Name: n.Name, Labels: n.Labels, Excluded: excluded, Unschedulable: n.Spec.Unschedulable,
	}
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			out.Addresses = append(out.Addresses, ip)
		}
	}
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue:
			out.NetworkUnavailable = true
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionFalse && strings.Contains(c.Message, shuttingDown):
			out.Unschedulable = true
		}
	}
	return out, true
}

// announcer is what is kept of an announcer's Pod.
type announcer struct {
	node      string
	addresses []netip.Addr // none as long as the kubelet has not reported any
}

// convertPod returns false for a Pod that has no node yet, or is done.
func convertPod(p *corev1.Pod) (announcer, bool) {
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return announcer{}, false
	}
	out := announcer{node: p.Spec.NodeName}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out.addresses = append(out.addresses, a)
		}
	}
	return out, true
}

// document is what is kept of the ConfigMap with the accepted configuration.
type document struct {
	text       string
	hash       [sha256.Size]byte
	generation int64
	classless  bool
	problem    string // why it must not be used
}

// convertDocument also checks that the document is the one that the controller
// accepted and not something edited by hand.
func convertDocument(c *corev1.ConfigMap) (document, bool) {
	if c.Name != AcceptedConfig {
		return document{}, false
	}
	text := c.Data[documentKey]
	out := document{text: text, hash: sha256.Sum256([]byte(text)), classless: c.Data[classlessKey] == "true"}
	var err error
	out.generation, err = strconv.ParseInt(c.Annotations[generationAnnotation], 10, 64)
	want, sum := c.Annotations[hashAnnotation], hex.EncodeToString(out.hash[:])
	switch {
	case err != nil:
		out.problem = fmt.Sprintf("annotation %s of ConfigMap %s is %q, not a number", generationAnnotation, c.Name, c.Annotations[generationAnnotation])
	case want != sum:
		out.problem = fmt.Sprintf("annotation %s of ConfigMap %s is %q but its document has %q: it was not written by the controller", hashAnnotation, c.Name, want, sum)
	}
	return out, true
}
