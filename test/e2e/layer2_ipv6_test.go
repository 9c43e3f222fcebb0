package e2e

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab"
)

// Clients check an entry of their neighbour table by asking its node alone: an
// owner that did not answer that would be asked for anew by multicast again
// and again, and be lost where that is filtered.
func TestIPv6OwnerAnswersUnicastQuestions(t *testing.T) {
	c := onCluster(t)
	s := c.site(t, "unicast", 1)
	six := s.both()[1]
	const short = "1000" // milliseconds that an entry counts as good; 30 s usually
	c.must(t, c.SetSysctl(lab.Client, "net.ipv6.neigh.eth0.base_reachable_time_ms", short))
	c.must(t, c.SetSysctl(lab.Client, "net.ipv6.neigh.eth0.delay_first_probe_time", "1"))
	c.must(t, c.SetSysctl(lab.Client, "net.ipv6.neigh.eth0.mcast_solicit", "0"))
	t.Cleanup(func() {
		c.must(t, c.SetSysctl(lab.Client, "net.ipv6.neigh.eth0.base_reachable_time_ms", "30000"))
		c.must(t, c.SetSysctl(lab.Client, "net.ipv6.neigh.eth0.delay_first_probe_time", "5"))
		c.must(t, c.SetSysctl(lab.Client, "net.ipv6.neigh.eth0.mcast_solicit", "3"))
	})
	asking := s.ask(t, []netip.Addr{six})
	time.Sleep(8 * time.Second)
	asking.none(t)
	entry, ok, err := c.Neighbour(lab.Client, six)
	c.must(t, err)
	if !ok || entry.Host != s.owner {
		t.Errorf("the client takes %v to be at %q, want %s", six, entry.Host, s.owner)
	}
}

const pools6 = `address-pools:
- name: default
  protocol: layer2
  addresses:
  - fd31::240-fd31::24f
`

// All of it on IPv6 alone: the API server, the announcers among themselves, the
// Services and a failover.
func TestIPv6OnlyCluster(t *testing.T) {
	needsTime(t)
	needsLab(t)
	h, err := herald.Up(t.Context(), lab.Options{Name: "e2e-ipv6", Addressing: lab.IPv6Only, Progress: os.Stderr}, pools6)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{h}
	t.Cleanup(func() {
		if t.Failed() {
			c.saveLogs()
		}
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c.must(t, c.WaitMembers(context.Background()))
	s := c.siteOf(t, "ipv6", 1, 1, func(*corev1.Service) {})
	if want := netip.MustParseAddr("fd31::240"); s.addresses[0] != want {
		t.Errorf("the address is %v, want the pool's lowest, %v", s.addresses[0], want)
	}
	s.failover(t, c.CutCable, c.MendCable, false)
	s.costsNothing(t, func(t *testing.T) {
		_, err := c.Kubectl(t.Context(), "-n", herald.Namespace, "rollout", "restart", "daemonset/announcer")
		c.must(t, err)
		c.must(t, c.WaitRollout(t.Context()))
	})
}
