package bgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialTimeout is how long TCP may take to reach a router.
const dialTimeout = 5 * time.Second

// sendBuffer bounds what the kernel takes for a router that does not read: a
// full table at most would fit the kernel's own bound, and nobody would notice.
const sendBuffer = 128 << 10

// Values of IP header fields in a session's packets.
const (
	ttlOneHop   = 1    // a directly connected router (RFC 4271 leaves it open; all routers do so)
	ttlMultihop = 255  // as far as it takes
	tosControl  = 0xc0 // class selector 6: network control (RFC 4594, section 3.1)
)

// dialRouter connects to a peer's router. The error is an *ending.
func dialRouter(ctx context.Context, p Peer) (net.Conn, error) {
	d := net.Dialer{
		Timeout: dialTimeout, // TCP keepalives stay on: with a hold time of 0 they are all there is
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			if outer := c.Control(func(fd uintptr) { err = setOptions(int(fd), p) }); outer != nil {
				return outer
			}
			return err
		},
	}
	if p.SourceAddress.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.SourceAddress, 0))
	}
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(p.Address, p.Port).String())
	if err != nil {
		return nil, explainDial(err, p)
	}
	return c, nil
}

// md5Error is the kernel's refusal of a TCP MD5 key.
type md5Error struct{ err error }

func (e *md5Error) Error() string { return e.err.Error() }

// setOptions prepares the socket before it connects: the key must be there for
// the first SYN.
func setOptions(fd int, p Peer) error {
	if key := string(p.Password); key != "" {
		if err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, md5Signature(p.Address, key)); err != nil {
			return &md5Error{err}
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	level, hops, class := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
	if p.Address.Is6() {
		level, hops, class = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS
	}
	if err := unix.SetsockoptInt(fd, level, class, tosControl); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if p.IBGP() {
		return nil
	}
	ttl := ttlOneHop
	if p.Multihop {
		ttl = ttlMultihop
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, hops, ttl))
}

// md5Signature is the kernel's struct tcp_md5sig for one router.
func md5Signature(router netip.Addr, key string) *unix.TCPMD5Sig {
	sig := &unix.TCPMD5Sig{Keylen: uint16(len(key))}
	copy(sig.Key[:], key)
	if router.Is4() {
		sig.Addr.Family = unix.AF_INET
		a := router.As4()
		copy(sig.Addr.Data[2:], a[:]) // after the port of struct sockaddr_in
		return sig
	}
	sig.Addr.Family = unix.AF_INET6
	a := router.As16()
	copy(sig.Addr.Data[6:], a[:]) // after port and flow label of struct sockaddr_in6
	return sig
}

// explainDial says what a failed connection most likely means.
func explainDial(err error, p Peer) *ending {
	var md5 *md5Error
	switch {
	case errors.As(err, &md5) && errors.Is(md5.err, unix.ENOPROTOOPT):
		return &ending{NoMD5, "this node's kernel has no TCP MD5 (CONFIG_TCP_MD5SIG), which password needs"}
	case errors.As(err, &md5):
		return &ending{NoMD5, "the kernel refuses the password: " + rootCause(md5.err)}
	case errors.Is(err, unix.ECONNREFUSED):
		return &ending{Refused, fmt.Sprintf("connection refused: no BGP on port %d of the router", p.Port)}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		if p.SourceAddress.IsValid() {
			return &ending{BadSource, fmt.Sprintf("source-address %s is not an address of this node", p.SourceAddress)}
		}
		return &ending{BadSource, fmt.Sprintf("this node has no address from which to reach %s", p.Address)}
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		reason := "unreachable: " + rootCause(err)
		if !p.IBGP() && !p.Multihop {
			reason += "; a router more than one hop away needs ebgp-multihop"
		}
		return &ending{Unreachable, reason}
	case isTimeout(err) && string(p.Password) != "":
		return &ending{NoAnswer, "no answer to TCP SYN: wrong password, filtered or down"}
	case isTimeout(err):
		return &ending{NoAnswer, "no answer to TCP SYN: filtered, down, or the router expects a password"}
	}
	return &ending{ConnectFailed, "cannot connect: " + rootCause(err)}
}

// isTimeout reports whether a deadline or the kernel's patience ran out.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// isReset reports whether the other side broke the connection off.
func isReset(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// rootCause is the innermost error's text: the outer ones repeat the addresses.
func rootCause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
