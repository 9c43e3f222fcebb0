package layer2

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestHandOver runs node 1, the owner, when node 2 is elected. It checks what it
// sends and, after each step, whether it answers.
func TestHandOver(t *testing.T) {
	const ms = time.Millisecond
	at := func(t time.Duration) func(d *driver) { return func(d *driver) { d.until(t) } }
	restsAt := func(t time.Duration) func(d *driver) { return func(d *driver) { d.rest = d.start.Add(t) } }
	elected := func(d *driver) { d.elect(others()) }
	asks := func(d *driver) { d.probed(2); d.probed(2) }
	looks := func(d *driver) { d.probed(2) }
	claims := func(d *driver) { d.claimed(2) }
	stalls := func(t time.Duration) func(d *driver) {
		return func(d *driver) {
			d.now = d.start.Add(t)
			d.note(d.o.tick(d.now, d.w, sensed{rest: d.rest}))
		}
	}
	unserved := func(d *driver) {
		want := others()
		want.Unserved = true
		d.elect(want)
	}
	type step struct {
		do      func(d *driver)
		answers bool
	}
	tests := []struct {
		name  string
		steps []step
		want  []string
		state state
	}{
		{
			"when the traffic rests",
			[]step{{restsAt(1200 * ms), true}, {elected, true}, {asks, true}, {at(1199 * ms), true}, {at(1200 * ms), false}, {claims, false}},
			[]string{"1s stop", "1.2s probe", "1.2s stop", "1.2s yielded"}, idle,
		},
		{
			"asked before it knows of the election",
			[]step{{restsAt(1200 * ms), true}, {asks, true}, {at(1010 * ms), true}, {elected, true}, {at(1200 * ms), false}, {claims, false}},
			[]string{"1.01s stop", "1.2s probe", "1.2s stop", "1.2s yielded"}, idle,
		},
		{
			"when the traffic doesn't rest in half a second",
			[]step{{restsAt(time.Hour), true}, {elected, true}, {asks, true}, {at(1300 * ms), true}, {asks, true}, {at(1499 * ms), true}, {at(1500 * ms), false}, {claims, false}},
			[]string{"1s stop", "1.5s probe", "1.5s stop", "1.5s yielded"}, idle,
		},
		{
			"not at a moment that it is late to see",
			[]step{{restsAt(1200 * ms), true}, {elected, true}, {asks, true}, {at(1100 * ms), true}, {stalls(1205 * ms), true}, {at(1205 * ms), true}, {at(1206 * ms), false}},
			[]string{"1s stop", "1.206s probe"}, yielding,
		},
		{
			"at once, if this node can't serve it any longer",
			[]step{{restsAt(time.Hour), true}, {unserved, true}, {at(1001 * ms), true}, {looks, true}, {at(1002 * ms), false}, {claims, false}},
			[]string{"1s stop", "1.001s probe", "1.002s stop", "1.002s yielded"}, idle,
		},
		{
			"at once, if this node can't serve it any longer, and asked before it knows",
			[]step{{restsAt(time.Hour), true}, {looks, true}, {at(1005 * ms), true}, {unserved, true}, {at(1006 * ms), false}, {claims, false}},
			[]string{"1.005s stop", "1.005s probe", "1.006s stop", "1.006s yielded"}, idle,
		},
		{
			"at once, if this node can't serve it any longer while it waits",
			[]step{{restsAt(time.Hour), true}, {elected, true}, {asks, true}, {at(1050 * ms), true}, {unserved, true}, {at(1051 * ms), false}},
			[]string{"1s stop", "1.05s stop", "1.05s probe"}, yielding,
		},
		{
			"at once, if the other has claimed it already",
			[]step{{restsAt(time.Hour), true}, {claims, false}, {at(1050 * ms), false}, {elected, true}, {at(1051 * ms), false}, {claims, false}},
			[]string{"1s stop", "1.05s stop", "1.05s probe", "1.051s stop", "1.051s yielded"}, idle,
		},
		{
			"the other doesn't take it, and asks again",
			[]step{{elected, true}, {asks, true}, {at(1001 * ms), false}, {at(1019 * ms), false}, {at(1020 * ms), true}, {asks, true}, {at(1099 * ms), true}, {at(1100 * ms), false}, {claims, false}},
			[]string{"1s stop", "1s probe", "1.1s probe", "1.1s stop", "1.1s yielded"}, idle,
		},
		{
			"the other is just back on the LAN, and leaves it here for a while",
			[]step{{elected, true}, {looks, true}, {at(1200 * ms), true}, {looks, true}, {at(1400 * ms), true}, {looks, true}, {at(1500 * ms), true}, {looks, true}, {at(1501 * ms), false}, {claims, false}},
			[]string{"1s stop", "1.15s probe", "1.35s probe", "1.5s probe", "1.501s stop", "1.501s yielded"}, idle,
		},
		{
			"nobody asks",
			[]step{{elected, true}, {at(1100 * ms), true}, {at(1400 * ms), true}},
			[]string{"1s stop", "1.1s probe", "1.3s probe"}, yielding,
		},
		{
			"a claim in sight, and no change of the election: answers again after a moment",
			[]step{{claims, false}, {at(1099 * ms), false}, {at(1100 * ms), true}, {claims, true}},
			[]string{"1s stop", "1.1s announce", "1.1s split brain"}, owning,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := drive(testWorld(1))
			d.elect(mine(Itself))
			d.until(time.Second)
			d.log = nil
			for i, s := range tt.steps {
				s.do(d)
				if got := d.o.answers(); got != s.answers {
					t.Errorf("after step %d: answers %v, want %v", i+1, got, s.answers)
				}
			}
			if diff := cmp.Diff(tt.want, d.log); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if d.o.state != tt.state {
				t.Errorf("state is %v, want %v", d.o.state, tt.state)
			}
		})
	}
}

