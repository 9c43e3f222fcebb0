package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/pkg/announce"
)

var cmpOptions = cmp.Options{
	cmp.AllowUnexported(service{}, endpoints{}, places{}, announcer{}),
	cmpopts.EquateComparable(netip.Addr{}),
	cmpopts.EquateEmpty(),
}

func ptr[T any](v T) *T { return &v }

func ips(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func lbService(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{
			Ingress: []corev1.LoadBalancerIngress{{IP: "192.168.31.240"}},
		}},
	}
	change(s)
	return s
}

func TestConvertService(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*corev1.Service)
		want   service
		ok     bool
	}{
		{"class-less", func(*corev1.Service) {}, service{uid: "u1", classless: true, addresses: ips("192.168.31.240")}, true},
		{"our class", func(s *corev1.Service) { s.Spec.LoadBalancerClass = ptr(Class) }, service{uid: "u1", addresses: ips("192.168.31.240")}, true},
		{"foreign class", func(s *corev1.Service) { s.Spec.LoadBalancerClass = ptr("example.com/other") }, service{}, false},
		{"empty class", func(s *corev1.Service) { s.Spec.LoadBalancerClass = ptr("") }, service{}, false},
		{"no load balancer", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }, service{}, false},
		{"local", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal },
			service{uid: "u1", classless: true, local: true, addresses: ips("192.168.31.240")}, true},
		{"no address yet", func(s *corev1.Service) { s.Status = corev1.ServiceStatus{} }, service{uid: "u1", classless: true}, true},
		{"both families", func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: "fd00::1"})
		}, service{uid: "u1", classless: true, addresses: ips("192.168.31.240", "fd00::1")}, true},
		{"what is no plain address is left out", func(s *corev1.Service) {
			for _, text := range []string{"", "lb.example.com", "fe80::1%eth0", "::ffff:10.0.0.1", "192.168.31.240", "010.0.0.1", "10.0.0.1/32", "fd00::2"} {
				s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: text})
			}
		}, service{uid: "u1", classless: true, addresses: ips("192.168.31.240", "fd00::2")}, true},
		{"no more than a few are believed", func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = nil
			for a := netip.MustParseAddr("10.0.0.1"); a.Less(netip.MustParseAddr("10.0.0.100")); a = a.Next() {
				s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a.String()})
			}
		}, service{uid: "u1", classless: true, addresses: ips("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8")}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := convertService(lbService(c.change))
			if diff := cmp.Diff(c.want, got, cmpOptions); diff != "" || ok != c.ok {
				t.Errorf("ok %v, want %v (-want +got):\n%s", ok, c.ok, diff)
			}
		})
	}
}

func endpoint(node string, ready, serving *bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving}}
	if node != "" {
		e.NodeName = &node
	}
	return e
}

func slice(service string, eps ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: service + "-x"}, Endpoints: eps}
	if service != "" {
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	}
	return s
}

func TestEndpoints(t *testing.T) {
	yes, no := ptr(true), ptr(false)
	for _, c := range []struct {
		name   string
		slices []*discoveryv1.EndpointSlice
		any    bool
		nodes  []string
	}{
		{"none", nil, false, nil},
		{"no endpoints", []*discoveryv1.EndpointSlice{slice("web")}, false, nil},
		{"ready", []*discoveryv1.EndpointSlice{slice("web", endpoint("n2", yes, yes), endpoint("n1", yes, yes), endpoint("n2", yes, yes))}, true, []string{"n1", "n2"}},
		{"nil is ready", []*discoveryv1.EndpointSlice{slice("web", endpoint("n1", nil, nil))}, true, []string{"n1"}},
		{"not ready", []*discoveryv1.EndpointSlice{slice("web", endpoint("n1", no, no), endpoint("n2", no, nil))}, false, nil},
		{"terminating ones do not count beside ready ones", []*discoveryv1.EndpointSlice{slice("web", endpoint("n1", no, yes), endpoint("n2", yes, yes))}, true, []string{"n2"}},
		{"terminating ones count alone", []*discoveryv1.EndpointSlice{slice("web", endpoint("n1", no, yes), endpoint("n2", no, no))}, true, []string{"n1"}},
		{"published although not ready", []*discoveryv1.EndpointSlice{slice("web", endpoint("n1", yes, no))}, true, []string{"n1"}},
		{"outside the cluster", []*discoveryv1.EndpointSlice{slice("web", endpoint("", yes, yes))}, true, nil},
		{"several slices", []*discoveryv1.EndpointSlice{slice("web", endpoint("n3", no, yes)), slice("web", endpoint("n2", yes, yes)), slice("web", endpoint("n1", yes, yes)), slice("other", endpoint("n4", yes, yes))}, true, []string{"n1", "n2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept := map[string]endpoints{}
			for i, s := range c.slices {
				e, ok := convertSlice(s)
				if !ok {
					t.Fatal("the slice was not taken for a Service's")
				}
				kept[string(rune('a'+i))] = e
			}
			got := assembleServices(map[string]service{"shop/web": {uid: "u1"}}, false, merge(kept))
			want := []announce.Service{{Name: "shop/web", UID: "u1", Ready: c.any, ReadyNodes: c.nodes}}
			if diff := cmp.Diff(want, got, cmpOptions); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
		})
	}
	if _, ok := convertSlice(slice("", endpoint("n1", yes, yes))); ok {
		t.Error("a slice without a Service was taken for one's")
	}
}

