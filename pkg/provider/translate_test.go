package provider

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/herald-lb/herald/pkg/ipam"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// addr compares addresses.
var addr = cmpopts.EquateComparable(netip.Addr{})

// loadBalancer returns a LoadBalancer Service as the API server would complete it.
func loadBalancer(name string, edit ...func(*v1.Service)) *v1.Service {
	svc := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("default/" + name)},
		Spec: v1.ServiceSpec{
			Type:       v1.ServiceTypeLoadBalancer,
			IPFamilies: []v1.IPFamily{v1.IPv4Protocol},
			Ports:      []v1.ServicePort{{Protocol: v1.ProtocolTCP, Port: 80}},
		},
	}
	for _, e := range edit {
		e(svc)
	}
	return svc
}

func TestRequest(t *testing.T) {
	for _, test := range []struct {
		name    string
		edit    func(*v1.Service)
		want    func(*ipam.Request)
		invalid string // part of the refusal
	}{
		{name: "plain", edit: func(*v1.Service) {}},
		{
			name: "families",
			edit: func(s *v1.Service) {
				s.Spec.IPFamilies = []v1.IPFamily{v1.IPv6Protocol, v1.IPv4Protocol}
				s.Spec.IPFamilyPolicy = ptr.To(v1.IPFamilyPolicyRequireDualStack)
			},
			want: func(r *ipam.Request) {
				r.Families, r.Policy = []ipam.Family{ipam.IPv6, ipam.IPv4}, ipam.RequireDualStack
			},
		},
		{
			name: "ports",
			edit: func(s *v1.Service) {
				s.Spec.Ports = []v1.ServicePort{{Port: 53, Protocol: v1.ProtocolUDP}, {Port: 53}}
			},
			want: func(r *ipam.Request) {
				r.Ports = []ipam.Port{{Protocol: "UDP", Port: 53}, {Protocol: "TCP", Port: 53}}
			},
		},
		{
			name: "loadBalancerIP",
			edit: func(s *v1.Service) { s.Spec.LoadBalancerIP = "::ffff:192.0.2.1" },
			want: func(r *ipam.Request) { r.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
		},
		{
			name: "addresses by annotation",
			edit: annotated("metallb.universe.tf/loadBalancerIPs", "192.0.2.1, 2001:DB8::1"),
			want: func(r *ipam.Request) {
				r.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
			},
		},
		{
			name: "ours wins, then the newer prefix of MetalLB",
			edit: annotated("metallb.universe.tf/address-pool", "c", "metallb.io/address-pool", "b", "herald-lb.io/address-pool", "a",
				"metallb.universe.tf/allow-shared-ip", "old", "metallb.io/allow-shared-ip", "new"),
			want: func(r *ipam.Request) { r.Pool, r.SharingKey = "a", "new" },
		},
		{
			name: "backends count only for Local",
			edit: func(s *v1.Service) { s.Spec.Selector = map[string]string{"b": "2", "a": "1"} },
		},
		{
			name: "Local",
			edit: func(s *v1.Service) {
				s.Spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyLocal
				s.Spec.Selector = map[string]string{"b": "2", "a": "1"}
			},
			want: func(r *ipam.Request) { r.BackendKey = "a=1,b=2" },
		},
		{name: "no address", edit: annotated("herald-lb.io/loadBalancerIPs", "192.0.2.1,nonsense"), invalid: `"nonsense" is not an IP address`},
		{name: "zone", edit: func(s *v1.Service) { s.Spec.LoadBalancerIP = "fe80::1%eth0" }, invalid: "spec.loadBalancerIP"},
		{name: "long nonsense", edit: func(s *v1.Service) { s.Spec.LoadBalancerIP = strings.Repeat("x", 9999) }, invalid: "is not an IP address"},
		{
			name: "both ways",
			edit: func(s *v1.Service) {
				annotated("metallb.io/loadBalancerIPs", "192.0.2.1")(s)
				s.Spec.LoadBalancerIP = "192.0.2.1"
			},
			invalid: "use one of them",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, refusal := request(loadBalancer("web", test.edit))
			want := ipam.Request{
				UID: "default/web", Service: "default/web", Namespace: "default",
				Families: []ipam.Family{ipam.IPv4}, Ports: []ipam.Port{{Protocol: "TCP", Port: 80}},
			}
			if test.want != nil {
				test.want(&want)
			}
			if diff := cmp.Diff(want, got, addr); diff != "" {
				t.Errorf("request differs (-want +got):\n%s", diff)
			}
			switch {
			case refusal == nil && test.invalid != "":
				t.Errorf("accepted, want a refusal with %q", test.invalid)
			case refusal != nil && (test.invalid == "" || refusal.Reason != ipam.InvalidRequest || !strings.Contains(refusal.Detail, test.invalid) || len(refusal.Detail) > 300):
				t.Errorf("refused with %v: %q, want %q", refusal.Reason, refusal.Detail, test.invalid)
			}
		})
	}
}

// annotated sets annotations, given as key, value, key, value.
func annotated(pairs ...string) func(*v1.Service) {
	return func(s *v1.Service) {
		s.Annotations = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			s.Annotations[pairs[i]] = pairs[i+1]
		}
	}
}

func TestStatus(t *testing.T) {
	as := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}
	svc := loadBalancer("web", func(s *v1.Service) { s.Status.LoadBalancer = *status(as) })
	for i, ingress := range svc.Status.LoadBalancer.Ingress {
		if ingress.IPMode == nil || *ingress.IPMode != v1.LoadBalancerIPModeVIP {
			t.Errorf("ingress %d has the mode %v, want VIP", i, ingress.IPMode)
		}
	}
	if diff := cmp.Diff(as, shown(svc), addr); diff != "" {
		t.Errorf("shown differs (-want +got):\n%s", diff)
	}
	if !showsExactly(svc, as) {
		t.Error("a status made from addresses does not show exactly these")
	}
	for name, spoil := range map[string]func(*v1.LoadBalancerIngress){
		"spelling": func(i *v1.LoadBalancerIngress) { i.IP = "2001:DB8::1" },
		"address":  func(i *v1.LoadBalancerIngress) { i.IP = "2001:db8::2" },
		"hostname": func(i *v1.LoadBalancerIngress) { i.Hostname = "example.org" },
		"mode":     func(i *v1.LoadBalancerIngress) { i.IPMode = ptr.To(v1.LoadBalancerIPModeProxy) },
	} {
		spoilt := svc.DeepCopy()
		spoil(&spoilt.Status.LoadBalancer.Ingress[0])
		if showsExactly(spoilt, as) {
			t.Errorf("%s: a difference is not seen", name)
		}
	}
	if showsExactly(svc, as[:1]) || showsExactly(svc, nil) {
		t.Error("addresses too many are not seen")
	}
}
