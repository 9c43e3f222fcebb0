package ipam

import (
	"net/netip"
	"slices"
)

// update makes r the Service's request and reports whether what it shares has
// changed: its keys or its ports.
func (a *Allocator) update(svc *service, r Request) (changed bool) {
	if svc.req.sharing() == r.sharing() && slices.Equal(svc.req.Ports, r.Ports) {
		svc.req = r
		return false
	}
	for _, c := range svc.claims {
		c.rec.leave(c)
	}
	svc.req = r
	for _, c := range svc.claims {
		c.rec.enter(c)
		c.rec.settle()
	}
	return true
}

// claim returns svc's claim on addr. A new one is draining until it becomes
// something better.
func (a *Allocator) claim(svc *service, addr netip.Addr) *claim {
	for _, c := range svc.claims {
		if c.rec.addr == addr {
			return c
		}
	}
	rec := a.records[addr]
	if rec == nil {
		rec = &record{addr: addr}
		if a.pools != nil {
			rec.in = a.pools.source(addr)
		}
		a.records[addr] = rec
	}
	c := &claim{svc: svc, rec: rec, state: draining}
	rec.claims = append(rec.claims, c)
	rec.enter(c)
	svc.claims = append(svc.claims, c)
	a.services[svc.req.UID] = svc
	return c
}

// drop ends a claim, and with the last one the address is free.
func (a *Allocator) drop(c *claim) {
	c.rec.leave(c)
	c.rec.claims = slices.DeleteFunc(c.rec.claims, func(o *claim) bool { return o == c })
	c.rec.settle()
	if len(c.rec.claims) == 0 {
		delete(a.records, c.rec.addr)
		if c.rec.in != nil {
			c.rec.in.free(c.rec.addr)
		}
	}
	c.svc.claims = slices.DeleteFunc(c.svc.claims, func(o *claim) bool { return o == c })
	if len(c.svc.claims) == 0 {
		delete(a.services, c.svc.req.UID)
	}
}

// become changes the claim's state.
func (c *claim) become(s state) {
	if c.state == held {
		c.rec.held--
	}
	if s == held {
		c.rec.held++
	}
	c.state = s
	c.rec.settle()
}
