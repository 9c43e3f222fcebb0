package member

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// connectTimeout is longer than a probe: a process that stood still for so
// long would take a connect that succeeded meanwhile for one that timed out.
const connectTimeout = 300 * time.Millisecond

// pinger does the fast path's input and output: a connected socket for each
// member watched, because the kernel reports a refusal only to such a one.
type pinger struct {
	t     *transport
	post  func(event)
	wg    sync.WaitGroup
	socks map[string]*pingSocket // used by the loop only, as is the next
	short bool                   // there is a member without a socket
}

type pingSocket struct {
	addr netip.Addr
	conn *net.UDPConn
}

func newPinger(t *transport, post func(event)) *pinger {
	return &pinger{t: t, post: post, socks: map[string]*pingSocket{}}
}

// lacks reports whether the last call of watch couldn't open all sockets.
func (p *pinger) lacks() bool { return p.short }

// watch opens and closes sockets so that there is one for each member.
func (p *pinger) watch(members map[string]netip.Addr) {
	p.short = false
	for name, s := range p.socks {
		if a, ok := members[name]; !ok || a != s.addr {
			s.conn.Close()
			delete(p.socks, name)
		}
	}
	for name, a := range members {
		if p.socks[name] != nil {
			continue
		}
		local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.t.local.Addr(), 0))
		remote := net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, p.t.local.Port()))
		conn, err := net.DialUDP("udp", local, remote)
		if err != nil {
			p.short = true // there is no route; no ping goes out, which counts as silence
			continue
		}
		p.socks[name] = &pingSocket{addr: a, conn: conn}
		p.wg.Go(func() { p.read(name, conn) })
	}
}

// ping sends a ping. Errors other than a refusal are silence.
func (p *pinger) ping(o ping) {
	s := p.socks[o.target]
	if s == nil {
		return
	}
	plain := binary.BigEndian.AppendUint64(nil, o.number)
	if _, err := s.conn.Write(p.t.sealer.Load().seal(nil, kindPing, plain)); errors.Is(err, syscall.ECONNREFUSED) {
		p.refused(o.target)
	}
}

func (p *pinger) refused(target string) {
	p.post(func(c *core, now time.Time) { c.pingRefused(now, target) })
}

// read takes echoes and refusals until the socket is closed.
func (p *pinger) read(target string, conn *net.UDPConn) {
	opener := newOpener(p.t.cluster, &p.t.ring)
	buf := make([]byte, maxDatagram)
	for {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, syscall.ECONNREFUSED):
			p.refused(target)
			continue
		case err != nil:
			continue
		}
		echo, err := opener.open(buf[:n])
		if err != nil {
			p.t.metrics.refuseError(err)
			continue
		}
		if echo.kind != kindEcho || len(echo.plain) != 16 || session(binary.BigEndian.Uint64(echo.plain)) != p.t.session {
			p.t.metrics.refuse(refusedMalformed)
			continue
		}
		number := binary.BigEndian.Uint64(echo.plain[8:])
		p.post(func(c *core, now time.Time) { c.echoed(now, target, number) })
	}
}

// answer is what a ping is answered with.
func answer(ping packet) ([]byte, refusal) {
	if len(ping.plain) != 8 {
		return nil, refusedMalformed
	}
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(ping.session)), ping.plain...), ""
}

// connect asks the member's kernel whether anybody listens.
func (p *pinger) connect(ctx context.Context, o connect, to netip.Addr) {
	p.wg.Go(func() {
		d := net.Dialer{Timeout: connectTimeout, KeepAlive: -1, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.t.local.Addr(), 0))}
		c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(to, p.t.local.Port()).String())
		switch {
		case err == nil:
			reset(c.(*net.TCPConn))
			p.post(func(c *core, now time.Time) { c.connected(now, o.target, o.number) })
		case errors.Is(err, syscall.ECONNREFUSED):
			p.post(func(c *core, now time.Time) { c.connectRefused(now, o.target, o.number) })
		}
	})
}

// close closes all sockets and returns when nothing reads or connects.
func (p *pinger) close() {
	p.watch(nil)
	p.wg.Wait()
}
