package layer2

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

// inBubble runs a test on the simulated LAN only: it takes minutes of its time.
func inBubble(t *testing.T, nodes int, f func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(simulated(t, nodes)) })
}

// announcements returns what the client heard of gratuitous frames of a node.
func (b *bed) announcements(n int) (frames []heard) {
	for _, got := range b.client.take() {
		if got.eth.src == macOf(n) && got.eth.dst[0]&1 == 1 && (got.arp.gratuitous() && got.eth.etherType == etherTypeARP || got.nd.advertisement) {
			frames = append(frames, got)
		}
	}
	return frames
}

func TestStrangerClaims(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		b.own()
		time.Sleep(45 * time.Second) // past the series
		b.client.take()
		for range 100 { // over 20 s
			b.stranger.send(arpAnnounceRequest(nil, macOf(strangerHost), vip4))
			b.stranger.send(neighborAnnounce(nil, b.stranger.link, vip6))
			time.Sleep(200 * time.Millisecond)
		}
		if got := len(b.announcements(1)); got != 6 { // twice; three frames for both families
			t.Errorf("defended by %d frames in 20 s", got)
		}
		for _, e := range b.wantTold(1, Conflict) {
			if e.MAC != macOf(strangerHost) || e.Node != "" || e.Link != "eth0" || e.ProxyARP() {
				t.Errorf("told of %+v", e)
			}
		}
		b.wantAnswer(1)
		time.Sleep(5 * time.Minute)
		b.wantTold(1, ConflictOver)
	})
}

// TestSilentSecondHolder: nothing shows that a host has configured the address,
// but it answers the owner's probe within about a minute.
func TestSilentSecondHolder(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		b.own()
		time.Sleep(10 * time.Second)
		for _, a := range vips {
			b.stranger.hold(a)
		}
		time.Sleep(75 * time.Second)
		b.wantTold(1, Conflict)
		for _, a := range vips {
			if got := b.client.cached(a); got != macOf(1) {
				t.Errorf("client sends for %s to %x", a, got)
			}
		}
	})
}

// TestUnknownMACAfterTakeover: for some seconds it may be a node's that isn't
// known yet, but if it is a stranger's it is told of.
func TestUnknownMACAfterTakeover(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		b.own()
		for _, a := range vips {
			b.stranger.hold(a)
		}
		b.stranger.send(arpAnnounceRequest(nil, macOf(strangerHost), vip4))
		b.stranger.send(neighborAnnounce(nil, b.stranger.link, vip6))
		time.Sleep(4 * time.Second)
		b.wantTold(1)
		time.Sleep(2 * time.Second)
		b.wantTold(1, Conflict)
	})
}

// TestSplitLAN cuts the LAN in two and joins it again, while the membership
// notices neither at once.
func TestSplitLAN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := simulated(t, 2)
		p := b.own()
		lan := b.nodes[2].cfg.Opener.(*lan)
		lan.setSide(2, 1)
		lan.setSide(strangerHost, 1)
		b.nodes[1].follow(plan{addresses: vips, owner: 1, order: []int{1}, previous: Alive, down: []int{2}})
		b.nodes[2].follow(plan{addresses: vips, owner: 2, order: []int{2}, previous: Down, down: []int{1}})
		time.Sleep(time.Minute)
		b.wantAnswer(1)
		b.wantTold(2, TookOver)
		for _, a := range vips {
			if got := b.stranger.cached(a); got != macOf(2) {
				t.Errorf("the other side sends for %s to %x", a, got)
			}
		}
		lan.setSide(2, 0)
		lan.setSide(strangerHost, 0)
		time.Sleep(1500 * time.Millisecond)
		b.wantAnswer(1)
		b.wantTold(2, SplitBrain, Held)
		for _, a := range vips {
			if got := b.stranger.cached(a); got != macOf(1) {
				t.Errorf("the other side sends for %s to %x", a, got)
			}
		}
		b.follow(p)
		time.Sleep(time.Second)
		b.wantAnswer(1)
	})
}

// TestLinkComesBack: a link that goes and comes is served and announced on anew,
// and a MAC that changes is announced at once.
func TestLinkComesBack(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		p := b.own()
		n := b.nodes[1]
		link := n.link
		time.Sleep(45 * time.Second)

		withLinks := func(links ...announce.Link) {
			d := *n.desired.Load()
			d.Links = links
			n.Apply(d)
			time.Sleep(b.reply)
		}
		withLinks()
		b.wantAnswer()
		b.client.take()
		withLinks(link)
		if got := len(b.announcements(1)); got != 3 {
			t.Errorf("%d announcements on a link that came up", got)
		}
		b.wantAnswer(1)

		time.Sleep(45 * time.Second)
		b.client.take()
		b.follow(p)
		time.Sleep(time.Second)
		if got := len(b.announcements(1)); got != 0 {
			t.Errorf("%d announcements on a mere update", got)
		}
		link.MAC = macOf(3)
		withLinks(link)
		for _, a := range vips {
			if got := b.client.cached(a); got != macOf(3) {
				t.Errorf("client sends for %s to %x", a, got)
			}
		}
	})
}

// TestStopsAtOnce: when the speaker ends nothing is sent any more.
func TestStopsAtOnce(t *testing.T) {
	inBubble(t, 1, func(b *bed) {
		b.own()
		extra := &node{link: linkOf(2), Speaker: New(Config{Self: nodeOf(2), Opener: b.nodes[1].cfg.Opener, Outranks: byName})}
		stop := extra.run(t)
		extra.follow(plan{addresses: vips[:1], owner: 2, order: []int{2}, previous: Alive, down: []int{1}})
		time.Sleep(10 * time.Millisecond)
		stop()
		b.client.take()
		time.Sleep(time.Minute)
		if got := b.announcements(2); len(got) > 0 || len(extra.Owned()) > 0 {
			t.Errorf("after its end: %v, owns %v", got, extra.Owned())
		}
	})
}
