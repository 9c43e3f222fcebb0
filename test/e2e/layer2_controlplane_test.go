package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/herald"
)

const (
	away = 5 * time.Minute // how long the API server is gone
	hung = 10 * time.Second
)

// Without the API server nothing is withdrawn, an owner that fails is replaced,
// and an announcer that restarts serves from what it keeps on the node.
func TestAPIServerGone(t *testing.T) {
	needsTime(t)
	c := onCluster(t)
	s := c.site(t, "no-api", 2)
	before := s.owner
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	asking := s.ask(t, s.addresses)
	c.must(t, c.StopAPIServer(t.Context()))
	stopped := time.Now()
	back := false
	defer func() {
		if !back {
			c.must(t, c.StartAPIServer(context.Background()))
		}
	}()

	time.Sleep(hung)
	asking.none(t)
	unmoved(t, o, s.addresses)

	asking = s.ask(t, s.both())
	c.must(t, c.CutCable(before))
	s.moved(t, o, s.both(), before)
	asking.reports(t)
	c.must(t, c.MendCable(before))
	eventually(t, soon, "the owner has its addresses again", func() error { return s.allAt(o, before) })

	// Its announcer restarts: it serves from the state it keeps.
	c.must(t, c.KillProcess(before, herald.Announcer, unix.SIGKILL))
	s.moved(t, o, s.both(), before)
	eventually(t, 45*time.Second, "the announcer is back and has its addresses again", func() error { return s.allAt(o, before) })
	status, err := c.Status(t.Context(), before)
	c.must(t, err)
	if status.Cluster != "saved" {
		t.Errorf("the announcer of %s goes by a %s cluster, want a saved one", before, status.Cluster)
	}
	t.Logf("back %v after the API server was stopped", time.Since(stopped).Round(time.Millisecond))

	last := s.WatchOwners(s.addresses)
	defer last.Stop()
	asking = s.ask(t, s.both())
	time.Sleep(max(away-time.Since(stopped), 0))
	back = true
	c.must(t, c.StartAPIServer(t.Context()))
	s.must(t, s.WaitNodesReady(context.Background(), s.Nodes()...))
	eventually(t, 60*time.Second, "all announcers have caught up", func() error {
		for _, node := range c.Nodes() {
			if status, err := c.Status(context.Background(), node); err != nil || status.Cluster != "live" {
				return errors.Join(err, fmt.Errorf("%s: %s", node, status.Cluster))
			}
		}
		return nil
	})
	time.Sleep(2 * time.Second)
	asking.none(t)
	unmoved(t, last, s.addresses)
	c.newServiceWorks(t, s.ns)
}

// allAt says whether the first Service's addresses are at a node.
func (s *site) allAt(o *herald.Owners, node string) error {
	for _, a := range s.both() {
		if owner := o.Last(a).Owner(); owner != node {
			return fmt.Errorf("%v: %v", a, o.Last(a).Hosts)
		}
	}
	return nil
}

// newServiceWorks waits until a new Service answers: Kubernetes' own parts take
// their time to catch up.
func (c *cluster) newServiceWorks(t *testing.T, ns string) {
	t.Helper()
	c.expose(t, ns, "new", selecting("web"))
	var a netip.Addr
	allocated := eventually(t, time.Minute, "a new Service has an address", func() error {
		got := shown(c.service(t, ns, "new"))
		if len(got) == 0 {
			return errors.New("none")
		}
		a = got[0]
		return nil
	})
	announced := eventually(t, time.Minute, "a node announces it", func() error {
		if owner, err := c.who(t, a); err != nil || owner == "" {
			return errors.Join(err, fmt.Errorf("%q answers", owner))
		}
		return nil
	})
	answered := eventually(t, time.Minute, "it answers", func() error {
		_, err := c.ask(context.Background(), a, 80)
		return err
	})
	t.Logf("a new Service had an address after %v, was announced %v later and answered %v later", allocated, announced, answered)
}

// An API server that only hangs, and controllers that are gone, are no reason
// to move anything either.
func TestEtcdFrozenAndControllersGone(t *testing.T) {
	needsTime(t)
	c := onCluster(t)
	s := c.site(t, "hung", 2)
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	asking := s.ask(t, s.both())
	for _, node := range c.Nodes() {
		if pids, err := c.Pids(node, "cloud-controller-manager"); err == nil && len(pids) > 0 {
			c.must(t, c.KillProcess(node, "cloud-controller-manager", unix.SIGKILL))
		}
	}
	c.must(t, c.FreezeEtcd(t.Context()))
	time.Sleep(hung)
	c.must(t, c.ThawEtcd())
	time.Sleep(3 * time.Second)
	asking.none(t)
	unmoved(t, o, s.addresses)
	c.must(t, c.WaitNodesReady(context.Background(), c.Nodes()...))
	c.newServiceWorks(t, s.ns)
	s.settled(t)
}

// A control plane that has heard of no kubelet for a while calls every pod
// unready, as after a long outage: then kube-proxy refuses everybody, and no node
// may answer. When the kubelets are heard again each address is at once where it
// was.
func TestAllPodsCalledUnready(t *testing.T) {
	needsTime(t)
	c := onCluster(t)
	s := c.site(t, "unready", 2)
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	kubelets := func(sig unix.Signal) {
		for _, node := range c.Nodes() {
			c.must(t, c.KillProcess(node, "kubelet", sig))
		}
	}
	kubelets(unix.SIGSTOP)
	heard := sync.OnceFunc(func() { kubelets(unix.SIGCONT) })
	defer heard()
	unready := eventually(t, time.Minute, "no address is answered for", func() error {
		for _, a := range s.addresses {
			if last := o.Last(a); last.At.IsZero() || len(last.Hosts) > 0 {
				return fmt.Errorf("%v: %v", a, last.Hosts)
			}
		}
		return nil
	})
	heard()
	ready := eventually(t, 2*time.Minute, "every Service has a ready endpoint", func() error { return s.ready(t) })
	again := eventually(t, soon, "every address is answered for", func() error {
		for _, a := range s.addresses {
			if o.Last(a).Owner() == "" {
				return fmt.Errorf("%v: %v", a, o.Last(a).Hosts)
			}
		}
		return nil
	})
	t.Logf("unready %v after the kubelets froze, ready %v after they thawed, answered %v later", unready, ready, again)
	for _, a := range s.addresses {
		c.answers(t, a, 80)
	}
	unmoved(t, o, s.addresses)
	s.must(t, s.WaitNodesReady(context.Background(), s.Nodes()...))
}

// ready says which Service has no ready endpoint.
func (s *site) ready(t *testing.T) error {
	t.Helper()
	list, err := s.Client().DiscoveryV1().EndpointSlices(s.ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return errors.New("no Service has endpoints")
	}
	for _, slice := range list.Items {
		if !slices.ContainsFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool { return e.Conditions.Ready != nil && *e.Conditions.Ready }) {
			return fmt.Errorf("%s: %v", slice.Name, slice.Endpoints)
		}
	}
	return nil
}
