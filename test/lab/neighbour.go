package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/test/lab/probe"
)

// Neighbour is what a host's kernel believes of an address, and false if it
// has no entry that it would use.
func (l *Lab) Neighbour(host string, address netip.Addr) (Answer, bool, error) {
	mac, ok, err := l.neighbour(host, address)
	if err != nil || !ok {
		return Answer{}, false, err
	}
	a := Answer{MAC: mac}
	for _, h := range l.state.Hosts {
		if parsed, err := net.ParseMAC(h.MAC); err == nil && announce.MAC(parsed) == mac {
			a.Host = h.Name
		}
	}
	return a, true, nil
}

// neighbour looks an address up in a host's neighbour table.
func (l *Lab) neighbour(host string, address netip.Addr) (mac announce.MAC, ok bool, err error) {
	err = l.Do(host, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		family := netlink.FAMILY_V4
		if address.Is6() {
			family = netlink.FAMILY_V6
		}
		table, err := netlink.NeighList(link.Attrs().Index, family)
		if err != nil {
			return err
		}
		const unusable = netlink.NUD_INCOMPLETE | netlink.NUD_FAILED | netlink.NUD_NONE
		for _, n := range table {
			if a, valid := netip.AddrFromSlice(n.IP); valid && a.Unmap() == address && n.State&unusable == 0 {
				mac, ok = macOf(n.HardwareAddr)
			}
		}
		return nil
	})
	return mac, ok, err
}

// Switches notes when a host's kernel begins to send what is for an address to
// another MAC than before.
type Switches struct {
	done  chan struct{} // closed by Stop
	ended sync.WaitGroup

	mu   sync.Mutex // guards the fields below
	macs map[netip.Addr]announce.MAC
	at   map[netip.Addr][]time.Time
	err  error
}

// WatchSwitches watches a host's neighbour table until Stop is called.
func (l *Lab) WatchSwitches(host string) (*Switches, error) {
	s := newSwitches()
	updates := make(chan netlink.NeighUpdate, 1024)
	var table []netlink.Neigh
	err := l.Do(host, func() (err error) {
		if table, err = netlink.NeighList(0, netlink.FAMILY_ALL); err != nil {
			return err
		}
		return netlink.NeighSubscribeWithOptions(updates, s.done, netlink.NeighSubscribeOptions{ErrorCallback: s.fail})
	})
	if err != nil {
		return nil, fmt.Errorf("watch the neighbours of %s: %w", host, err)
	}
	for _, n := range table {
		s.saw(time.Now(), n)
	}
	s.ended.Go(func() {
		for u := range updates {
			s.saw(time.Now(), u.Neigh)
		}
	})
	return s, nil
}

func newSwitches() *Switches {
	return &Switches{done: make(chan struct{}), macs: map[netip.Addr]announce.MAC{}, at: map[netip.Addr][]time.Time{}}
}

// Stop ends the watch and returns the error that ended it before, if any. It can
// be called once.
func (s *Switches) Stop() error {
	close(s.done)
	s.ended.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Of lists when the host switched what is for an address.
func (s *Switches) Of(a netip.Addr) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.at[a])
}

// CutShort reports whether a connection to an address was under way at the very
// moment of a switch, and was reset: only the node that had its first packets
// knows it.
func (s *Switches) CutShort(a netip.Addr, f probe.Failure) bool {
	const noticed = 50 * time.Millisecond // after the switch itself, at the latest
	return f.Reason == unix.ECONNRESET.Error() && slices.ContainsFunc(s.Of(a), func(at time.Time) bool {
		return !at.Before(f.At) && !at.After(f.Until.Add(noticed))
	})
}

// saw takes in one entry of the table. One without a MAC changes nothing: it is
// about to be resolved.
func (s *Switches) saw(now time.Time, n netlink.Neigh) {
	a, valid := netip.AddrFromSlice(n.IP)
	mac, ok := macOf(n.HardwareAddr)
	if !valid || !ok {
		return
	}
	a = a.Unmap()
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, known := s.macs[a]; known && before != mac {
		s.at[a] = append(s.at[a], now)
	}
	s.macs[a] = mac
}

func (s *Switches) fail(err error) {
	select {
	case <-s.done: // it is the end of the socket
		return
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, err)
}
