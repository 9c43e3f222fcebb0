package provider

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	servicehelper "k8s.io/cloud-provider/service/helpers"
	"k8s.io/utils/ptr"
)

// TestKube runs the controller, as a process with the rights of the shipped
// manifests, against a real API server. The tests build on each other's
// configuration but clean up their Services.
func TestKube(t *testing.T) {
	k := startKube(t)
	k.controller("first")
	for _, test := range []struct {
		name string
		run  func(*kube)
	}{
		{"no configuration", testNoConfiguration},
		{"classes", testClasses},
		{"full pool", testFullPool},
		{"repairs", testRepairs},
		{"type changes", testTypeChanges},
		{"configurations", testConfigurations},
		{"nodes", testNodes},
		{"metrics", testMetrics},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(k.in(t)) })
	}
	for _, r := range k.requests() {
		if r.ResponseStatus.Code == 403 {
			t.Errorf("forbidden: %+v", r)
		}
	}
}

func testNoConfiguration(k *kube) {
	k.create("waits")
	k.condition("waits", "NoConfiguration")
	k.configure("pools", pool("a", "192.0.2.0/29"), nil)
	took := k.addressed("waits", "192.0.2.0")
	k.t.Logf("address %v after the configuration", took)
	k.noCondition("waits")
	k.remove("waits")

	secret, err := k.admin.CoreV1().Secrets("herald-system").Get(k.t.Context(), "memberlist", metav1.GetOptions{})
	if err != nil || len(secret.Data["secretkey"]) != 44 {
		k.t.Errorf("secret memberlist: %v, %d bytes, want 44", err, len(secret.Data["secretkey"]))
	}
}

func testClasses(k *kube) {
	k.create("ours", func(s *v1.Service) { s.Spec.LoadBalancerClass = ptr.To(LoadBalancerClass) })
	k.create("foreign", func(s *v1.Service) {
		s.Spec.LoadBalancerClass = ptr.To("example.org/other")
		s.Finalizers = []string{servicehelper.LoadBalancerCleanupFinalizer}
	})
	k.create("dual", func(s *v1.Service) { s.Spec.IPFamilyPolicy = ptr.To(v1.IPFamilyPolicyPreferDualStack) })
	k.addressed("ours", "192.0.2.0")
	k.addressed("dual", "192.0.2.1")
	if class := k.get("ours").Spec.LoadBalancerClass; class == nil || *class != LoadBalancerClass {
		k.t.Errorf("class of ours is %v", class)
	}
	k.delete("foreign")
	k.create("later")
	k.addressed("later", "192.0.2.2")
	foreign := k.get("foreign")
	if foreign == nil || len(foreign.Status.LoadBalancer.Ingress) > 0 || !servicehelper.HasLBFinalizer(foreign) {
		k.t.Errorf("a Service of another class was touched: %+v", foreign)
	}
	k.patch("foreign", `{"metadata":{"finalizers":null}}`)
	k.remove("ours", "dual", "later", "foreign")
}

func testFullPool(k *kube) {
	for i := range 8 {
		k.create(fmt.Sprintf("full%d", i))
		k.addressed(fmt.Sprintf("full%d", i), fmt.Sprintf("192.0.2.%d", i))
	}
	k.create("first")
	k.condition("first", "PoolExhausted")
	time.Sleep(1100 * time.Millisecond) // creation timestamps are whole seconds
	k.create("second", func(s *v1.Service) { s.Annotations = map[string]string{"metallb.universe.tf/address-pool": "a"} })
	k.condition("second", "PoolExhausted")
	k.create("typo", func(s *v1.Service) { s.Annotations = map[string]string{"herald-lb.io/address-pool": "none"} })
	k.condition("typo", "NoSuchPool")
	k.event("first", "AllocationFailed")

	k.remove("full3")
	k.t.Logf("a waiting Service has its address %v after the other is gone", k.addressed("first", "192.0.2.3"))
	k.event("first", "IPAllocated")
	k.noCondition("first")
	k.condition("second", "PoolExhausted")
	k.patch("full5", `{"spec":{"type":"ClusterIP"}}`)
	k.t.Logf("a waiting Service has its address %v after the other's change of type", k.addressed("second", "192.0.2.5"))
	k.remove("first", "second", "typo", "full0", "full1", "full2", "full4", "full5", "full6", "full7")
}

