package ipam

import (
	"net/netip"
	"slices"
)

// record is one address in use: held, or shown by the API for somebody.
type record struct {
	addr   netip.Addr
	in     *addressRange // nil: no pool gives the address out
	claims []*claim      // oldest first, never empty
	held   int           // claims in state held; these may share the address

	// For newcomers, who must get on with every claim.
	kinds []kind       // the keys that claims have
	ports map[Port]int // claims by port, of those with a sharing key

	phase phase  // as counted in the pool's stock
	group *group // that the record is in, or nil
}

// claim is one Service's part in an address.
type claim struct {
	svc   *service
	rec   *record
	state state
}

// state is how a Service has an address.
type state uint8

const (
	held     state = iota + 1
	conflict       // adopted although another Service holds it; the next Allocate judges
	draining       // given up, but the API may still show it
)

// service is a Service with at least one claim.
type service struct {
	req    Request
	claims []*claim // oldest first; of all states
}

// sharing is what Services on one address must agree on.
type sharing struct{ key, backend string }

// kind is one combination of keys and how many claims have it.
type kind struct {
	sharing sharing
	claims  int
}

// phase is what an address counts as.
type phase uint8

const (
	unused phase = iota
	inUse
	leaving // all its claims wait for the API
)

// enter counts what c's Service shares.
func (rec *record) enter(c *claim) {
	keys := c.svc.req.sharing()
	i := slices.IndexFunc(rec.kinds, func(k kind) bool { return k.sharing == keys })
	if i < 0 {
		i = len(rec.kinds)
		rec.kinds = append(rec.kinds, kind{sharing: keys})
	}
	rec.kinds[i].claims++
	if keys.key == "" {
		return
	}
	if rec.ports == nil {
		rec.ports = map[Port]int{}
	}
	for _, p := range c.svc.req.Ports {
		rec.ports[p]++
		if rec.ports[p] == 1 {
			rec.group.use(p, rec)
		}
	}
}

// leave undoes enter. The request must be the one that entered.
func (rec *record) leave(c *claim) {
	keys := c.svc.req.sharing()
	i := slices.IndexFunc(rec.kinds, func(k kind) bool { return k.sharing == keys })
	if rec.kinds[i].claims--; rec.kinds[i].claims == 0 {
		rec.kinds = slices.Delete(rec.kinds, i, i+1)
	}
	if keys.key == "" {
		return
	}
	for _, p := range c.svc.req.Ports {
		rec.ports[p]--
		if rec.ports[p] == 0 {
			delete(rec.ports, p)
			rec.group.unuse(p, rec)
		}
	}
}

// settle brings the pool's counts and groups in line with the record. It is
// due after each change of claims, states or requests.
func (rec *record) settle() {
	if rec.in == nil {
		return
	}
	s := rec.in.pool.stock(rec.in.family)
	next := leaving
	switch {
	case len(rec.claims) == 0:
		next = unused
	case rec.held > 0:
		next = inUse
	}
	if next != rec.phase {
		s.count(rec.phase, -1)
		s.count(next, +1)
		rec.phase = next
	}
	var join *sharing
	if next == inUse && len(rec.kinds) == 1 && rec.kinds[0].sharing.key != "" {
		join = &rec.kinds[0].sharing
	}
	if rec.group != nil && (join == nil || *join != rec.group.sharing) {
		s.part(rec)
	}
	if rec.group == nil && join != nil {
		s.join(rec, *join)
	}
}

// refuses says why r may not have the address, or nil. A Service that has a
// claim on the address already needs to get on with its holders only, so that
// nobody loses an address to a claim that is on its way out; a newcomer must
// get on with every claim, because the API may still show them all.
func (rec *record) refuses(r *Request) *Refusal {
	newcomer := true
	for _, c := range rec.claims {
		if c.svc.req.UID == r.UID {
			newcomer = false
		} else if c.state == held {
			if refusal := r.clash(c); refusal != nil {
				return refusal
			}
		}
	}
	if !newcomer {
		return nil
	}
	if rec.held == 0 && len(rec.claims) > 0 {
		return r.refuseDraining(rec.claims[0])
	}
	for _, c := range rec.claims {
		if c.state != held {
			if refusal := r.clash(c); refusal != nil {
				return refusal
			}
		}
	}
	return nil
}

// poolName returns the pool that the address is of, or "".
func (rec *record) poolName() string {
	if rec.in == nil {
		return ""
	}
	return rec.in.pool.name
}
