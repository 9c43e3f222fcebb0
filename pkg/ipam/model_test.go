package ipam_test

import (
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/config"
	"github.com/herald-lb/herald/pkg/ipam"
)

// model says what an allocator must do in the plainest way: one list of
// claims, which is read from start to end for every question, and pools that
// are read address by address.
type model struct {
	configured bool
	pools      []config.Pool
	requests   map[string]ipam.Request // the last one of each UID that counted
	claims     []modelClaim            // oldest first
}

type modelClaim struct {
	uid   string
	addr  netip.Addr
	state string // held, conflict or draining
}

// answer is what Allocate is to tell.
type answer struct {
	addrs   []netip.Addr
	cleared map[netip.Addr]ipam.Reason
	refusal ipam.Reason // 0: none
}

func newModel() *model { return &model{requests: map[string]ipam.Request{}} }

// of returns the Service's addresses in one of the states.
func (m *model) of(uid string, states ...string) []netip.Addr {
	var out []netip.Addr
	for _, c := range m.claims {
		if c.uid == uid && slices.Contains(states, c.state) {
			out = append(out, c.addr)
		}
	}
	return out
}

// held returns what the Service holds, in the order that it wants its families in.
func (m *model) held(uid string) []netip.Addr {
	out := m.of(uid, "held")
	place := func(a netip.Addr) int { return slices.Index(m.requests[uid].Families, ipam.FamilyOf(a)) }
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return place(a) - place(b) })
	return out
}

// pool returns the pool that may give the address out.
func (m *model) pool(addr netip.Addr) *config.Pool {
	for i, p := range m.pools {
		for _, r := range p.Ranges {
			if r.Contains(addr) && (!p.AvoidBuggyIPs || !buggy(addr)) {
				return &m.pools[i]
			}
		}
	}
	return nil
}

func buggy(addr netip.Addr) bool {
	return addr.Is4() && (addr.As4()[3] == 0 || addr.As4()[3] == 255)
}

// mayShare is the sharing rule.
func mayShare(x, y ipam.Request) bool {
	return x.SharingKey != "" && x.SharingKey == y.SharingKey && x.BackendKey == y.BackendKey &&
		!slices.ContainsFunc(x.Ports, func(p ipam.Port) bool { return slices.Contains(y.Ports, p) })
}

// taken says why r can't have the address because of others; 0: it can.
func (m *model) taken(r ipam.Request, addr netip.Addr) ipam.Reason {
	var holders, others []ipam.Request
	known := false
	for _, c := range m.claims {
		switch {
		case c.addr != addr:
		case c.uid == r.UID:
			known = true
		case c.state == "held":
			holders = append(holders, m.requests[c.uid])
		default:
			others = append(others, m.requests[c.uid])
		}
	}
	if !known && len(holders) == 0 && len(others) > 0 {
		return ipam.AddressTaken
	}
	if !known {
		holders = append(holders, others...)
	}
	for _, h := range holders {
		switch {
		case r.SharingKey == "":
			return ipam.AddressTaken
		case !mayShare(r, h):
			return ipam.SharingRefused
		}
	}
	return 0
}

// banned says why the pools don't let r have the address; 0: they do.
func (m *model) banned(r ipam.Request, addr netip.Addr) ipam.Reason {
	p := m.pool(addr)
	exists := slices.ContainsFunc(m.pools, func(p config.Pool) bool { return p.Name == r.Pool })
	switch {
	case p == nil:
		return ipam.NotInPool
	case r.Pool == "" || p.Name == r.Pool:
		return 0
	case !exists:
		return ipam.NoSuchPool
	}
	return ipam.PoolConflict
}

// lowest returns the first address of the pool that suits r. It does not
// look at what r's Service itself has in use: that is not free.
func (m *model) lowest(p config.Pool, f ipam.Family, r ipam.Request) (netip.Addr, bool) {
	for _, ar := range p.Ranges {
		if ipam.FamilyOf(ar.From()) != f {
			continue
		}
		for addr := ar.From(); addr.IsValid() && addr.Compare(ar.To()) <= 0; addr = addr.Next() {
			if p.AvoidBuggyIPs && buggy(addr) {
				continue
			}
			stranger := r
			stranger.UID = "nobody"
			if m.taken(stranger, addr) == 0 {
				return addr, true
			}
		}
	}
	return netip.Addr{}, false
}

