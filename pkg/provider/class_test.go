package provider

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servicehelper "k8s.io/cloud-provider/service/helpers"
	"k8s.io/utils/ptr"
)

func TestTransform(t *testing.T) {
	class := func(name string) func(*v1.Service) {
		return func(s *v1.Service) { s.Spec.LoadBalancerClass = &name }
	}
	clusterIP := func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeClusterIP }
	finalizer := func(s *v1.Service) {
		s.Finalizers = []string{"example.org/other", servicehelper.LoadBalancerCleanupFinalizer}
	}
	deleting := func(s *v1.Service) { s.DeletionTimestamp = ptr.To(metav1.Now()) }
	setBy := func(manager string) func(*v1.Service) {
		return func(s *v1.Service) {
			s.ManagedFields = []metav1.ManagedFieldsEntry{{
				Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate,
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:finalizers":{".":{},"v:\"service.kubernetes.io/load-balancer-cleanup\"":{}}}}`),
			}}
		}
	}
	type edits []func(*v1.Service)
	for _, test := range []struct {
		name                string
		only                bool // Services without a class are not served
		edits               edits
		class               string // that the stock controller sees; "" for none
		ours, wanted, final bool
	}{
		{name: "no class", class: "", ours: true, wanted: true},
		{name: "no class, not served", only: true, class: notServed},
		{name: "our class", edits: edits{class(LoadBalancerClass)}, class: "", ours: true, wanted: true},
		{name: "our class only", only: true, edits: edits{class(LoadBalancerClass)}, class: "", ours: true, wanted: true},
		{name: "foreign", edits: edits{class("example.org/lb")}, class: "example.org/lb"},
		{name: "foreign with the finalizer", edits: edits{class("example.org/lb"), finalizer, setBy("other")}, class: "example.org/lb"},
		{name: "foreign being deleted", edits: edits{class("example.org/lb"), finalizer, deleting}, class: "example.org/lb"},
		{name: "ours with the finalizer", edits: edits{finalizer, setBy("other")}, ours: true, wanted: true, final: true},
		{name: "ours being deleted", edits: edits{class(LoadBalancerClass), finalizer, deleting}, ours: true, final: true},
		{name: "ours being deleted without the finalizer", edits: edits{deleting}, class: notServed, ours: true},
		{name: "no longer a load balancer, finalizer of others", edits: edits{clusterIP, finalizer, setBy("other")}},
		{name: "no longer a load balancer, finalizer of ours", edits: edits{clusterIP, finalizer, setBy(fieldManager)}, final: true},
		{name: "not served any more, finalizer of ours", only: true, edits: edits{finalizer, setBy(fieldManager)}, class: notServed, final: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClasses(Options{ServeClassless: !test.only})
			svc := loadBalancer("web", test.edits...)
			for range 2 { // it may be called twice for one object
				if _, err := c.transform(svc); err != nil {
					t.Fatal(err)
				}
				if got := ptr.Deref(svc.Spec.LoadBalancerClass, ""); got != test.class {
					t.Errorf("class %q, want %q", got, test.class)
				}
				if ours(svc) != test.ours || wanted(svc) != test.wanted {
					t.Errorf("ours %v, wanted %v; want %v, %v", ours(svc), wanted(svc), test.ours, test.wanted)
				}
				if got := servicehelper.HasLBFinalizer(svc); got != test.final {
					t.Errorf("finalizer seen: %v, want %v", got, test.final)
				}
			}
		})
	}
}

// A finalizer that others set, on a Service that was ours, stays ours to
// remove when the Service is no load balancer any more.
func TestTransformRemembers(t *testing.T) {
	c := newClasses(Options{ServeClassless: true})
	finalizer := func(s *v1.Service) { s.Finalizers = []string{servicehelper.LoadBalancerCleanupFinalizer} }
	transform := func(edits ...func(*v1.Service)) bool {
		svc := loadBalancer("web", edits...)
		if _, err := c.transform(svc); err != nil {
			t.Fatal(err)
		}
		return servicehelper.HasLBFinalizer(svc)
	}
	clusterIP := func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeClusterIP }
	if transform(finalizer, clusterIP) {
		t.Error("a finalizer of others is seen")
	}
	if !transform(finalizer) || !transform(finalizer, clusterIP) || !transform(finalizer, clusterIP) {
		t.Error("a finalizer of ours is hidden")
	}
	if transform(clusterIP) || transform(finalizer, clusterIP) {
		t.Error("a finalizer is taken for ours after it was gone")
	}
	transform(finalizer)
	c.forget("default/web")
	if len(c.known) > 0 {
		t.Errorf("%d Services remembered after their end", len(c.known))
	}
}
