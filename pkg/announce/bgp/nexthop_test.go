package bgp

import (
	"net"
	"net/netip"
	"testing"

	"github.com/herald-lb/herald/pkg/announce"
)

func TestNextHopsAmongAddresses(t *testing.T) {
	var addrs []net.Addr
	for _, a := range []string{"10.0.0.7", "10.0.0.8", "fe80::1", "2001:db8::1", "2001:db8::2"} {
		addrs = append(addrs, &net.IPNet{IP: net.ParseIP(a), Mask: net.CIDRMask(24, 32)})
	}
	for source, want := range map[string]announce.NextHops{
		"10.0.0.8":    {IPv4: addr("10.0.0.8"), IPv6: addr("2001:db8::1")},
		"10.0.0.7":    {IPv4: addr("10.0.0.7"), IPv6: addr("2001:db8::1")},
		"2001:db8::2": {IPv4: addr("10.0.0.7"), IPv6: addr("2001:db8::2")},
	} {
		if got, ok := hopsAmong(addr(source), addrs); !ok || got != want {
			t.Errorf("%s: %v, %t", source, got, ok)
		}
	}
	if _, ok := hopsAmong(addr("10.0.0.9"), addrs); ok {
		t.Error("found an address that is not there")
	}
}

func TestNextHopsOnLoopback(t *testing.T) {
	got, err := FindNextHops(addr("127.0.0.1"), netip.Addr{})
	if err != nil || got.IPv4 != addr("127.0.0.1") {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := FindNextHops(addr("127.0.0.1"), addr("192.0.2.77")); err == nil {
		t.Error("a foreign source was accepted")
	}
}
