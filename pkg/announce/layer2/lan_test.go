package layer2

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/ndp"

	"github.com/herald-lb/herald/pkg/announce"
)

// lan is a switch without addresses of its own: what a port sends reaches all
// others whose MAC it is for.
type lan struct {
	mu    sync.Mutex // guards what follows
	ports map[*simWire]struct{}
	cut   map[int]bool // by link index
	split map[int]int  // side of a split LAN by link index
}

func newLAN() *lan {
	return &lan{ports: make(map[*simWire]struct{}), cut: make(map[int]bool), split: make(map[int]int)}
}

// unplug takes the cable of a link out.
func (l *lan) unplug(index int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut[index] = true
}

// plug puts it back.
func (l *lan) plug(index int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.cut, index)
}

// setSide moves a link to one side of a split LAN.
func (l *lan) setSide(index, side int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.split[index] = side
}

// Open implements Opener.
func (l *lan) Open(link announce.Link, f Family, _ []Range) (Wire, error) {
	if f == IPv6 {
		return l.open(link, etherTypeIPv6)
	}
	return l.open(link, etherTypeARP)
}

// OpenTraffic implements Opener.
func (l *lan) OpenTraffic(link announce.Link, f Family, _ []Range) (Wire, error) {
	if f == IPv6 {
		return l.open(link, etherTypeIPv6)
	}
	return l.open(link, etherTypeIPv4)
}

func (l *lan) open(link announce.Link, etherType uint16) (Wire, error) {
	w := &simWire{lan: l, link: link, etherType: etherType, frames: make(chan []byte, 20000), closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ports[w] = struct{}{}
	return w, nil
}

func (l *lan) send(from *simWire, frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := parseEthernet(frame)
	if !ok || l.cut[from.link.Index] {
		return
	}
	for w := range l.ports {
		if w.link.Index == from.link.Index || l.cut[w.link.Index] || l.split[w.link.Index] != l.split[from.link.Index] {
			continue
		}
		if e.dst[0]&1 == 0 && e.dst != w.link.MAC {
			continue
		}
		if w.etherType != e.etherType {
			continue
		}
		select {
		case w.frames <- frame:
		default:
		}
	}
}

type simWire struct {
	lan       *lan
	link      announce.Link
	etherType uint16
	frames    chan []byte
	closed    chan struct{}
	once      sync.Once
}

func (w *simWire) ReadFrame(b []byte) (int, error) {
	select {
	case f := <-w.frames:
		return copy(b, f), nil
	case <-w.closed:
		return 0, net.ErrClosed
	}
}

func (w *simWire) WriteFrame(b []byte) error {
	select {
	case <-w.closed:
		return net.ErrClosed
	default:
	}
	w.lan.send(w, append([]byte(nil), b...))
	return nil
}

func (w *simWire) SetRanges([]Range) error { return nil }
func (w *simWire) Drops() (uint64, error)  { return 0, nil }

func (w *simWire) Close() error {
	w.once.Do(func() {
		w.lan.mu.Lock()
		defer w.lan.mu.Unlock()
		delete(w.lan.ports, w)
		close(w.closed)
	})
	return nil
}

// macOf is the MAC of host n.
func macOf(n int) announce.MAC { return announce.MAC{2, 0, 0, 0, 0, byte(n)} }

var clientIP = netip.MustParseAddr("10.9.0.101")

// linkOf is the link of host n of the simulated LAN.
func linkOf(n int) announce.Link {
	return announce.Link{
		Name: "eth0", Index: n, MAC: macOf(n),
		LinkLocal: netip.MustParseAddr(fmt.Sprintf("fe80::%d", n)),
		Prefixes:  []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("fd09::/64")},
	}
}

func nodeOf(n int) string { return fmt.Sprintf("n%d", n) }

// heard is a frame that a host of the test received.
type heard struct {
	at    time.Time
	eth   ethernet
	arp   arpPacket
	nd    neighbor
	reply bool
}

// host is a client or a stranger on the LAN: it records what it hears, and
// answers for one address when it holds it.
type host struct {
	t     testing.TB
	link  announce.Link
	wires map[Family]Wire

	mu    sync.Mutex // guards what follows
	heard []heard
	holds map[netip.Addr]bool
	cache map[netip.Addr]announce.MAC // by the rules of a client: what it hears last
	wg    sync.WaitGroup
}

func newHost(t testing.TB, o Opener, link announce.Link) *host {
	t.Helper()
	h := &host{t: t, link: link, wires: make(map[Family]Wire), holds: make(map[netip.Addr]bool), cache: make(map[netip.Addr]announce.MAC)}
	for _, f := range []Family{IPv4, IPv6} {
		w, err := o.Open(link, f, []Range{{0, math.MaxUint32}})
		if err != nil {
			t.Fatal(err)
		}
		h.wires[f] = w
		h.wg.Go(func() { h.listen(w) })
	}
	return h
}

