package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
)

// enduring fails the test if an announcer restarted or grew beyond what a node
// can spare, or a member was lost, while what is hostile went on.
func (s *site) enduring(t *testing.T, hostile func()) {
	t.Helper()
	const most = 100 << 20
	pids := map[string][]int{}
	for _, node := range s.Nodes() {
		var err error
		pids[node], err = s.Pids(node, "announcer")
		s.must(t, err)
	}
	o := s.WatchOwners(s.addresses)
	hostile()
	o.Stop()
	for _, a := range s.addresses {
		if moves := o.Moves(a); len(moves) != 1 {
			t.Errorf("%v went from node to node: %v", a, moves)
		}
	}
	for _, node := range s.Nodes() {
		now, err := s.Pids(node, "announcer")
		s.must(t, err)
		if len(now) != 1 || now[0] != pids[node][0] {
			t.Errorf("the announcer of %s was process %v, now it is %v", node, pids[node], now)
		}
		memory, err := s.Resident(node)
		s.must(t, err)
		t.Logf("%s: %d MB", node, memory>>20)
		if memory > most {
			t.Errorf("the announcer of %s has %d MB", node, memory>>20)
		}
	}
	s.settled(t)
}

// A flood of all kinds of ARP and neighbour discovery, most of it broken.
func TestFloodOfFrames(t *testing.T) {
	c := onCluster(t)
	c.stranger(t)
	s := c.site(t, "flood", 1)
	frames := hostileFrames(t, s.both())
	const rate, lasts = 50_000, 8 * time.Second
	received := c.counting(t, "herald_layer2_received_total", "kind", "request", "malformed", "unassigned")
	refused := c.counting(t, "herald_layer2_malformed_total", "reason",
		"short", "vlan", "header", "operation", "spoofed", "hop_limit", "checksum")
	s.enduring(t, func() {
		asking := s.ask(t, s.both())
		sent, err := c.flood(frames, rate, lasts)
		c.must(t, err)
		t.Logf("%.0f frames a second", float64(sent)/lasts.Seconds())
		for i, r := range asking.reports(t) {
			if r.Answered < r.Sent*9/10 {
				t.Errorf("%v: %d of %d connections were answered", s.addresses[i], r.Answered, r.Sent)
			}
		}
	})
	received()
	refused()
	for _, a := range s.both() {
		c.answers(t, a, 80)
	}
}

// counting notes how far a metric of all announcers has counted for some values
// of a label. What it returns fails the test unless each has been counted since,
// and says how much all of them have.
func (c *cluster) counting(t *testing.T, metric, label string, values ...string) (counted func() float64) {
	t.Helper()
	count := func(value string) float64 { return c.sum(t, metric, fmt.Sprintf("%s=%q", label, value)) }
	before := map[string]float64{}
	for _, v := range values {
		before[v] = count(v)
	}
	return func() (sum float64) {
		t.Helper()
		for _, v := range values {
			n := count(v) - before[v]
			sum += n
			t.Logf("%s: %.0f for %s %q", metric, n, label, v)
			if n == 0 {
				t.Errorf("%s: nothing was counted for %s %q", metric, label, v)
			}
		}
		return sum
	}
}

// hostileFrames are questions for the addresses, for others, broken ones and
// tagged ones, by invented senders. There are no claims among them: clients would
// believe them, and nobody can keep them from that.
func hostileFrames(t *testing.T, addresses []netip.Addr) [][]byte {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	var out [][]byte
	for i := range 4096 {
		mac := net.HardwareAddr{6, byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()), byte(i), byte(i >> 8)}
		a := addresses[i%len(addresses)]
		from, target := elsewhere(a, random), a
		switch i / 2 % 8 {
		case 1:
			target = elsewhere(a, random)
		case 2:
			target = netip.MustParseAddr("192.168.31.249") // of the pool, and nobody's
			if a.Is6() {
				target = netip.MustParseAddr("fd31::24f")
			}
		}
		frame, err := question(mac, from, target)
		if err != nil {
			t.Fatal(err)
		}
		switch i / 2 % 8 {
		case 3, 4:
			const arpSender, after = 28, 32 // another one could make it a claim
			at := 14 + random.IntN(len(frame)-14)
			if !a.Is4() || at < arpSender || at >= after {
				frame[at] ^= byte(1 + random.IntN(255))
			}
		case 5:
			frame = frame[:14+random.IntN(len(frame)-14)]
		case 6:
			frame = tagged(frame)
		}
		out = append(out, frame)
	}
	return out
}

