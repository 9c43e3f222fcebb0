package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/probe"
)

// A site is Services, all of one web server that runs on a node owns none
// of the first Service's addresses: the faults of the owner are faults of the
// owner alone.
type site struct {
	*cluster
	ns        string
	families  int          // how many addresses each Service has
	addresses []netip.Addr // of the first Service, then of the second…
	owner     string       // of the first Service
	server    string       // the node that the web server runs on
}

// site makes one with a number of dual-stack Services.
func (c *cluster) site(t *testing.T, name string, services int) *site {
	t.Helper()
	const both = 2
	return c.siteOf(t, name, services, both, dualStack)
}

// siteOf makes one whose Services are as an option makes them.
func (c *cluster) siteOf(t *testing.T, name string, services, families int, o option) *site {
	t.Helper()
	s := &site{cluster: c, ns: c.namespace(t, name), server: c.Nodes()[0], families: families}
	c.workload(t, s.ns, "web", 1, s.server)
	for i := range services {
		c.expose(t, s.ns, fmt.Sprintf("s%d", i), selecting("web"), o)
		s.addresses = append(s.addresses, c.addresses(t, s.ns, fmt.Sprintf("s%d", i), families)...)
	}
	for _, a := range s.addresses {
		c.answers(t, a, 80)
	}
	s.owner = c.owner(t, s.addresses[0])
	if s.server == s.owner {
		s.server = c.other(s.owner)
		patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"nodeName":%q}}}}`, s.server)
		_, err := c.Kubectl(t.Context(), "-n", s.ns, "patch", "deployment", "web", "-p", patch)
		c.must(t, err)
		c.rolledOut(t, s.ns, "web")
	}
	s.settled(t)
	return s
}

// other names a node that is not this one.
func (c *cluster) other(than string) string {
	nodes := c.Nodes()
	return nodes[(slices.Index(nodes, than)+1)%len(nodes)]
}

// both are the addresses of the first Service, one of each family.
func (s *site) both() []netip.Addr { return s.addresses[:s.families] }

// clients are probers of a site, one for each address.
type clients struct {
	addresses []netip.Addr
	stops     []func() (probe.Report, error)
	switches  *lab.Switches // of their host
}

// ask opens 100 connections a second to each of some addresses, until it is
// told to stop.
func (s *site) ask(t *testing.T, addresses []netip.Addr) *clients {
	t.Helper()
	switches, err := s.WatchSwitches(lab.Client)
	s.must(t, err)
	t.Cleanup(func() { s.must(t, switches.Stop()) })
	c := &clients{addresses: addresses, switches: switches}
	for _, a := range addresses {
		_, stop, err := s.Probe(lab.Client, probe.Options{Target: netip.AddrPortFrom(a, 80)})
		s.must(t, err)
		stop = sync.OnceValues(stop)
		t.Cleanup(func() { stop() })
		c.stops = append(c.stops, stop)
	}
	time.Sleep(time.Second) // the measure of how it is without a fault
	return c
}

// reports ends the probers, when all connections that were begun have ended.
func (c *clients) reports(t *testing.T) []probe.Report {
	t.Helper()
	time.Sleep(time.Second)
	var out []probe.Report
	for i, stop := range c.stops {
		r, err := stop()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v: %v; prober late by up to %v", c.addresses[i], r, r.Late.Round(time.Millisecond))
		out = append(out, r)
	}
	return out
}

// none fails the test if a connection failed.
func (c *clients) none(t *testing.T) {
	t.Helper()
	for i, r := range c.reports(t) {
		if len(r.Failures) > 0 {
			t.Errorf("%v: %d connections failed, the first at %s: %s", c.addresses[i], len(r.Failures), r.Failures[0].At.Format("15:04:05.000"), r.Failures[0].Reason)
		}
	}
}

// noneMoved fails the test if a connection failed, if nobody was answered for a
// while, or if the client didn't switch to another node once for each move.
func (c *clients) noneMoved(t *testing.T, moves int) {
	t.Helper()
	const while = 300 * time.Millisecond // tests have the machine not for themselves
	for i, r := range c.reports(t) {
		a := c.addresses[i]
		if switches := c.switches.Of(a); len(switches) != moves {
			t.Errorf("%v: the client switched to another node at %v, in %d moves", a, switches, moves)
		}
		if silent := r.Worst() - r.Late; silent > while {
			t.Errorf("%v: no answer for %v", a, silent)
		}
		for _, f := range r.Failures {
			t.Errorf("%v: a connection tried at %s failed after %v: %s; the client switched at %v",
				a, f.At.Format("15:04:05.000"), f.Until.Sub(f.At), f.Reason, c.switches.Of(a))
		}
	}
}

// moved waits until one node other than before answers for each of the
// addresses.
func (s *site) moved(t *testing.T, o *herald.Owners, addresses []netip.Addr, before string) {
	t.Helper()
	eventually(t, 20*time.Second, "other nodes than "+before+" answer", func() error {
		for _, a := range addresses {
			if last := o.Last(a); last.Owner() == "" || last.Owner() == before {
				return fmt.Errorf("%v: %v", a, last.Hosts)
			}
		}
		return nil
	})
}

// settled waits until nothing moves any more.
func (s *site) settled(t *testing.T) {
	t.Helper()
	s.must(t, s.Settle(context.Background(), slices.Collect(slices.Chunk(s.addresses, s.families))))
	s.owner = s.cluster.owner(t, s.addresses[0])
}

// unmoved fails the test if an address had more than one owner, or two at once.
func unmoved(t *testing.T, o *herald.Owners, addresses []netip.Addr) {
	t.Helper()
	for _, a := range addresses {
		if moves := o.Moves(a); len(moves) != 1 {
			t.Errorf("%v went from node to node: %v", a, moves)
		}
		for _, s := range o.Seen(a) {
			if len(s.Hosts) > 1 {
				t.Errorf("%v: %v answered at once", a, s.Hosts)
			}
		}
	}
}
