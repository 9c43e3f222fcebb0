package layer2

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/herald-lb/herald/pkg/announce"
)

// trouble is a LAN on which things fail.
type trouble struct {
	*lan
	opens  atomic.Int64 // how many fail before one succeeds
	reads  atomic.Int64 // how many fail
	writes atomic.Int64 // how many time out
}

func (o *trouble) Open(l announce.Link, f Family, r []Range) (Wire, error) {
	if o.opens.Add(-1) >= 0 {
		return nil, errors.New("operation not permitted")
	}
	w, err := o.lan.Open(l, f, r)
	return troubledWire{w, o}, err
}

type troubledWire struct {
	Wire
	*trouble
}

func (w troubledWire) Close() error { return w.Wire.Close() }

func (w troubledWire) ReadFrame(b []byte) (int, error) {
	if w.reads.Add(-1) >= 0 {
		return 0, ErrLinkDown
	}
	return w.Wire.ReadFrame(b)
}

func (w troubledWire) WriteFrame(b []byte) error {
	if w.writes.Add(-1) >= 0 {
		time.Sleep(100 * time.Millisecond)
		return os.ErrDeadlineExceeded
	}
	return w.Wire.WriteFrame(b)
}

// inTrouble starts a node on such a LAN.
func (b *bed) inTrouble() (*node, *trouble) {
	b.t.Helper()
	o := &trouble{lan: b.nodes[1].cfg.Opener.(*lan)}
	n := &node{link: linkOf(2), Speaker: New(Config{Self: nodeOf(2), Opener: o, Outranks: byName})}
	b.nodes = append(b.nodes, n)
	b.t.Cleanup(n.run(b.t))
	return n, o
}

var alone = plan{addresses: vips, owner: 2, order: []int{2}, previous: Itself, down: []int{1}}

func TestOpenFails(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		n, o := b.inTrouble()
		o.opens.Store(7)
		n.follow(alone)
		time.Sleep(100 * time.Millisecond)
		b.wantAnswer()
		time.Sleep(5 * time.Second)
		b.wantAnswer(2)
		if got := testutil.ToFloat64(n.cfg.Metrics.errors.WithLabelValues("eth0", "ipv4", "open")); got < 3 {
			t.Errorf("%v failures counted", got)
		}
	})
}

func TestReadFails(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		n, o := b.inTrouble()
		o.reads.Store(10)
		n.follow(alone)
		time.Sleep(3 * time.Second)
		b.wantAnswer(2)
		got := testutil.ToFloat64(n.cfg.Metrics.errors.WithLabelValues("eth0", "ipv4", "read")) +
			testutil.ToFloat64(n.cfg.Metrics.errors.WithLabelValues("eth0", "ipv6", "read"))
		if got != 10 {
			t.Errorf("%v failures counted", got)
		}
	})
}

// TestWriteHangs: a link that takes no frames is left alone for a while, so that
// the speaker goes on with others.
func TestWriteHangs(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		n, o := b.inTrouble()
		o.writes.Store(1 << 40)
		n.follow(alone)
		time.Sleep(10 * time.Second)
		tried := 1<<40 - o.writes.Load()
		if tried > 20 {
			t.Errorf("%d writes in 10 s", tried)
		}
		o.writes.Store(0)
		time.Sleep(2 * time.Second)
		b.wantAnswer(2)
	})
}

// TestEventsUnread: a reader that doesn't read stops nothing.
func TestEventsUnread(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		n := &node{link: linkOf(2), Speaker: New(Config{Self: nodeOf(2), Opener: b.nodes[1].cfg.Opener, Outranks: byName})}
		done := make(chan error)
		ctx, cancel := context.WithCancel(b.t.Context())
		go func() { done <- n.Run(ctx) }()
		for range 100 {
			n.follow(alone)
			time.Sleep(time.Millisecond)
			n.follow(plan{})
			time.Sleep(time.Millisecond)
		}
		n.follow(alone)
		time.Sleep(time.Millisecond)
		b.wantAnswer(2)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, open := <-n.Events(); open {
			t.Error("events go on after the end")
		}
	})
}

func TestMetrics(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		b.own()
		for range 3 {
			b.client.ask(vip4)
		}
		b.client.send(arpFrame(func(f []byte) { f[11] = 99 }))
		b.client.send(arpFrame(func(f []byte) { f[21] = 7 }))
		b.stranger.send(arpAnnounceRequest(nil, macOf(strangerHost), vip4))
		b.stranger.send(arpAnnounceRequest(nil, announce.MAC{0, 0, 0x5e, 0, 1, 9}, vip4))
		time.Sleep(time.Minute)
		m := b.nodes[1].cfg.Metrics
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(m)
		want := `
			# HELP herald_layer2_addresses Addresses of the plan, by what this node does about them.
			# TYPE herald_layer2_addresses gauge
			herald_layer2_addresses{state="awaiting"} 0
			herald_layer2_addresses{state="held"} 0
			herald_layer2_addresses{state="idle"} 0
			herald_layer2_addresses{state="owning"} 2
			herald_layer2_addresses{state="probing"} 0
			herald_layer2_addresses{state="verifying"} 0
			herald_layer2_addresses{state="yielding"} 0
			# HELP herald_layer2_claims_total Frames by which somebody else used an address of the plan, by whose they were: member, stranger or router (proxy ARP).
			# TYPE herald_layer2_claims_total counter
			herald_layer2_claims_total{family="ipv4",from="member",link="eth0"} 0
			herald_layer2_claims_total{family="ipv4",from="router",link="eth0"} 1
			herald_layer2_claims_total{family="ipv4",from="stranger",link="eth0"} 1
			herald_layer2_claims_total{family="ipv6",from="member",link="eth0"} 0
			herald_layer2_claims_total{family="ipv6",from="router",link="eth0"} 0
			herald_layer2_claims_total{family="ipv6",from="stranger",link="eth0"} 0
			# HELP herald_layer2_replies_total Requests answered.
			# TYPE herald_layer2_replies_total counter
			herald_layer2_replies_total{family="ipv4",link="eth0"} 4
			herald_layer2_replies_total{family="ipv6",link="eth0"} 1
		`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "herald_layer2_addresses", "herald_layer2_claims_total", "herald_layer2_replies_total"); err != nil {
			t.Error(err)
		}
		for reason, n := range map[malformed]float64{spoofedSender: 1, badOperation: 1, tooShort: 0} {
			if got := testutil.ToFloat64(m.malformed.WithLabelValues("eth0", "ipv4", string(reason))); got != n {
				t.Errorf("%v malformed for %s, want %v", got, reason, n)
			}
		}
	})
}

// BenchmarkApply replaces a plan of 10,000 addresses by itself.
func BenchmarkApply(b *testing.B) {
	e := newEngine(b.Context(), New(Config{Self: "n1", Opener: newLAN(), Outranks: byName}))
	d := &Desired{Links: []announce.Link{linkOf(1)}, Addresses: make(map[netip.Addr]Address)}
	for a := netip.MustParseAddr("10.10.0.0"); len(d.Addresses) < 10_000; a = a.Next() {
		d.Addresses[a] = Address{Links: []string{"eth0"}, Mine: true, Owner: "n1", Previous: Itself, Order: []string{"n1", "n2"}}
	}
	e.apply(time.Now(), d)
	b.ReportAllocs()
	for b.Loop() {
		e.apply(time.Now(), d)
	}
	b.StopTimer()
	for _, l := range e.links {
		e.closeLink(l)
	}
}
