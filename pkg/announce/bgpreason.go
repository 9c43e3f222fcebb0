package announce

import (
	"slices"

	"github.com/herald-lb/herald/pkg/config"
)

// toldKey is a node and a pool: whether some router of the node's is told of
// the pool's addresses does not depend on the address.
type toldKey struct {
	node string
	pool *config.Pool
}

// reasonBGP says why this node tells no router of an address of a BGP pool, or
// Announced. It is what Routes does once all that leaves has left.
func (d *decider) reasonBGP(pool *config.Pool, tenants []tenancy) Reason {
	if !d.locals.require(tenants, d.index) {
		return NoReadyEndpoint
	}
	self := d.snapshot.Self
	switch verdict := nodeVerdict(d.snapshot, self); {
	case verdict != Announced:
		return verdict
	case !d.tells(self, pool):
		return NoPeer
	case !d.locals.has(d.self):
		return NoLocalEndpoint
	case d.leaves(self) && d.stayingElsewhere(pool):
		if d.snapshot.Nodes[self].Unschedulable {
			return NodeCordoned
		}
		return MemberDraining
	}
	return Announced
}

// leaves reports whether a node is on its way out.
func (d *decider) leaves(node string) bool {
	return d.snapshot.Members[node].Draining || d.snapshot.Nodes[node].Unschedulable
}

// tells reports whether some router of a node's is told of a pool's addresses.
func (d *decider) tells(node string, pool *config.Pool) bool {
	key := toldKey{node, pool}
	told, known := d.told[key]
	if !known {
		labels := d.snapshot.Nodes[node].Labels
		peers := d.snapshot.Config.Peers
		told = slices.ContainsFunc(peers, func(p config.Peer) bool {
			return selects(p.NodeSelectors, labels) && directed(pool, &p, labels) != nil
		})
		d.told[key] = told
	}
	return told
}

// stayingElsewhere reports whether another node, which stays, may announce the
// address that locals is about.
func (d *decider) stayingElsewhere(pool *config.Pool) bool {
	for i := range d.candidates {
		c := &d.candidates[i]
		if int32(i) != d.self && c.verdict == Announced && !d.leaves(c.name) && d.locals.has(int32(i)) && d.tells(c.name, pool) {
			return true
		}
	}
	return false
}
