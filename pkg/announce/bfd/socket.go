package bfd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Values of IP header fields in packets sent.
const (
	ttlMax     = 255
	tosControl = 0xc0 // class selector 6: network control (RFC 4594, section 3.1)
)

// Source ports (RFC 5881, section 4).
const (
	firstSourcePort = 49152
	sourcePorts     = 65536 - firstSourcePort
	portAttempts    = 20
)

// sockets is the network. For each local address and port there is one socket
// that receives, for as long as a session needs it.
type sockets struct {
	mu        sync.Mutex
	listeners map[listenAt]*listener
}

type listenAt struct {
	local    netip.Addr
	multihop bool
}

type listener struct {
	conn  *net.UDPConn
	users int
	done  chan struct{} // closed when nobody reads any more
}

var _ network = (*sockets)(nil)

func newSockets() *sockets { return &sockets{listeners: map[listenAt]*listener{}} }

func (n *sockets) open(c SessionConfig, deliver func(datagram)) (link, netip.Addr, error) {
	local := c.Local
	if !local.IsValid() {
		var err error
		if local, err = sourceFor(c.Peer); err != nil {
			return nil, local, err
		}
	}
	at := listenAt{local, c.Multihop}
	if err := n.listen(at, deliver); err != nil {
		return nil, local, err
	}
	conn, err := openSender(local)
	if err != nil {
		n.release(at)
		return nil, local, err
	}
	return &udpLink{sockets: n, at: at, conn: conn, to: netip.AddrPortFrom(c.Peer, at.port())}, local, nil
}

func (at listenAt) port() uint16 {
	if at.multihop {
		return portMultihop
	}
	return portSingleHop
}

// sourceFor asks the kernel, without sending anything.
func sourceFor(peer netip.Addr) (netip.Addr, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, portSingleHop)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no way to %s: %w", peer, innermost(err))
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

func innermost(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

// listen makes sure that packets to an address and port are received.
func (n *sockets) listen(at listenAt, deliver func(datagram)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.listeners[at]; l != nil {
		l.users++
		return nil
	}
	level, option := unix.IPPROTO_IP, unix.IP_RECVTTL
	if at.local.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT
	}
	conn, err := bind(netip.AddrPortFrom(at.local, at.port()), func(fd int) error {
		return unix.SetsockoptInt(fd, level, option, 1)
	})
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("port %d of %s is taken: another BFD daemon runs on this node", at.port(), at.local)
	}
	if err != nil {
		return fmt.Errorf("receiving on port %d of %s: %w", at.port(), at.local, innermost(err))
	}
	l := &listener{conn: conn, users: 1, done: make(chan struct{})}
	n.listeners[at] = l
	go func() {
		defer close(l.done)
		read(conn, at, deliver)
	}()
	return nil
}

func bind(at netip.AddrPort, set func(fd int) error) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if outer := c.Control(func(fd uintptr) { err = os.NewSyscallError("setsockopt", set(int(fd))) }); outer != nil {
			return outer
		}
		return err
	}}
	conn, err := lc.ListenPacket(context.Background(), "udp", at.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

const readPause = 10 * time.Millisecond

// read delivers datagrams until the socket is closed.
func read(conn *net.UDPConn, at listenAt, deliver func(datagram)) {
	payload, control := make([]byte, 256), make([]byte, 128)
	for {
		n, c, _, from, err := conn.ReadMsgUDPAddrPort(payload, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(readPause) // whatever it is, it may last
			continue
		}
		deliver(datagram{
			endpoint: endpoint{from.Addr().Unmap().WithZone(""), at.local, at.multihop},
			ttl:      ttlOf(control[:c]),
			payload:  payload[:n],
		})
	}
}

// ttlOf finds the TTL or hop limit among the control messages: 0 if there is
// none.
func ttlOf(control []byte) int {
	for len(control) > 0 {
		head, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		v4 := head.Level == unix.IPPROTO_IP && head.Type == unix.IP_TTL
		v6 := head.Level == unix.IPPROTO_IPV6 && head.Type == unix.IPV6_HOPLIMIT
		if (v4 || v6) && len(data) >= 4 {
			return int(binary.NativeEndian.Uint32(data))
		}
		control = rest
	}
	return 0
}

func (n *sockets) release(at listenAt) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[at]
	if l.users--; l.users > 0 {
		return
	}
	delete(n.listeners, at)
	l.conn.Close()
	<-l.done
}

// openSender opens a socket on a port of the range, which is the session's for
// as long as it lives.
func openSender(local netip.Addr) (*net.UDPConn, error) {
	var last error
	for range portAttempts {
		port := uint16(firstSourcePort + rand.IntN(sourcePorts))
		conn, err := bind(netip.AddrPortFrom(local, port), func(fd int) error {
			level, hops, class := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
			if local.Is6() {
				level, hops, class = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS
			}
			return errors.Join(unix.SetsockoptInt(fd, level, hops, ttlMax), unix.SetsockoptInt(fd, level, class, tosControl))
		})
		if err == nil {
			return conn, nil
		}
		last = err
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("sending from %s: %w", local, innermost(last))
}

type udpLink struct {
	sockets *sockets
	at      listenAt
	conn    *net.UDPConn
	to      netip.AddrPort
}

func (l *udpLink) send(b []byte) error {
	_, err := l.conn.WriteToUDPAddrPort(b, l.to)
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil // the other side has no BFD at the moment: an answer to an earlier packet
	}
	if err != nil {
		return fmt.Errorf("sending to %s: %w", l.to.Addr(), innermost(err))
	}
	return nil
}

func (l *udpLink) close() {
	l.conn.Close()
	l.sockets.release(l.at)
}
