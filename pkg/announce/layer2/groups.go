package layer2

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
)

// groupKeeper brings the multicast memberships in line in the background:
// thousands of joins take a second, and no takeover waits for them.
type groupKeeper struct {
	groups Groups // nil: nothing to do
	log    *slog.Logger
	wanted chan map[int][]netip.Addr // holds the latest
}

func newGroupKeeper(g Groups, log *slog.Logger) *groupKeeper {
	return &groupKeeper{groups: g, log: log, wanted: make(chan map[int][]netip.Addr, 1)}
}

// want replaces what is wanted, by link index. Only one goroutine may call it.
func (k *groupKeeper) want(groups map[int][]netip.Addr) {
	select {
	case <-k.wanted:
	default:
	}
	k.wanted <- groups
}

// run keeps the memberships until ctx is done and then leaves all.
func (k *groupKeeper) run(ctx context.Context) {
	if k.groups == nil {
		return
	}
	known := make(map[int]struct{})
	for {
		select {
		case <-ctx.Done():
			if err := k.groups.Close(); err != nil {
				k.log.Warn("multicast groups not left", "err", err)
			}
			return
		case wanted := <-k.wanted:
			for i := range known {
				if _, ok := wanted[i]; !ok {
					k.keep(i, nil)
					delete(known, i)
				}
			}
			for i, groups := range wanted {
				known[i] = struct{}{}
				slices.SortFunc(groups, netip.Addr.Compare)
				k.keep(i, slices.Compact(groups))
			}
		}
	}
}

func (k *groupKeeper) keep(link int, groups []netip.Addr) {
	if err := k.groups.Keep(link, groups); err != nil {
		k.log.Error("multicast groups not joined, IPv6 clients may not reach this node", "link", link, "err", err)
	}
}
