package ipam_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/herald-lb/herald/pkg/config"
	"github.com/herald-lb/herald/pkg/ipam"
)

// machine drives two allocators and the model through one history, with an
// API server between that may lag behind: shown is what it shows. The numbers
// in its checks are the invariants of the package comment.
type machine struct {
	uids    []string
	a, twin *ipam.Allocator
	model   *model
	specs   map[string]ipam.Request // Services that exist
	last    map[string]ipam.Request // also those that were deleted
	shown   map[string][]netip.Addr
	created map[string]int
}

var (
	documents = []string{
		"a 10.0.0.254-10.0.1.1 fd00::/127; b,avoid 10.0.2.254-10.0.3.1; c,manual 10.0.4.0/31 fd04::/127",
		"a 10.0.4.0/31 10.0.0.254-10.0.1.1 fd00::/126; b 10.0.2.254-10.0.3.1 fd04::/127",
		"b 10.0.0.254/31 fd00::/127; a,avoid 10.0.1.0/30 10.0.4.0/31; c 10.0.2.254-10.0.3.1 fd04::/127",
		"c,manual 10.0.0.254-10.0.1.1 fd00::/127",
		"",
	}
	// also some that are in no pool
	universe = []string{
		"10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1", "10.0.2.254", "10.0.2.255", "10.0.4.0", "10.0.9.9",
		"fd00::", "fd00::1", "fd04::", "fd09::",
	}
)

// TestMachine has few Services of every kind over many small pools.
func TestMachine(t *testing.T) {
	documents := parse(t, documents...)
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(8)
		if rapid.Bool().Draw(t, "configured") {
			m.reconfigure(documents[0])
		}
		m.run(t, documents, func(t *rapid.T) { m.ask(t, m.draw(t)) })
	})
}

// TestMachineSharing has many Services with few ports over one pool, so that
// addresses are shared and freed in all orders.
func TestMachineSharing(t *testing.T) {
	documents := parse(t, "a 10.0.1.0/28 10.0.0.0/29", "a 10.0.0.0/29; b 10.0.1.0/28")
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(24)
		m.reconfigure(documents[0])
		m.run(t, documents, func(t *rapid.T) {
			r := m.request(m.uid(t))
			r.SharingKey = rapid.SampledFrom([]string{"k", "k", "k", "k", "j", ""}).Draw(t, "key")
			r.Addresses = nil
			if host := rapid.IntRange(0, 31).Draw(t, "host"); host < 8 {
				r.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(host)})}
			}
			r.Ports = nil
			for _, p := range rapid.SliceOfNDistinct(rapid.Uint16Range(1, 6), 0, 3, rapid.ID).Draw(t, "ports") {
				r.Ports = append(r.Ports, ipam.Port{Protocol: "TCP", Port: p})
			}
			m.ask(t, r)
		})
	})
}

func parse(t *testing.T, documents ...string) [][]config.Pool {
	var out [][]config.Pool
	for _, d := range documents {
		out = append(out, pools(t, d))
	}
	return out
}

func newMachine(services int) *machine {
	m := &machine{
		a: ipam.New(), twin: ipam.New(), model: newModel(),
		specs: map[string]ipam.Request{}, last: map[string]ipam.Request{}, shown: map[string][]netip.Addr{}, created: map[string]int{},
	}
	for i := range services {
		m.uids = append(m.uids, fmt.Sprintf("s%02d", i))
	}
	return m
}

// run makes a history of changes, and of what happens to any cluster.
func (m *machine) run(t *rapid.T, documents [][]config.Pool, change func(*rapid.T)) {
	t.Repeat(map[string]func(*rapid.T){
		"create or change": change,
		"change more":      change,
		"sync":             func(t *rapid.T) { m.sync(t, m.uid(t)) },
		"write status":     func(t *rapid.T) { m.write(t, m.uid(t)) },
		"observe":          func(t *rapid.T) { m.observe(t, m.uid(t)) },
		"delete":           func(t *rapid.T) { m.delete(m.uid(t)) },
		"delete, write": func(t *rapid.T) {
			uid := m.uid(t)
			m.delete(uid)
			m.write(t, uid)
		},
		"reconfigure": func(t *rapid.T) {
			d := rapid.SampledFrom(documents).Draw(t, "document")
			m.checkStranded(t, d)
			m.reconfigure(d)
		},
		"restart": m.restart,
		"":        m.check,
	})
}

