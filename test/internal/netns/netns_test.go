package netns

import (
	"context"
	"net"
	"syscall"
	"testing"
)

// A prober and a question never use the same port, on IPv4 and IPv6.
func TestPortsApart(t *testing.T) {
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
			dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
				return c.Control(func(fd uintptr) {
					if err := PickFrom(int(fd), tt.ports); err != nil {
						t.Error(err)
					}
				})
			}}
			for range 20 {
				c, err := dialer.DialContext(context.Background(), "tcp", listener.Addr().String())
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
