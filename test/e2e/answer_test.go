package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/lab"
)

var clientAddress = netip.MustParseAddr("192.168.31.100")

func TestServiceAnswersOnTheLAN(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "answers")
	c.workload(t, ns, "web", 2, "")
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	if want := netip.MustParseAddr("192.168.31.240"); a != want {
		t.Errorf("the address is %v, want the pool's lowest, %v", a, want)
	}
	c.answers(t, a, 80)
	c.owner(t, a)
}

func TestClusterPolicyAnswersFromAnyNode(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "policy-cluster")
	c.workload(t, ns, "web", 1, "n1")
	c.expose(t, ns, "web")
	if got := c.answers(t, c.address(t, ns, "web"), 80); got.node != "n1" {
		t.Errorf("%s answered, the one endpoint is on n1", got.node)
	}
}

// Local keeps the client's address, since the node that answers has the
// endpoint; when the endpoint moves, the address does.
func TestLocalPolicyFollowsItsEndpoint(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "policy-local")
	c.workload(t, ns, "web", 1, "n1")
	c.expose(t, ns, "web", local)
	a := c.address(t, ns, "web")
	got := c.answers(t, a, 80)
	if got.client != clientAddress {
		t.Errorf("the server saw %v, want the client's own %v", got.client, clientAddress)
	}
	if owner := c.owner(t, a); owner != "n1" {
		t.Errorf("%s answers for %v, the endpoint is on n1", owner, a)
	}

	_, err := c.Kubectl(t.Context(), "-n", ns, "patch", "deployment", "web", "-p", `{"spec":{"template":{"spec":{"nodeName":"n3"}}}}`)
	c.must(t, err)
	c.rolledOut(t, ns, "web")
	eventually(t, soon, "the address follows to n3", func() error {
		if owner, err := c.who(t, a); err != nil || owner != "n3" {
			return fmt.Errorf("owner %q, %v", owner, err)
		}
		got, err := c.ask(t.Context(), a, 80)
		if err == nil && (got.node != "n3" || got.client != clientAddress) {
			err = fmt.Errorf("answer %+v", got)
		}
		return err
	})
}

func TestServiceWithoutEndpointsIsSilent(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "no-endpoints")
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	c.silent(t, a)
	c.workload(t, ns, "web", 1, "")
	c.answers(t, a, 80)
}

func TestTwoServicesShareAnAddress(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "sharing")
	c.workload(t, ns, "web", 2, "")
	c.expose(t, ns, "http", annotated("allow-shared-ip", "one"))
	c.expose(t, ns, "alt", annotated("allow-shared-ip", "one"), port(81))
	first, second := c.address(t, ns, "http"), c.address(t, ns, "alt")
	if first != second {
		t.Fatalf("the addresses are %v and %v, want one", first, second)
	}
	c.answers(t, first, 80)
	c.answers(t, first, 81)

	// A third whose port is taken gets another address.
	c.expose(t, ns, "clash", annotated("allow-shared-ip", "one"))
	if third := c.address(t, ns, "clash"); third == first {
		t.Errorf("two Services have port 80 of %v", third)
	}
}

func TestDualStackServiceAnswersOnBothFamilies(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "dual-stack")
	c.workload(t, ns, "web", 2, "")
	c.expose(t, ns, "web", dualStack)
	var four, six netip.Addr
	for _, a := range c.addresses(t, ns, "web", 2) {
		if a.Is4() {
			four = a
		} else {
			six = a
		}
		c.answers(t, a, 80)
	}
	if !four.IsValid() || !six.IsValid() {
		t.Fatalf("the addresses are %v and %v, want one of each family", four, six)
	}
	if a, b := c.owner(t, four), c.owner(t, six); a != b {
		t.Errorf("%s answers for %v, %s for %v: want one node for a Service", a, four, b, six)
	}
}

func TestTypeThereAndBackAgain(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "type-change")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	c.answers(t, a, 80)

	c.patch(t, ns, "web", `{"spec":{"type":"ClusterIP"}}`)
	eventually(t, soon, "no address and no finalizer is left", func() error {
		s := c.service(t, ns, "web")
		if len(shown(s)) != 0 || len(s.Finalizers) != 0 || len(s.Status.Conditions) != 0 {
			return fmt.Errorf("addresses %v, finalizers %v, conditions %v", shown(s), s.Finalizers, s.Status.Conditions)
		}
		return nil
	})
	c.silent(t, a)

	c.patch(t, ns, "web", `{"spec":{"type":"LoadBalancer"}}`)
	c.answers(t, c.address(t, ns, "web"), 80)
}

func TestDeletedServiceFreesItsAddress(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "delete")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	c.answers(t, a, 80)
	c.must(t, c.Client().CoreV1().Services(ns).Delete(t.Context(), "web", metav1.DeleteOptions{}))
	eventually(t, soon, "the Service is gone", func() error {
		if _, err := c.Client().CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{}); err == nil {
			return errors.New("it is there")
		}
		return nil
	})
	c.silent(t, a)
	c.expose(t, ns, "web")
	if again := c.address(t, ns, "web"); again != a {
		t.Errorf("the address is %v, want the one that was freed, %v", again, a)
	}
	c.answers(t, a, 80)
}

func TestServicesOfOthersAreLeftAlone(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "classes")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "ours", class("herald-lb.io/herald"))
	c.expose(t, ns, "theirs", class("example.com/other"))
	c.answers(t, c.address(t, ns, "ours"), 80)

	// What somebody else writes into a status is not announced, even out of our pools.
	c.patch(t, ns, "theirs", `{"status":{"loadBalancer":{"ingress":[{"ip":"192.168.31.249"}]}}}`, "status")
	time.Sleep(time.Second) // nothing is to happen
	c.silent(t, netip.MustParseAddr("192.168.31.249"))
	if s := c.service(t, ns, "theirs"); len(s.Finalizers) != 0 || len(s.Status.Conditions) != 0 || len(shown(s)) != 1 {
		t.Errorf("a Service of class example.com/other was touched: %v %v %v", s.Finalizers, s.Status.Conditions, s.Status.LoadBalancer)
	}
}

// A tenant who may write a Service's status must not be able to make nodes
// answer for the router.
func TestAddressesOutsideThePoolsAreNeverAnnounced(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "stolen")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	c.patch(t, ns, "web", `{"status":{"loadBalancer":{"ingress":[{"ip":"192.168.31.1"},{"ip":"192.168.31.200"}]}}}`, "status")
	c.silent(t, netip.MustParseAddr("192.168.31.200"))
	if got := c.address(t, ns, "web"); got != a {
		t.Errorf("the status says %v again, want %v", got, a)
	}
	if who, err := c.who(t, netip.MustParseAddr("192.168.31.1")); err != nil || who != lab.Router {
		t.Errorf("%q answers for the router's address (%v)", who, err)
	}
}
