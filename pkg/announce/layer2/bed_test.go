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
	"go.uber.org/goleak"
	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/announce/announcetest"
)

// node is a speaker on a LAN, with the events it told of.
type node struct {
	*Speaker
	link announce.Link

	mu     sync.Mutex // guards events
	events []Event
}

// byName is an order of nodes that everybody knows: lower names first.
func byName(x, y string, _ netip.Addr) bool { return x < y }

// run runs the node until the returned function is called.
func (n *node) run(t testing.TB) (stop func()) {
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

// told returns the events since the last call.
func (n *node) told() []Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	events := n.events
	n.events = nil
	return events
}

// count returns how many events there were since the last call of told.
func (n *node) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.events)
}

// plan is what a node is told: who owns the addresses, by which order.
type plan struct {
	addresses []netip.Addr
	owner     int // 0: nobody
	order     []int
	previous  Predecessor
	down      []int
	witnesses []netip.Addr
}

// follow applies a plan on n.
func (n *node) follow(p plan) {
	d := Desired{
		Links: []announce.Link{n.link}, Witnesses: p.witnesses, Pools: pools,
		Addresses: make(map[netip.Addr]Address), Members: make(map[announce.MAC]string),
	}
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

	pools = []netipx.IPRange{netipx.MustParseIPRange("10.9.0.200-10.9.0.209"), netipx.MustParseIPRange("fd09::200-fd09::20f")}
)

const (
	clientHost   = 101
	strangerHost = 102
)

// bed is a LAN with nodes, a client and another host that is no member.
type bed struct {
	t                testing.TB
	nodes            []*node // from 1
	client, stranger *host
	reply            time.Duration // within which a reply comes
	patience         time.Duration // factor for limits, where other programs run too
	unplug, plug     func(n int)
	hosts            map[int]*announcetest.Host // of a real LAN
}

// onLANs runs the same test on a simulated LAN, in a bubble, and on a bridge.
func onLANs(t *testing.T, nodes int, f func(b *bed)) {
	t.Helper()
	t.Run("simulated", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(simulated(t, nodes)) }) })
	t.Run("real", func(t *testing.T) { f(real(t, nodes)) })
}

func simulated(t testing.TB, nodes int) *bed {
	l := newLAN()
	b := &bed{t: t, reply: 5 * time.Millisecond, patience: 1, unplug: l.unplug, plug: l.plug}
	b.start(nodes, linkOf, func(int) (Opener, Groups) { return l, nil })
	return b
}

func real(t testing.TB, nodes int) *bed {
	t.Helper()
	l := announcetest.NewLAN(t)
	if _, ok := t.(*testing.T); ok {
		t.Cleanup(func() { goleak.VerifyNone(t) })
	}
	hosts := make(map[int]*announcetest.Host)
	for _, n := range append([]int{clientHost, strangerHost}, slices.Collect(upTo(nodes))...) {
		hosts[n] = l.Host(byte(n), netip.AddrFrom4([4]byte{10, 9, 0, byte(n)}).String()+"/24")
	}
	b := &bed{
		t: t, reply: 40 * time.Millisecond, patience: 10, hosts: hosts,
		unplug: func(n int) { hosts[n].Cut() },
		plug:   func(n int) { hosts[n].Mend() },
	}
	link := func(n int) announce.Link {
		l := linkOf(n)
		l.Index = hosts[n].Link.Attrs().Index
		l.LinkLocal = netip.AddrFrom16([16]byte{0xfe, 0x80, 11: 0xff, 12: 0xfe, 15: byte(n)})
		return l
	}
	b.start(nodes, link, func(n int) (Opener, Groups) {
		return inHost{hosts[n], Sockets{}}, groupsInHost{hosts[n], NewJoinedGroups()}
	})
	return b
}

func upTo(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := 1; i <= n && yield(i); i++ {
		}
	}
}

// inHost opens wires in a host's namespace.
type inHost struct {
	host *announcetest.Host
	Opener
}

func (o inHost) Open(l announce.Link, f Family, r []Range) (w Wire, err error) {
	err = o.host.Do(func() error {
		w, err = o.Opener.Open(l, f, r)
		return err
	})
	return w, err
}

