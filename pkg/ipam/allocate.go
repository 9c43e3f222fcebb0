package ipam

import (
	"net/netip"
	"slices"
)

// choice is the addresses for a request, each at its family's place in
// Request.Families. The zero Addr stands for none.
type choice [2]netip.Addr

// Allocate makes r the Service's request, and gives it what it asks for as far
// as the rules in the package comment allow. What the Service holds and may
// keep stays as it is, so a second call changes nothing.
//
// The Assignment is what the Service holds after the call, also beside an
// error. The error is a *Refusal: something that was asked for is missing. A
// request that contradicts itself (InvalidRequest, FamilyMismatch), and every
// request before the first Reconfigure, is refused without any change.
func (a *Allocator) Allocate(r Request) (Assignment, error) {
	r = r.canonical()
	svc := a.services[r.UID]
	if refusal := r.check(); refusal != nil {
		return a.assignment(svc), refusal
	}
	if a.pools == nil {
		return a.unconfigured(svc, &r)
	}
	if svc == nil {
		svc = &service{req: r}
	}
	changed := a.update(svc, r)
	kept, lost := a.judge(svc, changed)
	chosen, refusal := a.choose(&r, kept)
	why := refusal
	if refusal != nil && r.Policy == RequireDualStack {
		chosen = choice{}
		if kept != chosen {
			if both, again := a.choose(&r, choice{}); again == nil {
				chosen, refusal = both, nil
			}
		}
	}
	out := a.apply(svc, chosen, func(addr netip.Addr) *Refusal {
		if lost[addr] != nil {
			return lost[addr]
		}
		return why
	})
	if changed && r.SharingKey != "" {
		for _, addr := range kept {
			if slices.Contains(out.Addresses, addr) {
				out.Opened = append(out.Opened, addr)
			}
		}
	}
	if refusal != nil {
		return out, refusal
	}
	return out, nil
}

// unconfigured answers before there are pools: nothing changes.
func (a *Allocator) unconfigured(svc *service, r *Request) (Assignment, error) {
	out := a.assignment(svc)
	for _, f := range r.Families {
		explicit := r.explicit(f)
		has := slices.ContainsFunc(out.Addresses, func(addr netip.Addr) bool {
			return FamilyOf(addr) == f && (!explicit.IsValid() || addr == explicit)
		})
		needed := r.Policy != PreferDualStack || explicit.IsValid() || len(out.Addresses) == 0
		if needed && !has {
			return out, r.refuse(NoConfiguration, "no configuration has been accepted yet; addresses are given when there is one with address-pools")
		}
	}
	return out, nil
}

// judge returns what the Service keeps of its addresses, at most one of each
// family, and why it does not keep the others. Addresses that it gave up and
// the API still shows count where nothing is held.
func (a *Allocator) judge(svc *service, changed bool) (kept choice, lost map[netip.Addr]*Refusal) {
	r := &svc.req
	lost = map[netip.Addr]*Refusal{}
	for _, c := range svc.claims {
		if c.state == draining {
			continue
		}
		addr := c.rec.addr
		refusal := a.forbids(r, addr)
		if refusal == nil && (changed || c.state != held) {
			refusal = c.rec.refuses(r)
		}
		i := r.index(addr)
		if refusal == nil && kept[i].IsValid() {
			refusal = r.refuseAddress(Superseded, addr, "%v is given up because the Service has %v", addr, kept[i])
		}
		if refusal != nil {
			lost[addr] = refusal
			continue
		}
		kept[i] = addr
	}
	for _, c := range slices.Backward(svc.claims) {
		addr := c.rec.addr
		i := r.index(addr)
		if c.state != draining || i < 0 || kept[i].IsValid() || a.forbids(r, addr) != nil || c.rec.refuses(r) != nil {
			continue
		}
		if other := kept[1-i]; addr == r.explicit(FamilyOf(addr)) || !other.IsValid() || a.pools.source(other).pool == c.rec.in.pool {
			kept[i] = addr
		}
	}
	return kept, lost
}

