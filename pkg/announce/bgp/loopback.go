package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// loopback is the end that the BGP library connects to in place of a router.
// It exists for one connection: anything else on this node that finds it must
// not get into a session that a router takes for authenticated.
type loopback struct{ listener *net.TCPListener }

// libraryTimeout is how long the library may take to connect: it waits one to
// two seconds of its own before the first attempt.
const libraryTimeout = 10 * time.Second

// listenLoopback opens the end at a port of the kernel's choice.
func listenLoopback() (*loopback, error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopbackAddress, 0)))
	if err != nil {
		return nil, fmt.Errorf("no loopback end for the BGP library: %w", err)
	}
	return &loopback{l}, nil
}

// loopbackAddress is where the library finds each of its routers.
var loopbackAddress = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func (l *loopback) port() uint16 {
	return uint16(l.listener.Addr().(*net.TCPAddr).Port)
}

func (l *loopback) close() { l.listener.Close() }

// accept returns the first connection that this very process has made, and
// closes all others.
func (l *loopback) accept(ctx context.Context) (net.Conn, error) {
	l.listener.SetDeadline(time.Now().Add(libraryTimeout))
	stop := context.AfterFunc(ctx, func() { l.listener.SetDeadline(time.Now()) })
	defer stop()
	for {
		c, err := l.listener.AcceptTCP()
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("the BGP library did not connect: %w", err)
		}
		if ownConnection(c) {
			return c, nil
		}
		c.Close()
	}
}

// ownConnection reports whether the far end of a loopback connection is a
// socket of this process. Two sockets of one network namespace never have the
// same pair of addresses, so that having a socket with the mirrored pair is
// proof.
func ownConnection(c *net.TCPConn) bool {
	near, far := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return false
	}
	for _, entry := range dir {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// A descriptor may be closed and used again meanwhile: whatever it is,
		// it is ours, and asking for its addresses changes nothing.
		local, err := unix.Getsockname(fd)
		if err != nil || sockaddr(local) != far {
			continue
		}
		if remote, err := unix.Getpeername(fd); err == nil && sockaddr(remote) == near {
			return true
		}
	}
	return false
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func sockaddr(sa unix.Sockaddr) netip.AddrPort {
	in, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
}