func TestAssembleServicesSkipsClasslessOnesWhereTheyAreNotServed(t *testing.T) {
	services := map[string]service{"b/classless": {classless: true}, "c/classed": {}, "a/classed": {}}
	for classless, want := range map[bool]string{false: "a/classed c/classed", true: "a/classed b/classless c/classed"} {
		var names []string
		for _, s := range assembleServices(services, classless, nil) {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("classless %v: %s, want %s", classless, got, want)
		}
	}
}

func TestConvertNode(t *testing.T) {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a", corev1.LabelNodeExcludeBalancers: ""}},
		Spec:       corev1.NodeSpec{Unschedulable: true},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeHostName, Address: "n1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.1"},
				{Type: corev1.NodeInternalIP, Address: "fd00::1"}, {Type: corev1.NodeExternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeInternalIP, Address: "?"},
			},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse}, {Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}},
		},
	}
	got, _ := convertNode(n)
	want := announce.Node{Name: "n1", Labels: n.Labels, Addresses: ips("10.0.0.1", "fd00::1"), Excluded: true, NetworkUnavailable: true, Unschedulable: true}
	if diff := cmp.Diff(want, got, cmpOptions); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	n.Status.Conditions[1].Status = corev1.ConditionUnknown
	if got, _ := convertNode(n); got.NetworkUnavailable {
		t.Error("a network of which nothing is known was taken for unavailable")
	}
}

func TestAnnouncers(t *testing.T) {
	pod := func(node string, phase corev1.PodPhase, addresses ...string) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase}}
		for _, a := range addresses {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
		}
		return p
	}
	kept := map[string]announcer{}
	for name, p := range map[string]*corev1.Pod{
		"a": pod("n1", corev1.PodRunning, "10.0.0.1", "fd00::1"), "b": pod("n1", corev1.PodPending), "c": pod("n2", corev1.PodPending),
		"d": pod("n3", corev1.PodFailed, "10.0.0.3"), "e": pod("", corev1.PodPending), "f": pod("n4", corev1.PodRunning, "10.0.0.4", "?"),
	} {
		if a, ok := convertPod(p); ok {
			kept[name] = a
		}
	}
	nodes := map[string]announce.Node{"n1": {Addresses: ips("10.0.0.1")}, "n2": {Addresses: ips("10.0.0.2")}, "n3": {Addresses: ips("10.0.0.3")}}
	want := map[string][]netip.Addr{"n1": ips("10.0.0.1", "fd00::1"), "n2": ips("10.0.0.2"), "n4": ips("10.0.0.4")}
	if diff := cmp.Diff(want, assembleAnnouncers(kept, nodes), cmpOptions); diff != "" {
		t.Errorf("announcers (-want +got):\n%s", diff)
	}
}

// accepted returns a ConfigMap as the controller writes it.
func acceptedConfig(text, generation string) *corev1.ConfigMap {
	sum := sha256.Sum256([]byte(text))
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "herald-system", Name: AcceptedConfig,
			Annotations: map[string]string{hashAnnotation: hex.EncodeToString(sum[:]), generationAnnotation: generation},
		},
		Data: map[string]string{documentKey: text, classlessKey: "true"},
	}
}

func TestConvertDocument(t *testing.T) {
	good := acceptedConfig("address-pools: []", "3")
	got, ok := convertDocument(good)
	if !ok || got.problem != "" || got.text != "address-pools: []" || got.generation != 3 || !got.classless {
		t.Errorf("%+v, %v", got, ok)
	}
	edited := acceptedConfig("address-pools: []", "3")
	edited.Data[documentKey] = "address-pools: [] # better"
	if got, _ := convertDocument(edited); !strings.Contains(got.problem, "not written by the controller") {
		t.Errorf("problem with an edited document: %q", got.problem)
	}
	uncounted := acceptedConfig("address-pools: []", "three")
	if got, _ := convertDocument(uncounted); !strings.Contains(got.problem, "not a number") {
		t.Errorf("problem with a generation that is no number: %q", got.problem)
	}
	other := acceptedConfig("address-pools: []", "3")
	other.Name = "config"
	if _, ok := convertDocument(other); ok {
		t.Error("another ConfigMap was taken for the accepted configuration")
	}
}
