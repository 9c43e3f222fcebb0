package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	servicehelper "k8s.io/cloud-provider/service/helpers"
	"k8s.io/utils/ptr"
)

// A change of how the stock controller registers must not go unnoticed.
func TestCapture(t *testing.T) {
	client := fake.NewClientset()
	for name, register := range map[string]func(cache.SharedIndexInformer, cache.ResourceEventHandler) error{
		"AddEventHandler": func(i cache.SharedIndexInformer, h cache.ResourceEventHandler) error {
			_, err := i.AddEventHandler(h)
			return err
		},
		"AddEventHandlerWithResyncPeriod": func(i cache.SharedIndexInformer, h cache.ResourceEventHandler) error {
			_, err := i.AddEventHandlerWithResyncPeriod(h, 0)
			return err
		},
		"AddEventHandlerWithOptions": func(i cache.SharedIndexInformer, h cache.ResourceEventHandler) error {
			_, err := i.AddEventHandlerWithOptions(h, cache.HandlerOptions{})
			return err
		},
	} {
		n := newNudger(informers.NewSharedInformerFactory(client, 0).Core().V1().Services())
		if err := n.check(); !errors.Is(err, errNotCaptured) {
			t.Errorf("%s: before it, check gives %v", name, err)
		}
		var nudged []string
		handler := cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) { nudged = append(nudged, obj.(*v1.Service).Name) }}
		if err := errors.Join(register(n.Informer(), handler), n.check()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		deleting := func(s *v1.Service) { s.DeletionTimestamp = ptr.To(metav1.Now()) }
		n.nudge(loadBalancer("plain"))
		n.nudge(loadBalancer("deleting", deleting))
		n.nudge(loadBalancer("cleaned up", deleting, func(s *v1.Service) { s.Finalizers = []string{servicehelper.LoadBalancerCleanupFinalizer} }))
		if got := strings.Join(nudged, ","); got != "plain,cleaned up" {
			t.Errorf("%s: nudged %s", name, got)
		}
	}
}

func TestQuietClient(t *testing.T) {
	client, events := fake.NewClientset(), fake.NewClientset()
	quiet := quietClient{Interface: client, events: events.CoreV1(), writes: newWrites()}
	sink := &corev1.EventSinkImpl{Interface: quiet.CoreV1().Events("")}
	for i, kind := range []string{v1.EventTypeNormal, v1.EventTypeWarning} {
		event := &v1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("e", i)}, Type: kind}
		if _, err := sink.Create(event); err != nil {
			t.Error(err)
		}
		if _, err := sink.Patch(event, []byte(`{"count":2}`)); err != nil {
			t.Error(err)
		}
	}
	if n := len(client.Actions()); n > 0 {
		t.Errorf("%d Events went through the client of the writes", n)
	}
	if n := len(events.Actions()); n != 2 {
		t.Errorf("%d Events were sent, want the Warning and its repetition", n)
	}
}

// The last finalizer that the stock controller knows of may not be the last.
func TestOtherFinalizersStay(t *testing.T) {
	svc := loadBalancer("web", func(s *v1.Service) {
		s.Finalizers = []string{"example.org/new", servicehelper.LoadBalancerCleanupFinalizer}
		s.ResourceVersion = "7"
	})
	client, w := fake.NewClientset(svc), newWrites()
	services := quietClient{Interface: client, events: client.CoreV1(), writes: w}.CoreV1().Services("default")
	got, err := services.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Finalizers) != 1 || got.Finalizers[0] != "example.org/new" {
		t.Errorf("finalizers are %q", got.Finalizers)
	}
	if _, noted := w.versions[svc.UID]; !noted {
		t.Error("the write is not noted")
	}
}

func TestInstances(t *testing.T) {
	i, ok := cloud{}.InstancesV2()
	if !ok {
		t.Fatal("nodes are not initialised")
	}
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: v1.NodeStatus{Addresses: []v1.NodeAddress{{Address: "192.0.2.1"}}}}
	for providerID, want := range map[string]string{"": "herald://n1", "other://x": "other://x"} {
		node.Spec.ProviderID = providerID
		got, err := i.InstanceMetadata(context.Background(), node)
		if err != nil || got.ProviderID != want || len(got.NodeAddresses) != 1 {
			t.Errorf("metadata is %+v, %v", got, err)
		}
	}
	exists, err := i.InstanceExists(context.Background(), node)
	down, err2 := i.InstanceShutdown(context.Background(), node)
	if !exists || down || err != nil || err2 != nil {
		t.Errorf("the node exists: %v, is shut down: %v; %v, %v", exists, down, err, err2)
	}
	if _, ok := (cloud{}).LoadBalancer(); ok {
		t.Error("the node controller's view has a balancer")
	}
}

func TestMetrics(t *testing.T) {
	run(t, []runtime.Object{userConfig(pool("a", "192.0.2.0/31"))}, func(r *rig) {
		for _, svc := range web("one", "two", "three", "four") {
			r.create(svc)
			time.Sleep(time.Second)
		}
		r.delete("one")
		r.configure("nonsense", nil)
		registry := prometheus.NewRegistry()
		r.metrics.register(registry)
		registry.MustRegister(newPoolCollector(r.ledger))
		want := `
# HELP herald_allocations_total Decisions that changed what a Service has, by result (allocated, refused) and reason of the refusal.
# TYPE herald_allocations_total counter
herald_allocations_total{reason="",result="allocated"} 3
herald_allocations_total{reason="PoolExhausted",result="refused"} 2
# HELP herald_config_generation Generation of the live configuration; 0 when none was ever accepted.
# TYPE herald_config_generation gauge
herald_config_generation 1
# HELP herald_config_refusals_total Refused configurations by cause: invalid (it has mistakes), strands (it takes addresses in use).
# TYPE herald_config_refusals_total counter
herald_config_refusals_total{cause="invalid"} 1
# HELP herald_config_stale 1 when the ConfigMap config is refused or missing, so that an earlier configuration is live; else 0.
# TYPE herald_config_stale gauge
herald_config_stale 1
# HELP herald_pool_addresses Addresses of a pool by family and state: total (all that may be given out), in_use, draining (given back, but still shown by the API).
# TYPE herald_pool_addresses gauge
herald_pool_addresses{family="IPv4",pool="a",state="draining"} 0
herald_pool_addresses{family="IPv4",pool="a",state="in_use"} 2
herald_pool_addresses{family="IPv4",pool="a",state="total"} 2
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "herald_allocations_total", "herald_config_generation",
			"herald_config_refusals_total", "herald_config_stale", "herald_pool_addresses"); err != nil {
			t.Error(err)
		}
	})
}