func testRepairs(k *kube) {
	k.create("repaired")
	k.addressed("repaired", "192.0.2.0")
	k.patch("repaired", `{"status":{"loadBalancer":{"ingress":null}}}`, "status")
	k.t.Logf("a status cleared by hand is restored after %v", k.addressed("repaired", "192.0.2.0"))
	k.patch("repaired", `{"metadata":{"finalizers":null}}`)
	took := k.eventually(30*time.Second, "the finalizer is restored", func() error {
		if !servicehelper.HasLBFinalizer(k.get("repaired")) {
			return fmt.Errorf("none")
		}
		return nil
	})
	k.t.Logf("a stripped finalizer is restored after %v", took)
	k.patch("repaired", `{"metadata":{"finalizers":null}}`)
	k.remove("repaired")
	k.create("next")
	k.addressed("next", "192.0.2.0")
	k.remove("next")
}

func testTypeChanges(k *kube) {
	k.create("flips")
	k.addressed("flips", "192.0.2.0")
	for range 5 {
		k.patch("flips", `{"spec":{"type":"ClusterIP"}}`)
		k.eventually(30*time.Second, "the finalizer is gone", func() error {
			if servicehelper.HasLBFinalizer(k.get("flips")) {
				return fmt.Errorf("still there")
			}
			return nil
		})
		k.patch("flips", `{"spec":{"type":"LoadBalancer","allocateLoadBalancerNodePorts":false}}`)
		k.addressed("flips", "192.0.2.0")
	}
	k.remove("flips")
}

func testConfigurations(k *kube) {
	k.create("held")
	k.addressed("held", "192.0.2.0")
	good := k.live().Data[documentKey]

	k.configure("broken", "address-pools: [", nil)
	k.configEvent("ConfigRefused", "line")
	k.configure("without the address", pool("b", "198.51.100.0/29"), nil)
	k.configEvent("ConfigRefused", "default/held would lose 192.0.2.0")
	if now := k.live().Data[documentKey]; now != good {
		k.t.Errorf("a refused document is live:\n%s", now)
	}
	k.create("new")
	k.addressed("new", "192.0.2.1")

	// The reason goes away: it is judged again.
	k.remove("held", "new")
	k.create("held")
	k.t.Logf("the refused configuration is live %v after the last holder went", k.addressed("held", "198.51.100.0"))

	// The user agrees to the loss.
	k.configure("back", pool("a", "192.0.2.0/29"), map[string]string{AnnotationAllowAddressLoss: "true"})
	k.t.Logf("re-addressed %v after the edit", k.addressed("held", "192.0.2.0"))
	k.event("held", "ClearAssignment")

	// What somebody does to the published object is undone.
	generation := k.live().Annotations[AnnotationGeneration]
	if err := k.admin.CoreV1().ConfigMaps("herald-system").Delete(k.t.Context(), liveName, metav1.DeleteOptions{}); err != nil {
		k.t.Fatal(err)
	}
	k.eventually(10*time.Second, "config-live is restored", func() error {
		live, err := k.admin.CoreV1().ConfigMaps("herald-system").Get(k.t.Context(), liveName, metav1.GetOptions{})
		if err == nil && live.Annotations[AnnotationGeneration] != generation {
			err = fmt.Errorf("generation %s, want %s", live.Annotations[AnnotationGeneration], generation)
		}
		return err
	})

	// Without the user's object, what there is stays and what is new waits.
	if err := k.admin.CoreV1().ConfigMaps("herald-system").Delete(k.t.Context(), configName, metav1.DeleteOptions{}); err != nil {
		k.t.Fatal(err)
	}
	k.eventually(10*time.Second, "new Services wait", func() error {
		name := fmt.Sprintf("after%d", time.Now().UnixNano())
		k.create(name)
		defer k.remove(name)
		time.Sleep(300 * time.Millisecond)
		if len(k.get(name).Status.LoadBalancer.Ingress) > 0 {
			return fmt.Errorf("it has an address")
		}
		return nil
	})
	k.addressed("held", "192.0.2.0")
	k.configure("again", pool("a", "192.0.2.0/29"), nil)
	k.remove("held")
}

