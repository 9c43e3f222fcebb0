package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExplicitAddress(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "explicit")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "by-field", func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.168.31.245" })
	c.expose(t, ns, "by-annotation", annotated("loadBalancerIPs", "192.168.31.246"))
	for name, want := range map[string]string{"by-field": "192.168.31.245", "by-annotation": "192.168.31.246"} {
		if got := c.address(t, ns, name); got != netip.MustParseAddr(want) {
			t.Errorf("%s has %v, want %s", name, got, want)
		}
		c.answers(t, netip.MustParseAddr(want), 80)
	}
	c.expose(t, ns, "taken", annotated("loadBalancerIPs", "192.168.31.245"))
	c.pending(t, ns, "taken", "AddressTaken")
	c.expose(t, ns, "outside", annotated("loadBalancerIPs", "192.168.31.200"))
	c.pending(t, ns, "outside", "NotInPool")

	// Its holder goes: the one that waits gets it.
	c.must(t, c.Client().CoreV1().Services(ns).Delete(t.Context(), "by-field", metav1.DeleteOptions{}))
	if got := c.address(t, ns, "taken"); got != netip.MustParseAddr("192.168.31.245") {
		t.Errorf("it has %v", got)
	}
}

func TestPoolByAnnotationExhaustedAndRecovered(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "exhausted")
	c.workload(t, ns, "web", 1, "")
	for _, name := range []string{"first", "second"} {
		c.expose(t, ns, name, annotated("address-pool", "spare"))
		c.answers(t, c.address(t, ns, name), 80)
	}
	c.expose(t, ns, "third", annotated("address-pool", "spare"))
	c.pending(t, ns, "third", "PoolExhausted")
	freed := c.address(t, ns, "second")
	c.must(t, c.Client().CoreV1().Services(ns).Delete(t.Context(), "second", metav1.DeleteOptions{}))
	took := eventually(t, soon, "the third gets the freed address", func() error {
		if got := shown(c.service(t, ns, "third")); len(got) != 1 || got[0] != freed {
			return fmt.Errorf("it has %v", got)
		}
		return nil
	})
	t.Logf("%v after its holder was deleted", took)
	eventually(t, soon, "it does not say any more that it waits", func() error {
		if s := c.service(t, ns, "third"); len(s.Status.Conditions) != 0 {
			return fmt.Errorf("conditions %v", s.Status.Conditions)
		}
		return nil
	})
	c.answers(t, freed, 80)

	c.expose(t, ns, "nowhere", annotated("address-pool", "no-such-pool"))
	c.pending(t, ns, "nowhere", "NoSuchPool")
}

func TestClearedStatusIsRestored(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "cleared")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	for range 3 {
		c.patch(t, ns, "web", `{"status":{"loadBalancer":{"ingress":null}}}`, "status")
		if got := c.address(t, ns, "web"); got != a {
			t.Fatalf("the address is %v, it was %v", got, a)
		}
	}
	c.answers(t, a, 80)
}

// Without its finalizer a Service goes without a word to the controller.
func TestStrippedFinalizerFreesTheAddress(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "stripped")
	for _, name := range []string{"a", "b"} {
		c.expose(t, ns, name, annotated("address-pool", "spare"))
		c.address(t, ns, name)
	}
	c.expose(t, ns, "waits", annotated("address-pool", "spare"))
	c.pending(t, ns, "waits", "PoolExhausted")
	// Whether the controller puts the finalizer back first or not, it must end well.
	_, err := c.Kubectl(t.Context(), "-n", ns, "patch", "service", "a", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	c.must(t, err)
	c.must(t, c.Client().CoreV1().Services(ns).Delete(t.Context(), "a", metav1.DeleteOptions{}))
	c.address(t, ns, "waits")
}

// What one namespace writes into its Services never stops another's.
func TestOddAnnotationsHurtNobodyElse(t *testing.T) {
	c := onCluster(t)
	odd, good := c.namespace(t, "odd"), c.namespace(t, "good")
	long := strings.Repeat("x", 100_000)
	for i, o := range []option{
		annotated("loadBalancerIPs", "not an address"),
		annotated("loadBalancerIPs", ",,,,"),
		annotated("loadBalancerIPs", "192.168.31.240,192.168.31.241,192.168.31.242"),
		annotated("loadBalancerIPs", "::ffff:192.168.31.240"),
		annotated("loadBalancerIPs", long),
		annotated("address-pool", long),
		annotated("address-pool", "\x00\n"),
		annotated("allow-shared-ip", long),
		func(s *corev1.Service) { s.Spec.LoadBalancerIP = "fe80::1%eth0" },
		func(s *corev1.Service) {
			s.Spec.LoadBalancerIP = "192.168.31.240"
			annotated("loadBalancerIPs", "192.168.31.241")(s)
		},
	} {
		c.expose(t, odd, fmt.Sprintf("odd-%d", i), o)
	}
	c.workload(t, good, "web", 1, "")
	c.expose(t, good, "web")
	c.answers(t, c.address(t, good, "web"), 80)
}

func TestManyServicesAtOnce(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "many")
	c.workload(t, ns, "web", 1, "")
	const n = 300
	errs := make(chan error, n)
	for i := range n {
		go func() {
			s := newService(fmt.Sprintf("s%d", i), annotated("address-pool", "many"))
			s.Spec.AllocateLoadBalancerNodePorts = new(bool)
			_, err := c.Client().CoreV1().Services(ns).Create(context.Background(), s, metav1.CreateOptions{})
			errs <- err
		}()
	}
	var all []error
	for range n {
		all = append(all, <-errs)
	}
	c.must(t, errors.Join(all...))
	took := eventually(t, time.Minute, fmt.Sprintf("%d Services have addresses", n), func() error {
		list, err := c.Client().CoreV1().Services(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		holders := map[netip.Addr]string{}
		for _, s := range list.Items {
			for _, a := range shown(&s) {
				if other, ok := holders[a]; ok {
					t.Fatalf("%s and %s both have %v", s.Name, other, a)
				}
				holders[a] = s.Name
			}
		}
		if len(holders) != n {
			return fmt.Errorf("%d have", len(holders))
		}
		return nil
	})
	t.Logf("%d Services had addresses %v after the last was created", n, took)
}
