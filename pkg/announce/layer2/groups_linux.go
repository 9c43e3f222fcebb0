package layer2

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// maxJoins is how many groups are joined by IPv6 on one link. For each
// multicast packet the kernel walks its list of joined groups, which takes a
// millisecond at 10,000 of them. Beyond, only the network card is told: that
// has no such cost, but switches that snoop MLD don't learn of it.
const maxJoins = 1000

// JoinedGroups joins multicast groups in the current network namespace. It
// needs NET_RAW beyond maxJoins groups and nothing below. It is used by one
// goroutine at a time.
type JoinedGroups struct {
	links map[int]*linkGroups
}

var _ Groups = (*JoinedGroups)(nil)

// NewJoinedGroups returns memberships of no group.
func NewJoinedGroups() *JoinedGroups { return &JoinedGroups{links: make(map[int]*linkGroups)} }

// linkGroups are the memberships of one link.
type linkGroups struct {
	joined  map[netip.Addr]int // by which socket
	sockets []int              // file descriptors; each can hold a limited number
	cards   map[netip.Addr]struct{}
	card    *packet.Conn // holds the rest
}

// Keep implements Groups.
func (g *JoinedGroups) Keep(link int, groups []netip.Addr) error {
	l := g.links[link]
	if len(groups) == 0 {
		delete(g.links, link)
		return l.close()
	}
	if l == nil {
		l = &linkGroups{joined: make(map[netip.Addr]int), cards: make(map[netip.Addr]struct{})}
		g.links[link] = l
	}
	wanted := make(map[netip.Addr]struct{}, len(groups))
	for _, a := range groups {
		wanted[a] = struct{}{}
	}
	errs := l.leave(link, wanted)
	for _, a := range groups {
		if err := l.join(link, a); err != nil {
			return errors.Join(errs, fmt.Errorf("join group %s on link %d: %w", a, link, err))
		}
	}
	return errs
}

// leave ends the memberships that aren't wanted any more. One that the kernel
// ended already, with the link, is no error.
func (l *linkGroups) leave(link int, wanted map[netip.Addr]struct{}) error {
	var errs error
	for a, fd := range l.joined {
		if _, ok := wanted[a]; ok {
			continue
		}
		delete(l.joined, a)
		err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, mreq(link, a))
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
			errs = errors.Join(errs, fmt.Errorf("leave group %s on link %d: %w", a, link, err))
		}
	}
	for a := range l.cards {
		if _, ok := wanted[a]; ok {
			continue
		}
		delete(l.cards, a)
		mac := multicastMAC(a)
		if err := l.card.LeaveGroup(mac[:]); err != nil {
			errs = errors.Join(errs, fmt.Errorf("leave group %s on link %d: %w", a, link, err))
		}
	}
	return errs
}

func (l *linkGroups) join(link int, a netip.Addr) error {
	if _, ok := l.joined[a]; ok {
		return nil
	}
	if len(l.joined) >= maxJoins {
		return l.joinCard(link, a)
	}
	for i := len(l.sockets) - 1; i >= 0; i-- {
		err := unix.SetsockoptIPv6Mreq(l.sockets[i], unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, mreq(link, a))
		if err == nil {
			l.joined[a] = l.sockets[i]
			return nil
		}
		if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
	// No socket yet, or all are full.
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.sockets = append(l.sockets, fd)
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, mreq(link, a)); err != nil {
		return err
	}
	l.joined[a] = fd
	return nil
}

// joinCard opens the network card's filter for a group.
func (l *linkGroups) joinCard(link int, a netip.Addr) error {
	if _, ok := l.cards[a]; ok {
		return nil
	}
	if l.card == nil {
		c, err := packet.Listen(&net.Interface{Index: link}, packet.Raw, 0, nil) // protocol 0 receives nothing
		if err != nil {
			return err
		}
		l.card = c
	}
	mac := multicastMAC(a)
	if err := l.card.JoinGroup(mac[:]); err != nil {
		return err
	}
	l.cards[a] = struct{}{}
	return nil
}

func mreq(link int, group netip.Addr) *unix.IPv6Mreq {
	return &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(link)}
}

func (l *linkGroups) close() error {
	if l == nil {
		return nil
	}
	var errs error
	for _, fd := range l.sockets {
		errs = errors.Join(errs, unix.Close(fd))
	}
	if l.card != nil {
		errs = errors.Join(errs, l.card.Close())
	}
	return errs
}

// Close implements Groups.
func (g *JoinedGroups) Close() error {
	var errs error
	for _, l := range g.links {
		errs = errors.Join(errs, l.close())
	}
	clear(g.links)
	return errs
}
