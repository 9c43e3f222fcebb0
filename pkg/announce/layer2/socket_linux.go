package layer2

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	// receiveBuffer holds the burst of a router that lost its cache and asks
	// for thousands of addresses at once. The kernel cuts it to
	// net.core.rmem_max.
	receiveBuffer = 4 << 20

	// writeTimeout keeps a network card that has stopped sending from stopping
	// what goes on on other links.
	writeTimeout = 100 * time.Millisecond
)

// Sockets opens packet sockets in the current network namespace. It needs the
// capability NET_RAW and nothing else.
type Sockets struct{}

var _ Opener = Sockets{}

// Check returns an error that says what is missing when packet sockets can't be
// opened.
func (Sockets) Check() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket, which needs the capability NET_RAW: %w", err)
	}
	return unix.Close(fd)
}

// filterMaker makes a socket's filter.
type filterMaker func(Family, []Range) ([]bpf.RawInstruction, error)

// Open implements Opener.
func (Sockets) Open(l announce.Link, f Family, ranges []Range) (Wire, error) {
	protocol := etherTypeARP
	if f == IPv6 {
		protocol = etherTypeIPv6
	}
	return open(l, f, protocol, filter, ranges)
}

// OpenTraffic implements Opener. What eBPF programs on the link take away before
// the kernel's own IP layer isn't seen.
func (Sockets) OpenTraffic(l announce.Link, f Family, ranges []Range) (Wire, error) {
	protocol := etherTypeIPv4
	if f == IPv6 {
		protocol = etherTypeIPv6
	}
	return open(l, f, protocol, trafficFilter, ranges)
}

// open opens a socket whose filter is in place before the first frame.
func open(l announce.Link, f Family, protocol int, filter filterMaker, ranges []Range) (Wire, error) {
	raw, err := filter(f, ranges)
	if err != nil {
		return nil, fmt.Errorf("assemble the %s filter of link %s: %w", f, l.Name, err)
	}
	c, err := packet.Listen(&net.Interface{Index: l.Index, Name: l.Name}, packet.Raw, protocol, &packet.Config{Filter: raw})
	if err != nil {
		return nil, fmt.Errorf("open the %s socket of link %s: %w", f, l.Name, err)
	}
	s := &socket{conn: c, family: f, filter: filter}
	if err := s.enlarge(); err != nil {
		return nil, errors.Join(fmt.Errorf("set the buffer of link %s: %w", l.Name, err), c.Close())
	}
	return s, nil
}

// socket is a Wire on a packet socket.
type socket struct {
	conn   *packet.Conn
	family Family
	filter filterMaker
}

func (s *socket) enlarge() error {
	rc, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = rc.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	})
	return errors.Join(err, set)
}

// ReadFrame implements Wire.
func (s *socket) ReadFrame(b []byte) (int, error) {
	n, _, err := s.conn.ReadFrom(b)
	return n, linkError(err)
}

// WriteFrame implements Wire.
func (s *socket) WriteFrame(b []byte) error {
	if len(b) < ethernetHeader {
		return fmt.Errorf("frame of %d bytes has no Ethernet header", len(b))
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return linkError(err)
	}
	_, err := s.conn.WriteTo(b, &packet.Addr{HardwareAddr: b[:6]})
	return linkError(err)
}

// SetRanges implements Wire.
func (s *socket) SetRanges(ranges []Range) error {
	raw, err := s.filter(s.family, ranges)
	if err != nil {
		return err
	}
	return s.conn.SetBPF(raw)
}

// Drops implements Wire.
func (s *socket) Drops() (uint64, error) {
	stats, err := s.conn.Stats()
	if err != nil {
		return 0, err
	}
	return uint64(stats.Drops), nil
}

// Close implements Wire.
func (s *socket) Close() error { return s.conn.Close() }

func linkError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: %w", ErrLinkDown, err)
	case errors.Is(err, os.ErrClosed):
		return net.ErrClosed
	}
	return err
}