func (o inHost) OpenTraffic(l announce.Link, f Family, r []Range) (w Wire, err error) {
	err = o.host.Do(func() error {
		w, err = o.Opener.OpenTraffic(l, f, r)
		return err
	})
	return w, err
}

// groupsInHost joins groups in a host's namespace.
type groupsInHost struct {
	host *announcetest.Host
	Groups
}

func (g groupsInHost) Keep(link int, groups []netip.Addr) error {
	return g.host.Do(func() error { return g.Groups.Keep(link, groups) })
}

func (b *bed) start(nodes int, link func(int) announce.Link, open func(int) (Opener, Groups)) {
	b.nodes = []*node{nil}
	for i := range upTo(nodes) {
		o, g := open(i)
		n := &node{link: link(i), Speaker: New(Config{
			Self: nodeOf(i), Opener: o, Groups: g, Outranks: byName, Rand: rand.New(rand.NewPCG(uint64(i), 1)),
		})}
		b.nodes = append(b.nodes, n)
		b.t.Cleanup(n.run(b.t))
	}
	o, _ := open(clientHost)
	b.client = newHost(b.t, o, link(clientHost))
	o, _ = open(strangerHost)
	b.stranger = newHost(b.t, o, link(strangerHost))
	b.t.Cleanup(b.client.close)
	b.t.Cleanup(b.stranger.close)
}

// follow gives nodes 1 to N the same plan.
func (b *bed) follow(p plan) {
	for _, n := range b.nodes[1:] {
		n.follow(p)
	}
}

// wantAnswer checks who answers the client for each address.
func (b *bed) wantAnswer(want ...int) {
	b.t.Helper()
	for _, a := range vips {
		var macs []announce.MAC
		for _, n := range want {
			macs = append(macs, macOf(n))
		}
		got := b.client.answers(a, len(want), b.reply)
		slices.SortFunc(got, func(a, b announce.MAC) int { return slices.Compare(a[:], b[:]) })
		if diff := cmp.Diff(macs, got); diff != "" {
			b.t.Errorf("answers for %s (-want +got):\n%s", a, diff)
		}
	}
}

// wantTold checks what a node told of since the last call, for each address.
func (b *bed) wantTold(n int, want ...EventKind) []Event {
	b.t.Helper()
	for start := time.Now(); b.nodes[n].count() < len(want)*len(vips) && time.Since(start) < time.Second; {
		time.Sleep(time.Millisecond)
	}
	events := b.nodes[n].told()
	for _, a := range vips {
		var got []EventKind
		for _, e := range events {
			if e.Address == a {
				got = append(got, e.Kind)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			b.t.Errorf("n%d told of %s (-want +got):\n%s", n, a, diff)
		}
	}
	return events
}

// within waits until node n answers for all addresses and returns how long that
// took.
func (b *bed) within(limit time.Duration, n int) time.Duration {
	b.t.Helper()
	return b.owns(limit, n, len(vips))
}

// nothing waits until node n answers for no address.
func (b *bed) nothing(limit time.Duration, n int) time.Duration {
	b.t.Helper()
	return b.owns(limit, n, 0)
}

func (b *bed) owns(limit time.Duration, n, count int) time.Duration {
	b.t.Helper()
	start := time.Now()
	for time.Since(start) < limit*b.patience {
		if len(b.nodes[n].Owned()) == count {
			return time.Since(start)
		}
		time.Sleep(time.Millisecond)
	}
	b.t.Errorf("n%d answers for %v, not for %d addresses within %v", n, b.nodes[n].Owned(), count, limit)
	return limit
}

// until waits until node n told of an event of a kind for all addresses, and
// returns how long that took.
func (b *bed) until(limit time.Duration, n int, kind EventKind) time.Duration {
	b.t.Helper()
	start := time.Now()
	for time.Since(start) < limit*b.patience {
		count := 0
		b.nodes[n].mu.Lock()
		for _, e := range b.nodes[n].events {
			if e.Kind == kind {
				count++
			}
		}
		b.nodes[n].mu.Unlock()
		if count >= len(vips) {
			return time.Since(start)
		}
		time.Sleep(time.Millisecond)
	}
	b.t.Errorf("n%d didn't tell of %v for all addresses within %v", n, kind, limit)
	return limit
}
