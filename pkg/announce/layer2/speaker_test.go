package layer2

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

func TestFirstUse(t *testing.T) {
	onLANs(t, 1, func(b *bed) {
		b.follow(plan{addresses: vips, owner: 1, order: []int{1}})
		time.Sleep(600 * time.Millisecond)
		b.wantAnswer()
		b.within(time.Second, 1)
		b.wantAnswer(1)
		b.wantTold(1, TookOver)
	})
}

func TestFirstUseHeldByStranger(t *testing.T) {
	onLANs(t, 1, func(b *bed) {
		for _, a := range vips {
			b.stranger.hold(a)
		}
		b.follow(plan{addresses: vips, owner: 1, order: []int{1}})
		time.Sleep(1500 * time.Millisecond)
		b.wantAnswer(strangerHost)
		for _, e := range b.wantTold(1, Held) {
			if e.MAC != macOf(strangerHost) || e.Node != "" || e.Link != "eth0" {
				t.Errorf("told of %+v", e)
			}
		}
		for _, a := range vips {
			b.stranger.release(a)
		}
		b.within(time.Second, 1)
		b.wantAnswer(1)
		b.wantTold(1, TookOver)
	})
}

// own makes node 1 the owner.
func (b *bed) own() plan {
	b.t.Helper()
	p := plan{addresses: vips, owner: 1, order: []int{1, 2}, previous: Alive}
	b.follow(p)
	b.within(time.Second, 1)
	b.wantAnswer(1)
	b.wantTold(1, TookOver)
	return p
}

func TestPlannedMove(t *testing.T) {
	onLANs(t, 2, func(b *bed) {
		p := b.own()
		p.owner, p.order = 2, []int{2, 1}
		b.nodes[1].follow(p)
		time.Sleep(30 * time.Millisecond)
		b.wantAnswer(1) // nobody else does yet
		b.nodes[2].follow(p)
		b.within(time.Second, 2)
		b.nothing(time.Second, 1)
		b.wantAnswer(2)
		b.wantTold(1, Yielded)
		b.wantTold(2, TookOver)
		for _, a := range vips {
			if got := b.client.cached(a); got != macOf(2) {
				t.Errorf("client sends for %s to %x", a, got)
			}
		}
	})
}

// TestPlannedMoveNewOwnerFirst has the old owner learn of the move last.
func TestPlannedMoveNewOwnerFirst(t *testing.T) {
	onLANs(t, 2, func(b *bed) {
		p := b.own()
		p.owner, p.order = 2, []int{2}
		b.nodes[2].follow(p)
		time.Sleep(30 * time.Millisecond)
		b.nodes[1].follow(p)
		b.nothing(time.Second, 1)
		b.wantAnswer(2)
		b.wantTold(1, Yielded)
	})
}

func TestFailover(t *testing.T) {
	onLANs(t, 2, func(b *bed) {
		p := b.own()
		b.unplug(1)
		p.owner, p.order, p.previous, p.down = 2, []int{2}, Down, []int{1}
		b.nodes[2].follow(p)
		t.Logf("took %v", b.within(time.Second, 2))
		b.wantAnswer(2)
		b.wantTold(2, TookOver)

		// The old owner comes back and still thinks that it owns them. It
		// comes first in the order that depends on nobody's view.
		b.plug(1)
		t.Logf("settled after %v", b.nothing(3*time.Second, 2))
		b.wantAnswer(1)
		b.wantTold(2, SplitBrain, Held)
	})
}

// TestSecondOpinion has the membership wrong about the owner.
func TestSecondOpinion(t *testing.T) {
	onLANs(t, 2, func(b *bed) {
		p := b.own()
		p.owner, p.order, p.previous, p.down = 2, []int{2}, Down, []int{1}
		b.nodes[2].follow(p)
		time.Sleep(500 * time.Millisecond)
		b.wantAnswer(1)
		for _, e := range b.wantTold(2, Held) {
			if e.Node != "n1" {
				t.Errorf("told of %+v", e)
			}
		}
		b.unplug(1)
		b.within(600*time.Millisecond, 2)
		b.wantAnswer(2)
		b.wantTold(1)
		b.wantTold(2, TookOver)
	})
}

