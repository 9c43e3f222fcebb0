package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/router"
)

// The AS numbers of the nodes and of the routers.
const (
	nodeASN   = 64512
	routerASN = 64513
)

// routedPool is a pool for BGP, beside that of the labs.
const routedPool = `- name: routed
  protocol: bgp
  auto-assign: false
  addresses: [10.77.0.0/24]
`

// fastBFD is the profile of peers that are watched.
const fastBFD = "bfd-profiles: [{name: fast, transmit-interval: 50, receive-interval: 50, detect-multiplier: 3}]\n"

// peer is a line of the list of peers; settings may add keys.
func peer(name string, at netip.Addr, settings string) string {
	return fmt.Sprintf("- {name: %s, my-asn: %d, peer-asn: %d, peer-address: %v%s}\n", name, nodeASN, routerASN, at, settings)
}

// routedDocument is the labs' configuration with peers and a pool for BGP.
func routedDocument(peers string) string {
	return "peers:\n" + peers + fastBFD + document + routedPool
}

// routed is a cluster whose router speaks BGP, with a client behind the router
// and a Service that the client asks for.
type routed struct {
	*cluster
	frr     *router.FRR
	address netip.Addr
}

const (
	far       = "far" // the client behind the router
	routedNS  = "routed"
	frrConfig = `router bgp 64513
 bgp router-id 192.168.31.1
 no bgp ebgp-requires-policy
 neighbor nodes peer-group
 neighbor nodes remote-as 64512
 neighbor nodes passive
 neighbor 192.168.31.11 peer-group nodes
 neighbor 192.168.31.12 peer-group nodes
 neighbor 192.168.31.13 peer-group nodes
 address-family ipv4 unicast
  neighbor nodes activate
  maximum-paths 8
 exit-address-family
exit
`
)

// startRouter makes the LAN's router speak BGP. stop undoes it.
func (c *cluster) startRouter(ctx context.Context) (r *routed, stop func() error, err error) {
	near, client := netip.MustParsePrefix("10.88.0.1/24"), netip.MustParsePrefix("10.88.0.2/24")
	if err := c.AddFarHost(far, lab.Router, near, client); err != nil {
		return nil, nil, err
	}
	r = &routed{cluster: c}
	if r.frr, err = router.StartFRR(ctx, c.Lab, lab.Router, frrConfig); err != nil {
		return nil, nil, err
	}
	return r, func() error {
		if ctx.Err() != nil {
			return nil // the lab will be taken down as it is
		}
		return errors.Join(c.Configure(ctx, document, nil), r.frr.Shutdown(ctx))
	}, nil
}

// serve makes a Service of a web server that runs on nodes other than one. stop
// undoes it.
func (r *routed) serve(ctx context.Context, notOn string) (stop func() error, err error) {
	remove, err := r.namespace(ctx, routedNS)
	if err != nil {
		return nil, err
	}
	if err := r.expose(ctx, notOn); err != nil {
		return nil, errors.Join(err, remove())
	}
	return remove, nil
}

func (r *routed) expose(ctx context.Context, notOn string) error {
	if err := r.deployWeb(ctx, routedNS, notOn); err != nil {
		return err
	}
	services, err := r.services(routedNS)
	if err != nil {
		return err
	}
	err = createAndWait(ctx, services, []string{"web"}, func(s *corev1.Service) {
		s.Annotations = map[string]string{"herald-lb.io/address-pool": "routed"}
		selectWeb(s)
	})
	if err != nil {
		return err
	}
	addresses, err := r.addresses(ctx, routedNS)
	if err == nil && len(addresses) != 1 {
		err = fmt.Errorf("the Service has addresses %v", addresses)
	}
	if err == nil {
		r.address = addresses[0]
	}
	return err
}

// waitRoutes waits until every node runs, and is a way to the address.
func (r *routed) waitRoutes(ctx context.Context) error {
	if err := r.waitAll(ctx); err != nil {
		return err
	}
	if err := r.frr.WaitNeighbors(ctx); err != nil {
		return err
	}
	return router.WaitKernel(ctx, r.Lab, lab.Router, r.address, r.Nodes()...)
}
