package link

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/announce/announcetest"
)

// watched is a watcher that runs, in the test's own network namespace.
type watched struct {
	t    *testing.T
	tell chan Snapshot
}

func watch(t *testing.T) *watched {
	t.Helper()
	announcetest.Need(t)
	w := &watched{t: t, tell: make(chan Snapshot, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := New(nil).Run(ctx, func(s Snapshot) { w.tell <- s }); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		goleak.VerifyNone(t)
	})
	return w
}

// until returns the first snapshot of which ok is true.
func (w *watched) until(what string, ok func(Snapshot) bool) Snapshot {
	w.t.Helper()
	deadline := time.After(5 * time.Second)
	var last Snapshot
	for {
		select {
		case last = <-w.tell:
			if ok(last) {
				return last
			}
		case <-deadline:
			w.t.Fatalf("not told within 5 s: %s; last %+v", what, last)
		}
	}
}

func find(s Snapshot, name string) *announce.Link {
	for i := range s.Links {
		if s.Links[i].Name == name {
			return &s.Links[i]
		}
	}
	return nil
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cable makes a veth pair whose one end is "eth0" with the given MAC.
func cable(t *testing.T, mac net.HardwareAddr) netlink.Link {
	t.Helper()
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", HardwareAddr: mac}, PeerName: "far"}
	check(t, netlink.LinkAdd(v))
	t.Cleanup(func() {
		if l, err := netlink.LinkByName("far"); err == nil {
			check(t, netlink.LinkDel(l))
		}
	})
	far, err := netlink.LinkByName("far")
	check(t, err)
	check(t, netlink.LinkSetUp(far))
	l, err := netlink.LinkByName("eth0")
	check(t, err)
	return l
}

func addAddress4(t *testing.T, l netlink.Link, cidr string) {
	t.Helper()
	a, err := netlink.ParseAddr(cidr)
	check(t, err)
	check(t, netlink.AddrAdd(l, a))
}

func TestWatch(t *testing.T) {
	w := watch(t)
	w.until("the first snapshot", func(s Snapshot) bool { return find(s, "eth0") == nil })

	mac := net.HardwareAddr{2, 0, 0, 0, 9, 1}
	l := cable(t, mac)
	addAddress4(t, l, "10.8.0.5/24")
	addAddress4(t, l, "10.7.0.5/32")
	addAddress4(t, l, "fd08::5/64")
	start := time.Now()
	check(t, netlink.LinkSetUp(l))
	s := w.until("a link that is up, with its addresses", func(s Snapshot) bool {
		got := find(s, "eth0")
		return got != nil && len(got.Prefixes) == 2 && got.LinkLocal.IsValid()
	})
	t.Logf("complete, with a unique link-local address, %v after up", time.Since(start))
	want := &announce.Link{
		Name: "eth0", Index: l.Attrs().Index, MAC: announce.MAC(mac), LinkLocal: netip.MustParseAddr("fe80::ff:fe00:901"),
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24"), netip.MustParsePrefix("fd08::/64")},
	}
	equal := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(want, find(s, "eth0"), equal); diff != "" {
		t.Errorf("link (-want +got):\n%s", diff)
	}

	gw := net.IPv4(10, 8, 0, 1)
	check(t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gw}))
	s = w.until("the default route", func(s Snapshot) bool { return find(s, "eth0").Default4 })
	if diff := cmp.Diff([]netip.Addr{netip.MustParseAddr("10.8.0.1")}, s.Gateways, equal); diff != "" {
		t.Errorf("gateways (-want +got):\n%s", diff)
	}

	check(t, netlink.LinkSetHardwareAddr(l, net.HardwareAddr{2, 0, 0, 0, 9, 2}))
	w.until("the new MAC", func(s Snapshot) bool { return find(s, "eth0").MAC[5] == 2 })

	check(t, netlink.LinkSetDown(l))
	w.until("the link down", func(s Snapshot) bool { return find(s, "eth0") == nil })
	time.Sleep(2 * quietAfter) // so that what follows is the first event after a quiet time
	start = time.Now()
	check(t, netlink.LinkSetUp(l))
	w.until("the link up", func(s Snapshot) bool { return find(s, "eth0") != nil })
	if took := time.Since(start); took > 200*time.Millisecond {
		t.Errorf("up was told after %v", took)
	} else {
		t.Logf("up was told after %v", took)
	}
	check(t, netlink.LinkDel(l))
	w.until("the link gone", func(s Snapshot) bool { return find(s, "eth0") == nil })
}

func TestWatchBridgePort(t *testing.T) {
	w := watch(t)
	l := cable(t, net.HardwareAddr{2, 0, 0, 0, 9, 3})
	check(t, netlink.LinkSetUp(l))
	w.until("the link", func(s Snapshot) bool { return find(s, "eth0") != nil })
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	check(t, netlink.LinkAdd(bridge))
	t.Cleanup(func() { check(t, netlink.LinkDel(bridge)) })
	check(t, netlink.LinkSetUp(bridge))
	check(t, netlink.LinkSetMaster(l, bridge))
	w.until("the bridge instead of its port", func(s Snapshot) bool {
		return find(s, "br0") != nil && find(s, "eth0") == nil
	})
}

// TestWatchChurn changes links faster than anybody can read and looks at the
// end only: what was lost on the way must not matter.
func TestWatchChurn(t *testing.T) {
	w := watch(t)
	l := cable(t, net.HardwareAddr{2, 0, 0, 0, 9, 4})
	for range 1500 {
		check(t, netlink.LinkSetUp(l))
		check(t, netlink.LinkSetDown(l))
	}
	check(t, netlink.LinkSetUp(l))
	addAddress4(t, l, "10.8.0.6/24")
	w.until("the last state", func(s Snapshot) bool {
		got := find(s, "eth0")
		return got != nil && len(got.Prefixes) == 1
	})
	if n := len(w.tell); n > 0 {
		t.Logf("%d snapshots more", n)
	}
}
