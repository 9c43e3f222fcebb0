package config_test

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/herald-lb/herald/pkg/config"
)

func ExampleParse() {
	c, err := config.Parse([]byte(`
address-pools:
- name: default
  protocol: layer2
  addresses:
  - 192.168.31.254/28
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	pool, _ := c.PoolOf(netip.MustParseAddr("192.168.31.240"))
	fmt.Println(pool.Name, pool.Ranges)
	// Output: default [192.168.31.240-192.168.31.255]
}

func ExampleErrors() {
	_, err := config.Parse([]byte(`
address-pools:
- name: default
  protocol: layer-2
  addresses:
  - 192.168.31.254
peers:
- my-asn: 64512
  peer-asn: 64512
  peer-address: 10.0.0.1
  bfdProfile: fast
`))
	var mistakes config.Errors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Printf("line %d: %s: %s (%s)\n", m.Line, m.Path, m.Problem, m.Hint)
		}
	}
	// Output:
	// line 4: address-pools[0].protocol: "layer-2" is not a protocol (did you mean layer2?)
	// line 6: address-pools[0].addresses[0]: "192.168.31.254" is not a range of addresses (write 192.168.31.254/32 for the single address)
	// line 11: peers[0].bfdProfile: unknown key (did you mean bfd-profile?)
}
