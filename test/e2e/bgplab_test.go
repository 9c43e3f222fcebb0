package e2e

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/router"
)

// The routers' configurations, which the README quotes, and Herald's.
//
//go:embed testdata
var testdata embed.FS

func testfile(name string) string {
	b, err := testdata.ReadFile("testdata/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(b)
}

const (
	birdHost = "bird"
	far      = "far"    // a client behind FRR
	beyond   = "beyond" // a client behind BIRD
)

// The cables between routers and their clients: the router's end first.
var (
	farCables = [][2]netip.Prefix{
		{netip.MustParsePrefix("10.88.0.1/24"), netip.MustParsePrefix("10.88.0.2/24")},
		{netip.MustParsePrefix("fd88::1/64"), netip.MustParsePrefix("fd88::2/64")},
	}
	beyondCables = [][2]netip.Prefix{
		{netip.MustParsePrefix("10.89.0.1/24"), netip.MustParsePrefix("10.89.0.2/24")},
		{netip.MustParsePrefix("fd89::1/64"), netip.MustParsePrefix("fd89::2/64")},
	}
)

// routed is a cluster whose router is FRR, with BIRD beside it on the LAN.
type routed struct {
	*cluster
	frr  *router.FRR
	bird *router.BIRD
}

// sharedRouted is the cluster of the tests of BGP.
var sharedRouted struct {
	once sync.Once
	r    *routed
	err  error
}

func onRouted(t *testing.T) *routed {
	t.Helper()
	needsLab(t)
	s := &sharedRouted
	s.once.Do(func() { s.r, s.err = newRouted(context.Background()) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	t.Cleanup(func() { s.r.takeNote(t) })
	s.r.apply(t, testfile("bgp.yaml"))
	s.r.sessions(t, "frr", "frr6", "bird", "bird6")
	return s.r
}

func newRouted(ctx context.Context) (*routed, error) {
	c, err := install(ctx, lab.Options{Name: cmp.Or(os.Getenv("HERALD_TEST_LAB"), "e2e") + "-bgp", Progress: os.Stderr})
	if err != nil {
		return nil, err
	}
	r := &routed{cluster: c}
	if err := r.startRouters(ctx); err != nil {
		return nil, errors.Join(err, c.Down(context.WithoutCancel(ctx)))
	}
	return r, nil
}

func (r *routed) startRouters(ctx context.Context) (err error) {
	if err := errors.Join(r.AddHost(birdHost), r.Apply(ctx, secret("frr", "lab-key")), r.Apply(ctx, secret("bird6", "bird6-key"))); err != nil {
		return err
	}
	for _, c := range farCables {
		if err := r.AddFarHost(far, lab.Router, c[0], c[1]); err != nil {
			return err
		}
	}
	for _, c := range beyondCables {
		if err := r.AddFarHost(beyond, birdHost, c[0], c[1]); err != nil {
			return err
		}
		// The nodes' gateway is FRR's host.
		through, err := r.Address(birdHost, c[0].Addr())
		if err != nil {
			return err
		}
		if err := r.AddRoute(lab.Router, c[0].Masked(), through); err != nil {
			return err
		}
	}
	if r.frr, err = router.StartFRR(ctx, r.Lab, lab.Router, testfile("frr.conf")); err != nil {
		return err
	}
	r.bird, err = router.StartBIRD(ctx, r.Lab, birdHost, testfile("bird.conf"))
	return err
}

func secret(name, password string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: %s, namespace: herald-system}, stringData: {password: %q}}", name, password)
}

// apply makes a document the configuration in force.
func (r *routed) apply(t *testing.T, document string) {
	t.Helper()
	r.must(t, r.Apply(context.Background(), herald.ConfigMap(document, map[string]string{"herald-lb.io/allow-address-loss": "true"})))
	eventually(t, soon, "the configuration is accepted", func() error {
		live, err := r.Client().CoreV1().ConfigMaps("herald-system").Get(context.Background(), "config-live", metav1.GetOptions{})
		if err == nil && strings.TrimSpace(live.Data["config"]) != strings.TrimSpace(document) {
			err = errors.New("config-live is another document")
		}
		return err
	})
}

func (r *routed) neighbors() (map[string]router.Neighbor, error) {
	return r.frr.Neighbors(context.Background())
}

// sessions waits until each node has sessions with routers: frr, frr6, bird and
// bird6.
func (r *routed) sessions(t *testing.T, of ...string) {
	t.Helper()
	eventually(t, 40*time.Second, "the sessions are established", func() error {
		for _, name := range of {
			if n, err := r.established(name); err != nil || n != len(r.Nodes()) {
				return fmt.Errorf("%s has %d sessions, %v", name, n, err)
			}
		}
		return nil
	})
}

// established counts a router's sessions.
func (r *routed) established(name string) (n int, err error) {
	if strings.HasPrefix(name, "bird") {
		out, err := r.bird.Show(context.Background(), "show protocols")
		pattern := regexp.MustCompile(`(?m)^n\d+ .*Established`)
		if name == "bird6" {
			pattern = regexp.MustCompile(`(?m)^n\d+v6 .*Established`)
		}
		return len(pattern.FindAllString(out, -1)), err
	}
	all, err := r.neighbors()
	for address, neighbor := range all {
		if neighbor.Established() && strings.Contains(address, ":") == (name == "frr6") {
			n++
		}
	}
	return n, err
}

// path is a route as a router has it.
type path struct {
	via         string // the node's name
	peer        string
	localPref   int
	asPath      string
	communities string // in order, with large ones
	stale       bool
}

// frrPaths lists the ways that FRR knows to a prefix, by peer.
func (r *routed) frrPaths(prefix string) ([]path, error) {
	family := "ipv4"
	if strings.Contains(prefix, ":") {
		family = "ipv6"
	}
	var answer struct {
		Paths []struct {
			LocPrf         int
			Stale          bool
			Aspath         struct{ String string }
			Community      struct{ String string }
			LargeCommunity struct{ String string }
			Nexthops       []struct{ IP, Scope string }
			Peer           struct{ PeerID string }
		}
	}
	if err := r.frr.JSON(context.Background(), "show bgp "+family+" unicast "+prefix+" json", &answer); err != nil {
		return nil, err
	}
	var out []path
	for _, p := range answer.Paths {
		q := path{
			peer: p.Peer.PeerID, localPref: p.LocPrf, asPath: p.Aspath.String, stale: p.Stale,
			communities: strings.TrimSpace(p.Community.String + " " + p.LargeCommunity.String),
		}
		for _, n := range p.Nexthops {
			if n.Scope != "link-local" {
				q.via = r.nodeAt(n.IP)
			}
		}
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b path) int { return strings.Compare(a.peer, b.peer) })
	return out, nil
}

