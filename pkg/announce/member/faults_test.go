package member

import (
	"crypto/rand"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// downsSince returns how many times members saw others going down.
func (l *lab) downsSince(from time.Time) int {
	n := 0
	for _, m := range l.members {
		for _, other := range l.members {
			for _, s := range m.since(other.name, from) {
				if !s.Alive {
					n++
				}
			}
		}
	}
	return n
}

func TestStallsMoveNothing(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, 3)
	from := time.Now()
	for i := range 20 {
		m := l.members[i%3]
		m.signal(syscall.SIGSTOP)
		time.Sleep(300 * time.Millisecond)
		m.signal(syscall.SIGCONT)
		time.Sleep(200 * time.Millisecond)
	}
	if n := l.downsSince(from); n != 0 {
		t.Errorf("%d false verdicts", n)
	}
	t.Logf("load %s", load())
}

func TestFrozenAgentIsGivenTwoSeconds(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, 3)
	from := time.Now()
	l.members[0].signal(syscall.SIGSTOP)
	for _, o := range l.others(0) {
		s := l.await(o, "node-1", from, func(s sighting) bool { return !s.Alive })
		took := time.Unix(0, s.At).Sub(from)
		t.Logf("%s: %s after %v", o.name, s.Down, took.Round(time.Millisecond))
		// memberlist may be the first, on a starved machine.
		if took < 1500*time.Millisecond || took > 4*time.Second || s.Down != Stalled.String() && s.Down != Unknown.String() {
			t.Errorf("%s: %q after %v", o.name, s.Down, took)
		}
	}
	from = time.Now()
	l.members[0].signal(syscall.SIGCONT)
	l.awaitAll(3)
	t.Logf("all alive after %v, load %s", time.Since(from).Round(time.Millisecond), load())
}

func TestGoodbye(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, 5)
	var took spread
	missed := 0
	for i := range 5 {
		from := time.Now()
		l.members[i].signal(syscall.SIGTERM)
		took = append(took, l.lastDown(i, from, Left))
		for _, o := range l.others(i) {
			if s := l.await(o, l.members[i].name, from, func(s sighting) bool { return !s.Alive }); s.Down != Left.String() {
				missed++
			}
		}
		<-l.members[i].read
		l.members[i].end()
		l.start(i)
		l.awaitAll(5)
	}
	t.Logf("all know of a goodbye after %v median, %v max, %d of 20 missed that it was one, load %s", took.median(), took.max(), missed, load())
	if missed > 0 {
		t.Error("gossip lost some")
	}
}

func TestPartitionHeals(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, 5)
	other := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan2"}}
	l.must(netlink.LinkAdd(other))
	l.must(netlink.LinkSetUp(other))
	t.Cleanup(func() { netlink.LinkDel(other) })
	var healed spread
	for range 3 {
		for i := range 2 {
			l.must(netlink.LinkSetMaster(l.members[i].cable, other))
		}
		for i, m := range l.members {
			for j, o := range l.members {
				if (i < 2) != (j < 2) {
					l.awaitState(m, o.name, false)
				}
			}
		}
		time.Sleep(3 * time.Second) // memberlist has buried them by then
		from := time.Now()
		for i := range 2 {
			l.must(netlink.LinkSetMaster(l.members[i].cable, l.bridge))
		}
		l.awaitAll(5)
		healed = append(healed, time.Since(from))
	}
	t.Logf("2 and 3 found together after %v median, %v max, load %s", healed.median(), healed.max(), load())
	if healed.max() > 4*time.Second {
		t.Error("too slow")
	}
}

func TestNodeCutOffAloneKnowsIt(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, 3)
	from := time.Now()
	l.cut(0)
	for _, o := range l.others(0) {
		s := l.await(l.members[0], o.name, from, func(s sighting) bool { return !s.Alive })
		if s.Down != Unknown.String() || !s.Witness {
			t.Errorf("the one cut off says of %s: %+v", o.name, s)
		}
	}
	l.await(l.members[0], "node-1", from, func(s sighting) bool { return s.Alone })
	for _, o := range l.others(0) {
		if s := l.await(o, "node-1", from, func(s sighting) bool { return !s.Alive }); s.Witness || s.Alone {
			t.Errorf("%s, which has company, says of the one cut off: %+v", o.name, s)
		}
	}
}

