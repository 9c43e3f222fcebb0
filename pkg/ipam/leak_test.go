package ipam

import (
	"net/netip"
	"testing"

	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/config"
)

// TestNothingIsLeft fills a pool with Services that share and others, asks for
// one address again and again, and lets all go: no entry may stay behind, and
// no more than one for each freed address in the range.
func TestNothingIsLeft(t *testing.T) {
	a := New()
	a.Reconfigure([]config.Pool{{Name: "a", AutoAssign: true, Ranges: []netipx.IPRange{netipx.MustParseIPRange("10.0.0.0-10.0.0.15")}}})
	ask := func(uid string, change func(*Request)) {
		r := Request{UID: uid, Service: uid, Families: []Family{IPv4}, Ports: []Port{{"TCP", 80}, {"UDP", 80}}}
		change(&r)
		if _, err := a.Allocate(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, uid := range []string{"p", "q", "r"} {
		ask(uid, func(*Request) {})
		ask("shares "+uid, func(r *Request) { r.SharingKey = "k" })
		ask("shares "+uid, func(r *Request) { r.SharingKey, r.Ports = "k", r.Ports[:1] })
	}
	for range 100 {
		a.Release("q")
		a.Observe("q", nil)
		ask("q", func(r *Request) { r.Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.2")} })
	}
	var uids []string
	for uid := range a.services {
		uids = append(uids, uid)
	}
	for _, uid := range uids {
		a.Release(uid)
		a.Observe(uid, nil)
	}
	ask("refused", func(r *Request) { r.Policy, r.Families = PreferDualStack, []Family{IPv4, IPv6} })
	a.Release("refused")
	a.Observe("refused", nil)

	s := &a.pools.byName["a"].v4
	if len(a.services) > 0 || len(a.records) > 0 || len(s.groups) > 0 {
		t.Errorf("left: %d services, %d records, %d groups", len(a.services), len(a.records), len(s.groups))
	}
	if ar := s.ranges[0]; len(ar.freed) != len(ar.queued) || len(ar.freed) > 16 {
		t.Errorf("%d addresses in the heap, %d in the set", len(ar.freed), len(ar.queued))
	}
}
