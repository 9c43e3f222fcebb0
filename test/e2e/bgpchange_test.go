package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/router"
)

// Sessions whose key is wrong, in a Secret or in the document, say so, leave the
// others alone, and come back with the right key.
func TestBGPPasswords(t *testing.T) {
	r := onRouted(t)
	keys := func(frr, bird, bird6 string) {
		t.Helper()
		r.must(t, r.Apply(context.Background(), secret("frr", frr)))
		r.must(t, r.Apply(context.Background(), secret("bird6", bird6)))
		r.apply(t, strings.Replace(testfile("bgp.yaml"), "password: bird-key", "password: "+bird, 1))
	}
	right := func() { t.Helper(); keys("lab-key", "bird-key", "bird6-key") }
	before, err := r.neighbors()
	r.must(t, err)
	t.Cleanup(func() { r.sessions(t, "frr", "bird", "bird6") })
	t.Cleanup(right)
	keys("another-key", "no-key", "stray-key")
	eventually(t, 30*time.Second, "the sessions with the wrong key end", func() error {
		for _, router := range []string{"frr", "bird", "bird6"} {
			if n, err := r.established(router); err != nil || n > 0 {
				return fmt.Errorf("%s has %d, %v", router, n, err)
			}
		}
		return nil
	})
	var page string
	eventually(t, 60*time.Second, "the reason is told for each", func() error {
		if page, err = r.debug("n1"); err == nil && strings.Count(page, "wrong password") < 3 {
			err = fmt.Errorf("it says %s", page)
		}
		return err
	})
	if strings.Contains(page, "-key") {
		t.Errorf("the page shows a key: %s", page)
	}
	right()
	r.sessions(t, "frr", "bird", "bird6")
	after, err := r.neighbors()
	r.must(t, err)
	for address, n := range after {
		if strings.Contains(address, ":") && n.ConnectionsEstablished != before[address].ConnectionsEstablished {
			t.Errorf("the session with %s was reset, too: %+v", address, n)
		}
	}
}

// debug reads a node's page of announcements.
func (r *routed) debug(node string) (string, error) {
	return r.Get(context.Background(), node, "http://127.0.0.1:7472/debug/announcements")
}

// What changes is what is sent: no other session is reset, no other route
// moves.
func TestBGPChangesLive(t *testing.T) {
	r := onRouted(t)
	ns := r.namespace(t, "bgp-changes")
	r.workload(t, ns, "web", 1, "n2")
	r.expose(t, ns, "web")
	a := r.address(t, ns, "web")
	r.leads(t, r.frrPaths, single(a), all...)
	r.leads(t, r.birdPaths, single(a), all...)
	before, err := r.neighbors()
	r.must(t, err)
	since, err := r.bird.Show(t.Context(), "show protocols")
	r.must(t, err)

	base := testfile("bgp.yaml")
	t.Cleanup(func() { r.apply(t, base) })
	steps := []struct {
		name, from, to string
		check          func() error
	}{
		{"another community", "communities: [64512:1, racks,", "communities: [64512:9, racks,", func() error {
			paths, err := r.frrPaths(single(a))
			if err == nil && (len(paths) != 3 || !strings.HasPrefix(paths[0].communities, "64512:9 64512:77")) {
				err = fmt.Errorf("%+v", paths)
			}
			return err
		}},
		{"another localpref", "localpref: 200", "localpref: 300", func() error {
			paths, err := r.birdPaths(single(a))
			if err == nil && (len(paths) != 3 || paths[0].localPref != 300) {
				err = fmt.Errorf("%+v", paths)
			}
			return err
		}},
		{"a peer that does not answer", "address-pools:\n", "- {name: dead, my-asn: 64512, peer-asn: 65000, peer-address: 192.168.31.222}\naddress-pools:\n", func() error {
			out, err := r.debug("n2")
			if err == nil && !strings.Contains(out, `"dead"`) {
				err = errors.New("it is not there yet")
			}
			return err
		}},
		{"another pool", "- name: aggregated", "- {name: new, protocol: bgp, addresses: [10.77.2.0/24]}\n- name: aggregated", func() error { return nil }},
		{"a peer goes", base[strings.Index(base, "- name: bird6"):strings.Index(base, "address-pools:")], "", func() error {
			if n, err := r.established("bird6"); err != nil || n > 0 {
				return fmt.Errorf("%d sessions, %v", n, err)
			}
			return nil
		}},
	}
	doc := strings.Replace(base, "[frr6, bird6]", "[frr6]", 1) // the one that goes may not be named
	for _, step := range steps {
		next := strings.Replace(doc, step.from, step.to, 1)
		if next == doc {
			t.Fatalf("%s: nothing to change", step.name)
		}
		r.apply(t, next)
		eventually(t, soon, step.name, step.check)
		if doc = next; step.name == "a peer that does not answer" {
			doc = strings.Replace(doc, step.to, step.from, 1)
		}
	}
	after, err := r.neighbors()
	r.must(t, err)
	for address, n := range after {
		if n.ConnectionsEstablished != before[address].ConnectionsEstablished {
			t.Errorf("the session of FRR with %s was reset: %+v", address, n)
		}
	}
	now, err := r.bird.Show(t.Context(), "show protocols")
	r.must(t, err)
	for line := range strings.Lines(now) {
		if f := strings.Fields(line); len(f) > 0 && (f[0] == "n1" || f[0] == "n2" || f[0] == "n3") && !strings.Contains(since, line) {
			t.Errorf("the session of BIRD with %s was reset: %s", f[0], line)
		}
	}
	r.leads(t, r.frrPaths, single(a), all...)
}

