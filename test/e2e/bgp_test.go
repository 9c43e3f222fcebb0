package e2e

import (
	"context"
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
		r.reachFrom(t, beyond, a)
	}
	r.eventOnNode(t, "n1", "BGPSessionUp", `"frr"`)
	for _, node := range r.Nodes() {
		if out, err := r.Exec(t.Context(), node, "ss", "-Hltn", "sport", "=", ":179"); err != nil || out != "" {
			t.Errorf("on port 179 of %s, which is for other speakers, listens %s, %v", node, out, err)
		}
	}
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
	r.leads(t, r.birdPaths, single(a), "n3")
	r.noNetwork(t, "n3")
	r.leads(t, r.frrPaths, single(a))
	r.leads(t, r.birdPaths, single(a))

	// As soon as an endpoint is ready anywhere: here n1, which is excluded.
	r.patch(t, ns, "web", `{"spec":{"externalTrafficPolicy":"Cluster","selector":{"group":null,"app":"web"}}}`)
	r.leads(t, r.frrPaths, single(a), "n2")
	r.leads(t, r.birdPaths, single(a), "n2")
	_, err = r.Kubectl(t.Context(), "-n", ns, "scale", "deployment/web", "--replicas=0")
	r.must(t, err)
	r.leads(t, r.frrPaths, single(a))
	r.leads(t, r.birdPaths, single(a))
}

// noNetwork gives a node the condition NetworkUnavailable, until the test ends.
func (r *routed) noNetwork(t *testing.T, node string) {
	t.Helper()
	set := func(status string) {
		_, err := r.Client().CoreV1().Nodes().PatchStatus(context.Background(), node,
			[]byte(`{"status":{"conditions":[{"type":"NetworkUnavailable","status":"`+status+`"}]}}`))
		r.must(t, err)
	}
	set("True")
	t.Cleanup(func() { set("False") })
}

// An aggregate is there as long as an address in it is; peers and
// node-selectors say who is told of what.
func TestBGPAggregates(t *testing.T) {
	r := onRouted(t)
	ns := r.namespace(t, "bgp-aggregates")
	r.workload(t, ns, "web", 1, "n2")
	const whole, whole6 = "10.77.1.0/28", "fd77:1::/124"
	for _, name := range []string{"one", "two"} {
		r.expose(t, ns, name, dualStack, annotated("address-pool", "aggregated"))
	}
	var four []netip.Addr
	for _, name := range []string{"one", "two"} {
		addrs := r.addresses(t, ns, name, 2)
		four = append(four, addrs[0])
		paths, _ := r.leads(t, r.frrPaths, single(addrs[0]), "n1")
		if len(paths) != 1 || paths[0].communities != "noAdvertise" && paths[0].communities != "no-advertise" {
			t.Errorf("%v: %+v", addrs[0], paths)
		}
		if got, err := r.birdPaths(single(addrs[0])); err != nil || slices.ContainsFunc(got, func(p path) bool { return p.localPref != 150 }) {
			t.Errorf("BIRD knows of %v alone: %+v, %v", addrs[0], got, err)
		}
		for _, a := range addrs {
			r.reach(t, a)
			r.reachFrom(t, beyond, a)
		}
	}
	paths, _ := r.leads(t, r.birdPaths, whole, all...)
	if i := slices.IndexFunc(paths, func(p path) bool { return p.localPref != 150 || p.communities != "" }); i >= 0 {
		t.Errorf("%+v", paths[i])
	}
	r.leads(t, r.frrPaths, whole6, all...)
	r.leads(t, r.birdPaths, whole6, all...)

	_, err := r.Kubectl(t.Context(), "-n", ns, "delete", "service", "one")
	r.must(t, err)
	r.leads(t, r.frrPaths, single(four[0]))
	r.leads(t, r.frrPaths, single(four[1]), "n1")
	for _, routes := range []func(string) ([]path, error){r.frrPaths, r.birdPaths} {
		r.leads(t, routes, whole6, all...)
	}
	r.leads(t, r.birdPaths, whole, all...)
	_, err = r.Kubectl(t.Context(), "-n", ns, "delete", "service", "two")
	r.must(t, err)
	r.leads(t, r.frrPaths, single(four[1]))
	r.leads(t, r.frrPaths, whole6)
	r.leads(t, r.birdPaths, whole6)
	r.leads(t, r.birdPaths, whole)
}
