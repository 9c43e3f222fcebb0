package e2e

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

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
	const ns = "ipv6"
	_, err = c.Kubectl(t.Context(), "create", "namespace", ns)
	c.must(t, err)
	c.workload(t, ns, "web", 1, c.Nodes()[0])
	c.expose(t, ns, "s0", selecting("web"))
	a := c.address(t, ns, "s0")
	if want := netip.MustParseAddr("fd31::240"); a != want {
		t.Errorf("the address is %v, want the pool's lowest, %v", a, want)
	}
	c.answers(t, a, 80)
	s := &site{cluster: c, ns: ns, addresses: []netip.Addr{a}, owner: c.owner(t, a), server: c.Nodes()[0]}
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	asking := s.ask(t, s.addresses)
	cut := s.owner
	c.must(t, c.CutCable(cut))
	s.moved(t, o, s.addresses, cut)
	if cut != s.server {
		c.answers(t, a, 80)
	}
	asking.reports(t)
	c.must(t, c.MendCable(cut))
	s.settled(t)
	s.costsNothing(t, func(t *testing.T) {
		_, err := c.Kubectl(t.Context(), "-n", herald.Namespace, "rollout", "restart", "daemonset/announcer")
		c.must(t, err)
		c.must(t, c.WaitRollout(t.Context()))
	})
}