// Nodes connect and advertise by their labels of the moment.
func TestBGPNodeSelectors(t *testing.T) {
	r := onRouted(t)
	base := testfile("bgp.yaml")
	t.Cleanup(func() { r.apply(t, base) })
	const selector = "  node-selectors: [{match-expressions: [{key: rack, operator: In, values: [a, b]}]}]\n"
	doc := base
	for _, peer := range []string{"  peer-address: fd31::1\n", "  peer-address: fd31::101"} {
		doc = strings.Replace(doc, peer, selector+peer, 1)
	}
	r.apply(t, doc)
	count := func(want int) {
		t.Helper()
		for _, router := range []string{"frr6", "bird6"} {
			eventually(t, 20*time.Second, fmt.Sprintf("%d nodes connect to %s", want, router), func() error {
				if n, err := r.established(router); err != nil || n != want {
					return fmt.Errorf("%d sessions, %v", n, err)
				}
				return nil
			})
		}
	}
	count(0)
	r.patchNode(t, "n2", `{"metadata":{"labels":{"rack":"b"}}}`, `{"metadata":{"labels":{"rack":null}}}`)
	count(1)
	r.patchNode(t, "n2", `{"metadata":{"labels":{"rack":"c"}}}`, `{"metadata":{"labels":{"rack":null}}}`)
	count(0)
}

