package member

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/time/rate"
)

// readPackets reads the UDP socket until it is closed.
func (t *transport) readPackets() {
	opener := newOpener(t.cluster, &t.ring)
	pause := rate.NewLimiter(rate.Every(errorPause), 1)
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if pause.Wait(t.ctx) != nil {
				return
			}
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !t.gate.knows(from.Addr()) {
			t.metrics.refuse(refusedSource)
			continue
		}
		p, err := opener.open(buf[:n])
		if err != nil {
			t.metrics.refuseError(err)
			continue
		}
		if p.kind != kindGossip {
			t.fast(p, from)
			continue
		}
		if len(p.plain) == 0 {
			t.metrics.refuse(refusedMalformed)
			continue
		}
		select {
		case t.packets <- &memberlist.Packet{Buf: p.plain, From: net.UDPAddrFromAddrPort(from), Timestamp: now}:
		default:
			t.metrics.refuse(refusedBusy)
		}
	}
}

// acceptStreams accepts connections until the listener is closed.
func (t *transport) acceptStreams() {
	// Errors of accept are lack of descriptors or memory: they pass, and
	// until then another attempt helps nobody.
	pause := rate.NewLimiter(rate.Every(errorPause), 1)
	for {
		c, err := t.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if pause.Wait(t.ctx) != nil {
				return
			}
			continue
		}
		source := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if r := t.gate.enter(source); r != "" {
			t.metrics.refuse(r)
			reset(c)
			continue
		}
		if !t.track(c) {
			return
		}
		t.wg.Go(func() { t.receiveStream(c, source) })
	}
}

// receiveStream does the handshake and hands the stream to memberlist.
func (t *transport) receiveStream(c *net.TCPConn, source netip.Addr) {
	closed := func() { t.untrack(c); t.gate.leave(source) }
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	s, err := acceptStream(c, t.streamOptions(closed))
	if err != nil {
		t.metrics.refuseError(err)
		reset(c)
		closed()
		return
	}
	select {
	case t.streams <- s:
	case <-t.ctx.Done():
		s.Close()
	}
}

// reset closes a connection without leaving state in the kernel.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}
