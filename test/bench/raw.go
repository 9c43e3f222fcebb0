package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/pkg/announce"
)

// rawSocket sends and receives whole frames on a host's cable to the LAN.
type rawSocket struct {
	fd  int
	mac announce.MAC
}

// receiveTimeout is how long receive waits.
const receiveTimeout = 200 * time.Millisecond

// openRaw opens a socket that receives frames of one EtherType that pass a
// filter; without a filter it receives all of them.
func (c *cluster) openRaw(host string, etherType uint16, filter []bpf.Instruction) (*rawSocket, error) {
	s := &rawSocket{fd: -1}
	err := c.Do(host, func() error {
		iface, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		s.mac = announce.MAC(iface.HardwareAddr)
		// Of no protocol until it is set up, so that nothing passes unfiltered.
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return s.setUp(iface.Index, etherType, filter)
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("raw socket of %s: %w", host, err)
	}
	return s, nil
}

func (s *rawSocket) setUp(index int, etherType uint16, filter []bpf.Instruction) error {
	if len(filter) > 0 {
		if err := attach(s.fd, filter); err != nil {
			return err
		}
	}
	timeout := unix.NsecToTimeval(receiveTimeout.Nanoseconds())
	const buffer = 8 << 20
	return errors.Join(
		unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer),
		unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(etherType), Ifindex: index}),
	)
}

func attach(fd int, filter []bpf.Instruction) error {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// networkOrder turns a number of the host into one of the network.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func (s *rawSocket) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
}

// send sends a frame.
func (s *rawSocket) send(frame []byte) error {
	for {
		_, err := unix.Write(s.fd, frame)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// errNothing says that nothing was received in time.
var errNothing = errors.New("nothing received")

// receive receives a frame, and returns when the kernel had it.
func (s *rawSocket) receive(buf []byte) (n int, at time.Time, err error) {
	var control [64]byte
	n, controlLen, _, _, err := unix.Recvmsg(s.fd, buf, control[:], 0)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return 0, time.Time{}, errNothing
	}
	if err != nil {
		return 0, time.Time{}, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil {
		return 0, time.Time{}, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			t := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			return n, time.Unix(t.Unix()), nil
		}
	}
	return n, time.Now(), nil
}