// Sessions of one node with routers that it has sessions with already: from
// another address, as other systems, with router-ids and timers of their own.
// The address of a pool that only they are told of is reached through them.
func TestBGPPeerSettings(t *testing.T) {
	r := onRouted(t)
	const source = "192.168.31.211"
	_, err := r.Exec(t.Context(), "n1", "ip", "address", "add", source+"/24", "dev", "eth0")
	r.must(t, err)
	t.Cleanup(func() {
		_, err := r.Exec(context.Background(), "n1", "ip", "address", "del", source+"/24", "dev", "eth0")
		r.must(t, err)
	})
	r.must(t, r.frr.Configure(t.Context(), "router bgp 64513\n neighbor "+source+" remote-as 64700\n neighbor "+source+" passive\n address-family ipv4 unicast\n  neighbor "+source+" activate\n"))
	t.Cleanup(func() {
		r.must(t, r.frr.Configure(context.Background(), "router bgp 64513\n no neighbor "+source+"\n"))
	})
	r.must(t, r.bird.Configure(t.Context(), testfile("bird.conf")+`
protocol bgp n1own {
	local 192.168.31.101 as 64512;
	neighbor `+source+` as 64701;
	passive on;
	ipv4 { import all; export none; };
}
`))
	t.Cleanup(func() { r.must(t, r.bird.Configure(context.Background(), testfile("bird.conf"))) })
	base := testfile("bgp.yaml")
	t.Cleanup(func() { r.apply(t, base) })
	const common = "source-address: " + source + ", hold-time: 6s, keepalive-time: 1s, node-selectors: [{match-labels: {kubernetes.io/hostname: n1}}]"
	r.apply(t, strings.Replace(base, "address-pools:\n", `- {name: own, my-asn: 64700, peer-asn: 64513, peer-address: 192.168.31.1, router-id: 10.9.9.9, `+common+`}
- {name: own-bird, my-asn: 64701, peer-asn: 64512, peer-address: 192.168.31.101, router-id: 10.9.9.10, `+common+`}
address-pools:
- name: own
  protocol: bgp
  addresses: [10.77.2.0/28]
  auto-assign: false
  bgp-advertisements: [{peers: [own, own-bird]}]
`, 1))
	eventually(t, 20*time.Second, "the session with FRR is as configured", func() error {
		n, err := r.neighbors()
		if err != nil {
			return err
		}
		got := n[source]
		if want := (router.Neighbor{
			BgpState: "Established", ConnectionsEstablished: 1, RemoteAs: 64700, RemoteRouterID: "10.9.9.9",
			BgpTimerHoldTimeMsecs: 6000, LastResetDueTo: got.LastResetDueTo,
		}); got != want {
			return fmt.Errorf("it is %+v", got)
		}
		return nil
	})
	eventually(t, 20*time.Second, "the session with BIRD is as configured", func() error {
		out, err := r.bird.Show(context.Background(), "show protocols all n1own")
		for _, want := range []string{"Established", "Neighbor AS:      64701", "Neighbor ID:      10.9.9.10", "/6\n"} {
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("no %q in %s", want, out)
			}
		}
		return err
	})

	ns := r.namespace(t, "bgp-settings")
	r.workload(t, ns, "web", 1, "n2")
	r.expose(t, ns, "web", annotated("address-pool", "own"))
	a := r.address(t, ns, "web")
	for name, paths := range map[string]func(string) ([]path, error){"64700": r.frrPaths, "64701": r.birdPaths} {
		got, _ := r.leads(t, paths, single(a), source)
		if len(got) != 1 || got[0].asPath != name {
			t.Errorf("%+v, want one by AS %s", got, name)
		}
	}
	for _, host := range []string{lab.Router, birdHost} {
		eventually(t, soon, fmt.Sprintf("the kernel of %s sends %v to %s", host, a, source), func() error {
			out, err := r.Exec(t.Context(), host, "ip", "route", "show", a.String())
			if err == nil && !strings.Contains(out, "via "+source) {
				err = fmt.Errorf("it has %q", out)
			}
			return err
		})
	}
	r.reach(t, a)
	r.reachFrom(t, beyond, a)
}

// A document with a mistake changes nothing, and the mistake is named.
func TestBGPBadConfigurationIsRefused(t *testing.T) {
	r := onRouted(t)
	ns := r.namespace(t, "bgp-refused")
	r.workload(t, ns, "web", 1, "n2")
	r.expose(t, ns, "web")
	a := r.address(t, ns, "web")
	r.leads(t, r.frrPaths, single(a), all...)
	base := testfile("bgp.yaml")
	t.Cleanup(func() { r.apply(t, base) })
	for name, c := range map[string]struct{ from, to, says string }{
		"unknown profile":   {"  peer-address: fd31::1\n", "  peer-address: fd31::1\n  bfd-profile: quick\n", `no BFD profile \"quick\"`},
		"no ASN":            {"my-asn: 64600", "my-asn: 0", "my-asn"},
		"long aggregate":    {"aggregation-length: 28", "aggregation-length: 8", "aggregation-length"},
		"echo mode":         {"address-pools:\n", "bfd-profiles: [{name: e, echo-mode: true}]\naddress-pools:\n", "echo-mode"},
		"localpref clash":   {"bgp-advertisements:\n  - localpref: 200\n", "bgp-advertisements:\n  - localpref: 300\n  - localpref: 200\n", "localpref"},
		"peer twice":        {"- name: bird6\n", "- name: again\n  my-asn: 64512\n  peer-asn: 64513\n  peer-address: fd31::1\n- name: bird6\n", "twice"},
		"password too long": {"  password-secret: frr\n", "  password: " + strings.Repeat("x", 81) + "\n", "password"},
	} {
		t.Run(name, func(t *testing.T) {
			doc := strings.Replace(base, c.from, c.to, 1)
			if doc == base {
				t.Fatal("nothing to change")
			}
			r.must(t, r.Apply(t.Context(), herald.ConfigMap(doc, nil)))
			eventually(t, soon, "the mistake is named", func() error { return r.configEventSays(t.Context(), strings.ReplaceAll(c.says, `\"`, `"`)) })
			if got := r.liveDocument(t); strings.TrimSpace(got) != strings.TrimSpace(base) {
				t.Error("the configuration in force is not the one before")
			}
		})
	}
	r.leads(t, r.frrPaths, single(a), all...)
	if _, err := r.Get(t.Context(), far, "http://"+netip.AddrPortFrom(a, 80).String()+"/"); err != nil {
		t.Error(err)
	}
}
