package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/probe"
)

var all = []string{"n1", "n2", "n3"}

// Every node tells both routers of each address, over sessions of either
// family, and a client behind FRR is spread over the nodes.
func TestBGPRoutesReachRoutersAndClients(t *testing.T) {
	r := onRouted(t)
	ns := r.namespace(t, "bgp-routes")
	r.workload(t, ns, "web", 3, "")
	r.expose(t, ns, "web", dualStack)
	addrs := r.addresses(t, ns, "web", 2)
	for _, a := range addrs {
		paths, _ := r.leads(t, r.frrPaths, single(a), all...)
		want := 3 // over the IPv4 session
		if a.Is6() {
			want = 6 // and over that of IPv6
		}
		if len(paths) != want {
			t.Errorf("%v: FRR has %d paths, want %d: %+v", a, len(paths), want, paths)
		}
		for _, p := range paths {
			if p.asPath != "64512" || !strings.Contains(p.communities, "64512:1 64512:77") || !strings.Contains(p.communities, "64512:1:2") {
				t.Errorf("%v at FRR: %+v", a, p)
			}
		}
		r.inKernel(t, lab.Router, a, all...)

		paths, _ = r.leads(t, r.birdPaths, single(a), all...)
		for _, p := range paths {
			want := path{via: p.via, peer: p.peer, localPref: 200, communities: "(64512,1) (64512,77) (64512, 1, 2)"}
			if a.Is6() {
				want.localPref, want.asPath = 100, "64600" // the router's own default: eBGP says nothing of it
			}
			if p != want {
				t.Errorf("%v at BIRD: %+v, want %+v", a, p, want)
			}
		}
		r.inKernel(t, birdHost, a, all...)
		r.reach(t, a)
	}
	r.eventOnNode(t, "n1", "BGPSessionUp", `"frr"`)
}

// With the endpoints' own nodes alone a client's connections are spread over
// these, as the server that answers shows.
func TestBGPLocalPolicy(t *testing.T) {
	r := onRouted(t)
	ns := r.namespace(t, "bgp-local")
	r.workload(t, ns, "web", 1, "n1")
	r.workload(t, ns, "more", 1, "n3")
	r.expose(t, ns, "web", local)
	a := r.address(t, ns, "web")
	r.leads(t, r.frrPaths, single(a), "n1")
	r.patch(t, ns, "web", `{"spec":{"selector":{"app":"more"}}}`)
	r.leads(t, r.frrPaths, single(a), "n3")
	r.leads(t, r.birdPaths, single(a), "n3")
	r.patch(t, ns, "web", `{"spec":{"selector":{"app":null}}}`)
	_, err := r.Kubectl(t.Context(), "-n", ns, "label", "pods", "--all", "group=both")
	r.must(t, err)
	r.patch(t, ns, "web", `{"spec":{"selector":{"group":"both"}}}`)
	r.leads(t, r.frrPaths, single(a), "n1", "n3")
	r.inKernel(t, lab.Router, a, "n1", "n3")

	r.reach(t, a)

	p, stop, err := r.Probe(far, probe.Options{Target: netip.AddrPortFrom(a, 80)})
	r.must(t, err)
	eventually(t, soon, "the client is answered a hundred times", func() error {
		if n := p.Report().Answered; n < 100 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	report, err := stop()
	r.must(t, err)
	if len(report.Failures) > 0 || report.Nodes["n1"] < 20 || report.Nodes["n3"] < 20 {
		t.Errorf("%v, by nodes %v", report, report.Nodes)
	}

	const label = "node.kubernetes.io/exclude-from-external-load-balancers"
	r.patchNode(t, "n1", `{"metadata":{"labels":{"`+label+`":""}}}`, `{"metadata":{"labels":{"`+label+`":null}}}`)
	r.leads(t, r.frrPaths, single(a), "n3")
}

// An aggregate is there as long as an address in it is; peers and
// node-selectors say who is told of what.
func TestBGPAggregates(t *testing.T) {
	r := onRouted(t)
	ns := r.namespace(t, "bgp-aggregates")
	r.workload(t, ns, "web", 1, "n2")
	const whole = "10.77.1.0/28"
	for _, name := range []string{"one", "two"} {
		r.expose(t, ns, name, annotated("address-pool", "aggregated"))
	}
	one, two := r.address(t, ns, "one"), r.address(t, ns, "two")
	paths, _ := r.leads(t, r.birdPaths, whole, all...)
	if i := slices.IndexFunc(paths, func(p path) bool { return p.localPref != 150 || p.communities != "" }); i >= 0 {
		t.Errorf("%+v", paths[i])
	}
	for _, a := range []netip.Addr{one, two} {
		paths, _ = r.leads(t, r.frrPaths, single(a), "n1")
		if len(paths) != 1 || paths[0].communities != "noAdvertise" && paths[0].communities != "no-advertise" {
			t.Errorf("%v: %+v", a, paths)
		}
		if got, err := r.birdPaths(single(a)); err != nil || slices.ContainsFunc(got, func(p path) bool { return p.localPref != 150 }) {
			t.Errorf("BIRD knows of %v alone: %+v, %v", a, got, err)
		}
	}
	_, err := r.Kubectl(t.Context(), "-n", ns, "delete", "service", "one")
	r.must(t, err)
	r.leads(t, r.frrPaths, single(one))
	r.leads(t, r.birdPaths, whole, all...)
	_, err = r.Kubectl(t.Context(), "-n", ns, "delete", "service", "two")
	r.must(t, err)
	r.leads(t, r.birdPaths, whole)
}
