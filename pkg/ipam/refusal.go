package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Reason is why a Service does not get, or loses, an address.
type Reason uint8

// The reasons.
const (
	NoConfiguration Reason = iota + 1 // no pools are known yet
	NoSuchPool                        // the pool asked for does not exist, or none may be used unasked
	PoolExhausted                     // no address is left that suits
	NotInPool                         // the address belongs to no pool, or its pool leaves it out
	AddressTaken                      // another Service has it
	SharingRefused                    // another Service has it, and the two may not share it
	FamilyMismatch                    // the address is of a family that the Service does not want
	InvalidRequest                    // the request contradicts itself
	PoolConflict                      // the address is of another pool than the one asked for
	Superseded                        // the Service has, or asks for, another address instead
)

// String returns the reason as one word in camel case, fit for an Event.
func (r Reason) String() string {
	switch r {
	case NoConfiguration:
		return "NoConfiguration"
	case NoSuchPool:
		return "NoSuchPool"
	case PoolExhausted:
		return "PoolExhausted"
	case NotInPool:
		return "NotInPool"
	case AddressTaken:
		return "AddressTaken"
	case SharingRefused:
		return "SharingRefused"
	case FamilyMismatch:
		return "FamilyMismatch"
	case InvalidRequest:
		return "InvalidRequest"
	case PoolConflict:
		return "PoolConflict"
	case Superseded:
		return "Superseded"
	}
	return "Unknown"
}

// Refusal is the error of Allocate, and the reason of Cleared and Stranded.
type Refusal struct {
	Reason  Reason
	Service string     // who is refused
	Pool    string     // the pool concerned, if it is one
	Holder  string     // the Service that has the address, if there is one
	Address netip.Addr // the address concerned, if it is one
	Detail  string     // what is wrong and the way out, in words
}

// Error returns the Service and the detail.
func (r *Refusal) Error() string { return r.Service + ": " + r.Detail }

// refuse returns a Refusal of r.
func (r *Request) refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Service: r.Service, Detail: fmt.Sprintf(format, args...)}
}

// refuseAddress returns a Refusal that is about an address.
func (r *Request) refuseAddress(reason Reason, addr netip.Addr, format string, args ...any) *Refusal {
	refusal := r.refuse(reason, format, args...)
	refusal.Address = addr
	return refusal
}

// clash says why r can't have an address together with c's Service, or nil.
func (r *Request) clash(c *claim) *Refusal {
	addr, other := c.rec.addr, &c.svc.req
	switch {
	case r.SharingKey == "":
		return r.refuseTaken(AddressTaken, c, "%v is held by %s; choose another address, or give both Services the same allow-shared-ip key", addr, other.Service)
	case other.SharingKey == "":
		return r.refuseTaken(SharingRefused, c, "%v is held by %s, which does not share it; give both Services the same allow-shared-ip key", addr, other.Service)
	case r.SharingKey != other.SharingKey:
		return r.refuseTaken(SharingRefused, c, "%v is held by %s with another sharing key; give both Services the same allow-shared-ip key", addr, other.Service)
	case r.BackendKey != other.BackendKey:
		return r.refuseTaken(SharingRefused, c, "%v is held by %s with other backends; use externalTrafficPolicy Cluster on both, or Local on both with the same selector", addr, other.Service)
	}
	for _, p := range r.Ports {
		if slices.Contains(other.Ports, p) {
			return r.refuseTaken(SharingRefused, c, "%v has port %d/%s in use by %s; use another port or another address", addr, p.Port, p.Protocol, other.Service)
		}
	}
	return nil
}

// refuseDraining says that c's Service has not let go of the address yet.
func (r *Request) refuseDraining(c *claim) *Refusal {
	return r.refuseTaken(AddressTaken, c, "%v is given up by %s but still in its status; wait until it is not", c.rec.addr, c.svc.req.Service)
}

// refuseTaken returns a Refusal because of c.
func (r *Request) refuseTaken(reason Reason, c *claim, format string, args ...any) *Refusal {
	refusal := r.refuse(reason, format, args...)
	refusal.Pool, refusal.Holder, refusal.Address = c.rec.poolName(), c.svc.req.Service, c.rec.addr
	return refusal
}

// refuseExhausted says that none of the pools has an address of family f.
func (r *Request) refuseExhausted(pools []*pool, f Family) *Refusal {
	if len(pools) == 1 {
		p := pools[0]
		refusal := r.refuse(PoolExhausted, "pool %q has no %s: %s; enlarge it or free an address", p.name, r.suitable(f), p.usage(f))
		if p.size(f) == 0 {
			refusal.Detail = fmt.Sprintf("pool %q has no %v addresses; add a range of them, or ask for another pool", p.name, f)
		}
		refusal.Pool = p.name
		return refusal
	}
	return r.refuse(PoolExhausted, "no pool has any %s: %s; enlarge one or free an address",
		r.suitable(f), enumerate(pools, func(p *pool) string { return fmt.Sprintf("%q %s", p.name, p.usage(f)) }))
}

// suitable says what kind of address of family f would do for r.
func (r *Request) suitable(f Family) string {
	if r.SharingKey != "" {
		return f.String() + " address that is free or may be shared"
	}
	return "free " + f.String() + " address"
}

// refusePair says that none of the pools has an address of each family.
func (r *Request) refusePair(pools []*pool) *Refusal {
	first, second := r.Families[0], r.Families[1]
	if len(pools) == 1 {
		for _, f := range r.Families {
			if _, ok := pools[0].lowest(f, r); !ok {
				refusal := r.refuseExhausted(pools, f)
				refusal.Detail = "dual stack is required, but " + refusal.Detail
				return refusal
			}
		}
	}
	return r.refuse(PoolExhausted, "dual stack is required, but no pool has both a %s and a %s: %s; enlarge one or free addresses",
		r.suitable(first), r.suitable(second), enumerate(pools, func(p *pool) string {
			return fmt.Sprintf("%q %v %s, %v %s", p.name, first, p.usage(first), second, p.usage(second))
		}))
}

// enumerate joins what f says of the first few pools.
func enumerate(pools []*pool, f func(*pool) string) string {
	const most = 4
	var parts []string
	for i, p := range pools {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(pools)-most))
			break
		}
		parts = append(parts, f(p))
	}
	return strings.Join(parts, ", ")
}