// TestMemberWithAWrongKey is a node whose Secret is not the others': it stays
// alone and harms nobody, and is a member once it has theirs.
func TestMemberWithAWrongKey(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, 3)
	right, wrong := l.keyDir, keyDir(t, map[string]string{PrimaryKey: "another secret of some length"})
	restart := func(keys string) {
		l.members[2].end()
		l.keyDir = keys
		l.start(2)
	}
	from := time.Now()
	restart(wrong)
	for _, o := range l.others(2) {
		l.awaitState(o, "node-3", false)
	}
	down := time.Now()
	l.await(l.members[2], "node-3", from, func(s sighting) bool { return s.Alone })
	time.Sleep(3 * time.Second) // nothing is to happen
	for i, m := range l.members {
		for j, o := range l.members {
			if seen := m.since(o.name, down); (i < 2) != (j < 2) && slices.ContainsFunc(seen, func(s sighting) bool { return s.Alive }) {
				t.Errorf("%s takes %s for a member: %+v", m.name, o.name, seen)
			} else if i < 2 && j < 2 && len(seen) > 0 {
				t.Errorf("%s and %s lost each other: %+v", m.name, o.name, seen)
			}
		}
	}
	restart(right)
	l.awaitAll(3)
}

func TestIPv6(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLabOn(t, 3, netip.MustParsePrefix("fd00:94::/64"))
	time.Sleep(newcomerGrace)
	from := time.Now()
	l.cut(0)
	cut := l.lastDown(0, from, HostGone)
	l.mend(0)
	l.awaitAll(3)
	from = time.Now()
	l.members[1].kill()
	killed := l.lastDown(1, from, AgentGone)
	t.Logf("cut %v, killed %v, load %s", cut, killed, load())
}

// TestIdleCost shows what a member takes while nothing happens.
func TestIdleCost(t *testing.T) {
	if !inLab(t) {
		return
	}
	const during = 5 * time.Second
	for _, size := range []int{3, 10} {
		l := newLab(t, size)
		time.Sleep(2 * time.Second)
		m := l.members[0]
		out, cpu := l.sent(m), processTime(t, m.cmd.Process.Pid)
		time.Sleep(during)
		now := l.sent(m)
		t.Logf("%d members: %d packets/s, %.1f kB/s out, %.1f %% of a CPU, %d MiB, load %s", size, (now.packets-out.packets)/5, float64(now.bytes-out.bytes)/5000,
			100*float64(processTime(t, m.cmd.Process.Pid)-cpu)/float64(during), memory(t, m.cmd.Process.Pid)>>20, load())
		l.close()
	}
}

// sent is what a member's cable has carried to the LAN.
func (l *lab) sent(m *labMember) (n struct{ packets, bytes uint64 }) {
	l.t.Helper()
	link, err := netlink.LinkByIndex(m.cable.Attrs().Index)
	l.must(err)
	n.packets, n.bytes = link.Attrs().Statistics.RxPackets, link.Attrs().Statistics.RxBytes
	return n
}

// inHost runs a function in a member's network namespace.
func (l *lab) inHost(m *labMember, do func()) {
	l.t.Helper()
	// The thread goes back and isn't ended, as the members' processes die
	// with the thread that started them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	l.must(err)
	defer own.Close()
	l.must(netns.Set(m.host))
	defer func() { l.must(netns.Set(own)) }()
	do()
}

// TestHostileTraffic attacks a member from an address it listens to.
func TestHostileTraffic(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, 3)
	target, from := l.members[0], time.Now()
	at := netip.AddrPortFrom(target.addr, DefaultPort)
	before := memory(t, target.cmd.Process.Pid)
	for _, attacker := range []struct {
		name string
		run  func(do func())
	}{
		{"a member's address", func(do func()) { l.inHost(l.members[1], do) }},
		{"an unknown address", func(do func()) { do() }},
	} {
		attacker.run(func() { floodStreams(at) })
		streams := memory(t, target.cmd.Process.Pid)
		attacker.run(func() { floodPackets(at, 2*time.Second) })
		packets := memory(t, target.cmd.Process.Pid)
		t.Logf("from %s: %d MiB before, %d after 40 streams of 18 MB, %d after 2 s of packets, load %s", attacker.name, before>>20, streams>>20, packets>>20, load())
		if max(streams, packets) > before+20<<20 {
			t.Error("memory grew")
		}
	}
	if n := l.downsSince(from); n != 0 {
		t.Errorf("%d false verdicts", n)
	}
	if err := target.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the attacked process: %v", err)
	}
}

// floodStreams sends 40 streams of garbage, as much as is taken.
func floodStreams(to netip.AddrPort) {
	garbage := make([]byte, 18<<20)
	rand.Read(garbage)
	var wg sync.WaitGroup
	for range 40 {
		// On this thread, which is in the namespace.
		c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
		if err != nil {
			continue
		}
		wg.Go(func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(3 * time.Second))
			c.Write(garbage)
		})
	}
	wg.Wait()
}

// floodPackets sends garbage, short and long, as fast as it can.
func floodPackets(to netip.AddrPort, d time.Duration) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return
	}
	defer c.Close()
	garbage := make([]byte, 60_000)
	rand.Read(garbage)
	garbage[0], garbage[1] = wireVersion, byte(kindGossip)
	for i, end := 0, time.Now().Add(d); time.Now().Before(end); i++ {
		size := 100
		if i%50 == 0 {
			size = len(garbage)
		}
		c.Write(garbage[:size])
	}
}
