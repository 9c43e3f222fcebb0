package layer2

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"

	"github.com/herald-lb/herald/pkg/announce"
)

func neighborAsk(l announce.Link, a netip.Addr) []byte {
	group := solicitedNode(a)
	return appendNeighbor(nil, ethernet{dst: multicastMAC(group), src: l.MAC}, l.LinkLocal, group,
		&ndp.NeighborSolicitation{TargetAddress: a, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: l.MAC[:]}}})
}

// node is a speaker on a LAN, with the events it told of.
type node struct {
	*Speaker
	link announce.Link

	mu     sync.Mutex // guards events
	events []Event
}

// byName is an order of nodes that everybody knows: lower names first.
func byName(x, y string, _ netip.Addr) bool { return x < y }

func newNode(o Opener, n int) *node {
	return &node{link: linkOf(n), Speaker: New(Config{
		Self: nodeOf(n), Opener: o, Outranks: byName, Rand: rand.New(rand.NewPCG(uint64(n), 1)),
	})}
}

// run runs the node until the returned function is called.
func (n *node) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Errorf("%s: %v", n.cfg.Self, err)
		}
	})
	wg.Go(func() {
		for e := range n.Events() {
			n.mu.Lock()
			n.events = append(n.events, e)
			n.mu.Unlock()
		}
	})
	return func() { cancel(); wg.Wait() }
}

// told returns the kinds of the events since the last call.
func (n *node) told() []EventKind {
	n.mu.Lock()
	defer n.mu.Unlock()
	var kinds []EventKind
	for _, e := range n.events {
		kinds = append(kinds, e.Kind)
	}
	n.events = nil
	return kinds
}

// plan is what a node is told: who owns the addresses, by which order.
type plan struct {
	addresses []netip.Addr
	owner     int
	order     []int
	previous  Predecessor
	down      []int
	witnesses []netip.Addr
}

// follow applies a plan on n.
func (n *node) follow(p plan) {
	d := Desired{Links: []announce.Link{n.link}, Addresses: map[netip.Addr]Address{}, Members: map[announce.MAC]string{}, Witnesses: p.witnesses}
	for i := 1; i <= 5; i++ {
		d.Members[macOf(i)] = nodeOf(i)
	}
	for _, i := range p.down {
		d.Down = append(d.Down, nodeOf(i))
	}
	want := Address{Links: []string{n.link.Name}, Previous: p.previous, NeedsWitness: p.witnesses != nil}
	for _, i := range p.order {
		want.Order = append(want.Order, nodeOf(i))
	}
	if p.owner > 0 {
		want.Owner = nodeOf(p.owner)
		want.Mine = want.Owner == n.cfg.Self
	}
	for _, a := range p.addresses {
		d.Addresses[a] = want
	}
	n.Apply(d)
}

var (
	vip4 = netip.MustParseAddr("10.9.0.200")
	vip6 = netip.MustParseAddr("fd09::200")
	vips = []netip.Addr{vip4, vip6}
)

const clientHost = 101

// inLAN runs a test in a bubble with a LAN, nodes n1 to nN and a client.
func inLAN(t *testing.T, nodes int, f func(l *lan, n []*node, client *host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLAN()
		all := []*node{nil}
		var stops []func()
		for i := 1; i <= nodes; i++ {
			n := newNode(l, i)
			all = append(all, n)
			stops = append(stops, n.run(t))
		}
		client := newHost(t, l, linkOf(clientHost))
		f(l, all, client)
		client.close()
		for _, stop := range stops {
			stop()
		}
	})
}

func wantAnswer(t *testing.T, client *host, want ...int) {
	t.Helper()
	for _, a := range vips {
		var macs []announce.MAC
		for _, n := range want {
			macs = append(macs, macOf(n))
		}
		got := client.answers(a)
		slices.SortFunc(got, func(a, b announce.MAC) int { return slices.Compare(a[:], b[:]) })
		if diff := cmp.Diff(macs, got); diff != "" {
			t.Errorf("answers for %s (-want +got):\n%s", a, diff)
		}
	}
}

func wantTold(t *testing.T, n *node, want ...EventKind) {
	t.Helper()
	got := n.told()
	if diff := cmp.Diff(twice(want), got); diff != "" {
		t.Errorf("%s told (-want +got):\n%s", n.cfg.Self, diff)
	}
}

// twice repeats each kind, for both families' address.
func twice(kinds []EventKind) []EventKind {
	var out []EventKind
	for _, k := range kinds {
		out = append(out, k, k)
	}
	return out
}

func TestFirstUse(t *testing.T) {
	inLAN(t, 1, func(_ *lan, n []*node, client *host) {
		n[1].follow(plan{addresses: vips, owner: 1, order: []int{1}})
		time.Sleep(790 * time.Millisecond)
		wantAnswer(t, client)
		time.Sleep(20 * time.Millisecond)
		wantAnswer(t, client, 1)
		wantTold(t, n[1], TookOver)
		if diff := cmp.Diff(vips, n[1].Owned(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	})
}

func TestPlannedMove(t *testing.T) {
	inLAN(t, 2, func(_ *lan, n []*node, client *host) {
		p := plan{addresses: vips, owner: 1, order: []int{1, 2}, previous: Alive}
		n[1].follow(p)
		n[2].follow(p)
		time.Sleep(time.Second)
		wantAnswer(t, client, 1)
		p.owner, p.order = 2, []int{2, 1}
		n[1].follow(p)
		time.Sleep(50 * time.Millisecond)
		wantAnswer(t, client, 1) // nobody else does yet
		n[2].follow(p)
		time.Sleep(10 * time.Millisecond)
		wantAnswer(t, client, 2)
		wantTold(t, n[1], TookOver, Yielded)
		wantTold(t, n[2], TookOver)
		if got := client.cached(vip4); got != macOf(2) {
			t.Errorf("client sends to %x", got)
		}
	})
}