func explicit(r ipam.Request, f ipam.Family) (netip.Addr, bool) {
	i := slices.IndexFunc(r.Addresses, func(a netip.Addr) bool { return ipam.FamilyOf(a) == f })
	if i < 0 {
		return netip.Addr{}, false
	}
	return r.Addresses[i], true
}

// allocate is Allocate for requests that don't contradict themselves.
func (m *model) allocate(r ipam.Request) answer {
	if !m.configured {
		return m.unconfigured(r)
	}
	m.requests[r.UID] = r
	before := m.of(r.UID, "held", "conflict")
	kept, why := m.keep(r)
	chosen, refusal := m.complete(r, kept)
	reason := refusal
	if refusal != 0 && r.Policy == ipam.RequireDualStack {
		if chosen, refusal = m.complete(r, nil); refusal != 0 {
			chosen, refusal = nil, reason
		}
	}
	out := answer{cleared: map[netip.Addr]ipam.Reason{}, refusal: refusal}
	for _, addr := range before {
		if _, ok := chosen[ipam.FamilyOf(addr)]; ok && chosen[ipam.FamilyOf(addr)] == addr {
			continue
		}
		m.set(r.UID, addr, "draining")
		if out.cleared[addr] = why[addr]; why[addr] == 0 {
			out.cleared[addr] = reason
		}
	}
	for _, f := range r.Families {
		if addr, ok := chosen[f]; ok {
			m.set(r.UID, addr, "held")
		}
	}
	out.addrs = m.held(r.UID)
	return out
}

func (m *model) unconfigured(r ipam.Request) answer {
	out := answer{addrs: m.held(r.UID)}
	for _, f := range r.Families {
		want, asked := explicit(r, f)
		has := slices.ContainsFunc(out.addrs, func(a netip.Addr) bool { return ipam.FamilyOf(a) == f && (!asked || a == want) })
		if !has && (asked || r.Policy != ipam.PreferDualStack || len(out.addrs) == 0) {
			out.refusal = ipam.NoConfiguration
		}
	}
	return out
}

// keep returns what the Service keeps by family, and why it loses the rest.
func (m *model) keep(r ipam.Request) (map[ipam.Family]netip.Addr, map[netip.Addr]ipam.Reason) {
	kept, why := map[ipam.Family]netip.Addr{}, map[netip.Addr]ipam.Reason{}
	judge := func(addr netip.Addr) ipam.Reason {
		want, asked := explicit(r, ipam.FamilyOf(addr))
		switch {
		case !slices.Contains(r.Families, ipam.FamilyOf(addr)):
			return ipam.FamilyMismatch
		case asked && want != addr:
			return ipam.Superseded
		case m.banned(r, addr) != 0:
			return m.banned(r, addr)
		}
		return m.taken(r, addr)
	}
	for _, addr := range m.of(r.UID, "held", "conflict") {
		_, twice := kept[ipam.FamilyOf(addr)]
		switch reason := judge(addr); {
		case reason != 0:
			why[addr] = reason
		case twice:
			why[addr] = ipam.Superseded
		default:
			kept[ipam.FamilyOf(addr)] = addr
		}
	}
	for _, addr := range slices.Backward(m.of(r.UID, "draining")) {
		f := ipam.FamilyOf(addr)
		if _, has := kept[f]; has || judge(addr) != 0 {
			continue
		}
		_, asked := explicit(r, f)
		onePool := true
		for _, other := range kept {
			onePool = onePool && m.pool(other).Name == m.pool(addr).Name
		}
		if asked || onePool {
			kept[f] = addr
		}
	}
	return kept, why
}

// complete adds what is missing.
func (m *model) complete(r ipam.Request, kept map[ipam.Family]netip.Addr) (map[ipam.Family]netip.Addr, ipam.Reason) {
	chosen := map[ipam.Family]netip.Addr{}
	var refusal ipam.Reason
	for _, f := range r.Families {
		addr, has := kept[f]
		if want, asked := explicit(r, f); !has && asked {
			reason := m.banned(r, want)
			if reason == 0 {
				reason = m.taken(r, want)
			}
			if refusal == 0 {
				refusal = reason
			}
			addr, has = want, reason == 0
		}
		if has {
			chosen[f] = addr
		}
	}
	if refusal != 0 || len(chosen) == len(r.Families) {
		return chosen, refusal
	}
	var from []config.Pool
	for _, p := range m.pools {
		allowed := p.AutoAssign
		for _, addr := range chosen {
			allowed = m.pool(addr).Name == p.Name
		}
		if r.Pool != "" {
			allowed = p.Name == r.Pool
		}
		if allowed {
			from = append(from, p)
		}
	}
	if len(from) == 0 {
		return chosen, ipam.NoSuchPool
	}
	return m.fromPools(r, chosen, from)
}

