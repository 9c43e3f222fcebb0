package ipam

import (
	"net/netip"
	"slices"
	"time"
)

// Family is an IP address family.
type Family uint8

// The address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns "IPv4" or "IPv6".
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "unknown family"
}

// FamilyOf returns the family of a valid address. IPv4 addresses mapped into
// IPv6 are IPv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// DualStack says how many families a Service wants (spec.ipFamilyPolicy).
type DualStack uint8

// The policies.
const (
	SingleStack      DualStack = iota // the first family only
	PreferDualStack                   // both when one pool can give both, else the first
	RequireDualStack                  // both or none
)

// Port is a port that a Service listens on.
type Port struct {
	Protocol string // TCP, UDP or SCTP
	Port     uint16
}

// Request is what a Service asks for.
type Request struct {
	UID        string
	Service    string       // namespace/name, for messages
	Namespace  string       // of the Service
	Families   []Family     // wanted, in order of preference: 1 or 2 entries
	Policy     DualStack    // with SingleStack, only the first of Families counts
	Addresses  []netip.Addr // asked for explicitly, at most one per family
	Pool       string       // asked for by name; empty: any pool with auto-assign
	SharingKey string       // empty: the Service does not share its addresses
	BackendKey string       // Services that share an address must agree on it
	Ports      []Port
}

// Assignment is what a Service holds.
type Assignment struct {
	Addresses []netip.Addr // in the order of Request.Families
	Pools     []string     // the pool of each address; empty for an address in no pool
	Cleared   []Cleared    // what the call took from the Service

	// Opened are the addresses that the Service keeps but on which the call
	// may have made room for others: it gave up ports, or changed its keys.
	Opened []netip.Addr
}

// Cleared is an address that a Service held and holds no more.
type Cleared struct {
	Address netip.Addr
	Reason  error // a *Refusal
}

// Stranded is an address that a Service would lose under other pools.
type Stranded struct {
	Service string // namespace/name
	UID     string
	Address netip.Addr
	Reason  error // a *Refusal
}

// PoolUsage counts the addresses of one family in a pool.
type PoolUsage struct {
	Pool     string
	Family   Family
	Size     uint64 // all that may be given out; math.MaxUint64 stands for more
	InUse    uint64 // held by at least one Service
	Draining uint64 // held by none, but still shown by the API for one
}

// Adoption is a Service that the API shows with addresses.
type Adoption struct {
	Request  Request
	Held     []netip.Addr // what its status shows
	Deleting bool         // it has a deletion timestamp
	Created  time.Time    // its creation timestamp
}

// canonical returns a copy of r that shares no memory with it, with addresses
// in their shortest form and, for SingleStack, one family.
func (r Request) canonical() Request {
	r.Families = slices.Clone(r.Families)
	if r.Policy == SingleStack && len(r.Families) > 1 {
		r.Families = r.Families[:1]
	}
	r.Ports = slices.Clone(r.Ports)
	r.Addresses = canonical(r.Addresses)
	return r
}

// canonical returns the addresses in as, each once, in their shortest form.
func canonical(as []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range as {
		if a = a.Unmap().WithZone(""); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// check refuses a request that contradicts itself, whatever the pools are.
func (r *Request) check() *Refusal {
	switch {
	case r.UID == "":
		return r.refuse(InvalidRequest, "the Service has no UID")
	case len(r.Families) == 0:
		return r.refuse(InvalidRequest, "the Service wants no address family; set spec.ipFamilies")
	case len(r.Families) > 2 || len(r.Families) == 2 && r.Families[0] == r.Families[1]:
		return r.refuse(InvalidRequest, "the Service wants the families %v; ask for each at most once", r.Families)
	case r.Policy == RequireDualStack && len(r.Families) != 2:
		return r.refuse(InvalidRequest, "the Service requires dual stack but wants %v only; set both in spec.ipFamilies", r.Families[0])
	}
	for _, f := range r.Families {
		if f != IPv4 && f != IPv6 {
			return r.refuse(InvalidRequest, "the Service wants an address family that is neither IPv4 nor IPv6")
		}
	}
	var seen [2]netip.Addr
	for _, addr := range r.Addresses {
		if !addr.IsValid() {
			return r.refuse(InvalidRequest, "the Service asks for something that is no IP address")
		}
		i := r.index(addr)
		if i < 0 {
			return r.refuseAddress(FamilyMismatch, addr, "%v is %v, but the Service wants %v; change the address or spec.ipFamilies",
				addr, FamilyOf(addr), r.Families[0])
		}
		if seen[i].IsValid() {
			return r.refuse(InvalidRequest, "the Service asks for both %v and %v; ask for one %v address", seen[i], addr, FamilyOf(addr))
		}
		seen[i] = addr
	}
	return nil
}

// index returns the place of addr's family among the wanted ones, or -1.
func (r *Request) index(addr netip.Addr) int {
	return slices.Index(r.Families, FamilyOf(addr))
}

// explicit returns the address that the Service asks for in family f, or the
// zero Addr.
func (r *Request) explicit(f Family) netip.Addr {
	for _, addr := range r.Addresses {
		if FamilyOf(addr) == f {
			return addr
		}
	}
	return netip.Addr{}
}

// sharing is what Services on one address must agree on.
func (r *Request) sharing() sharing { return sharing{r.SharingKey, r.BackendKey} }