// question asks for an address of either family.
func question(mac net.HardwareAddr, from, target netip.Addr) ([]byte, error) {
	if target.Is4() {
		return arpFrame(mac, from, target)
	}
	group, err := ndp.SolicitedNodeMulticast(target)
	if err != nil {
		return nil, err
	}
	return ndpFrame(mac, from, group, &ndp.NeighborSolicitation{
		TargetAddress: target, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac}},
	})
}

// elsewhere is another address of the same LAN, that no host has.
func elsewhere(a netip.Addr, random *rand.Rand) netip.Addr {
	b := a.AsSlice()
	b[len(b)-1] = byte(150 + random.IntN(80))
	out, _ := netip.AddrFromSlice(b)
	return out
}

// tagged puts a frame into VLAN 5.
func tagged(frame []byte) []byte {
	out := append([]byte{}, frame[:12]...)
	return append(append(out, 0x81, 0, 0, 5), frame[12:]...)
}

// flood sends what is due each millisecond, and returns how many frames it was.
func (c *cluster) flood(frames [][]byte, rate int, lasts time.Duration) (sent int, err error) {
	conn, _, err := c.wire(stranger)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < lasts; <-tick.C {
		due := int(time.Since(start).Seconds() * float64(rate))
		for burst := 0; sent < due && burst < rate/50; burst++ {
			// One that the queue has no room for is lost, as on a real LAN.
			_, _ = conn.WriteTo(frames[sent%len(frames)], &packet.Addr{HardwareAddr: ethernet.Broadcast})
			sent++
		}
	}
	return sent, nil
}

// Questions in another VLAN, and for addresses that nobody owns, are counted by
// every node and answered by none.
func TestOthersQuestionsAreNotAnswered(t *testing.T) {
	c := onCluster(t)
	c.stranger(t)
	s := c.site(t, "others", 1)
	conn, mac, err := c.wire(stranger)
	c.must(t, err)
	conn.Close()
	from, err := c.Address(stranger, s.addresses[0])
	c.must(t, err)
	plain, err := arpFrame(mac, from, s.addresses[0])
	c.must(t, err)
	unowned, err := arpFrame(mac, from, netip.MustParseAddr("192.168.31.249"))
	c.must(t, err)
	replies := func() float64 { return c.sum(t, "herald_layer2_replies_total", `family="ipv4"`) }
	seen := func() (vlan, unassigned float64) {
		return c.sum(t, "herald_layer2_malformed_total", `reason="vlan"`), c.sum(t, "herald_layer2_received_total", `kind="unassigned"`)
	}
	before := replies()
	vlan, unassigned := seen()
	c.must(t, c.sendFrames(stranger, tagged(plain), unowned, tagged(plain), unowned))
	eventually(t, soon, "the questions are counted", func() error {
		v, u := seen()
		if all := float64(2 * len(c.Nodes())); v-vlan < all || u-unassigned < all {
			return fmt.Errorf("%v tagged ones and %v for an address that nobody owns, of %v each", v-vlan, u-unassigned, all)
		}
		return nil
	})
	if n := replies() - before; n != 0 {
		t.Errorf("%v of the questions were answered", n)
	}
	c.must(t, c.sendFrames(stranger, plain))
	eventually(t, soon, "the question without a tag is answered", func() error {
		if replies() == before {
			return errors.New("no reply")
		}
		return nil
	})
}

