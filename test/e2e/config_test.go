package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/herald"
)

// usersDocument is the ConfigMap of the user's own guide.
const usersDocument = `address-pools:
- name: default
  protocol: layer2
  addresses:
  - 192.168.31.254/28
`

func TestUsersOwnDocument(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "users-document")
	c.workload(t, ns, "web", 1, "")
	c.configure(t, usersDocument, nil)
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	if want := netip.MustParseAddr("192.168.31.240"); a != want {
		t.Errorf("the address is %v, want %v, the first of 192.168.31.254/28", a, want)
	}
	c.answers(t, a, 80)
}

func TestPoolAddedServesWhoWaits(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "pool-added")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "web", annotated("address-pool", "later"))
	c.pending(t, ns, "web", "NoSuchPool")
	c.configure(t, pools+`- name: later
  protocol: layer2
  addresses:
  - 192.168.31.252/32
`, nil)
	c.answers(t, c.address(t, ns, "web"), 80)
}

// Taking an address from a Service needs consent, and a refusal outlives
// whoever refused.
func TestPoolInUseIsNotTakenAway(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "pool-in-use")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	elsewhere := strings.NewReplacer("192.168.31.240-192.168.31.249", "192.168.31.244-192.168.31.249").Replace(pools)

	c.configure(t, elsewhere, nil)
	refused := func() {
		t.Helper()
		eventually(t, soon, "the edit is refused, by an event that names the Service", func() error {
			return c.configEventSays(t.Context(), ns+"/web")
		})
		if live := c.liveDocument(t); strings.TrimSpace(live) != strings.TrimSpace(pools) {
			t.Fatalf("the live configuration is\n%s", live)
		}
		if got := c.address(t, ns, "web"); got != a {
			t.Fatalf("the address is %v, it was %v", got, a)
		}
		c.answers(t, a, 80)
	}
	refused()

	_, err := c.Kubectl(t.Context(), "-n", "herald-system", "rollout", "restart", "deployment/cloud-controller-manager", "daemonset/announcer")
	c.must(t, err)
	c.must(t, c.WaitRollout(t.Context()))
	refused()

	c.must(t, c.Apply(t.Context(), herald.ConfigMap(elsewhere, map[string]string{"herald-lb.io/allow-address-loss": "true"})))
	eventually(t, soon, "the Service has another address", func() error {
		if got := shown(c.service(t, ns, "web")); len(got) != 1 || got[0] == a {
			return fmt.Errorf("it has %v", got)
		}
		return nil
	})
	c.silent(t, a)
	c.answers(t, c.address(t, ns, "web"), 80)
}

func TestBrokenDocumentChangesNothing(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "broken")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "before")
	a := c.address(t, ns, "before")
	c.configure(t, "address-pools:\n- name: default\n  protocoll: layer2\n", nil)
	eventually(t, soon, "the mistake is named in an event", func() error {
		return c.configEventSays(t.Context(), "protocoll")
	})
	if got := c.address(t, ns, "before"); got != a {
		t.Errorf("the address is %v, it was %v", got, a)
	}
	c.answers(t, a, 80)
	c.expose(t, ns, "after") // the last good configuration goes on serving
	c.answers(t, c.address(t, ns, "after"), 80)
}

func TestNoConfigurationNewServicesWait(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "no-config")
	c.workload(t, ns, "web", 1, "")
	c.expose(t, ns, "before")
	a := c.address(t, ns, "before")
	c.configure(t, pools, nil) // for its cleaning up
	c.must(t, c.Client().CoreV1().ConfigMaps("herald-system").Delete(t.Context(), "config", metav1.DeleteOptions{}))
	c.expose(t, ns, "after")
	c.pending(t, ns, "after", "NoConfiguration")
	c.answers(t, a, 80)
	c.must(t, c.Apply(t.Context(), herald.ConfigMap(pools, nil)))
	c.answers(t, c.address(t, ns, "after"), 80)
}

func (c *cluster) liveDocument(t *testing.T) string {
	t.Helper()
	live, err := c.Client().CoreV1().ConfigMaps("herald-system").Get(t.Context(), "config-live", metav1.GetOptions{})
	c.must(t, err)
	return live.Data["config"]
}

// configEventSays looks for a warning on the user's ConfigMap with a text in it.
func (c *cluster) configEventSays(ctx context.Context, text string) error {
	events, err := c.Client().CoreV1().Events("herald-system").List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=ConfigMap,involvedObject.name=config,type=Warning",
	})
	if err != nil {
		return err
	}
	for _, e := range events.Items {
		if strings.Contains(e.Message, text) {
			return nil
		}
	}
	return fmt.Errorf("none of %d events says %q", len(events.Items), text)
}
