package layer2

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

const rejoinAfter = time.Second

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
	var again <-chan time.Time
	var latest map[int][]netip.Addr
	known := make(map[int]struct{})
	for {
		select {
		case <-ctx.Done():
			if err := k.groups.Close(); err != nil {
				k.log.Warn("multicast groups not left", "err", err)
			}
			return
		case latest = <-k.wanted:
			for i := range latest {
				slices.SortFunc(latest[i], netip.Addr.Compare)
				latest[i] = slices.Compact(latest[i])
			}
		case <-again:
		}
		again = nil
		if !k.reconcile(known, latest) {
			again = time.After(rejoinAfter)
		}
	}
}

// reconcile reports whether all memberships are as wanted. Links that are known
// and not wanted any more are forgotten.
func (k *groupKeeper) reconcile(known map[int]struct{}, wanted map[int][]netip.Addr) bool {
	for i := range wanted {
		known[i] = struct{}{}
	}
	ok := true
	for i := range known {
		groups, here := wanted[i]
		if err := k.groups.Keep(i, groups); err != nil {
			k.log.Error("multicast groups not joined, IPv6 clients may not reach this node; trying again", "link", i, "err", err)
			ok = false
		}
		if !here {
			delete(known, i)
		}
	}
	return ok
}
