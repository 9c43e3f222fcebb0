package lab

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/lab/probe"
)

func TestSwitches(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	a, other := netip.MustParseAddr("192.168.31.240"), netip.MustParseAddr("192.168.31.241")
	s := newSwitches()
	entry := func(ms int, a netip.Addr, mac net.HardwareAddr) {
		s.saw(at(ms), netlink.Neigh{IP: net.IP(a.AsSlice()), HardwareAddr: mac})
	}
	n1, n2 := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	entry(0, a, n1)
	entry(10, other, n2)
	entry(20, a, n1)  // confirmed
	entry(30, a, nil) // to be resolved anew
	entry(40, a, n2)
	entry(1000, a, n1)
	if got := s.Of(a); len(got) != 2 || got[0] != at(40) || got[1] != at(1000) {
		t.Errorf("switches at %v", got)
	}
	if got := s.Of(other); len(got) > 0 {
		t.Errorf("switches of an address that stayed at %v", got)
	}
	reset := unix.ECONNRESET.Error()
	for name, c := range map[string]struct {
		address    netip.Addr
		from, till int
		reason     string
		want       bool
	}{
		"under way at the switch":             {a, 39, 41, reset, true},
		"reset before the switch was noticed": {a, 37, 38, reset, true},
		"tried after the switch":              {a, 41, 42, reset, false},
		"long over before it":                 {a, 900, 949, reset, false},
		"under way at it, but not reset":      {a, 39, 939, "no answer", false},
		"to another address":                  {other, 39, 41, reset, false},
	} {
		if got := s.CutShort(c.address, probe.Failure{At: at(c.from), Until: at(c.till), Reason: c.reason}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
