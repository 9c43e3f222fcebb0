package announce

import (
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/config"
)

// Plan is the decision about every address that Services of ours show, as one
// node sees it. It is immutable.
type Plan struct {
	Self      string
	Addresses []Address // sorted by Addr, each once
}

// Address is the decision about one address.
type Address struct {
	Addr     netip.Addr
	Pool     string          // the pool that contains it; "" if none
	Protocol config.Protocol // the pool's
	Services []string        // namespace/name of those that show it, sorted

	// Lead is the address in whose name the owner is elected: the lowest of
	// the group that is to have one owner, such as those of a dual-stack Service.
	Lead netip.Addr
	// Owner is the elected node, "" if nobody may announce the address.
	Owner string
	// Order lists the eligible nodes, best first, at most MaxOrder; Owner is
	// its first. The caller must not write to it.
	Order []string
	// Links are the links of this node that reach the address, whether it is
	// the owner or not.
	Links []string
	// Reason says why this node does not announce the address, or Announced. An
	// address of a BGP pool has no owner: each node for itself announces it.
	Reason Reason
}

// Mine reports whether the node that made the plan announces the address.
func (a *Address) Mine() bool { return a.Reason == Announced }

// Layer2 reports whether the address is in a layer-2 pool, and so may have an
// owner.
func (a *Address) Layer2() bool { return a.Protocol == config.Layer2 }

// Lookup returns the decision about one address.
func (p *Plan) Lookup(a netip.Addr) (*Address, bool) {
	i, ok := p.Index(a)
	if !ok {
		return nil, false
	}
	return &p.Addresses[i], true
}

// Index returns where in Addresses an address is.
func (p *Plan) Index(a netip.Addr) (int, bool) {
	return slices.BinarySearchFunc(p.Addresses, a, func(x Address, a netip.Addr) int { return x.Addr.Compare(a) })
}

// Change is an address whose owner is another one than before.
type Change struct {
	Addr     netip.Addr
	From, To string // node names; "" for nobody
}

// Diff lists the addresses whose owner differs between two plans, in order of
// address. An address that one of the plans does not have has no owner there.
func Diff(before, after Plan) []Change {
	var changes []Change
	note := func(a netip.Addr, from, to string) {
		if from != to {
			changes = append(changes, Change{Addr: a, From: from, To: to})
		}
	}
	old, now := before.Addresses, after.Addresses
	for len(old) > 0 || len(now) > 0 {
		switch order(old, now) {
		case -1:
			note(old[0].Addr, old[0].Owner, "")
			old = old[1:]
		case 1:
			note(now[0].Addr, "", now[0].Owner)
			now = now[1:]
		default:
			note(now[0].Addr, old[0].Owner, now[0].Owner)
			old, now = old[1:], now[1:]
		}
	}
	return changes
}

// order says which list has the lower first address; an empty list has none.
func order(a, b []Address) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return a[0].Addr.Compare(b[0].Addr)
}