// fromPools adds what is missing out of the first pool that has it all, or
// else what will do out of the first pool that has that.
func (m *model) fromPools(r ipam.Request, chosen map[ipam.Family]netip.Addr, from []config.Pool) (map[ipam.Family]netip.Addr, ipam.Reason) {
	enough := func(got map[ipam.Family]netip.Addr) bool {
		_, first := got[r.Families[0]]
		return first || len(chosen) > 0
	}
	tries := []func(map[ipam.Family]netip.Addr) bool{func(got map[ipam.Family]netip.Addr) bool { return len(got) == len(r.Families) }}
	if r.Policy != ipam.RequireDualStack {
		tries = append(tries, enough)
	}
	for _, suffices := range tries {
		for _, p := range from {
			got := map[ipam.Family]netip.Addr{}
			for _, f := range r.Families {
				addr, ok := chosen[f]
				if !ok {
					addr, ok = m.lowest(p, f, r)
				}
				if ok {
					got[f] = addr
				}
			}
			if suffices(got) {
				return got, 0
			}
		}
	}
	return chosen, ipam.PoolExhausted
}

// set gives the Service's claim on the address a state.
func (m *model) set(uid string, addr netip.Addr, state string) {
	for i, c := range m.claims {
		if c.uid == uid && c.addr == addr {
			m.claims[i].state = state
			return
		}
	}
	m.claims = append(m.claims, modelClaim{uid, addr, state})
}

func (m *model) release(uid string) {
	for _, addr := range m.of(uid, "held", "conflict") {
		m.set(uid, addr, "draining")
	}
}

func (m *model) observe(uid string, shown []netip.Addr) []netip.Addr {
	var freed []netip.Addr
	m.claims = slices.DeleteFunc(m.claims, func(c modelClaim) bool {
		gone := c.uid == uid && c.state == "draining" && !slices.Contains(shown, c.addr)
		if gone {
			freed = append(freed, c.addr)
		}
		return gone
	})
	return freed
}

// adopt is Adopt for a Service that is new.
func (m *model) adopt(r ipam.Request, shown []netip.Addr) {
	m.requests[r.UID] = r
	for _, addr := range shown {
		m.set(r.UID, addr, "conflict")
		if m.taken(r, addr) == 0 {
			m.set(r.UID, addr, "held")
		}
	}
}

// usage recounts. Addresses are counted one by one.
func (m *model) usage() []ipam.PoolUsage {
	var out []ipam.PoolUsage
	for _, p := range m.pools {
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			u := ipam.PoolUsage{Pool: p.Name, Family: f}
			present := false
			for _, r := range p.Ranges {
				if ipam.FamilyOf(r.From()) != f {
					continue
				}
				present = true
				for addr := r.From(); addr.IsValid() && addr.Compare(r.To()) <= 0; addr = addr.Next() {
					if p.AvoidBuggyIPs && buggy(addr) {
						continue
					}
					u.Size++
					claimed := slices.ContainsFunc(m.claims, func(c modelClaim) bool { return c.addr == addr })
					isHeld := slices.ContainsFunc(m.claims, func(c modelClaim) bool { return c.addr == addr && c.state == "held" })
					switch {
					case isHeld:
						u.InUse++
					case claimed:
						u.Draining++
					}
				}
			}
			if present {
				out = append(out, u)
			}
		}
	}
	return out
}

// stranded tells who would lose what under other pools, in any order.
func (m *model) stranded(document []config.Pool) map[string]ipam.Reason {
	next := &model{pools: document}
	out := map[string]ipam.Reason{}
	for _, c := range m.claims {
		r := m.requests[c.uid]
		if c.state == "held" && (!m.configured || m.banned(r, c.addr) == 0) && next.banned(r, c.addr) != 0 {
			out[c.uid+" "+c.addr.String()] = next.banned(r, c.addr)
		}
	}
	return out
}
