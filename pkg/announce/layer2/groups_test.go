package layer2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/pkg/announce/announcetest"
)

// fakeGroups remembers what is joined and fails as often as told.
type fakeGroups struct {
	mu     sync.Mutex // guards what follows
	joined map[int][]netip.Addr
	fail   int
	closed bool
}

func (g *fakeGroups) Keep(link int, groups []netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail > 0 {
		g.fail--
		return errors.New("no such device")
	}
	if groups == nil {
		delete(g.joined, link)
	} else {
		g.joined[link] = slices.Clone(groups)
	}
	return nil
}

func (g *fakeGroups) Close() error { g.closed = true; return nil }

func (g *fakeGroups) now() map[int][]netip.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.joined)
}

func TestGroupKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &fakeGroups{joined: make(map[int][]netip.Addr), fail: 2}
		k := newGroupKeeper(g, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { k.run(ctx); close(done) }()
		a, b := netip.MustParseAddr("ff02::1:ff00:1"), netip.MustParseAddr("ff02::1:ff00:2")
		equal := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

		k.want(map[int][]netip.Addr{2: {b, a, b}})
		synctest.Wait()
		if len(g.now()) != 0 {
			t.Errorf("joined in spite of the failure: %v", g.now())
		}
		time.Sleep(3 * rejoinAfter)
		synctest.Wait()
		if diff := cmp.Diff(map[int][]netip.Addr{2: {a, b}}, g.now(), equal); diff != "" {
			t.Errorf("tried again (-want +got):\n%s", diff)
		}
		k.want(map[int][]netip.Addr{3: {a}})
		synctest.Wait()
		if diff := cmp.Diff(map[int][]netip.Addr{3: {a}}, g.now(), equal); diff != "" {
			t.Errorf("another link (-want +got):\n%s", diff)
		}
		cancel()
		<-done
		if !g.closed {
			t.Error("not closed")
		}
	})
}

// joinedBy returns the solicited-node groups that a kernel joined for sockets,
// and all multicast MACs that its eth0 lets in.
func joinedBy(t *testing.T, h *announcetest.Host) (groups, macs int) {
	t.Helper()
	err := h.Do(func() error {
		igmp6, err := os.ReadFile("/proc/thread-self/net/igmp6")
		if err != nil {
			return err
		}
		mcast, err := os.ReadFile("/proc/thread-self/net/dev_mcast")
		groups, macs = strings.Count(string(igmp6), "ff0200000000000000000001ff77"), strings.Count(string(mcast), "3333ff77")
		return err
	})
	check(t, err)
	return groups, macs
}

func TestJoinedGroups(t *testing.T) {
	h := announcetest.NewLAN(t).Host(1)
	// As on machines with little memory for socket options, 365 to a socket.
	// Older kernels have one limit for all namespaces, which is left alone.
	if err := h.Do(func() error { return os.WriteFile("/proc/sys/net/core/optmem_max", []byte("20480"), 0) }); err != nil {
		t.Logf("with the machine's own limit: %v", err)
	}
	g := groupsInHost{h, NewJoinedGroups()}
	group := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("ff02::1:ff77:%x", i)) }
	var many []netip.Addr
	for i := range maxJoins + 200 {
		many = append(many, group(i))
	}
	index := h.Link.Attrs().Index
	tests := []struct {
		name         string
		want         []netip.Addr
		groups, macs int
	}{
		{"one", many[:1], 1, 1},
		{"more than a socket can hold", many[:900], 900, 900},
		{"more than are joined by IPv6", many, maxJoins, maxJoins + 200},
		{"some of them", many[50:100], 50, 50},
		{"others", many[1100:], 100, 100},
		{"none", nil, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, g.Keep(index, tt.want))
			if groups, macs := joinedBy(t, h); groups != tt.groups || macs != tt.macs {
				t.Errorf("%d groups and %d MACs joined, want %d and %d", groups, macs, tt.groups, tt.macs)
			}
		})
	}
	check(t, g.Keep(index, many))
	check(t, g.Close())
	if groups, macs := joinedBy(t, h); groups != 0 || macs != 0 {
		t.Errorf("%d groups and %d MACs are left", groups, macs)
	}
	if err := g.Keep(9999, many[:1]); err == nil {
		t.Error("joined on a link that isn't there")
	}
}

// TestSnoopingSwitch: a switch that snoops MLD forwards solicitations only to
// hosts that joined their group, so a packet socket alone would hear none.
func TestSnoopingSwitch(t *testing.T) {
	b := real(t, 1)
	snoop(t, "lan")
	b.own()
	deaf := waitFor(t, "the switch begins to snoop", func() bool {
		b.stranger.take()
		b.client.ask(vip6)
		time.Sleep(b.reply)
		return !slices.ContainsFunc(b.stranger.take(), func(h heard) bool { return h.nd.target == vip6 && !h.nd.advertisement })
	})
	t.Logf("the switch keeps solicitations from hosts that didn't join, after %v", deaf)
	b.wantAnswer(1)
}

// snoop makes a bridge snoop MLD, with itself as the querier, without which it
// floods.
func snoop(t *testing.T, bridge string) {
	t.Helper()
	lan, err := netlink.LinkByName(bridge)
	check(t, err)
	waitFor(t, "the querier has an address to ask from", func() bool {
		addresses, err := netlink.AddrList(lan, unix.AF_INET6)
		check(t, err)
		return slices.ContainsFunc(addresses, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE == 0 })
	})
	set := func(attribute int, value []byte) {
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(bridge)))
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
		info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(attribute, value)
		req.AddData(info)
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		check(t, err)
	}
	set(nl.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL, nl.Uint64Attr(100)) // 1 s
	set(nl.IFLA_BR_MCAST_SNOOPING, nl.Uint8Attr(1))
	set(nl.IFLA_BR_MCAST_QUERIER, nl.Uint8Attr(1))
}