func (h *host) close() {
	for _, w := range h.wires {
		if err := w.Close(); err != nil {
			h.t.Error(err)
		}
	}
	h.wg.Wait()
}

func (h *host) listen(w Wire) {
	b := make([]byte, maxFrame)
	for {
		n, err := w.ReadFrame(b)
		if err != nil {
			return
		}
		if reply := h.hear(b[:n]); len(reply) > 0 {
			if err := w.WriteFrame(reply); err != nil {
				h.t.Error(err)
			}
		}
	}
}

func (h *host) hear(b []byte) []byte {
	e, ok := parseEthernet(b)
	if !ok {
		return nil // what the filter leaves of a tagged frame
	}
	got := heard{at: time.Now(), eth: e}
	h.mu.Lock()
	defer h.mu.Unlock()
	var reply []byte
	if e.etherType == etherTypeARP {
		p, r := parseARP(b[ethernetHeader:])
		if r != wellFormed {
			return nil
		}
		got.arp, got.reply = p, p.op == 2
		if p.op == 1 && h.holds[p.targetIP] && !p.gratuitous() {
			reply = arpReply(nil, h.link.MAC, p)
		}
		if !p.senderIP.IsUnspecified() {
			h.cache[p.senderIP] = p.senderMAC
		}
	} else {
		n, r := parseNeighbor(b[ethernetHeader:])
		if r != wellFormed {
			return nil
		}
		got.nd, got.reply = n, n.advertisement
		if !n.advertisement && h.holds[n.target] {
			reply = neighborReply(nil, h.link, e.src, n)
		}
		if n.advertisement {
			h.cache[n.target] = n.mac
		}
	}
	h.heard = append(h.heard, got)
	return reply
}

// deaf makes the host hear nothing more, so that a flood costs it nothing.
func (h *host) deaf() {
	h.t.Helper()
	for _, w := range h.wires {
		if err := w.SetRanges(nil); err != nil {
			h.t.Fatal(err)
		}
	}
	h.take()
}

// hold makes the host use an address, silently as Linux does.
func (h *host) hold(a netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds[a] = true
}

// release ends that.
func (h *host) release(a netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.holds, a)
}

// send puts a frame on the LAN.
func (h *host) send(frame []byte) {
	h.t.Helper()
	f := IPv4
	if e, _ := parseEthernet(frame); e.etherType == etherTypeIPv6 {
		f = IPv6
	}
	if err := h.wires[f].WriteFrame(frame); err != nil {
		h.t.Error(err)
	}
}

// cached returns whom the host would send to.
func (h *host) cached(a netip.Addr) announce.MAC {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cache[a]
}

// resolve asks for a with an empty cache and reports whether that brought an
// answer or an announcement before a kernel would ask again.
func (h *host) resolve(a netip.Addr) bool {
	h.t.Helper()
	h.mu.Lock()
	delete(h.cache, a)
	h.mu.Unlock()
	h.ask(a)
	for start := time.Now(); time.Since(start) < 500*time.Millisecond; time.Sleep(time.Millisecond) {
		if h.cached(a) != (announce.MAC{}) {
			return true
		}
	}
	return false
}

// take returns what was heard since the last call.
func (h *host) take() []heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.heard
	h.heard = nil
	return got
}

// ask sends a client's request for a.
func (h *host) ask(a netip.Addr) {
	h.t.Helper()
	if a.Is6() {
		h.send(neighborAsk(h.link, a))
		return
	}
	h.send(arpPacket{op: 1, senderMAC: h.link.MAC, senderIP: clientIP, targetIP: a}.appendTo(nil, broadcastMAC()))
}

// neighborAsk is a client's solicitation.
func neighborAsk(l announce.Link, a netip.Addr) []byte {
	group := solicitedNode(a)
	return appendNeighbor(nil, ethernet{dst: multicastMAC(group), src: l.MAC}, l.LinkLocal, group,
		&ndp.NeighborSolicitation{TargetAddress: a, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: l.MAC[:]}}})
}

// answers returns who replies to a request for a. It waits for at least some
// replies, and then a moment for more.
func (h *host) answers(a netip.Addr, some int, moment time.Duration) []announce.MAC {
	h.t.Helper()
	h.take()
	h.ask(a)
	var macs []announce.MAC
	collect := func() {
		for _, got := range h.take() {
			if got.eth.dst == h.link.MAC && got.reply && (got.arp.senderIP == a || got.nd.target == a) {
				macs = append(macs, got.eth.src)
			}
		}
	}
	for start := time.Now(); len(macs) < some && time.Since(start) < 2*time.Second; collect() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(moment)
	collect()
	return macs
}