// TestHandOverWaitsForConnections has a client with a connection under way, on
// which nothing comes while the server works. It must end before the move.
func TestHandOverWaitsForConnections(t *testing.T) {
	inBubble(t, 2, func(b *bed) {
		p := b.own()
		p.owner, p.order = 2, []int{2, 1}
		b.follow(p)
		time.Sleep(20 * time.Millisecond)
		b.client.toNode(1, flagSYN)
		time.Sleep(130 * time.Millisecond)
		b.wantServes(1)
		b.client.toNode(1, 0)
		time.Sleep(130 * time.Millisecond)
		b.wantServes(1)
		b.client.toNode(1, flagFIN)
		t.Logf("moved %v after the last packet", b.within(100*time.Millisecond, 2))
		b.nothing(time.Second, 1)
		b.wantTold(1, Yielded)
		b.wantTold(2, TookOver)
	})
}

// TestHandOverWaitsOnRealLinks has packets of a connection come all the time, so
// that it is no matter when exactly the kernel's socket is open.
func TestHandOverWaitsOnRealLinks(t *testing.T) {
	b := real(t, 2)
	p := b.own()
	p.owner, p.order = 2, []int{2, 1}
	end := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			b.client.toNode(1, 0)
			select {
			case <-end:
				b.client.toNode(1, flagFIN)
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	b.follow(p)
	time.Sleep(300 * time.Millisecond)
	b.wantServes(1)
	close(end)
	sending.Wait()
	t.Logf("moved %v after the last packet", b.within(100*time.Millisecond, 2))
	b.nothing(time.Second, 1)
}

// wantServes checks that a node, and no other, has all addresses.
func (b *bed) wantServes(n int) {
	b.t.Helper()
	for i, other := range b.nodes[1:] {
		want := 0
		if i+1 == n {
			want = len(vips)
		}
		if got := other.Owned(); len(got) != want {
			b.t.Errorf("n%d serves %v", i+1, got)
		}
	}
}

// toNode sends a TCP packet of one connection for each address to a node.
func (h *host) toNode(n int, flags byte) {
	h.t.Helper()
	for _, a := range vips {
		h.send(tcpFrame(h.link.MAC, macOf(n), netip.AddrPortFrom(clientIP, 40000), a, flags))
	}
}
