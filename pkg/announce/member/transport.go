package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sys/unix"
)

const (
	packetQueue      = 1024    // packets waiting for memberlist
	receiveBuffer    = 1 << 20 // of the UDP socket, for bursts
	handshakeTimeout = 2 * time.Second
	errorPause       = 50 * time.Millisecond // between errors of a listening socket
)

// transport carries memberlist's packets and streams, and the fast path's
// packets, over one UDP and one TCP port. Nothing that isn't authentic gets
// past it. It implements memberlist.NodeAwareTransport.
type transport struct {
	local   netip.AddrPort
	cluster string
	session session
	ring    atomic.Pointer[keyring]
	sealer  atomic.Pointer[sealer]
	counter atomic.Uint64
	gate    *gate
	metrics *Metrics
	// fast takes the packets that aren't memberlist's. It is set before
	// open, runs on the reading goroutine and must not block.
	fast func(p packet, from netip.AddrPort)

	udp     *net.UDPConn
	raw     syscall.RawConn // of udp
	tcp     *net.TCPListener
	packets chan *memberlist.Packet
	streams chan net.Conn

	ctx    context.Context // ends with the transport
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	conns map[net.Conn]struct{}
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// newTransport makes a transport that isn't open yet.
func newTransport(o Options, s session, ring *keyring, metrics *Metrics) *transport {
	t := &transport{
		local: netip.AddrPortFrom(o.Address, o.Port), cluster: o.Cluster, session: s,
		gate: newGate(), metrics: metrics,
		fast:    func(packet, netip.AddrPort) {},
		packets: make(chan *memberlist.Packet, packetQueue), streams: make(chan net.Conn),
		conns: map[net.Conn]struct{}{},
	}
	t.useKeys(ring)
	return t
}

// useKeys replaces the keys.
func (t *transport) useKeys(ring *keyring) {
	t.ring.Store(ring)
	t.sealer.Store(newSealer(ring.primary, t.session, t.cluster, &t.counter))
}

// open binds the ports and starts reading.
func (t *transport) open() error {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(t.local))
	if err != nil {
		return portError("TCP", t.local, err)
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(t.local))
	if err != nil {
		tcp.Close()
		return portError("UDP", t.local, err)
	}
	// A smaller buffer than asked for only means earlier loss in a burst.
	_ = udp.SetReadBuffer(receiveBuffer)
	raw, err := udp.SyscallConn()
	if err != nil {
		return errors.Join(err, tcp.Close(), udp.Close())
	}
	t.udp, t.raw, t.tcp = udp, raw, tcp
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Go(t.readPackets)
	t.wg.Go(t.acceptStreams)
	return nil
}

func portError(proto string, local netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s port %d on %s is taken by another program, or by an announcer that still runs: stop it, or choose another port on all nodes: %w", proto, local.Port(), local.Addr(), err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this machine has no address %s: the node's address must be one of the host's own: %w", local.Addr(), err)
	}
	return fmt.Errorf("listening on %s port %d of %s: %w", proto, local.Port(), local.Addr(), err)
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.local.Addr().AsSlice(), int(t.local.Port()), nil
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	err = t.send(kindGossip, b, to)
	return time.Now(), err
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// send seals a packet and sends it from the member's own port. It never waits:
// packets for hosts that are gone wait in the kernel for their MAC address,
// and would in time fill the socket's buffer.
func (t *transport) send(k kind, plain []byte, to netip.AddrPort) error {
	if to.Addr().Is4() != t.local.Addr().Is4() {
		return fmt.Errorf("%s can't be reached from %s: members have addresses of one family", to.Addr(), t.local.Addr())
	}
	buf := t.sealer.Load().seal(make([]byte, 0, headerLen+len(plain)+tagLen), k, plain)
	var sent error
	err := t.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), buf, unix.MSG_DONTWAIT, t.sockaddr(to))
		return true
	})
	return cmp.Or(err, sent)
}

// sockaddr is an address as the kernel takes it from the socket's family.
func (t *transport) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if t.local.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	deadline := time.Now().Add(timeout)
	d := net.Dialer{Deadline: deadline, LocalAddr: &net.TCPAddr{IP: t.local.Addr().AsSlice(), Zone: t.local.Addr().Zone()}}
	c, err := d.DialContext(t.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if !t.track(c) {
		return nil, net.ErrClosed
	}
	_ = c.SetDeadline(deadline)
	s, err := dialStream(c, t.streamOptions(func() { t.untrack(c) }))
	if err != nil {
		t.untrack(c)
		c.Close()
		return nil, fmt.Errorf("handshake with %s: %w", addr, err)
	}
	return s, nil
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

func (t *transport) streamOptions(closed func()) streamOptions {
	return streamOptions{cluster: t.cluster, ring: &t.ring, budget: t.gate.budget(), refuse: t.metrics.refuse, closed: closed}
}

// Shutdown implements memberlist.Transport: it closes everything and returns
// when nothing reads any more.
func (t *transport) Shutdown() error {
	t.cancel()
	t.udp.Close()
	t.tcp.Close()
	t.mu.Lock()
	for c := range t.conns {
		c.Close()
	}
	t.conns = nil
	t.mu.Unlock()
	t.wg.Wait()
	return nil
}

// track remembers a connection for Shutdown. It closes it and returns false
// when that was called already.
func (t *transport) track(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns == nil {
		c.Close()
		return false
	}
	t.conns[c] = struct{}{}
	return true
}

func (t *transport) untrack(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}