// TestSplitBrain gives both nodes the addresses while each takes the other for
// dead, as when their membership is blocked and the LAN is not.
func TestSplitBrain(t *testing.T) {
	onLANs(t, 2, func(b *bed) {
		b.nodes[1].follow(plan{addresses: vips, owner: 1, order: []int{1}, previous: Itself, down: []int{2}})
		b.nodes[2].follow(plan{addresses: vips, owner: 2, order: []int{2}, previous: Itself, down: []int{1}})
		t.Logf("settled after %v", b.until(time.Second, 2, Held))
		b.wantAnswer(1)
		time.Sleep(3 * time.Second)
		b.wantAnswer(1)
		if got := b.client.cached(vip4); got != macOf(1) {
			t.Errorf("client sends to %x", got)
		}
		b.wantTold(2, TookOver, SplitBrain, Held)
	})
}

func TestRelease(t *testing.T) {
	onLANs(t, 1, func(b *bed) {
		p := b.own()
		p.owner = 0
		b.follow(p)
		b.nothing(time.Second, 1)
		b.wantAnswer()
		b.wantTold(1, Released)
		p.owner = 1
		b.follow(p)
		b.within(time.Second, 1)
		b.follow(plan{})
		b.nothing(time.Second, 1)
		b.wantAnswer()
		b.wantTold(1, TookOver, Released)
	})
}

func TestWitness(t *testing.T) {
	gateway := netip.MustParseAddr("10.9.0.77")
	onLANs(t, 2, func(b *bed) {
		p := plan{addresses: vips, owner: 2, order: []int{2}, previous: Down, down: []int{1}, witnesses: []netip.Addr{gateway}}
		b.nodes[2].follow(p)
		time.Sleep(700 * time.Millisecond)
		b.wantAnswer()
		for _, e := range b.wantTold(2, Held) {
			if e.MAC != (announce.MAC{}) {
				t.Errorf("told of %+v", e)
			}
		}
		b.stranger.hold(gateway)
		b.within(600*time.Millisecond, 2)
		b.wantAnswer(2)
		b.wantTold(2, TookOver)
	})
}

// TestManyAtOnce moves thousands of addresses of a node that died. Each costs
// two paced frames, and clients of the last wait little longer than of the first.
func TestManyAtOnce(t *testing.T) {
	tests := []struct {
		count int
		limit time.Duration // of the last announcement's arrival
	}{
		{1, 65 * time.Millisecond},
		{500, 130 * time.Millisecond},
		{10_000, 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(strconv.Itoa(tt.count), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := simulated(t, 2)
				var all []netip.Addr
				for a := netip.MustParseAddr("10.10.0.0"); len(all) < tt.count; a = a.Next() {
					all = append(all, a)
				}
				p := plan{addresses: all, owner: 1, order: []int{1, 2}, previous: Alive}
				b.follow(p)
				time.Sleep(40 * time.Second)
				b.unplug(1)
				p.owner, p.order, p.previous, p.down = 2, []int{2}, Down, []int{1}
				b.client.take()
				start := time.Now()
				b.nodes[2].follow(p)
				time.Sleep(10 * time.Second)
				first := make(map[netip.Addr]time.Duration)
				for _, got := range b.client.take() {
					if _, ok := first[got.arp.senderIP]; !ok && got.eth.src == macOf(2) && !got.arp.senderIP.IsUnspecified() {
						first[got.arp.senderIP] = got.at.Sub(start)
					}
				}
				if len(first) != tt.count {
					t.Errorf("%d of %d announced", len(first), tt.count)
				}
				last := slices.Max(slices.Collect(maps.Values(first)))
				t.Logf("last address announced after %v", last)
				if last > tt.limit {
					t.Errorf("more than %v", tt.limit)
				}
			})
		})
	}
}