// What reaches the members' port from others, or a second time, changes nothing.
func TestGarbageAndReplaysOnTheMembersPort(t *testing.T) {
	c := onCluster(t)
	c.stranger(t)
	s := c.site(t, "garbage", 1)
	node := s.owner
	addresses, err := c.NodeAddresses(node)
	c.must(t, err)
	to := netip.AddrPortFrom(addresses[0], 7946)
	heard, err := c.overhear(node, 300)
	c.must(t, err)
	conn, mac, err := c.wire(stranger)
	c.must(t, err)
	conn.Close()
	for _, frame := range heard {
		// From the members' own MACs the switch would learn that they are here,
		// and send the stranger what is meant for them.
		copy(frame[6:12], mac)
		// The kernel left it to the network card, of which there is none. Without
		// one the packet is valid, too.
		const checksum = 14 + 20 + 6
		frame[checksum], frame[checksum+1] = 0, 0
	}
	replayed := c.counting(t, "herald_member_refused_total", "reason", "replayed")
	counted := c.counting(t, "herald_member_refused_total", "reason",
		"unknown source", "malformed", "unknown key", "no handshake", "too many streams from the source")
	down := c.sum(t, "herald_member_down_total")
	s.enduring(t, func() {
		for range 20 {
			c.must(t, c.sendFrames(stranger, heard...))
		}
		c.must(t, c.garbage(stranger, to))
		c.must(t, c.garbage(c.other(node), to))
	})
	for what, n := range map[string]float64{"replays": replayed(), "garbage": counted()} {
		if n < 1000 {
			t.Errorf("%s: %.0f packets and streams were counted as refused, thousands were sent", what, n)
		}
	}
	if n := c.sum(t, "herald_member_down_total") - down; n != 0 {
		t.Errorf("members were found down %v times", n)
	}
}

// overhear records frames that come to a node's members' port.
func (c *cluster) overhear(node string, n int) ([][]byte, error) {
	var conn *packet.Conn
	err := c.Do(node, func() error {
		iface, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(iface, packet.Raw, int(ethernet.EtherTypeIPv4), nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, err
	}
	var out [][]byte
	buf := make([]byte, 2048)
	for len(out) < n {
		size, _, err := conn.ReadFrom(buf)
		if err != nil {
			return nil, fmt.Errorf("overhear the members: %w", err)
		}
		const ipv4, udp, protocol, port = 14, 17, 14 + 9, 14 + 20 + 2
		if size > port+2 && buf[ipv4] == 0x45 && buf[protocol] == udp && int(buf[port])<<8|int(buf[port+1]) == 7946 {
			out = append(out, append([]byte{}, buf[:size]...))
		}
	}
	return out, nil
}

// garbage sends thousands of packets and opens hundreds of streams. Every other
// one begins as one of a member does, which has another key; every fourth ends
// before it says anything.
func (c *cluster) garbage(from string, to netip.AddrPort) error {
	random := rand.New(rand.NewPCG(9, 9))
	junk := func() []byte {
		size := 2 + random.IntN(1400)
		if random.IntN(4) == 0 {
			size = 2
		}
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if random.IntN(2) == 0 {
			const version, gossip = 1, 1
			b[0], b[1] = version, gossip
		}
		return b
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	udp, err := c.Dial(ctx, from, "udp", to.String())
	if err != nil {
		return err
	}
	defer udp.Close()
	for range 5000 {
		_, _ = udp.Write(junk()) // a refusal comes back as an error
	}
	for range 200 {
		tcp, err := c.Dial(ctx, from, "tcp", to.String())
		if err != nil {
			continue // refused, as it should be
		}
		defer tcp.Close()
		_, _ = tcp.Write(junk())
	}
	<-time.After(2 * time.Second)
	return nil
}