// forbids refuses r an address, whoever has it, because of its family, of
// another address that r asks for, or of the pools.
func (a *Allocator) forbids(r *Request, addr netip.Addr) *Refusal {
	if r.index(addr) < 0 {
		return r.refuseAddress(FamilyMismatch, addr, "%v is %v, which the Service does not want (spec.ipFamilies)", addr, FamilyOf(addr))
	}
	if explicit := r.explicit(FamilyOf(addr)); explicit.IsValid() && explicit != addr {
		return r.refuseAddress(Superseded, addr, "%v is given up because the Service asks for %v", addr, explicit)
	}
	return a.pools.forbids(r, addr)
}

// choose completes what the Service keeps. Beside a refusal it returns what
// can be had all the same.
func (a *Allocator) choose(r *Request, kept choice) (choice, *Refusal) {
	chosen := kept
	var refusal *Refusal
	for i, f := range r.Families {
		addr := r.explicit(f)
		if chosen[i].IsValid() || !addr.IsValid() {
			continue
		}
		if refused := a.grants(r, addr); refused == nil {
			chosen[i] = addr
		} else if refusal == nil {
			refusal = refused
		}
	}
	if refusal != nil {
		return chosen, refusal
	}
	missing := slices.Index(chosen[:len(r.Families)], netip.Addr{})
	if missing < 0 {
		return chosen, nil
	}
	candidates, refusal := a.candidates(r, chosen)
	if refusal != nil {
		return chosen, refusal
	}
	if len(r.Families) == 2 && chosen == (choice{}) {
		return choosePair(r, candidates)
	}
	f := r.Families[missing]
	addr, ok := lowest(candidates, f, r)
	if !ok && (r.Policy == RequireDualStack || chosen == (choice{})) {
		return chosen, r.refuseExhausted(candidates, f)
	}
	chosen[missing] = addr
	return chosen, nil
}

// choosePair chooses an address of each family out of one pool. If no pool
// has both, the first family alone will do, unless both are required.
func choosePair(r *Request, candidates []*pool) (choice, *Refusal) {
	for _, p := range candidates {
		first, ok := p.lowest(r.Families[0], r)
		if !ok {
			continue
		}
		if second, ok := p.lowest(r.Families[1], r); ok {
			return choice{first, second}, nil
		}
	}
	if r.Policy == RequireDualStack {
		return choice{}, r.refusePair(candidates)
	}
	addr, ok := lowest(candidates, r.Families[0], r)
	if !ok {
		return choice{}, r.refuseExhausted(candidates, r.Families[0])
	}
	return choice{addr}, nil
}

// lowest returns the first address that suits r out of the first pool that has one.
func lowest(candidates []*pool, f Family, r *Request) (netip.Addr, bool) {
	for _, p := range candidates {
		if addr, ok := p.lowest(f, r); ok {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// grants says why r can't have the address that it asks for, or nil.
func (a *Allocator) grants(r *Request, addr netip.Addr) *Refusal {
	if refusal := a.pools.forbids(r, addr); refusal != nil {
		return refusal
	}
	if rec := a.records[addr]; rec != nil {
		return rec.refuses(r)
	}
	return nil
}

// candidates returns the pools that may complete the choice: the one asked
// for, else the one that the choice began with, else all with auto-assign.
func (a *Allocator) candidates(r *Request, begun choice) ([]*pool, *Refusal) {
	if r.Pool != "" {
		if refusal := a.pools.missing(r); refusal != nil {
			return nil, refusal
		}
		return []*pool{a.pools.byName[r.Pool]}, nil
	}
	for _, addr := range begun {
		if addr.IsValid() {
			return []*pool{a.pools.source(addr).pool}, nil
		}
	}
	if len(a.pools.auto) == 0 {
		return nil, r.refuse(NoSuchPool, "no pool gives addresses to Services that name none; name one by the annotation address-pool, or set auto-assign: true on one")
	}
	return a.pools.auto, nil
}

// apply makes the choice what the Service holds. Everything else that it has
// is cleared for the reason that why gives.
func (a *Allocator) apply(svc *service, chosen choice, why func(netip.Addr) *Refusal) Assignment {
	var cleared []Cleared
	for _, c := range svc.claims {
		if c.state != draining && !slices.Contains(chosen[:], c.rec.addr) {
			cleared = append(cleared, Cleared{Address: c.rec.addr, Reason: why(c.rec.addr)})
			c.become(draining)
		}
	}
	for _, addr := range chosen {
		if addr.IsValid() {
			a.claim(svc, addr).become(held)
		}
	}
	out := a.assignment(svc)
	out.Cleared = cleared
	return out
}