func testNodes(k *kube) {
	node := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{"alpha.kubernetes.io/provided-node-ip": "192.0.2.99"}},
		Spec:       v1.NodeSpec{Taints: []v1.Taint{{Key: "node.cloudprovider.kubernetes.io/uninitialized", Value: "true", Effect: v1.TaintEffectNoSchedule}}},
	}
	node, err := k.admin.CoreV1().Nodes().Create(k.t.Context(), node, metav1.CreateOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	node.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: "192.0.2.99"}, {Type: v1.NodeHostName, Address: "n1"}}
	if _, err := k.admin.CoreV1().Nodes().UpdateStatus(k.t.Context(), node, metav1.UpdateOptions{}); err != nil {
		k.t.Fatal(err)
	}
	k.eventually(30*time.Second, "the node is initialised", func() error {
		n, err := k.admin.CoreV1().Nodes().Get(k.t.Context(), "n1", metav1.GetOptions{})
		if err == nil && (len(n.Spec.Taints) > 0 || n.Spec.ProviderID != "herald://n1" || len(n.Status.Addresses) != 2) {
			err = fmt.Errorf("%+v %v", n.Spec, n.Status.Addresses)
		}
		return err
	})
}

// Health and metrics need no credentials, everything else does.
func testMetrics(k *kube) {
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/metrics": http.StatusOK, "/configz": http.StatusForbidden} {
		code, body := k.ask("first", path)
		if code != want {
			k.t.Errorf("%s answers %d, want %d: %.300s", path, code, want, body)
		}
		if path == "/metrics" && !strings.Contains(body, `herald_pool_addresses{family="IPv4",pool="a",state="total"} 8`) {
			k.t.Errorf("the metrics of ours are not there")
		}
	}
}

// TestKubeRestart counts what a restart writes: nothing; and that no address
// moves through a kill with Services waiting and the pool full.
func TestKubeRestart(t *testing.T) {
	k := startKube(t)
	const services, waiting = 300, 20
	k.configure("pool", pool("a", "192.0.2.0/24", "198.51.100.0-198.51.100.43"), nil) // 300 addresses
	first := k.controller("first")
	k.burst(services)
	for i := range waiting {
		k.create(fmt.Sprintf("waits%d", i))
		k.condition(fmt.Sprintf("waits%d", i), "PoolExhausted")
	}
	k.configure("refused", pool("a", "192.0.2.0/24"), nil)
	k.configEvent("ConfigRefused", "would lose")
	before, wrote := k.all(), len(k.writes())

	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	k.controller("second")
	k.eventually(60*time.Second, "the second controller leads", func() error { return k.ready("second") })
	time.Sleep(3 * time.Second) // time for what must not happen
	for _, w := range k.writes()[wrote:] {
		t.Errorf("the restart wrote: %+v", w)
	}
	if after := k.all(); !slices.Equal(before, after) {
		t.Errorf("addresses moved:\n%v\n%v", before, after)
	}
}

// TestKubeHandOver measures how long nobody leads, after SIGTERM and after a
// kill.
func TestKubeHandOver(t *testing.T) {
	k := startKube(t)
	k.configure("pool", pool("a", "192.0.2.0/24"), nil)
	a := k.controller("a")
	k.eventually(60*time.Second, "a leads", func() error { return k.ready("a") })
	b := k.controller("b")
	k.eventually(60*time.Second, "b stands by", func() error { return k.logged("b", "to acquire leader lease") })
	k.create("steady")
	k.addressed("steady", "192.0.2.0")

	begin := time.Now()
	_ = a.Process.Signal(syscall.SIGTERM)
	k.create("stopped")
	k.addressed("stopped", "192.0.2.1")
	took := time.Since(begin)
	t.Logf("SIGTERM: next address after %v", took)
	if err := a.Wait(); err != nil {
		t.Errorf("the leader ended with %v", err)
	}
	if took > 2*time.Second {
		t.Errorf("a hand-over took %v, more than 2 s", took)
	}

	k.controller("c")
	k.eventually(60*time.Second, "c stands by", func() error { return k.logged("c", "to acquire leader lease") })
	begin = time.Now()
	_ = b.Process.Kill()
	k.create("killed")
	k.addressed("killed", "192.0.2.2")
	took = time.Since(begin)
	t.Logf("SIGKILL: next address after %v", took)
	if took > 15*time.Second {
		t.Errorf("a take-over took %v, more than 15 s", took)
	}
	k.addressed("steady", "192.0.2.0")
}

