package layer2

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/announce/announcetest"
)

// neighbour returns a kernel's entry for an address: whom it sends to.
func neighbour(t *testing.T, h *announcetest.Host, a netip.Addr) announce.MAC {
	t.Helper()
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	entries, err := h.Netlink.NeighList(h.Link.Attrs().Index, family)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if got, _ := netip.AddrFromSlice(e.IP); got.Unmap() == a && len(e.HardwareAddr) == 6 {
			return announce.MAC(e.HardwareAddr)
		}
	}
	return announce.MAC{}
}

// forget removes a kernel's entry for an address.
func forget(t *testing.T, h *announcetest.Host, a netip.Addr) {
	t.Helper()
	err := h.Netlink.NeighDel(&netlink.Neigh{LinkIndex: h.Link.Attrs().Index, IP: a.AsSlice()})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
}

// knock makes a kernel resolve an address, by a datagram for it.
func knock(t testing.TB, h *announcetest.Host, a netip.Addr) {
	t.Helper()
	err := h.Do(func() error {
		c, err := net.Dial("udp", netip.AddrPortFrom(a, 9).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("?"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for time.Since(start) < 20*time.Second {
		if ok() {
			return time.Since(start)
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("not within 20 s: %s", what)
	return 0
}

// TestKernelClient is the point of it all: a Linux host resolves the addresses,
// and sends to the new owner when the old one is gone, however fresh its entry.
func TestKernelClient(t *testing.T) {
	b := real(t, 2)
	client := b.hosts[clientHost]
	client.AddAddress("fd09::101/64")
	p := b.own()
	for _, a := range vips {
		knock(t, client, a)
		waitFor(t, "resolved", func() bool { return neighbour(t, client, a) == macOf(1) })
	}
	b.unplug(1)
	p.owner, p.order, p.previous, p.down = 2, []int{2}, Down, []int{1}
	b.nodes[2].follow(p)
	start := time.Now()
	for _, a := range vips {
		waitFor(t, "moved", func() bool { return neighbour(t, client, a) == macOf(2) })
		t.Logf("%s: the client's kernel sends to the new owner %v after the verdict", a, time.Since(start))
	}
}

// TestKernelStranger has another host's kernel hold the addresses.
func TestKernelStranger(t *testing.T) {
	b := real(t, 1)
	stranger := b.hosts[strangerHost]
	prefixes := []string{"10.9.0.200/24", "fd09::200/64"}
	for _, p := range prefixes {
		stranger.AddAddress(p)
	}
	b.follow(plan{addresses: vips, owner: 1, order: []int{1}})
	b.until(5*time.Second, 1, Held)
	for _, e := range b.wantTold(1, Held) {
		if e.MAC != macOf(strangerHost) {
			t.Errorf("told of %+v", e)
		}
	}
	for _, p := range prefixes {
		stranger.DelAddress(p)
	}
	b.within(5*time.Second, 1)
	b.wantAnswer(1)
}

// TestDuplicateDetection: a host that configures an owned address learns that
// it is taken, and doesn't use it.
func TestDuplicateDetection(t *testing.T) {
	b := real(t, 1)
	b.own()
	stranger := b.hosts[strangerHost]
	stranger.Sysctl("net/ipv6/conf/eth0/accept_dad", "1")
	stranger.AddAddress("fd09::200/64")
	waitFor(t, "refused", func() bool {
		addresses, err := stranger.Netlink.AddrList(stranger.Link, unix.AF_INET6)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addresses {
			if got, _ := netip.AddrFromSlice(a.IP); got == vip6 {
				return a.Flags&unix.IFA_F_DADFAILED != 0
			}
		}
		return false
	})
}

// TestLinkDownAndUp: the socket outlives its link's being down.
func TestLinkDownAndUp(t *testing.T) {
	b := real(t, 1)
	b.own()
	h := b.hosts[1]
	if err := h.Netlink.LinkSetDown(h.Link); err != nil {
		t.Fatal(err)
	}
	if err := h.Netlink.LinkSetUp(h.Link); err != nil {
		t.Fatal(err)
	}
	h.WaitUp()
	b.wantAnswer(1)
}

// TestMovesUnderLoad moves the addresses to and fro while a client resolves them
// all the time. It always learns at once whom to send to.
func TestMovesUnderLoad(t *testing.T) {
	const moves, every = 20, 25 * time.Millisecond // below what one client is granted a second
	b := real(t, 2)
	p := b.own()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	asked, unresolved := 0, 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(every):
			}
			for _, a := range vips {
				asked++
				if !b.client.resolve(a) {
					unresolved++
				}
			}
		}
	})
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range moves {
		p.owner, p.order = 2-i%2, []int{2 - i%2, 1 + i%2}
		first := 1 + rng.IntN(2)
		b.nodes[first].follow(p)
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		b.nodes[3-first].follow(p)
		b.within(5*time.Second, p.owner)
		b.nothing(5*time.Second, 3-p.owner)
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests during %d moves, %d in vain", asked, moves, unresolved)
	if unresolved > 0 {
		t.Fail()
	}
	b.wantAnswer(p.owner)
}

// TestVLAN: a tagged request is for another LAN and isn't answered in this one,
// although the kernel delivers it with the tag taken off.
func TestVLAN(t *testing.T) {
	b := real(t, 1)
	b.own()
	tag := func(frame []byte) []byte {
		return append(append(append([]byte(nil), frame[:12]...), 0x81, 0x00, 0x00, 0x05), frame[12:]...)
	}
	b.client.take()
	raw := b.client.wires[IPv4]
	const asked = 20
	for range asked {
		for _, f := range [][]byte{arpFrame(nil), neighborAsk(b.client.link, vip6)} {
			if err := raw.WriteFrame(tag(f)); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(b.reply)
	for _, got := range b.client.take() {
		if got.reply && got.eth.src == macOf(1) && got.eth.dst == b.client.link.MAC {
			t.Errorf("answered by %+v", got)
		}
	}
	for _, f := range []Family{IPv4, IPv6} {
		waitFor(t, "all tagged "+f.String()+" frames counted", func() bool { return b.refused(1, f, vlanTagged) == asked })
	}
	b.wantAnswer(1)
}

// TestRefusedFramesAreCounted: the kernel's filter keeps nothing back that is
// broken and concerns an address.
func TestRefusedFramesAreCounted(t *testing.T) {
	b := real(t, 1)
	b.own()
	// A bridge drops or trims what is not as long as its IPv6 header says.
	arp, ask := arpFrame(nil), neighborAsk(b.client.link, vip6)
	change := func(frame []byte, at int, value byte) []byte {
		frame = slices.Clone(frame)
		frame[at] = value
		return frame
	}
	tests := []struct {
		family Family
		reason malformed
		frame  []byte
	}{
		{IPv4, tooShort, arp[:30]},
		{IPv4, badHeader, change(arp, 17, 1)},
		{IPv4, badOperation, change(arp, 21, 9)},
		{IPv4, spoofedSender, change(arp, 27, 99)},
		{IPv6, tooShort, change(ask[:70], 19, 16)},
		{IPv6, badHopLimit, change(ask, 21, 64)},
		{IPv6, badChecksum, change(ask, 56, ask[56]^1)},
		{IPv6, badOperation, change(ask, 55, 1)},
	}
	for _, tt := range tests {
		if err := b.client.wires[tt.family].WriteFrame(tt.frame); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range tests {
		waitFor(t, "an "+tt.family.String()+" frame refused as "+string(tt.reason), func() bool { return b.refused(1, tt.family, tt.reason) == 1 })
	}
	b.wantAnswer(1)
}

// TestQuestionsForUnassignedAddresses: the kernel's filter passes questions for
// the addresses of the pools that no Service has, and they are counted.
func TestQuestionsForUnassignedAddresses(t *testing.T) {
	b := real(t, 1)
	b.own()
	for i := range 3 {
		b.client.send(arpPacket{op: 1, senderMAC: macOf(clientHost), senderIP: clientIP, targetIP: spare4}.appendTo(nil, broadcastMAC()))
		b.client.send(neighborAsk(b.client.link, spare6))
		for _, f := range []Family{IPv4, IPv6} {
			waitFor(t, "an unanswered "+f.String()+" question counted", func() bool { return b.saw(1, f, sawUnassigned) == float64(i+1) })
		}
	}
	for _, a := range []netip.Addr{spare4, spare6} {
		if got := b.client.answers(a, 0, b.reply); len(got) > 0 {
			t.Errorf("%s is answered by %v", a, got)
		}
	}
	b.wantAnswer(1)
}

// saw is how many frames of a kind a node has received.
func (b *bed) saw(node int, f Family, kind sightingKind) float64 {
	n := b.nodes[node]
	return testutil.ToFloat64(n.cfg.Metrics.received.WithLabelValues(n.link.Name, f.String(), kind.String()))
}

// refused is how many frames of a family a node has refused for a reason.
func (b *bed) refused(node int, f Family, reason malformed) float64 {
	n := b.nodes[node]
	return testutil.ToFloat64(n.cfg.Metrics.malformed.WithLabelValues(n.link.Name, f.String(), string(reason)))
}

// TestFlood: a host sends garbage, claims and requests as fast as it can, up to
// 50,000 frames a second. Clients go on being answered, and memory stays.
func TestFlood(t *testing.T) {
	const perSecond, tick = 50_000, 5 * time.Millisecond
	length := 2 * time.Second
	if testing.Short() {
		length /= 4
	}
	b := real(t, 1)
	p := b.own()
	p.addresses = append([]netip.Addr{other4, other6}, vips...) // the first two are claimed by the flood
	b.follow(p)
	b.owns(time.Second, 1, 4)
	b.client.deaf()
	b.stranger.deaf()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	rng := rand.New(rand.NewPCG(5, 6))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	sent := 0
	wg.Go(func() {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			for range int(perSecond * tick / time.Second) {
				frame := hostileFrame(rng)
				f := IPv4
				if e, _ := parseEthernet(frame); e.etherType == etherTypeIPv6 {
					f = IPv6
				}
				if err := b.stranger.wires[f].WriteFrame(frame); err == nil {
					sent++
				}
			}
		}
	})
	client := b.hosts[clientHost]
	client.AddAddress("fd09::101/64")
	var took []time.Duration
	for start := time.Now(); time.Since(start) < length; {
		time.Sleep(20 * time.Millisecond) // stay below what one client is granted a second
		for _, a := range vips {
			forget(t, client, a)
			knock(t, client, a)
			took = append(took, waitFor(t, "resolved", func() bool { return neighbour(t, client, a) == macOf(1) }))
		}
	}
	close(stop)
	wg.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	slices.Sort(took)
	t.Logf("%d hostile frames; the client's kernel resolved %d times, median %v, worst %v; heap %d KiB before, %d KiB after",
		sent, len(took), took[len(took)/2], took[len(took)-1], before.HeapAlloc>>10, after.HeapAlloc>>10)
	for _, kind := range []sightingKind{sawRequest, sawClaim, sawMalformed, sawUnassigned} {
		if b.saw(1, IPv4, kind) == 0 {
			t.Errorf("no ARP frame was counted as %s", kind)
		}
	}
	if after.HeapAlloc > before.HeapAlloc+(16<<20) {
		t.Errorf("the heap grew by %d KiB", (after.HeapAlloc-before.HeapAlloc)>>10)
	}
}

// hostileFrame is one of the kinds that a hostile host would send, from an
// invented MAC.
func hostileFrame(rng *rand.Rand) []byte {
	mac := announce.MAC{2, 0xbb, byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}
	foreignIP := netip.MustParseAddr("10.9.0.99")
	l := announce.Link{MAC: mac, LinkLocal: netip.MustParseAddr("fe80::bad")}
	switch rng.IntN(6) {
	case 0:
		return arpAnnounceRequest(nil, mac, other4)
	case 1:
		return arpPacket{op: 1, senderMAC: mac, senderIP: foreignIP, targetIP: vip4}.appendTo(nil, broadcastMAC())
	case 2:
		return arpPacket{op: 1, senderMAC: mac, senderIP: netip.IPv4Unspecified(), targetIP: spare4}.appendTo(nil, broadcastMAC())
	case 3:
		return neighborAnnounce(nil, l, other6)
	case 4:
		return neighborAsk(l, vip6)
	}
	b := arpPacket{op: 1, senderMAC: mac, senderIP: foreignIP, targetIP: vip4}.appendTo(nil, broadcastMAC())
	b[14+rng.IntN(28)] = byte(rng.Uint32())
	return b
}

// TestServedLinks answers on devices other than a host's own interface.
func TestServedLinks(t *testing.T) {
	tests := []struct {
		name string
		add  func(h *announcetest.Host) netlink.Link
	}{
		{"macvlan, whose filter keeps multicast out that isn't asked for", func(h *announcetest.Host) netlink.Link {
			return &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "served", ParentIndex: h.Link.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}
		}},
		{"bridge, of which the host's interface is a port", func(h *announcetest.Host) netlink.Link {
			return &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "served"}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := real(t, 1)
			h := b.hosts[1]
			served := tt.add(h)
			check(t, h.Netlink.LinkAdd(served))
			t.Cleanup(func() { check(t, h.Netlink.LinkDel(served)) })
			check(t, h.Netlink.LinkSetHardwareAddr(served, net.HardwareAddr{2, 0, 0, 0, 0, 3}))
			if served.Type() == "bridge" {
				check(t, h.Netlink.LinkSetMaster(h.Link, served))
			}
			check(t, h.Netlink.LinkSetUp(served))
			n := b.nodes[1]
			n.link = announce.Link{Name: "served", Index: served.Attrs().Index, MAC: macOf(3), LinkLocal: netip.MustParseAddr("fe80::3")}
			b.follow(plan{addresses: vips, owner: 1, order: []int{1}, previous: Alive})
			b.within(time.Second, 1)
			waitFor(t, "the link forwards", func() bool { return len(b.client.answers(vip4, 1, 0)) > 0 })
			b.wantAnswer(3)
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
