package announcetest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// LAN is a bridge with hosts.
type LAN struct {
	t      testing.TB
	bridge *netlink.Bridge
}

// Host is a network namespace whose eth0 is plugged into the LAN.
type Host struct {
	t    testing.TB
	ns   netns.NsHandle
	port string // the other end of its cable, in the bridge

	// Netlink acts inside the namespace.
	Netlink *netlink.Handle
	// Link is its eth0.
	Link netlink.Link
}

// NewLAN makes a bridge. It is gone when the test ends.
func NewLAN(t testing.TB) *LAN {
	t.Helper()
	Need(t)
	l := &LAN{t: t, bridge: &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan"}}}
	must(t, netlink.LinkAdd(l.bridge))
	t.Cleanup(func() { must(t, netlink.LinkDel(l.bridge)) })
	must(t, netlink.LinkSetUp(l.bridge))
	return l
}

// Host adds a host with the MAC 02:00:00:00:00:N and the given addresses,
// prefix lengths included. Its link-local address is the one of that MAC.
func (l *LAN) Host(n byte, addresses ...string) *Host {
	l.t.Helper()
	h := &Host{t: l.t, port: fmt.Sprintf("port%d", n)}
	own, err := netns.Get()
	must(l.t, err)
	must(l.t, onThread(own, func() error {
		var err error
		h.ns, err = netns.New()
		return err
	}))
	must(l.t, own.Close())
	h.Netlink, err = netlink.NewHandleAt(h.ns)
	must(l.t, err)
	l.t.Cleanup(func() {
		if cable, err := netlink.LinkByName(h.port); err == nil {
			must(l.t, netlink.LinkDel(cable))
		}
		h.Netlink.Close()
		must(l.t, h.ns.Close())
	})
	must(l.t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: h.port, MasterIndex: l.bridge.Attrs().Index},
		PeerName:         "eth0",
		PeerNamespace:    netlink.NsFd(h.ns),
		PeerHardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, n},
	}))
	h.Sysctl("net/ipv6/conf/eth0/accept_dad", "0")
	h.Link, err = h.Netlink.LinkByName("eth0")
	must(l.t, err)
	lo, err := h.Netlink.LinkByName("lo")
	must(l.t, err)
	must(l.t, h.Netlink.LinkSetUp(lo))
	must(l.t, h.Netlink.LinkSetUp(h.Link))
	h.SetCable(netlink.LinkSetUp)
	for _, a := range addresses {
		h.AddAddress(a)
	}
	h.WaitUp()
	return h
}

// WaitUp waits until both ends of the cable pass frames, which the kernel allows
// up to a second after they were set up.
func (h *Host) WaitUp() {
	h.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		near, err := h.Netlink.LinkByName("eth0")
		must(h.t, err)
		far, err := netlink.LinkByName(h.port)
		must(h.t, err)
		if near.Attrs().OperState == netlink.OperUp && far.Attrs().OperState == netlink.OperUp {
			return
		}
		time.Sleep(time.Millisecond)
	}
	h.t.Fatalf("%s isn't up after 5 s", h.port)
}

// Cut takes the cable out.
func (h *Host) Cut() { h.SetCable(netlink.LinkSetDown) }

// Mend puts the cable back.
func (h *Host) Mend() { h.SetCable(netlink.LinkSetUp) }

// SetCable changes the end of the cable that is in the bridge.
func (h *Host) SetCable(change func(netlink.Link) error) {
	h.t.Helper()
	cable, err := netlink.LinkByName(h.port)
	must(h.t, err)
	must(h.t, change(cable))
}

// AddAddress gives eth0 an address at once, without duplicate detection.
func (h *Host) AddAddress(a string) {
	h.t.Helper()
	must(h.t, h.Netlink.AddrAdd(h.Link, address(h.t, a)))
}

// DelAddress takes it back.
func (h *Host) DelAddress(a string) {
	h.t.Helper()
	must(h.t, h.Netlink.AddrDel(h.Link, address(h.t, a)))
}

func address(t testing.TB, a string) *netlink.Addr {
	t.Helper()
	p, err := netip.ParsePrefix(a)
	must(t, err)
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}

// Do runs f in the host's namespace: what it opens belongs there. It is called
// from another goroutine, so it must not end the test by itself.
func (h *Host) Do(f func() error) error { return onThread(h.ns, f) }

// Sysctl sets a value under /proc/sys in the host's namespace.
func (h *Host) Sysctl(name, value string) {
	h.t.Helper()
	must(h.t, h.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) }))
}

// onThread runs f on a thread of its own in a namespace. The thread ends with
// it, so that it never returns to other goroutines in the wrong namespace.
func onThread(ns netns.NsHandle, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := netns.Set(ns)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