func (m *machine) uid(t *rapid.T) string { return rapid.SampledFrom(m.uids).Draw(t, "uid") }

// request returns the Service's request, or that of a new one.
func (m *machine) request(uid string) ipam.Request {
	if r, exists := m.specs[uid]; exists {
		return r
	}
	return ipam.Request{UID: uid, Service: "ns/" + uid, Families: []ipam.Family{ipam.IPv4}}
}

// draw returns the request of a Service as somebody creates or changes it.
func (m *machine) draw(t *rapid.T) ipam.Request {
	r := m.request(m.uid(t))
	for _, field := range rapid.SliceOfN(rapid.IntRange(0, 5), 1, 3).Draw(t, "fields") {
		switch field {
		case 0:
			r.Policy = rapid.SampledFrom([]ipam.DualStack{ipam.SingleStack, ipam.PreferDualStack, ipam.RequireDualStack}).Draw(t, "policy")
			r.Families = rapid.Permutation([]ipam.Family{ipam.IPv4, ipam.IPv6}).Draw(t, "families")
			if r.Policy == ipam.SingleStack {
				r.Families = r.Families[:1]
			}
		case 1:
			r.Addresses = nil
			for _, s := range rapid.SliceOfN(rapid.SampledFrom(universe), 0, 2).Draw(t, "addresses") {
				r.Addresses = append(r.Addresses, netip.MustParseAddr(s))
			}
		case 2:
			r.Pool = rapid.SampledFrom([]string{"", "", "a", "b", "c", "d"}).Draw(t, "pool")
		case 3:
			r.SharingKey = rapid.SampledFrom([]string{"", "k", "k", "j"}).Draw(t, "key")
		case 4:
			r.BackendKey = rapid.SampledFrom([]string{"", "", "x"}).Draw(t, "backend")
		case 5:
			r.Ports = rapid.SliceOfNDistinct(rapid.SampledFrom([]ipam.Port{
				{Protocol: "TCP", Port: 80}, {Protocol: "TCP", Port: 443}, {Protocol: "UDP", Port: 80},
			}), 0, 2, rapid.ID).Draw(t, "ports")
		}
	}
	return r
}

// contradicts tells requests that contradict themselves from the others.
func contradicts(r ipam.Request) bool {
	for i, x := range r.Addresses {
		if !slices.Contains(r.Families, ipam.FamilyOf(x)) {
			return true
		}
		for _, y := range r.Addresses[:i] {
			if x != y && ipam.FamilyOf(x) == ipam.FamilyOf(y) {
				return true
			}
		}
	}
	return false
}

// ask makes r the Service's spec, and syncs it.
func (m *machine) ask(t *rapid.T, r ipam.Request) {
	if _, exists := m.specs[r.UID]; !exists {
		m.created[r.UID] = len(m.created)
	}
	m.specs[r.UID], m.last[r.UID] = r, r
	m.sync(t, r.UID)
}

