package netns

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A prober and a question never use the same port, on IPv4 and IPv6.
func TestPortsApart(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.GetsockoptInt(fd, unix.SOL_IP, unix.IP_LOCAL_PORT_RANGE); errors.Is(err, unix.ENOPROTOOPT) {
		t.Skip("needs Linux 6.3: all share the ports")
	}
	for name, tt := range map[string]struct{ ports, first, last int }{
		"questions": {dialPorts, 32768, 34815},
		"probers":   {ProbePorts, 34816, 60999},
	} {
		for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
			listener, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			for range 20 {
				c, err := dialer(tt.ports).DialContext(t.Context(), "tcp", listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if port := c.LocalAddr().(*net.TCPAddr).Port; port < tt.first || port > tt.last {
					t.Errorf("%s: connected to %v from port %d, want %d to %d", name, listener.Addr(), port, tt.first, tt.last)
				}
				c.Close()
			}
		}
	}
}