// birdPaths lists the ways that BIRD knows to a prefix, by protocol.
func (r *routed) birdPaths(prefix string) ([]path, error) {
	text, err := r.bird.Show(context.Background(), "show route all where net = "+prefix)
	if err != nil {
		return nil, err
	}
	var out []path
	// Each route begins with the name of its protocol in brackets.
	for _, part := range regexp.MustCompile(`\[n\d`).FindAllStringIndex(text, -1) {
		rest := text[part[0]+1:]
		if end := regexp.MustCompile(`\n[^\n]*\[n\d`).FindStringIndex(rest); end != nil {
			rest = rest[:end[0]]
		}
		p := path{peer: strings.Fields(rest)[0]}
		var communities []string
		for line := range strings.Lines(rest) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			value = strings.TrimSpace(value)
			switch key {
			case "BGP.next_hop":
				p.via = r.nodeAt(strings.Fields(value)[0])
			case "BGP.local_pref":
				fmt.Sscan(value, &p.localPref)
			case "BGP.as_path":
				p.asPath = value
			case "BGP.community", "BGP.large_community":
				communities = append(communities, value)
			}
		}
		p.communities = strings.Join(communities, " ")
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b path) int { return strings.Compare(a.peer, b.peer) })
	return out, nil
}

// nodeAt is the name of the node with an address.
func (r *routed) nodeAt(address string) string { return router.NodeAt(r.Lab, address) }

