package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/lab"
)

const lease = "herald-cloud-controller-manager"

// leader names the pod that leads the controllers.
func (c *cluster) leader(ctx context.Context) (corev1.Pod, error) {
	l, err := c.Client().CoordinationV1().Leases("herald-system").Get(ctx, lease, metav1.GetOptions{})
	if err != nil {
		return corev1.Pod{}, err
	}
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
		return corev1.Pod{}, fmt.Errorf("nobody leads")
	}
	pods, err := c.Client().CoreV1().Pods("herald-system").List(ctx, metav1.ListOptions{})
	if err != nil {
		return corev1.Pod{}, err
	}
	for _, p := range pods.Items {
		if strings.HasPrefix(*l.Spec.HolderIdentity, p.Name+"_") {
			return p, nil
		}
	}
	return corev1.Pod{}, fmt.Errorf("the leader %s is no pod", *l.Spec.HolderIdentity)
}

// heldAddresses are all Services' addresses, by Service.
func (c *cluster) heldAddresses(t *testing.T) map[string][]netip.Addr {
	t.Helper()
	list, err := c.Client().CoreV1().Services("").List(context.Background(), metav1.ListOptions{})
	c.must(t, err)
	held := map[string][]netip.Addr{}
	for _, s := range list.Items {
		if a := shown(&s); len(a) > 0 {
			held[s.Namespace+"/"+s.Name] = a
		}
	}
	return held
}

// watchAddresses fails the test if an address of a Service changes before stop
// is called.
func (c *cluster) watchAddresses(t *testing.T, ns string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	before := c.heldAddresses(t)
	w, err := c.Client().CoreV1().Services(ns).Watch(ctx, metav1.ListOptions{})
	c.must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.ResultChan() {
			s, ok := e.Object.(*corev1.Service)
			if !ok {
				continue
			}
			name := s.Namespace + "/" + s.Name
			if had, ok := before[name]; ok && !slices.Equal(had, shown(s)) {
				t.Errorf("%s: addresses %v, had %v", name, shown(s), had)
			}
		}
	}()
	return func() { w.Stop(); cancel(); <-done }
}

// A full pool and a Service that waits: the state in which a controller that
// forgets gives somebody's address away.
func (c *cluster) fullPool(t *testing.T, ns string) {
	t.Helper()
	for _, name := range []string{"a", "b"} {
		c.expose(t, ns, name, annotated("address-pool", "spare"))
		c.address(t, ns, name)
	}
	c.expose(t, ns, "waits", annotated("address-pool", "spare"))
	c.pending(t, ns, "waits", "PoolExhausted")
}

func TestControllersKilledNothingMoves(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "killed")
	c.fullPool(t, ns)
	stop := c.watchAddresses(t, ns)
	defer stop()
	pods, err := c.Client().CoreV1().Pods("herald-system").List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=cloud-controller-manager"})
	c.must(t, err)
	for _, p := range pods.Items {
		c.must(t, c.KillProcess(p.Spec.NodeName, "cloud-controller-manager", syscall.SIGKILL))
	}
	c.expose(t, ns, "more", annotated("address-pool", "spare"))
	eventually(t, 40*time.Second, "the new leader says that the pool is full", func() error {
		for _, cond := range c.service(t, ns, "more").Status.Conditions {
			if cond.Type == condition && cond.Reason == "PoolExhausted" {
				return nil
			}
		}
		return fmt.Errorf("no such condition")
	})
	c.must(t, c.WaitRollout(t.Context()))
}

func TestLeaderToldToStopHandsOver(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "hand-over")
	c.fullPool(t, ns)
	stop := c.watchAddresses(t, ns)
	defer stop()
	c.handOver(t, ns, "told", 6*time.Second, func(p corev1.Pod) {
		c.must(t, c.Client().CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{}))
	})
}

func TestLeaderKilledIsReplaced(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "leader-killed")
	c.fullPool(t, ns)
	stop := c.watchAddresses(t, ns)
	defer stop()
	c.handOver(t, ns, "crashed", 25*time.Second, func(p corev1.Pod) {
		c.must(t, c.KillProcess(p.Spec.NodeName, "cloud-controller-manager", syscall.SIGKILL))
	})
}

// handOver ends the leader and measures how long until Services get addresses again.
func (c *cluster) handOver(t *testing.T, ns, name string, within time.Duration, end func(corev1.Pod)) {
	t.Helper()
	var leader corev1.Pod
	eventually(t, 40*time.Second, "somebody leads", func() (err error) {
		leader, err = c.leader(t.Context())
		return err
	})
	end(leader)
	start := time.Now()
	c.expose(t, ns, name)
	eventually(t, within, "a new Service gets an address", func() error {
		if got := shown(c.service(t, ns, name)); len(got) != 1 {
			return fmt.Errorf("it has %v", got)
		}
		return nil
	})
	t.Logf("Services got addresses again %v after the leader %s", time.Since(start), name)
	c.must(t, c.WaitRollout(t.Context()))
}

// The kubelets wait to be initialised, and the controller that does it must
// itself start on their tainted nodes.
func TestKubeletsWithExternalCloudProvider(t *testing.T) {
	needsLab(t)
	c, err := install(t.Context(), lab.Options{Name: "e2e-external", Nodes: 2, CloudProvider: lab.External, Progress: testWriter{t}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.takeNote(t); c.must(t, c.Down(context.Background())) })
	nodes, err := c.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	c.must(t, err)
	for _, n := range nodes.Items {
		for _, taint := range n.Spec.Taints {
			if taint.Key == "node.cloudprovider.kubernetes.io/uninitialized" {
				t.Errorf("%s is not initialised", n.Name)
			}
		}
		if n.Spec.ProviderID == "" {
			t.Errorf("%s has no provider ID", n.Name)
		}
	}

	// An old label of the node's place has its present name put beside it.
	_, err = c.Kubectl(t.Context(), "label", "node", "n1", corev1.LabelFailureDomainBetaZone+"=rack-7")
	c.must(t, err)
	eventually(t, soon, "the node has its zone", func() error {
		n, err := c.Client().CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if zone := n.Labels[corev1.LabelTopologyZone]; zone != "rack-7" {
			return fmt.Errorf("it is %q", zone)
		}
		return nil
	})
	ns := c.namespace(t, "external")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "web")
	c.answers(t, c.address(t, ns, "web"), 80)

	// A node that is gone for long is not deleted.
	c.must(t, c.PowerOff(t.Context(), "n2"))
	eventually(t, time.Minute, "n2 is not ready", func() error {
		n, err := c.Client().CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{})
		if err != nil {
			t.Fatalf("n2: %v", err)
		}
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status != corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("it is ready")
	})
	time.Sleep(10 * time.Second) // two rounds of a controller that would delete it
	if _, err := c.Client().CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{}); err != nil {
		t.Fatalf("n2: %v", err)
	}
}

// testWriter writes a lab's progress into the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}
