package herald

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/herald-lb/herald/test/lab"
)

// calm is how long an address must have had one owner to be settled.
const calm = time.Second

// Settle waits until nothing moves any more: the nodes are Ready, Herald is
// rolled out, every announcer knows all others, and each Service's addresses
// have had one owner for a second, the same for all of them.
func (c *Cluster) Settle(ctx context.Context, services [][]netip.Addr) error {
	if err := c.WaitNodesReady(ctx, c.Nodes()...); err != nil {
		return err
	}
	if err := c.WaitRollout(ctx); err != nil {
		return err
	}
	if err := c.WaitMembers(ctx); err != nil {
		return err
	}
	var all []netip.Addr
	for _, addresses := range services {
		all = append(all, addresses...)
	}
	o := c.WatchOwners(all)
	defer o.Stop()
	return c.WaitFor(ctx, lab.Wait{
		What: "each Service to have one owner for a second", Timeout: 20 * time.Second,
		Done: func(context.Context) (bool, string) {
			for _, addresses := range services {
				for _, a := range addresses {
					since, owner := o.Settled(a)
					if since < calm {
						return false, fmt.Sprintf("%v: %v", a, o.Last(a).Hosts)
					}
					if _, first := o.Settled(addresses[0]); owner != first {
						return false, fmt.Sprintf("%v is at %s, its twin at %s", a, owner, first)
					}
				}
			}
			return true, ""
		},
	})
}

// WaitMembers waits until each announcer serves and knows all others.
func (c *Cluster) WaitMembers(ctx context.Context) error {
	return c.WaitFor(ctx, lab.Wait{
		// A kubelet puts off the fifth restart of a container by 80 seconds.
		What: "all announcers to be members", Timeout: 2 * time.Minute,
		Done: func(ctx context.Context) (bool, string) {
			for _, node := range c.Nodes() {
				status, err := c.Status(ctx, node)
				if err != nil {
					return false, node + ": " + err.Error()
				}
				ready := 0
				for _, m := range status.Members {
					if m.Alive && m.Ready && !m.Draining {
						ready++
					}
				}
				if ready != len(c.Nodes()) || status.WaitingFor != "" {
					return false, fmt.Sprintf("%s: %d members are ready, it waits for %q", node, ready, status.WaitingFor)
				}
			}
			return true, ""
		},
	})
}