// via lists by which nodes paths lead, each once.
func via(paths []path) []string {
	var out []string
	for _, p := range paths {
		out = append(out, p.via)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// leads waits until a router's paths to a prefix lead by certain nodes, and
// returns them.
func (r *routed) leads(t *testing.T, paths func(string) ([]path, error), prefix string, nodes ...string) (got []path, took time.Duration) {
	t.Helper()
	took = eventually(t, soon, fmt.Sprintf("%s leads to %v", prefix, nodes), func() (err error) {
		if got, err = paths(prefix); err == nil && !slices.Equal(via(got), nodes) {
			err = fmt.Errorf("paths are %+v", got)
		}
		return err
	})
	return got, took
}

// kernel lists the nodes to which a host's kernel sends what is for an address.
func (r *routed) kernel(host string, a netip.Addr) ([]string, error) {
	return router.KernelNodes(context.Background(), r.Lab, host, a)
}

func (r *routed) inKernel(t *testing.T, host string, a netip.Addr, nodes ...string) time.Duration {
	t.Helper()
	return eventually(t, soon, fmt.Sprintf("the kernel of %s sends %v to %v", host, a, nodes), func() error {
		got, err := r.kernel(host, a)
		if err == nil && !slices.Equal(got, nodes) {
			err = fmt.Errorf("it sends it to %v", got)
		}
		return err
	})
}

// reach waits until every node's kube-proxy knows a Service's address, and sees
// to it that a client behind FRR is answered by it.
func (r *routed) reach(t *testing.T, a netip.Addr) {
	t.Helper()
	r.proxied(t, a)
	r.reachFrom(t, far, a)
}

func (r *routed) reachFrom(t *testing.T, host string, a netip.Addr) {
	t.Helper()
	eventually(t, soon, fmt.Sprintf("%v answers %s by all nodes", a, host), func() error {
		for range 30 {
			if _, err := r.Get(t.Context(), host, "http://"+netip.AddrPortFrom(a, 80).String()+"/"); err != nil {
				return err
			}
		}
		return nil
	})
}

// proxied waits until every node's kube-proxy knows a Service's address, and
// makes the nodes' kernels forget earlier connections to that address: how a
// connection is translated is decided once, by its first packet, and a later
// one from the same port of the client goes by that. There are two kinds that
// would fail a test which opens thousands of them:
//
//   - A router can be faster than kube-proxy. A SYN that comes to a node before
//     the rules is not translated, and this is kept for two minutes; the later
//     connection goes back and forth between router and node ("no route to
//     host").
//   - The end of a connection may not have come to the node that saw its
//     beginning, as routes have changed meanwhile. It then leads to a pod of an
//     earlier test, whose Service had the same address ("no connection").
func (r *routed) proxied(t *testing.T, a netip.Addr) {
	t.Helper()
	family := "ip"
	if a.Is6() {
		family = "ip6"
	}
	for _, node := range r.Nodes() {
		eventually(t, soon, fmt.Sprintf("kube-proxy on %s knows %v", node, a), func() error {
			out, err := r.Exec(t.Context(), node, "nft", "list", "map", family, "kube-proxy", "service-ips")
			if err == nil && !strings.Contains(out, " "+a.String()+" . tcp . 80 ") {
				err = errors.New("it does not")
			}
			return err
		})
		eventually(t, soon, fmt.Sprintf("%s forgets connections to %v", node, a), func() error {
			_, err := r.Exec(t.Context(), node, "conntrack", "-D", "-d", a.String())
			if err != nil && strings.Contains(err.Error(), " 0 flow entries") {
				return nil
			}
			return err // one that is over by itself at that moment ends it, too
		})
	}
}

// single is the prefix of one address.
func single(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// patchNode changes a node, and undoes it with another patch when the test ends.
func (r *routed) patchNode(t *testing.T, node, patch, undo string) {
	t.Helper()
	apply := func(body string) {
		_, err := r.Client().CoreV1().Nodes().Patch(context.Background(), node, types.MergePatchType, []byte(body), metav1.PatchOptions{})
		r.must(t, err)
	}
	apply(patch)
	t.Cleanup(func() { apply(undo) })
}

// eventOnNode waits for an Event on a Node.
func (r *routed) eventOnNode(t *testing.T, node, reason, text string) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("an Event %s on node %s", reason, node), func() error {
		list, err := r.Client().CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,reason=" + reason})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == node && strings.Contains(e.Message, text)
		}) {
			return errors.New("there is none")
		}
		return nil
	})
}