// sync calls Allocate for the Service as it is.
func (m *machine) sync(t *rapid.T, uid string) {
	r, exists := m.specs[uid]
	if !exists {
		return
	}
	claimed := m.model.of(uid, "held", "conflict", "draining")
	got, err := m.a.Allocate(r)
	again, errAgain := m.twin.Allocate(r)
	if x, y := fmt.Sprintln(got, err), fmt.Sprintln(again, errAgain); x != y {
		t.Fatalf("5: the same history gives %s and %s", x, y)
	}
	if contradicts(r) {
		if why := reason(err); why != ipam.InvalidRequest && why != ipam.FamilyMismatch {
			t.Fatalf("%+v contradicts itself, but: %v", r, err)
		}
		if !slices.Equal(got.Addresses, m.model.held(uid)) || got.Cleared != nil {
			t.Fatalf("%+v contradicts itself, but changes %v to %+v", r, m.model.held(uid), got)
		}
		return
	}
	want := m.model.allocate(r)
	cleared := map[netip.Addr]ipam.Reason{}
	for _, c := range got.Cleared {
		cleared[c.Address] = reason(c.Reason)
	}
	if !slices.Equal(got.Addresses, want.addrs) || len(cleared)+len(want.cleared) > 0 && !gocmp.Equal(cleared, want.cleared, addrComparer()) || reason(err) != want.refusal {
		t.Fatalf("%+v\ngot  %v %v %v\nwant %+v", r, got, cleared, err, want)
	}
	for _, addr := range got.Addresses {
		if !slices.Contains(claimed, addr) && m.model.pool(addr) == nil {
			t.Fatalf("2: %v is in no pool, but given to %s", addr, uid)
		}
	}
	if n := len(got.Addresses); m.model.configured && r.Policy == ipam.RequireDualStack && n != 0 && n != 2 {
		t.Fatalf("6: %s requires both and holds %v", uid, got.Addresses)
	}
	if (err == nil) != (len(got.Addresses) > 0) && err == nil {
		t.Fatalf("%s holds nothing, without an error", uid)
	}
}

func addrComparer() gocmp.Option { return gocmp.Comparer(func(x, y netip.Addr) bool { return x == y }) }

// write lets the status of the Service reach the API, and its watchers.
func (m *machine) write(t *rapid.T, uid string) {
	held, _ := m.a.Held(uid)
	m.shown[uid] = held.Addresses
	m.observe(t, uid)
}

func (m *machine) observe(t *rapid.T, uid string) {
	draining, others := m.model.of(uid, "draining"), m.model.of(uid, "held", "conflict")
	freed, twin, want := m.a.Observe(uid, m.shown[uid]), m.twin.Observe(uid, m.shown[uid]), m.model.observe(uid, m.shown[uid])
	if !slices.Equal(freed, twin) {
		t.Fatalf("5: the same history frees %v and %v", freed, twin)
	}
	if !slices.Equal(freed, want) {
		t.Fatalf("4: %s frees %v, not %v", uid, freed, want)
	}
	for _, addr := range freed {
		if !slices.Contains(draining, addr) || slices.Contains(others, addr) || slices.Contains(m.shown[uid], addr) {
			t.Fatalf("4: %s frees %v, which drained: %v, shown: %v", uid, addr, draining, m.shown[uid])
		}
	}
	if again := m.a.Observe(uid, m.shown[uid]); len(again)+len(m.twin.Observe(uid, m.shown[uid])) > 0 {
		t.Fatalf("4: %s frees %v twice", uid, again)
	}
}

func (m *machine) delete(uid string) {
	delete(m.specs, uid)
	m.a.Release(uid)
	m.twin.Release(uid)
	m.model.release(uid)
}

func (m *machine) reconfigure(document []config.Pool) {
	m.a.Reconfigure(document)
	m.twin.Reconfigure(document)
	m.model.configured, m.model.pools = true, document
}