// burst creates Services at once and waits until all have addresses.
func (k *kube) burst(n int) {
	k.t.Helper()
	begin := time.Now()
	for i := range n {
		k.create(fmt.Sprintf("burst%d", i))
	}
	created := time.Since(begin)
	k.eventually(2*time.Minute, "all have addresses", func() error {
		time.Sleep(50 * time.Millisecond)
		if have := len(k.all()); have < n {
			return fmt.Errorf("%d of %d have addresses", have, n)
		}
		return nil
	})
	took := time.Since(begin)
	k.t.Logf("%d Services: created one after the other in %v, all addressed after %v: %.0f a second", n, created, took, float64(n)/took.Seconds())
}

// all returns the Services with their addresses, sorted.
func (k *kube) all() []string {
	k.t.Helper()
	list, err := k.admin.CoreV1().Services("default").List(k.t.Context(), metav1.ListOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	var out []string
	for i := range list.Items {
		if as := shown(&list.Items[i]); len(as) > 0 {
			out = append(out, fmt.Sprint(list.Items[i].Name, " ", as))
		}
	}
	slices.Sort(out)
	return out
}

// writes returns the controller's writes to Services and ConfigMaps.
func (k *kube) writes() []audited {
	return slices.DeleteFunc(k.requests(), func(r audited) bool {
		return slices.Contains([]string{"get", "list", "watch"}, r.Verb) || !slices.Contains([]string{"services", "configmaps"}, r.ObjectRef.Resource)
	})
}

// ready tells whether a controller has read the cluster.
func (k *kube) ready(name string) error { return k.logged(name, "Read what the cluster shows") }

// condition waits until a Service's condition has the reason.
func (k *kube) condition(name, reason string) {
	k.t.Helper()
	k.eventually(30*time.Second, name+" says "+reason, func() error {
		c := meta.FindStatusCondition(k.get(name).Status.Conditions, ConditionAddressAllocated)
		if c == nil || c.Reason != reason || c.Status != metav1.ConditionFalse || c.Message == "" {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
}

// noCondition waits until a Service has no condition of ours.
func (k *kube) noCondition(name string) {
	k.t.Helper()
	k.eventually(30*time.Second, name+" has no condition", func() error {
		if hasCondition(k.get(name)) {
			return fmt.Errorf("it has")
		}
		return nil
	})
}

// event waits for an Event of the reason about a Service.
func (k *kube) event(name, reason string) {
	k.t.Helper()
	k.findEvent("default", "Service", name, reason, "")
}

// configEvent waits for an Event about the ConfigMap with the text in it.
func (k *kube) configEvent(reason, text string) {
	k.t.Helper()
	k.findEvent("herald-system", "ConfigMap", configName, reason, text)
}

func (k *kube) findEvent(namespace, kind, name, reason, text string) {
	k.t.Helper()
	k.eventually(30*time.Second, "an Event "+reason+" with "+text, func() error {
		selector := labels.Set{"involvedObject.name": name, "involvedObject.kind": kind}.String()
		list, err := k.admin.CoreV1().Events(namespace).List(k.t.Context(), metav1.ListOptions{FieldSelector: selector})
		if err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return nil
			}
		}
		return fmt.Errorf("none of %d", len(list.Items))
	})
}

// patch changes a Service by hand.
func (k *kube) patch(name, body string, subresource ...string) {
	k.t.Helper()
	if _, err := k.admin.CoreV1().Services("default").Patch(k.t.Context(), name, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, subresource...); err != nil {
		k.t.Fatal(err)
	}
}
