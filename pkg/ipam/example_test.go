package ipam_test

import (
	"fmt"
	"net/netip"

	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/config"
	"github.com/herald-lb/herald/pkg/ipam"
)

func Example() {
	a := ipam.New()

	// What the API shows comes first, so that nobody else gets it.
	web := ipam.Request{UID: "1", Service: "default/web", Families: []ipam.Family{ipam.IPv4}}
	a.AdoptAll([]ipam.Adoption{{Request: web, Held: []netip.Addr{netip.MustParseAddr("192.168.31.240")}}})
	a.Reconfigure([]config.Pool{{
		Name:       "default",
		Protocol:   config.Layer2,
		AutoAssign: true,
		Ranges:     []netipx.IPRange{netipx.MustParseIPRange("192.168.31.240-192.168.31.241")},
	}})

	dns := ipam.Request{UID: "2", Service: "default/dns", Families: []ipam.Family{ipam.IPv4}}
	got, _ := a.Allocate(dns)
	fmt.Println(got.Addresses, got.Pools)

	mail := ipam.Request{UID: "3", Service: "default/mail", Families: []ipam.Family{ipam.IPv4}}
	_, err := a.Allocate(mail)
	fmt.Println(err)

	// An address that was given up is free when the API does not show it.
	a.Release("1")
	fmt.Println(a.Observe("1", []netip.Addr{netip.MustParseAddr("192.168.31.240")}))
	fmt.Println(a.Observe("1", nil))
	got, _ = a.Allocate(mail)
	fmt.Println(got.Addresses)

	// Output:
	// [192.168.31.241] [default]
	// default/mail: pool "default" has no free IPv4 address: 2 of 2 in use; enlarge it or free an address
	// []
	// [192.168.31.240]
	// [192.168.31.240]
}
