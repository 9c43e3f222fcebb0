package ipam_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/herald-lb/herald/pkg/ipam"
)

// TestInvalidRequest has what no script can say.
func TestInvalidRequest(t *testing.T) {
	for name, change := range map[string]func(*ipam.Request){
		"no UID":    func(r *ipam.Request) { r.UID = "" },
		"no family": func(r *ipam.Request) { r.Families = nil },
		"one family twice": func(r *ipam.Request) {
			r.Policy, r.Families = ipam.PreferDualStack, []ipam.Family{ipam.IPv4, ipam.IPv4}
		},
		"three families": func(r *ipam.Request) {
			r.Policy, r.Families = ipam.PreferDualStack, []ipam.Family{ipam.IPv4, ipam.IPv6, 5}
		},
		"unknown family":    func(r *ipam.Request) { r.Families = []ipam.Family{5} },
		"both of one":       func(r *ipam.Request) { r.Policy = ipam.RequireDualStack },
		"no address at all": func(r *ipam.Request) { r.Addresses = []netip.Addr{{}} },
	} {
		t.Run(name, func(t *testing.T) {
			a := run(t, "pools a 10.0.0.0/30 fd00::/126")
			r := service(1)
			if _, err := a.Allocate(r); err != nil {
				t.Fatal(err)
			}
			change(&r)
			_, err := a.Allocate(r)
			if reason(err) != ipam.InvalidRequest {
				t.Errorf("got %v", err)
			}
			if held, _ := a.Held("1"); len(held.Addresses) != 1 {
				t.Errorf("it holds %v now", held.Addresses)
			}
		})
	}
}

// TestSingleStackOfTwo holds that SingleStack means the first family.
func TestSingleStackOfTwo(t *testing.T) {
	a := run(t, "pools a 10.0.0.0/30 fd00::/126")
	r := service(1)
	r.Families = []ipam.Family{ipam.IPv6, ipam.IPv4}
	if got := tell(a.Allocate(r)); got != "fd00::" {
		t.Errorf("got %s", got)
	}
}

// TestRequestIsCopied holds that the caller's slices stay the caller's.
func TestRequestIsCopied(t *testing.T) {
	a := run(t, "pools a 10.0.0.0/30")
	r := service(1)
	r.SharingKey = "k"
	if _, err := a.Allocate(r); err != nil {
		t.Fatal(err)
	}
	r.Ports[0].Port = 443
	if got := step(t, a, "allocate 2 =10.0.0.0 key=k 80/TCP"); got != "nothing !SharingRefused" {
		t.Errorf("got %s", got)
	}
}

// TestNames holds that everything has a name of its own.
func TestNames(t *testing.T) {
	var names []string
	for r := ipam.NoConfiguration; r <= ipam.Superseded; r++ {
		names = append(names, r.String())
	}
	names = append(names, ipam.Reason(0).String(), ipam.IPv4.String(), ipam.IPv6.String(), ipam.Family(0).String())
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("twice the same: %v", names)
	}
}

// TestManyPools holds that words stay few when pools are many.
func TestManyPools(t *testing.T) {
	a := run(t, "pools a 10.0.0.0/32; b 10.0.1.0/32; c 10.0.2.0/32; d 10.0.3.0/32; e 10.0.4.0/32; f 10.0.5.0/32")
	for i := range 6 {
		if _, err := a.Allocate(service(i)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := a.Allocate(service(7))
	const want = `default/7: no pool has any free IPv4 address: "a" 1 of 1 in use, "b" 1 of 1 in use, "c" 1 of 1 in use, "d" 1 of 1 in use, and 2 more; enlarge one or free an address`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	r := service(7)
	r.Policy, r.Families = ipam.RequireDualStack, []ipam.Family{ipam.IPv6, ipam.IPv4}
	a.Reconfigure(pools(t, "a 10.0.0.0/32; b fd00::/128"))
	_, err = a.Allocate(r)
	const both = `default/7: dual stack is required, but no pool has both a free IPv6 address and a free IPv4 address: "a" IPv6 0 of 0 in use, IPv4 1 of 1 in use, "b" IPv6 0 of 1 in use, IPv4 0 of 0 in use; enlarge one or free addresses`
	if err == nil || err.Error() != both {
		t.Errorf("got %v", err)
	}
}