// restart loses all memory, adopts what the API shows, and syncs all Services
// in any order. Those whose addresses nobody disputes keep them.
func (m *machine) restart(t *rapid.T) {
	var all []ipam.Adoption
	for _, uid := range m.uids {
		if len(m.shown[uid]) > 0 {
			_, exists := m.specs[uid]
			created := time.Unix(int64(m.created[uid]), 0)
			all = append(all, ipam.Adoption{Request: m.last[uid], Held: m.shown[uid], Deleting: !exists, Created: created})
		}
	}
	m.a, m.twin = ipam.New(), ipam.New()
	m.a.AdoptAll(all)
	m.twin.AdoptAll(rapid.Permutation(all).Draw(t, "adoptions"))
	configured, document := m.model.configured, m.model.pools
	m.model = newModel()
	slices.SortFunc(all, func(x, y ipam.Adoption) int {
		return cmp.Or(entitled(x)-entitled(y), x.Created.Compare(y.Created))
	})
	for _, ad := range all {
		m.model.adopt(ad.Request, ad.Held)
	}
	m.check(t)
	if configured {
		m.reconfigure(document)
		m.check(t)
	}
	for _, uid := range m.uids {
		if _, exists := m.specs[uid]; !exists {
			m.delete(uid)
		}
	}
	calm := m.calm()
	for _, uid := range rapid.Permutation(m.uids).Draw(t, "syncs") {
		m.sync(t, uid)
	}
	for _, uid := range calm {
		held, _ := m.a.Held(uid)
		for _, addr := range m.shown[uid] {
			if !slices.Contains(held.Addresses, addr) {
				t.Fatalf("3: %s showed %v before the start and holds %v after it", uid, m.shown[uid], held.Addresses)
			}
		}
	}
}

func entitled(ad ipam.Adoption) int {
	switch {
	case ad.Deleting:
		return 3
	case slices.ContainsFunc(ad.Held, func(a netip.Addr) bool { return slices.Contains(ad.Request.Addresses, a) }):
		return 0
	case len(ad.Request.Addresses) == 0:
		return 1
	}
	return 2
}

// calm returns the Services that show what they may have and no other shows
// against the sharing rules.
func (m *machine) calm() []string {
	var out []string
	for uid, r := range m.specs {
		fits := !contradicts(r) && (r.Policy != ipam.RequireDualStack || len(m.shown[uid]) == 2)
		for _, f := range r.Families {
			n := 0
			for _, addr := range m.shown[uid] {
				want, asked := explicit(r, f)
				if ipam.FamilyOf(addr) == f {
					n++
					fits = fits && (!asked || want == addr)
				}
			}
			fits = fits && n <= 1
		}
		for _, addr := range m.shown[uid] {
			fits = fits && slices.Contains(r.Families, ipam.FamilyOf(addr)) && (!m.model.configured || m.model.banned(r, addr) == 0)
			for other, theirs := range m.shown {
				fits = fits && (other == uid || !slices.Contains(theirs, addr) || mayShare(r, m.last[other]))
			}
		}
		if fits {
			out = append(out, uid)
		}
	}
	slices.Sort(out)
	return out
}

// check compares all that can be asked without a change.
func (m *machine) check(t *rapid.T) {
	held := map[netip.Addr][]string{}
	for _, uid := range m.uids {
		got, ok := m.a.Held(uid)
		if want := m.model.held(uid); !slices.Equal(got.Addresses, want) || ok != (len(want) > 0) {
			t.Fatalf("%s holds %v, not %v", uid, got.Addresses, want)
		}
		for i, addr := range got.Addresses {
			pool := ""
			if p := m.model.pool(addr); p != nil {
				pool = p.Name
			}
			if got.Pools[i] != pool {
				t.Fatalf("%v of %s is said to be of pool %q, not %q", addr, uid, got.Pools[i], pool)
			}
			for _, other := range held[addr] {
				if !mayShare(m.model.requests[uid], m.model.requests[other]) {
					t.Fatalf("1: %v is held by both %s and %s", addr, uid, other)
				}
			}
			held[addr] = append(held[addr], uid)
		}
	}
	if diff := gocmp.Diff(m.model.usage(), m.a.Usage()); diff != "" {
		t.Fatalf("7: usage (-recount +got):\n%s", diff)
	}
}

func (m *machine) checkStranded(t *rapid.T, document []config.Pool) {
	got := map[string]ipam.Reason{}
	for _, s := range m.a.Stranded(document) {
		got[s.UID+" "+s.Address.String()] = reason(s.Reason)
	}
	if diff := gocmp.Diff(m.model.stranded(document), got); diff != "" {
		t.Fatalf("stranded (-want +got):\n%s", diff)
	}
}
